"""Runs that nobody watches: reports, notifications, watched folders, full disks."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.clips import encode, frames, pattern
from tests.helpers.command_line import Vidcolor
from tests.helpers.films import read_frames
from tests.helpers.readback import assert_same_pixels, files_in

RAMP = ("--model", "_ramp", "--device", "cpu", "--size", "64", "--encoder", "ffv1")


def picture(path: Path, number: int = 0, side: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pattern(number, side, side)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, a film, a broken picture, a broken film."""
    found = tmp_path / "in"
    picture(found / "a.png")
    picture(found / "deep" / "b.png", 1)
    encode(found / "film.mkv", "ffv1", "yuv420p", frames(6))
    (found / "bad.png").write_bytes(b"no picture")
    (found / "bad.mkv").write_bytes(b"no film")
    return found


def test_reports_and_notifications(command: Vidcolor, folder: Path, tmp_path: Path) -> None:
    told, out = tmp_path / "told", tmp_path / "out"
    reports = [tmp_path / f"night.{kind}" for kind in ("json", "csv", "html")]
    tell = f'echo "$VIDCOLOR_EVENT $VIDCOLOR_DONE $VIDCOLOR_FAILED $VIDCOLOR_REPORT" >> "{told}"'
    flags = [word for path in reports for word in ("--report", str(path))]
    answer = command("run", folder, "-o", out, *RAMP, *flags, "--notify", tell, "--json")
    assert answer.code == 1
    rows = {row["input"]: row for row in map(json.loads, answer.out.splitlines())}
    found = json.loads(reports[0].read_text())
    assert found["event"] == "done" and len(found["inputs"]) == 5
    for row in found["inputs"]:  # what --json prints, and more
        assert rows[row["input"]].items() <= row.items()
        assert bool(row["output_sha256"]) == (row["status"] == "done")
    assert {row["status"] for row in found["inputs"]} == {"done", "failed"}
    with reports[1].open(newline="") as file:
        assert [row["input"] for row in csv.DictReader(file)] == [
            row["input"] for row in found["inputs"]
        ]
    assert "2 of 5 not as wanted" in reports[2].read_text()
    first, last = told.read_text().splitlines()
    assert first.startswith("failed ") and last == f"done 3 2 {reports[0]}"
    again = command("run", folder, "-o", out, *RAMP, *flags)  # what is done is done
    assert again.code == 1
    states = [row["status"] for row in json.loads(reports[0].read_text())["inputs"]]
    assert sorted(states) == ["failed", "failed", "skipped", "skipped", "skipped"]


def test_a_report_must_be_possible(command: Vidcolor, folder: Path, tmp_path: Path) -> None:
    for name, reason in (("in/a.png", "report"), ("told.txt", ".html"), ("in/film.mkv", "report")):
        answer = command("run", folder, "-o", tmp_path / "o", *RAMP, "--report", tmp_path / name)
        assert answer.code == 2 and reason in answer.err
    (tmp_path / "mine.json").write_text("{}")
    mine = tmp_path / "mine.json"
    answer = command("run", folder, "-o", tmp_path / "o", *RAMP, "--report", mine)
    assert answer.code == 2 and mine.read_text() == "{}"


@pytest.mark.parametrize("flags", [("--dry-run",), ("--preview", "1")])
def test_watching_is_a_run(command: Vidcolor, folder: Path, flags: tuple[str, ...]) -> None:
    assert command("run", folder, *RAMP, "--watch", *flags).code == 2
    assert command("run", folder, *RAMP, "--poll").code == 2
    assert command("run", folder / "a.png", *RAMP, "--watch").code == 1  # no folder
    assert command("run", folder, "-o", folder / "color", *RAMP, "--watch").code == 2


