"""The disk: estimates before a run, pauses within it."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.clips import encode, frames, pattern
from tests.helpers.readback import assert_same_pixels
from vidcolor import Colorizer, EncoderSettings, Settings
from vidcolor.run.job.disk_need import film_bytes, picture_bytes, warn_of_need
from vidcolor.run.pipeline import run
from vidcolor.run.plan import FilmJob, plan
from vidcolor.run.settings import Progress, Report
from vidcolor.system.disk import DiskGuard, Reserve, Space

FFV1 = EncoderSettings(encoder="ffv1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film and six pictures."""
    found = tmp_path_factory.mktemp("in")
    encode(found / "film.mkv", "ffv1", "yuv420p", frames(12, 96, 64))
    for number in range(6):
        Image.fromarray(pattern(number, 60, 50)).save(found / f"{number}.png")
    return found


@pytest.fixture(scope="module")
def ramp() -> Colorizer:
    return Colorizer("_ramp", device="cpu", size=64)


def test_a_film_by_its_frames_and_the_encoder(folder: Path) -> None:
    ((job,), _) = plan([folder / "film.mkv"], None, Settings())
    assert isinstance(job, FilmJob)
    sizes = {crf: film_bytes(job, EncoderSettings(crf=crf)) for crf in (12, 18, 24)}
    assert sizes[12] == pytest.approx(2 * sizes[18], rel=0.01)
    assert sizes[24] == pytest.approx(sizes[18] / 2, rel=0.01)
    assert film_bytes(job, FFV1) > 3 * sizes[12] > 0


def test_pictures_by_their_files(folder: Path) -> None:
    path = folder / "0.png"
    size = path.stat().st_size
    assert 1.5 * size < picture_bytes(path, path) < 5 * size
    assert picture_bytes(path, Path("a.TIFF")) == picture_bytes(path, Path("a.tif"))
    assert picture_bytes(folder / "none.png", path) == 0


@pytest.mark.parametrize(("free", "warned"), [(1 << 40, 0), (1000, 1)])
def test_too_little_space_is_said_before_the_run(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, free: int, warned: int
) -> None:
    jobs, _ = plan([folder], tmp_path / "out", Settings())
    with caplog.at_level(logging.WARNING, "vidcolor"):
        warn_of_need(jobs, FFV1, Reserve(), lambda path: Space(1 << 41, free))
        warn_of_need(jobs, FFV1, Reserve(), lambda path: None)
    assert len(caplog.messages) == warned
    assert all(str(tmp_path) in line and "1.0 KB" in line for line in caplog.messages)


class Disk:
    """A disk of 1000 bytes, nearly full from a moment on until somebody makes room."""

    def __init__(self) -> None:
        self.full, self.made, self.looks = False, threading.Event(), 0

    def __call__(self, path: Path) -> Space:
        self.looks += 1
        return Space(1000, 0 if self.full and not self.made.is_set() else 1_000_000)


def test_a_film_pauses_and_comes_out_the_same(
    folder: Path, tmp_path: Path, ramp: Colorizer, caplog: pytest.LogCaptureFixture
) -> None:
    settings, disk, seen = Settings(FFV1, batch_size=3), Disk(), []
    guard = DiskGuard(Reserve(100, None), disk, interval=0.02)

    def watch(progress: Progress) -> None:
        seen.append((progress.done, time.monotonic()))
        if progress.done == 6:
            disk.full = True
            threading.Timer(0.4, disk.made.set).start()

    reports: list[Report] = []
    for name, more in (("paused.mkv", guard), ("whole.mkv", None)):
        jobs, _ = plan([folder / "film.mkv"], tmp_path / name, settings)
        with caplog.at_level(logging.WARNING, "vidcolor"):
            reports += run(jobs, ramp, settings, watch if more else lambda _: None, guard=more)
    assert [report.status for report in reports] == ["done", "done"]
    assert_same_pixels(tmp_path / "paused.mkv", tmp_path / "whole.mkv")
    times = dict(seen)
    assert times[9] - times[6] >= 0.4  # nothing was written in between
    assert guard.paused_seconds() >= 0.3
    assert len([line for line in caplog.messages if "pauses" in line]) == 1


def test_pictures_pause_before_they_are_written(
    folder: Path, tmp_path: Path, ramp: Colorizer, caplog: pytest.LogCaptureFixture
) -> None:
    settings, disk, out = Settings(picture_threads=3), Disk(), tmp_path / "out"
    disk.full = True
    guard = DiskGuard(Reserve(100, None), disk, interval=0.02)
    jobs, _ = plan([folder / f"{number}.png" for number in range(6)], out, settings)
    written: list[int] = []

    def make_room() -> None:
        written.append(len(list(out.glob("*.png"))))
        disk.made.set()

    threading.Timer(1.0, make_room).start()
    with caplog.at_level(logging.WARNING, "vidcolor"):
        reports = list(run(jobs, ramp, settings, guard=guard))
    assert written == [0] and [report.status for report in reports] == ["done"] * 6
    assert len([line for line in caplog.messages if "pauses" in line]) == 1


def test_closing_a_run_that_pauses(folder: Path, tmp_path: Path, ramp: Colorizer) -> None:
    settings, disk = Settings(picture_threads=2), Disk()
    guard = DiskGuard(Reserve(100, None), disk, interval=0.02)
    jobs, _ = plan([folder / f"{n}.png" for n in range(6)], tmp_path / "out", settings)
    reports = run(jobs, ramp, settings, lambda _: setattr(disk, "full", True), guard=guard)
    assert next(iter(reports)).status == "done"
    began = time.monotonic()
    reports.close()  # type: ignore[attr-defined]  # it is a generator
    assert time.monotonic() - began < 10 and not guard.is_paused
    left = [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert left == []
