"""Free space: the reserve, pauses, network drives."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vidcolor.errors import OutputError
from vidcolor.system.disk import DiskGuard, Reserve, Space, as_size, disk_space, is_network

GB = 10**9


def test_the_default_reserve_is_the_smaller_of_two() -> None:
    assert Reserve().of(4000 * GB) == 2 * GB
    assert Reserve().of(20_000_000) == 400_000


@pytest.mark.parametrize(
    ("text", "total", "left"),
    [
        ("auto", 4000 * GB, 2 * GB),
        ("5%", 100 * GB, 5 * GB),
        ("0", GB, 0),
        ("500MB", GB, 500_000_000),
        ("1.5g", 100 * GB, 1_500_000_000),
        ("12", GB, 12),
        ("2 TB", GB, 2000 * GB),
    ],
)
def test_a_reserve_as_text(text: str, total: int, left: int) -> None:
    assert Reserve.parse(text).of(total) == left


@pytest.mark.parametrize("text", ["", "-1", "101%", "2 apples", "1e9", "nan", "5%%", "9" * 99])
def test_text_that_is_no_reserve(text: str) -> None:
    with pytest.raises(ValueError, match="2GB"):
        Reserve.parse(text)


def test_sizes_to_read() -> None:
    assert [as_size(n) for n in (0, 999, 1500, 2 * GB, 5e12)] == [
        "0 bytes", "999 bytes", "1.5 KB", "2.0 GB", "5000.0 GB",
    ]  # fmt: skip


def test_the_space_of_a_folder_that_is_to_be_made(tmp_path: Path) -> None:
    here, there = disk_space(tmp_path / "a"), disk_space(tmp_path / "a" / "b" / "c.mkv")
    assert here and there and here.total == there.total > here.free > 0


def scarce(frees: list[int]) -> Callable[[Path], Space]:
    """A disk of 100 bytes; each look takes the next of `frees`, the last one stays."""

    def look(path: Path) -> Space:
        return Space(100, frees.pop(0) if len(frees) > 1 else frees[0])

    return look


def test_work_pauses_until_there_is_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frees = [9, 9, 9, 10, 10, 11]
    guard = DiskGuard(Reserve(10, None), scarce(frees), interval=0.05)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "vidcolor"):
        guard.wait(tmp_path / "out.mkv")
    assert frees == [11]  # 10 would do to begin with; to go on it must be a little more
    assert time.monotonic() - began >= 4 * 0.05 and guard.paused_seconds() >= 4 * 0.05
    assert not guard.is_paused
    paused, resumed = caplog.messages
    assert "--min-free" in paused and str(tmp_path) in paused and "goes on" in resumed


@pytest.mark.parametrize("frees", [[10], [100]])
def test_no_pause_where_there_is_room(tmp_path: Path, frees: list[int]) -> None:
    guard = DiskGuard(Reserve(10, None), scarce(frees), interval=60)
    guard.wait(tmp_path / "out.mkv")
    assert guard.paused_seconds() == 0


def test_no_reserve_and_no_known_space_never_pause(tmp_path: Path) -> None:
    DiskGuard(Reserve(0, None), scarce([0]), interval=60).wait(tmp_path / "out.mkv")
    DiskGuard(Reserve(), lambda path: None, interval=60).wait(tmp_path / "out.mkv")


def test_what_is_being_written_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two writers of 40 bytes each do not fit above 10 bytes at once in 80."""
    guard = DiskGuard(Reserve(10, None), scarce([80]), interval=0.02)
    order = []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with guard.room(tmp_path / "a", 40):
            inside.set()
            leave.wait()
            order.append("a left")

    def second() -> None:
        with guard.room(tmp_path / "b", 40):
            order.append("b wrote")

    with caplog.at_level(logging.WARNING, "vidcolor"):
        threads = [threading.Thread(target=first)]
        threads[0].start()
        inside.wait()
        threads += [threading.Thread(target=second) for _ in range(3)]
        for thread in threads[1:]:
            thread.start()
        until = time.monotonic() + 10
        while not guard.is_paused and time.monotonic() < until:
            time.sleep(0.01)
        assert guard.is_paused and order == []
        leave.set()
        for thread in threads:
            thread.join(10)
    assert order == ["a left", "b wrote", "b wrote", "b wrote"]
    assert sum("the run pauses" in line for line in caplog.messages) == 1


def test_a_stop_ends_the_pause(tmp_path: Path) -> None:
    guard = DiskGuard(Reserve(10, None), scarce([5]), interval=0.01)
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(OutputError, match="stopped"), guard.room(tmp_path / "a", 1, stop.is_set):
        raise AssertionError("there was no room")
    assert not guard.is_paused


def test_network_drives_are_known_by_their_file_system(tmp_path: Path) -> None:
    mounts = [
        (Path("/"), "ext4"),
        (tmp_path / "nas", "nfs4"),
        (tmp_path / "nas" / "local", "xfs"),
        (tmp_path / "far", "fuse.sshfs"),
        (tmp_path / "stick", "fuseblk"),
    ]
    found = {
        name: is_network(tmp_path / name, lambda: mounts)
        for name in ("nas", "nas/films", "nas/local/films", "far", "stick", "here")
    }
    assert [name for name, network in found.items() if network] == ["nas", "nas/films", "far"]
    assert is_network(tmp_path) in (True, False)  # asks this machine