# ---------------------------------------------------------------- processes

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start("run", ...)` starts vidcolor; what still runs at the end is ended."""
    processes = []

    def begin(
        *arguments: str | Path, limits: Callable[[], None] = lambda: None
    ) -> subprocess.Popen[str]:
        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # background jobs of a shell ignore it
            limits()

        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "vidcolor", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                preexec_fn=prepare,
            )
        )
        return processes[-1]

    yield begin
    for process in processes:
        with process:  # closes its pipes
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 90
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def test_a_watched_folder(start: Start, folder: Path, tmp_path: Path) -> None:
    out, told, report = tmp_path / "out", tmp_path / "told", tmp_path / "report.json"
    tell = f'echo "$VIDCOLOR_EVENT" >> "{told}"'
    process = start(
        "run", folder, "-o", out, *RAMP, "--watch", "--notify", tell, "--report", report
    )
    wait_for(report.exists, process)
    assert files_in(out) == ["a.png", "deep/b.png", "film.mkv"]
    before = (out / "a.png").read_bytes()
    picture(folder / "c.png", 2)
    picture(folder / "a.png", 3)  # changed
    wait_for(lambda: (out / "c.png").exists() and (out / "a.png").read_bytes() != before, process)
    wait_for(lambda: told.read_text().count("done") >= 2, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert told.read_text().split()[:3] == ["failed", "done", "done"]
    assert told.read_text().split()[-1] == "terminated"
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(errors) == 2  # what is broken is not tried again: it did not change
    rows = json.loads(report.read_text())["inputs"]
    assert [row["status"] for row in rows].count("done") == 5 and len(rows) == 7


@pytest.mark.slow
def test_a_signal_keeps_the_finished_part_of_a_film(start: Start, tmp_path: Path) -> None:
    folder, out, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.json"
    folder.mkdir()
    lumas = frames(20) * 120
    encode(folder / "long.mkv", "libx264", "yuv420p", lumas, options={"preset": "ultrafast"})
    process = start("run", folder, "-o", out, *RAMP, "--watch", "--report", report)

    def journal() -> bool:
        return any('"pts"' in path.read_text() for path in out.glob(".long*/journal-*"))

    wait_for(journal, process)
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C in a terminal
    process.communicate(timeout=30)
    assert process.returncode == 130 and journal()
    (row,) = json.loads(report.read_text())["inputs"]
    assert row["status"] == "unfinished" and not (out / "long.mkv").exists()
    process = start("run", folder, "-o", out, *RAMP, "--json")
    stdout, err = process.communicate(timeout=120)
    assert json.loads(stdout)["resumed"] > 0, err
    assert len(read_frames(out / "long.mkv")) == len(lumas)


@pytest.mark.parametrize("kind", ["film", "pictures"])
def test_a_run_without_room_pauses_and_can_be_ended(
    start: Start, folder: Path, tmp_path: Path, kind: str
) -> None:
    """No disk has 100 % of its bytes free."""
    source = folder / "film.mkv" if kind == "film" else folder / "deep"
    out = tmp_path / "out" / ("film.mkv" if kind == "film" else "")
    process = start("run", source, "-o", out, *RAMP, "--min-free", "100%")
    assert process.stderr is not None
    line = process.stderr.readline()
    while "goes on when there is room" not in line:  # after the estimate
        assert process.poll() is None and line
        line = process.stderr.readline()
    time.sleep(1.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 143 and "pauses" not in rest and "Traceback" not in rest
    assert not [name for name in files_in(tmp_path / "out") if "sqlite" not in name]


@pytest.mark.slow
def test_a_full_disk_fails_one_film_which_is_resumed(start: Start, tmp_path: Path) -> None:
    """The system refuses to write more than a part of the film, as a full disk does."""
    folder, out, whole = tmp_path / "in", tmp_path / "out", tmp_path / "whole.mkv"
    folder.mkdir()
    source = encode(folder / "long.mkv", "libx264", "yuv420p", frames(20) * 30).path
    picture(folder / "a.png")
    assert start("run", source, "-o", whole, *RAMP, "-q").wait(120) == 0
    size = whole.stat().st_size * 2 // 3

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    def run(**more: Any) -> tuple[int, dict[str, Any], dict[str, Any]]:
        process = start("run", folder, "-o", out, *RAMP, "--json", **more)
        stdout, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        rows = {Path(row["input"]).name: row for row in map(json.loads, stdout.splitlines())}
        return process.returncode, rows["a.png"], rows["long.mkv"]

    code, small, film = run(limits=limit)
    assert (code, small["status"], film["status"]) == (1, "done", "failed")
    assert film["error"] and not (out / "long.mkv").exists()
    code, small, film = run()
    assert (code, small["status"], film["status"]) == (0, "skipped", "done")
    assert film["resumed"] > 0
    assert_same_pixels(out / "long.mkv", whole)
