"""Runs whose process is killed, crashes or gets stuck: the work is done all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.cli.test_jobs import RAMP, rows, stamps
from tests.cli.test_processes import start
from tests.helpers.clips import encode, frames, pattern
from tests.helpers.command_line import Vidcolor
from tests.helpers.films import read_frames
from tests.helpers.readback import files_in
from vidcolor.run.job.state import InputRow, Snapshot, StateError, read_state
from vidcolor.run.job.state_files import find_states

FRAMES = 1200  # of the long film
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty scenes, again and again, which take some seconds."""
    lumas = frames(20) * (FRAMES // 20)
    path = tmp_path_factory.mktemp("long") / "long.mkv"
    return encode(path, "libx264", "yuv420p", lumas, options={"preset": "ultrafast"}).path


@pytest.fixture
def archive(tmp_path: Path, long_film: Path) -> Path:
    """Eight pictures and two films."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(8):
        Image.fromarray(pattern(number, 80, 60)).save(folder / f"{number}.png")
    encode(folder / "a short film.mkv", "ffv1", "yuv420p", frames(6))
    (folder / "film.mkv").symlink_to(long_film)
    return folder


def wait_until(
    process: subprocess.Popen[str], output: Path, test: Callable[[Snapshot], bool]
) -> Snapshot:
    """Wait until the state of a run says what is wanted, and not that of a run before it."""
    started, until = psutil.Process(process.pid).create_time(), time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        for path in find_states(output):
            try:
                found = read_state(path)
            except StateError:  # it is being made
                continue
            if found is not None and found.job.begun >= started and test(found):
                return found
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"not within two minutes: {process.communicate()}")


def row_of(snapshot: Snapshot, name: str) -> InputRow:
    return next(row for row in snapshot.of_job if row.input.name == name)


def is_at(name: str, frame: int) -> Callable[[Snapshot], bool]:
    """Whether a film is under way, at that frame or later."""

    def test(snapshot: Snapshot) -> bool:
        found = [row for row in snapshot.of_job if row.input.name == name]
        return any(row.status == "working" and row.frames >= frame for row in found)

    return test


def some_done(snapshot: Snapshot) -> bool:
    return any(row.status == "done" for row in snapshot.of_job)


@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again(tmp_path: Path, archive: Path) -> None:
    whole, output = tmp_path / "whole", tmp_path / "out"
    process = start("run", archive, "-o", whole, *RAMP)
    assert process.communicate(timeout=120)[1] and process.returncode == 0
    moments = [some_done, is_at("film.mkv", 400)]
    before: dict[str, tuple[int, int]] = {}
    for moment in moments:
        process = start("run", archive, "-o", output, *RAMP)
        found = wait_until(process, output, moment)
        os.kill(process.pid, signal.SIGKILL)  # the one that waits; the other ends with it
        process.communicate(timeout=10)
        until = time.monotonic() + 10
        while found.job.process.is_running():
            assert time.monotonic() < until
            time.sleep(0.01)
        after = {name: each for name, each in stamps(output).items() if name[0] != "."}
        assert all(after[name] == each for name, each in before.items())  # nothing was done twice
        before = after
    process = start("run", archive, "-o", output, *RAMP, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert files_in(output) == files_in(whole)
    for name in files_in(whole):
        if name.endswith(".mkv"):
            pairs = zip(read_frames(whole / name), read_frames(output / name), strict=True)
            for one, other in pairs:
                assert one.pts == other.pts
                assert np.array_equal(one.to_ndarray(), other.to_ndarray())
        else:
            assert (whole / name).read_bytes() == (output / name).read_bytes()
    report = next(r for r in map(json.loads, out.splitlines()) if r["input"].endswith("/film.mkv"))
    assert report["resumed"] > 0
    after = stamps(output)
    assert all(after[name] == each for name, each in before.items())


@pytest.mark.slow
def test_a_crash_ends_only_the_film_that_causes_it(tmp_path: Path, archive: Path) -> None:
    encode(archive / "z last.mkv", "ffv1", "yuv420p", frames(6))
    output = tmp_path / "out"
    process = start("run", archive, "-o", output, *RAMP, "--json")
    first = wait_until(process, output, is_at("film.mkv", 100))
    assert first.job.pid != process.pid and first.job.restarts == 0
    os.kill(first.job.pid, signal.SIGSEGV)

    def suspect_is_last(found: Snapshot) -> bool:
        others = [row.status for row in found.of_job if row.input.name != "film.mkv"]
        return found.job.restarts == 1 and is_at("film.mkv", 1)(found) and {*others} == {"done"}

    second = wait_until(process, output, suspect_is_last)
    assert row_of(second, "film.mkv").attempts == 1
    os.kill(second.job.pid, signal.SIGBUS)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    found = rows(out)
    assert len(out.splitlines()) == len(found) == 11  # each input is told once
    assert found.pop("film.mkv") == "failed" and set(found.values()) == {"done"}
    assert "SIGSEGV; another one goes on" in err and "SIGBUS" in err
    assert "the process ended twice while working on it" in err
    assert "film.mkv" not in files_in(output)

    process = start("run", archive, "-o", output, *RAMP, "--json")  # a new job has new attempts
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert rows(out).pop("film.mkv") == "done"
    assert len(read_frames(output / "film.mkv")) == FRAMES


@pytest.mark.slow
def test_a_film_survives_one_crash(tmp_path: Path, long_film: Path) -> None:
    output = tmp_path / "out.mkv"
    process = start("run", long_film, "-o", output, *RAMP, "--json")
    found = wait_until(process, output, is_at("long.mkv", 400))
    os.kill(found.job.pid, signal.SIGKILL)  # as the system does when memory runs out
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "SIGKILL" in err
    report = json.loads(out)
    assert report["status"] == "done" and report["resumed"] > 0
    assert files_in(tmp_path) == ["out.mkv"] and len(read_frames(output)) == FRAMES


@pytest.mark.slow
def test_what_makes_no_progress_is_given_up(tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    rng = np.random.default_rng(1)
    large = rng.integers(0, 255, (9000, 9000), np.uint8)
    Image.fromarray(large).save(folder / "large.png", compress_level=0)
    for number in range(3):
        Image.fromarray(pattern(number, 80, 60)).save(folder / f"{number}.png")
    process = start("run", folder, "-o", output, *RAMP, "--json", "--timeout", "2")
    out, err = process.communicate(timeout=120)
    found = rows(out)
    assert found.pop("large.png") == "failed" and process.returncode == 1, err
    assert set(found.values()) == {"done"} and len(out.splitlines()) == 4
    assert "large.png: no progress was made for 2 seconds (--timeout)" in err
    assert files_in(output) == ["0.png", "1.png", "2.png"]


@pytest.mark.slow
def test_status_and_a_second_run_while_it_works(
    command: Vidcolor, tmp_path: Path, archive: Path
) -> None:
    output = tmp_path / "out"
    process = start("run", archive, "-o", output, *RAMP)
    wait_until(process, output, is_at("film.mkv", 50))
    told = json.loads(command("status", output, "--json").out)
    assert (told["state"], told["done"], told["working"]) == ("running", 9, 1)
    (film,) = told["under_way"]
    assert film["input"].endswith("/film.mkv") and 50 <= film["frames"] < film["total"] == FRAMES
    assert film["fps"] > 0 and 0 < told["seconds_left"] < 1000
    assert "under way: " in command("status", output).out
    answer = command("run", archive, "-o", output, *RAMP)
    assert answer.code == 1 and f"process {told['pid']} on " in answer.err
    assert len(answer.err.splitlines()) == 1
    assert command("clean", output).out == "" and process.poll() is None

    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    time.sleep(0.2)
    assert json.loads(command("status", output, "--json").out)["state"] == "died"
    answer = command("clean", output, "--dry-run")
    assert ".film.mkv.vidcolor: " in answer.out and (output / ".film.mkv.vidcolor").is_dir()
    (output / ".film.mkv.vidcolor.txt").write_text("not ours")
    assert command("clean", output).code == 0
    assert not (output / ".film.mkv.vidcolor").exists()
    assert (output / ".film.mkv.vidcolor.txt").exists() and find_states(output)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("group", [True, False], ids=["terminal", "kill"])
def test_signals_reach_the_work_once(
    tmp_path: Path, long_film: Path, number: int, code: int, group: bool
) -> None:
    output = tmp_path / "out.mkv"
    process = start("run", long_film, "-o", output, *RAMP, "--no-resume")
    found = wait_until(process, output, is_at("long.mkv", 20))
    (os.killpg if group else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err == ("\ninterrupted\n" if number == signal.SIGINT else "")
    assert not found.job.process.is_running() and files_in(tmp_path) == []
