"""Black bars: found where they are black and sharp, not where the picture is dark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.interlaced import write
from tests.helpers.shots import pan
from vidcolor import Colorizer
from vidcolor.color.bars import fill_bars
from vidcolor.color.compose import compose
from vidcolor.frames import ColorTags, LumaBatch, PixelFormat
from vidcolor.sources import FilmSource

GRAIN = np.random.default_rng(0)


def boxed(bars: tuple[int, int, int, int], count: int = 30, dim: float = 1.0) -> list[np.ndarray]:
    """Pictures that move, of 96x128, with black around them under a little noise."""
    top, bottom, left, right = bars
    frames = []
    for frame in pan(count, 1):
        picture = 30 + frame * 0.75 * dim
        frame = 16 + GRAIN.uniform(0, 2, frame.shape)
        frame[top : 96 - bottom, left : 128 - right] = picture[
            top : 96 - bottom, left : 128 - right
        ]
        frames.append(frame.astype(np.uint8))
    return frames


def bars_of(path: Path) -> set[tuple[int, int, int, int]]:
    return {bars for batch in FilmSource(path).batches(8) for bars in batch.bars}


@pytest.mark.parametrize("bars", [(12, 12, 0, 0), (0, 0, 16, 16), (10, 14, 8, 0), (8, 8, 8, 8)])
def test_bars_are_found(tmp_path: Path, bars: tuple[int, int, int, int]) -> None:
    assert bars_of(write(tmp_path / "a.mkv", boxed(bars))) == {bars}


def test_a_night_scene_has_no_bars(tmp_path: Path) -> None:
    """Dark at the top, as a sky at night: with grain, and without an edge."""
    ramp = np.clip(np.arange(96)[:, None] - 30, 0, 100) * 0.8
    grain = [16 + ramp + GRAIN.normal(0, 3, (96, 128)).clip(-1, 9) for _ in range(30)]
    smooth = [16 + ramp + np.zeros((96, 128)) + i % 3 for i in range(30)]
    for number, frames in enumerate((grain, smooth)):
        path = write(tmp_path / f"{number}.mkv", [f.astype(np.uint8) for f in frames])
        assert bars_of(path) == set()


def test_frames_that_fill_the_bars_are_seen_whole(tmp_path: Path) -> None:
    """A title reaches over the bars, in frames that the samples miss."""
    frames = boxed((12, 12, 0, 0), 160)
    frames[153:159] = boxed((0, 0, 0, 0), 6)
    found = [
        bars for b in FilmSource(write(tmp_path / "a.mkv", frames)).batches(8) for bars in b.bars
    ]
    assert found[:153] == [(12, 12, 0, 0)] * 153 and found[159:] == [(12, 12, 0, 0)]
    assert found[153:159] == [(0, 0, 0, 0)] * 6


def test_the_network_sees_no_bars_and_they_get_no_color() -> None:
    bars = (12, 12, 16, 0)
    frames = torch.from_numpy(np.stack(boxed(bars, 2)))[:, None]
    plain = LumaBatch(frames, 8, False, (0, 1), (1, 1))
    batch = LumaBatch(frames, 8, False, (0, 1), (1, 1), bars=(bars, (0, 0, 0, 0)))
    full = fill_bars(frames.float(), batch)
    assert float(full[0].min()) > 25 and torch.equal(full[1], frames[1].float())
    assert torch.equal(full[0, :, 12:84, 16:], frames[0, :, 12:84, 16:].float())
    seen = Colorizer("_ramp", device="cpu", size=64).lightness(batch)
    assert float(seen[0].min()) > 5 > float(seen[1].min())
    ab = torch.full((2, 2, 8, 8), 15.0)
    format = PixelFormat("yuv420p", 8, (2, 2), False, ColorTags(False, "bt709"))
    colored, usual = compose(batch, ab, format), compose(plain, ab, format)
    for plane, other in zip(colored.planes[1:], usual.planes[1:], strict=True):
        assert (plane[0, :6] == 128).all() and (plane[0, 42:] == 128).all()
        assert (plane[0, :, :8] == 128).all()
        assert torch.equal(plane[0, 6:42, 8:], other[0, 6:42, 8:])
        assert torch.equal(plane[1], other[1])
