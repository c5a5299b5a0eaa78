"""The command line as a process: signals, memory, odd names, what `--help` imports."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.clips import encode, frames, pattern
from tests.helpers.films import read_frames
from tests.helpers.readback import files_in
from vidcolor.cli import COMMANDS

RAMP = ("--model", "_ramp", "--device", "cpu", "--size", "64", "--encoder", "ffv1")


def start(*arguments: str | Path, code: str = "") -> subprocess.Popen[str]:
    """vidcolor (or a line of Python) in a process group of its own, as a terminal starts it."""
    command = ("-c", code) if code else ("-m", "vidcolor")
    return subprocess.Popen(
        [sys.executable, *command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # as in most languages' settings, but not in C
        env={
            **os.environ,
            "PYTHONIOENCODING": "utf-8:strict",
            "SOURCE_DATE_EPOCH": "1700000000",  # the date in outputs
        },
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three thousand frames, which take half a minute."""
    lumas = frames(20) * 150
    path = tmp_path_factory.mktemp("long") / "long film.mkv"
    return encode(path, "libx264", "yuv420p", lumas, options={"preset": "ultrafast"}).path


def wait_for_frames(folder: Path, process: subprocess.Popen[str]) -> Path:
    """Wait until frames have been written into the temporary file."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        for path in folder.glob(".*.part.*"):
            if path.stat().st_size > 10_000:
                return path
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"no frame within a minute: {process.communicate()}")


def wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Wait for the first lines of vidcolor. Before, Python itself begins."""
    status = Path(f"/proc/{process.pid}/status")
    while status.exists() and process.poll() is None:
        (caught,) = re.findall(r"SigCgt:\s*(\w+)", status.read_text("ascii"))
        if int(caught, 16) >> (signal.SIGHUP - 1) & 1:
            return
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["ctrl-c", "terminated", "terminal closed"],
)
def test_an_interruption_leaves_no_file(
    tmp_path: Path, long_film: Path, number: int, code: int
) -> None:
    before = long_film.read_bytes()
    output = tmp_path / "out.mkv"
    process = start("run", long_film, "-o", output, *RAMP, "--no-resume")
    temporary = wait_for_frames(tmp_path, process)
    assert not output.exists() and temporary.parent == tmp_path
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends it to the whole group
    else:
        process.send_signal(number)
    sent = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert time.monotonic() - sent < 10
    assert out == "" and err == ("\ninterrupted\n" if code == 130 else "")
    assert files_in(tmp_path) == []
    assert long_film.read_bytes() == before
    assert files_in(long_film.parent) == [long_film.name]


