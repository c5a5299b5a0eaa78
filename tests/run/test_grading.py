"""The grading of a run and of its shots as LUTs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.shot_folders import moving, write_folder, write_gray_film
from vidcolor import Colorizer, Settings, colorize
from vidcolor.color.adjust import ColorAdjustment
from vidcolor.color.cube import cube
from vidcolor.errors import OutputError
from vidcolor.run.grading import write_luts
from vidcolor.run.references.shot_list import Shot


def test_a_lut_for_each_shot_with_settings(tmp_path: Path) -> None:
    frames = moving(6, 1, 0.3)
    film = write_gray_film(tmp_path / "in.mkv", frames)
    shots = [
        Shot(number=1, first=0, last=1),
        Shot(number=2, first=2, last=3),
        Shot(number=3, first=4, last=5),
    ]
    folder = write_folder(tmp_path / "shots", frames, shots, [0])
    text = (folder / "shots.toml").read_text()
    text = text.replace("number = 2\n", "number = 2\ntemperature = 20\n")
    text = text.replace("number = 3\n", "number = 3\nskip = true\n")
    (folder / "shots.toml").write_text(text)
    luts = tmp_path / "luts"
    colorizer = Colorizer(
        "fast", device="cpu", size=64, shots=folder, adjustment=ColorAdjustment(saturation=0.5)
    )
    settings = Settings(output_lut=luts)
    (report,) = colorize(film, tmp_path / "o.mkv", colorizer=colorizer, settings=settings)
    assert report.status == "done", report.error
    made = {path.name: path.read_text() for path in luts.iterdir()}
    assert made == {
        "all.cube": cube(ColorAdjustment(saturation=0.5), "all"),
        "shot_0002.cube": cube(ColorAdjustment(saturation=0.5, temperature=20.0), "shot_0002"),
        "shot_0003.cube": cube(ColorAdjustment(saturation=0.0), "shot_0003"),
    }
    assert write_luts(luts, colorizer) == sorted(luts.iterdir())  # of the next film, say
    other = Colorizer("fast", device="cpu", size=64, adjustment=ColorAdjustment(tint=9))
    with pytest.raises(OutputError, match="exists"):
        write_luts(luts, other)
    assert {path.name: path.read_text() for path in luts.iterdir()} == made
