"""Watching folders: which files are taken, and when."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidcolor.errors import InputError
from vidcolor.run.job.folder_watch import FolderWatch, Pace
from vidcolor.system.files import is_being_written

SETTLE = 0.4
NEVER = 3600.0


@pytest.fixture(params=["messages", "polling"])
def pace(request: pytest.FixtureRequest) -> Pace:
    """Changes are heard of, and never looked for; or only looked for."""
    if request.param == "messages":
        return Pace(settle=SETTLE, poll=NEVER, sweep=NEVER)
    return Pace(settle=SETTLE, poll=0.2, sweep=NEVER)


def watch(folder: Path, pace: Pace, *ignored: Path) -> Iterator[list[Path]]:
    poll = pace.poll < NEVER
    return FolderWatch([folder], ignored=ignored, poll=poll, pace=pace).rounds()


def later(seconds: float, action: object, *given: object) -> None:
    threading.Timer(seconds, action, given).start()  # type: ignore[arg-type]  # a function


def test_what_is_there_and_what_comes(tmp_path: Path, pace: Pace) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "notes.txt").write_bytes(b"a")
    rounds = watch(tmp_path, pace)
    assert next(rounds) == [tmp_path / "a.png"]
    later(0.3, (tmp_path / "b.mkv").write_bytes, b"b")
    assert next(rounds) == [tmp_path / "b.mkv"]
    later(0.1, (tmp_path / "a.png").write_bytes, b"changed")
    assert next(rounds) == [tmp_path / "a.png"]


def test_a_growing_file_waits(tmp_path: Path, pace: Pace) -> None:
    path = tmp_path / "film.mkv"
    ended = threading.Event()

    def copy() -> None:  # opened anew for each piece, as over a network
        for _ in range(12):
            with path.open("ab") as file:
                file.write(b"x" * 1000)
            time.sleep(SETTLE / 3)
        ended.set()

    later(0, copy)
    assert next(watch(tmp_path, pace)) == [path]
    assert ended.is_set() and path.stat().st_size == 12_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_an_open_file_waits(tmp_path: Path, pace: Pace) -> None:
    path = tmp_path / "film.mkv"
    file = path.open("wb")
    file.write(b"x")
    file.flush()
    assert is_being_written(path)
    later(4 * SETTLE, file.close)
    began = time.monotonic()
    assert next(watch(tmp_path, pace)) == [path]
    assert time.monotonic() - began >= 4 * SETTLE
    assert not is_being_written(path)


def test_hidden_files_and_outputs_are_passed_over(tmp_path: Path, pace: Pace) -> None:
    color = tmp_path / "color"
    for name in (".film.mkv.0011.part.mkv", ".b.png.11.tmp", "color/c.png", ".film.vidcolor/f.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    rounds = watch(tmp_path, pace, color)
    later(0.5, os.replace, tmp_path / ".b.png.11.tmp", tmp_path / "b.png")
    assert next(rounds) == [tmp_path / "b.png"]


def test_a_folder_that_is_moved_in(tmp_path: Path, pace: Pace) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    (outside / "deep").mkdir(parents=True)
    inside.mkdir()
    for number in range(3):
        (outside / "deep" / f"{number}.png").write_bytes(b"x")
    rounds = watch(inside, pace)
    later(0.5, os.replace, outside, inside / "new")
    assert sorted(next(rounds)) == [inside / "new" / "deep" / f"{n}.png" for n in range(3)]
    later(0.2, (inside / "new" / "deep" / "4.png").write_bytes, b"x")
    assert next(rounds) == [inside / "new" / "deep" / "4.png"]


def test_a_file_that_vanishes_is_forgotten(tmp_path: Path, pace: Pace) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"a")
    rounds = watch(tmp_path, pace)
    later(SETTLE / 2, path.unlink)
    later(3 * SETTLE, (tmp_path / "b.png").write_bytes, b"b")
    assert next(rounds) == [tmp_path / "b.png"]


def test_only_folders_are_watched(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    for path in (tmp_path / "a.png", tmp_path / "none"):
        with pytest.raises(InputError, match="folder"):
            FolderWatch([path])
