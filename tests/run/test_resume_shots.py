"""Runs with a folder of shots resume with the same frames, unless a still has changed."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from tests.helpers.films import read_frames
from tests.helpers.shot_folders import moving, paint, write_folder, write_gray_film
from vidcolor import EncoderSettings, Report, Settings, colorize
from vidcolor.motion.shots import Spacing
from vidcolor.run import films
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.references.shot_list import LIST, Shot
from vidcolor.run.settings import Progress

SETTINGS = Settings(encoder=EncoderSettings("ffv1"), batch_size=4)


class _Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def truth(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    spacing = Spacing(Fraction(1), Fraction(2))
    monkeypatch.setattr(films, "checkpoint_spacing", lambda colorizer: spacing)
    return moving(30, 1, hue=0.5) + moving(20, 2, hue=3.0)


@pytest.fixture
def film(tmp_path: Path, truth: list[Tensor]) -> Path:
    return write_gray_film(tmp_path / "film.mkv", truth)


@pytest.fixture
def folder(tmp_path: Path, truth: list[Tensor]) -> Path:
    shots = [Shot(1, 0, 29), Shot(2, 30, 49)]
    write_folder(tmp_path / "shots", truth, shots, stills=(4, 24, 40))
    for number in (4, 24, 40):
        paint(tmp_path / "shots", number, truth[number])
    with (tmp_path / "shots" / LIST).open("a") as file:
        file.write("[[hint]]\nframe = 12\npoint = [40, 50]\ncolor = 'gold'\n")
    return tmp_path / "shots"


def run(film: Path, output: Path, folder: Path, kill_at: int = 0) -> Report:
    work = output.with_name(f".{output.name}.vidcolor")

    def stop(progress: Progress) -> None:
        if kill_at and progress.done >= kill_at:
            shutil.copytree(work, output.with_name("saved"))
            raise _Killed

    model = Colorizer("_tiny", device="cpu", size=96, shots=folder)
    (report,) = colorize(film, output, colorizer=model, settings=SETTINGS, on_progress=stop)
    if kill_at:
        shutil.rmtree(work, ignore_errors=True)
        output.with_name("saved").rename(work)
    return report


def test_a_resumed_run_gives_the_same_frames(tmp_path: Path, film: Path, folder: Path) -> None:
    whole = run(film, tmp_path / "whole.mkv", folder)
    assert whole.status == "done" and whole.resumed == 0, whole.error
    run(film, tmp_path / "out.mkv", folder, kill_at=28)
    report = run(film, tmp_path / "out.mkv", folder)
    assert report.status == "done" and 0 < report.resumed < 30, report
    ours, theirs = (read_frames(tmp_path / name) for name in ("out.mkv", "whole.mkv"))
    assert [frame.pts for frame in ours] == [frame.pts for frame in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a.to_ndarray(), b.to_ndarray())


@pytest.mark.parametrize("change", ["still", "list"])
def test_another_still_begins_anew(
    tmp_path: Path, film: Path, folder: Path, truth: list[Tensor], change: str
) -> None:
    run(film, tmp_path / "out.mkv", folder, kill_at=28)
    if change == "still":
        paint(folder, 40, truth[40] * 0.9)
    else:
        with (folder / LIST).open("a") as file:
            file.write("[[hint]]\nframe = 41\npoint = [40, 50]\ncolor = 'red'\n")
    report = run(film, tmp_path / "out.mkv", folder)
    assert report.status == "done" and report.resumed == 0
    assert any("what has changed since the last run: references" in w for w in report.warnings)