def test_an_interruption_keeps_what_was_there_and_what_is_done(
    tmp_path: Path, long_film: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    short = encode(folder / "a.mkv", "ffv1", "yuv420p", frames(2)).path
    (folder / "b.mkv").symlink_to(long_film)
    output = tmp_path / "out"
    output.mkdir()
    (output / "b.mkv").write_bytes(b"precious")
    process = start("run", folder, "-o", output, *RAMP, "-y", "--json", "--no-resume")
    wait_for_frames(output, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err.endswith("interrupted\n")
    assert f'"input": "{short}"' in out and '"status": "done"' in out
    assert len(out.splitlines()) == 1
    assert files_in(output) == ["a.mkv", "b.mkv"]
    assert (output / "b.mkv").read_bytes() == b"precious"


def test_a_killed_run_is_resumed(tmp_path: Path, long_film: Path) -> None:
    output = tmp_path / "out.mkv"
    process = start("run", long_film, "-o", output, *RAMP, "--end", "100")
    until = time.monotonic() + 60
    checkpoints = 0
    while checkpoints < 2 and time.monotonic() < until:
        journals = tmp_path.glob(".out.mkv.vidcolor/journal-*")
        checkpoints = sum(path.read_text().count('"pts"') for path in journals)
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not output.exists()
    process = start("run", long_film, "-o", output, *RAMP, "--end", "100", "--json")
    out, err = process.communicate(timeout=120)
    report = json.loads(out)
    assert report["status"] == "done" and report["resumed"] > 0, err
    assert files_in(tmp_path) == ["out.mkv"]
    assert len(read_frames(output)) == report["frames"]


def test_a_name_of_any_bytes(tmp_path: Path) -> None:
    """Old disks hold names that are not UTF-8."""
    source = encode(tmp_path / "a.mkv", "ffv1", "yuv420p", frames(2)).path
    odd = os.fsdecode(b"caf\xe9 -- 100%.mkv")
    try:
        source.rename(tmp_path / odd)
    except OSError:  # a file system for UTF-8 names alone: this one is then odd enough
        odd = source.rename(tmp_path / "café -- 100%.mkv").name
    process = start("run", tmp_path / odd, "-o", tmp_path / "out/", *RAMP, "--json")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (0, False), err
    row = json.loads(out)
    assert row["input"] == str(tmp_path / odd)
    assert files_in(tmp_path / "out") == [odd]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_answers_without_torch(command: str) -> None:
    arguments = ["vidcolor", *command.split(), "--help"]
    code = (
        f"import sys; sys.argv = {arguments}\n"
        "import atexit; from vidcolor.cli import main\n"
        "slow = {'torch', 'rich', 'cv2', 'numpy'}\n"
        "atexit.register(lambda: print(sorted(slow & set(sys.modules))))\n"
        "main()"
    )
    out, err = start(code=code).communicate(timeout=60)
    assert err == "" and out.startswith("Usage: vidcolor")
    assert out.splitlines()[-1] == "[]"


MEASURED = """
import resource, sys
from vidcolor import Colorizer, EncoderSettings, Settings, colorize
settings = Settings(EncoderSettings(preset="ultrafast"), batch_size=4)
colorizer = Colorizer("_ramp", device="cpu", size=64)
(report,) = colorize(sys.argv[1], sys.argv[2], colorizer=colorizer, settings=settings)
print(report.status, report.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_film(tmp_path: Path) -> None:
    lumas = frames(12, 480, 360)
    peaks = []
    for loops in (1, 10):
        path = tmp_path / f"{loops}.mkv"
        encode(path, "libx264", "yuv420p", lumas * loops, options={"preset": "ultrafast"})
        out, err = start(path, path.with_suffix(".mp4"), code=MEASURED).communicate(timeout=120)
        status, count, peak = out.split()
        assert (status, int(count), err) == ("done", 12 * loops, "")
        peaks.append(int(peak))
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.slow
@pytest.mark.parametrize("mebibytes", [300, 1000])
def test_too_little_memory_is_said_in_one_line(
    tmp_path: Path, long_film: Path, mebibytes: int
) -> None:
    limited = f"ulimit -d {mebibytes << 10}; exec {shlex.quote(sys.executable)} -m vidcolor"
    command = f"{limited} run {shlex.quote(str(long_film))} -o {tmp_path / 'out.mkv'} --end 0.5"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100)
    lines = done.stderr.strip().splitlines()
    assert done.returncode in (0, 1, 2), lines  # not ended by a signal
    assert "Traceback" not in done.stderr and len(lines) == 1
    if done.returncode:
        assert "memory" in lines[0]
        assert files_in(tmp_path) == []


def test_names_never_control_the_terminal(tmp_path: Path) -> None:
    name = tmp_path / "\x1b[31mred\nerror: none.mp4"
    for command in ("run", "eval"):
        process = start(command, name)
        _, err = process.communicate(timeout=60)
        assert process.returncode != 0
        assert "\x1b" not in err and r"\x1b[31mred\x0aerror: none.mp4" in err


def test_a_full_disk_under_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vidcolor", "models"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output: No space left on device\n"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
@pytest.mark.parametrize("seconds", [0, 0.03, 0.1, 0.4, 1])
def test_ctrl_c_during_the_imports(tmp_path: Path, long_film: Path, seconds: float) -> None:
    process = start("run", long_film, "-o", tmp_path / "out.mkv", *RAMP)
    wait_for_handlers(process)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "") and err.strip() in ("", "interrupted")
    assert not [name for name in files_in(tmp_path) if name.endswith("out.mkv")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    ("streams", "code", "line"),
    [
        ("--json >/dev/full", 1, "error: standard output cannot be written"),
        ("2>/dev/full", 0, ""),
        ("--json >&- 2>&- <&-", 0, ""),
        ("--json | head -1", 0, ""),
    ],
)
def test_the_work_is_done_where_nothing_can_be_printed(
    tmp_path: Path, streams: str, code: int, line: str
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(6):
        Image.fromarray(pattern(number, 64, 48)).save(source / f"{number}.png")
    found = subprocess.run(
        f'"{sys.executable}" -m vidcolor run in -o out {" ".join(RAMP)} {streams}; exit $?',
        shell=True,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == code and "Traceback" not in found.stderr
    assert line in found.stderr
    written = files_in(tmp_path / "out")
    assert not [name for name in written if name.startswith(".")]
    if "head" not in streams:  # who reads no more wants no more
        assert written == [f"{number}.png" for number in range(6)]
