"""Failures that may pass are tried again at the end of a job; those of the input are not."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.helpers.clips import encode, frames, pattern
from tests.helpers.films import read_frames
from vidcolor import Colorizer, EncoderSettings, Settings
from vidcolor.errors import DeviceError, InputError, OutputError
from vidcolor.run.job.watch import Observer, Watch
from vidcolor.run.pipeline import run
from vidcolor.run.plan import plan
from vidcolor.run.prepared import Prepared
from vidcolor.run.settings import Report, is_transient


class Weak(Colorizer):
    """Fails for batches of more than some frames, in a way that is not known as lack of memory."""

    def __init__(self, most: int) -> None:
        super().__init__("_ramp", device="cpu", size=64)
        self.most = most

    def predict(self, prepared: Prepared) -> torch.Tensor | None:
        if len(prepared) > self.most:
            raise RuntimeError("an illegal memory access was encountered")
        return super().predict(prepared)


class Heard(Observer):
    """Notes what an observer is told."""

    def __init__(self) -> None:
        self.postponed: list[str] = []
        self.finished: list[str] = []

    def postpone(self, report: Report) -> None:
        self.postponed.append(report.input.name)

    def finish(self, report: Report) -> None:
        self.finished.append(report.input.name)


@pytest.mark.parametrize(("most", "status"), [(1, "done"), (0, "failed")])
def test_a_film_is_tried_once_more_at_the_end(tmp_path: Path, most: int, status: str) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    encode(folder / "1.mkv", "ffv1", "yuv420p", frames(6))
    (folder / "2.mkv").write_bytes(b"no film")
    encode(folder / "3.mkv", "ffv1", "yuv420p", frames(1))
    settings, heard = Settings(EncoderSettings("ffv1"), batch_size=8), Heard()
    jobs, (bad,) = plan([folder], output, settings)
    assert bad.status == "failed" and not bad.transient
    reports = list(run(jobs, Weak(most), settings, observer=heard))
    assert heard.postponed == ["1.mkv", "3.mkv"][: 2 - most]
    found = {report.input.name: report.status for report in reports}
    assert len(reports) == 2 and found == {"1.mkv": status, "3.mkv": status}
    assert heard.finished[-1] == ("1.mkv" if most else "3.mkv")
    if most:
        assert len(read_frames(output / "1.mkv")) == 6


def test_a_bad_picture_is_not_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(pattern(number, 40, 30)).save(folder / f"{number}.png")
    data = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(data[:40])
    heard = Heard()
    jobs, _ = plan([folder], tmp_path / "out", Settings())
    reports = list(run(jobs, Weak(9), Settings(), observer=heard))
    assert [report.status for report in reports] == ["done", "failed", "done"]
    assert heard.postponed == [] and heard.finished == ["0.png", "1.png", "2.png"]


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (DeviceError("no memory"), True),
        (RuntimeError("CUDA error"), True),
        (MemoryError(), True),
        (OSError(errno.EIO, "I/O error"), True),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (InputError("damaged"), False),
        (OutputError("already exists"), False),
        (caused(OutputError("disk is full"), OSError(errno.ENOSPC, "No space left")), True),
        (caused(InputError("cannot be read"), OSError(errno.ESTALE, "Stale handle")), True),
        (caused(InputError("cannot be opened"), OSError(errno.ENOENT, "No such file")), False),
    ],
)
def test_which_failures_may_pass(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient


def test_a_watch_measures_what_is_under_way(tmp_path: Path) -> None:
    watch, one, other = Watch(), tmp_path / "one", tmp_path / "other"
    with watch.on([one]), watch.on([other, tmp_path / "third"]):
        time.sleep(0.05)
        watch.touch(one)
        assert watch.late(0.04) == {str(other), str(tmp_path / "third")}
        with watch.paused():
            time.sleep(0.05)
            assert watch.late(0.04) == set()
        assert watch.late(0.04) == set()  # measured anew after a pause
        time.sleep(0.05)
        assert len(watch.late(0.04)) == 3
    assert watch.late(0.0) == set()
