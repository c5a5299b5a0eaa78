"""Tinted prints are told from color films, and their tint can be kept."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.helpers.color_clips import pan as color_pan
from tests.helpers.color_clips import write_clip
from tests.helpers.shots import pan
from vidcolor import Colorizer, EncoderSettings, Settings, colorize
from vidcolor.color.convert import rgb_to_lab
from vidcolor.sources import FilmSource

SEPIA, BLUE = (1.0, 0.86, 0.66), (0.75, 0.88, 1.0)


def tinted(path: Path, tint: tuple[float, float, float], count: int = 20) -> Path:
    gray = [60 + frame * 0.5 for frame in pan(count, 1)]
    pictures = [np.clip(g[..., None] * np.array(tint), 0, 255) for g in gray]
    return write_clip(path, [picture.astype(np.uint8) for picture in pictures])


@pytest.mark.parametrize("tint", [SEPIA, BLUE])
def test_one_hue_is_a_tint(tmp_path: Path, tint: tuple[float, float, float]) -> None:
    found = FilmSource(tinted(tmp_path / "a.mkv", tint)).facts.tint
    assert found is not None
    rgb = torch.tensor(tint)[:, None, None] * 0.5
    _, a, b = rgb_to_lab(rgb).flatten().tolist()
    assert np.hypot(found[0] - a, found[1] - b) < 6 and np.dot(found, (a, b)) > 0


def test_color_and_gray_films_have_no_tint(tmp_path: Path) -> None:
    assert FilmSource(write_clip(tmp_path / "color.mkv", color_pan(20))).facts.tint is None
    assert FilmSource(tinted(tmp_path / "gray.mkv", (1.0, 1.0, 1.0))).facts.tint is None
    mixed = [*([np.full((64, 96, 3), (150, 120, 90), np.uint8)] * 10),
             *([np.full((64, 96, 3), (90, 120, 150), np.uint8)] * 10)]  # fmt: skip
    assert FilmSource(write_clip(tmp_path / "mixed.mkv", mixed)).facts.tint is None


def test_a_film_in_color_is_warned_about(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "color.mkv", color_pan(12))
    colorizer = Colorizer("_ramp", device="cpu", size=64, precision="fp32")
    (report,) = colorize(path, tmp_path / "o.mkv", colorizer=colorizer)
    assert any("already in color" in line for line in report.warnings)


def test_a_kept_tint_lies_over_the_colors(tmp_path: Path) -> None:
    path = tinted(tmp_path / "a.mkv", SEPIA)
    colorizer = Colorizer("_ramp", device="cpu", size=64, precision="fp32")
    means = {}
    for way in ("ignore", "keep"):
        settings = Settings(encoder=EncoderSettings("ffv1"), tint_source=way, stabilize=False)
        (report,) = colorize(path, tmp_path / f"{way}.mkv", colorizer=colorizer, settings=settings)
        assert report.status == "done" and any("tinted" in line for line in report.warnings)
        with av.open(str(report.output)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        lab = rgb_to_lab(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255)
        means[way] = lab.mean((0, 2, 3))
    lightness, a, b = (means["keep"] - means["ignore"]).tolist()
    assert abs(lightness) < 1.5 and b > 5 and abs(a) < b
