"""Black bars, shot by shot: found where they are black and sharp, not where the picture is dark;
kept black, and out of the network's view."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.interlaced import write
from tests.helpers.shots import TIME_BASE, batches, pan
from vidcolor import Colorizer
from vidcolor.color.compose import compose
from vidcolor.frames import NO_BARS, Bars, ColorTags, LumaBatch, PixelFormat
from vidcolor.motion.bars import mark_bars
from vidcolor.motion.shots import Spacing, mark_cuts
from vidcolor.sources import FilmSource

GRAIN = np.random.default_rng(0)


def boxed(bars: Bars, count: int = 30, seed: int = 1) -> list[np.ndarray]:
    """Pictures that move, of 96x128, with black around them under a little noise; limited range."""
    top, bottom, left, right = bars
    frames = []
    for frame in pan(count, seed):
        area = slice(top, 96 - bottom), slice(left, 128 - right)
        whole = 16 + GRAIN.uniform(0, 2, frame.shape)
        whole[area] = 30 + frame[area] * 0.75
        frames.append(whole.astype(np.uint8))
    return frames


def marked(frames: list[np.ndarray], size: int = 5, film: Bars = NO_BARS) -> list[LumaBatch]:
    """The frames by `mark_cuts` and `mark_bars`, where the film's samples have the bars `film`."""
    given = (replace(each, full_range=False, bars=film) for each in batches(frames, size))
    found = list(mark_bars(mark_cuts(given, TIME_BASE)))
    assert [i for batch in found for i in batch.pts] == list(range(len(frames)))
    return found


def bars_of(found: list[LumaBatch]) -> list[Bars]:
    return [batch.bars for batch in found for _ in range(len(batch))]


ALL = [(12, 12, 0, 0), (0, 0, 16, 16), (10, 12, 8, 8), (8, 8, 8, 8)]


@pytest.mark.parametrize("bars", [*ALL, (10, 14, 8, 0)])
def test_a_film_has_bars_at_any_side(tmp_path: Path, bars: Bars) -> None:
    source = FilmSource(write(tmp_path / "a.mkv", boxed(bars)))
    assert {batch.bars for batch in source.batches(8)} == {bars}


@pytest.mark.parametrize("size", [1, 5, 64])
def test_each_shot_has_its_own(size: int) -> None:
    """A film in 4:3 with a full frame, a letterboxed shot and one that is boxed all around."""
    lengths = (20, 16, 20, 12, 20)
    bars = [(0, 0, 16, 16), NO_BARS, (12, 12, 0, 0), (0, 0, 16, 16), (12, 12, 16, 16)]
    shots = zip(lengths, bars, range(5), strict=True)
    frames = [frame for count, each, seed in shots for frame in boxed(each, count, seed)]
    found = marked(frames, size)
    assert bars_of(found) == [b for n, b in zip(lengths, bars, strict=True) for _ in range(n)]
    assert all(len(batch) <= size for batch in found)


def test_a_narrower_shot_within_a_letterboxed_film() -> None:
    frames = boxed((12, 12, 0, 0), 20, 1) + boxed((12, 12, 16, 16), 20, 2)
    found = bars_of(marked(frames, film=(12, 12, 0, 0)))
    assert found == [(12, 12, 0, 0)] * 20 + [(12, 12, 16, 16)] * 20


def test_a_shot_that_begins_in_the_dark_has_those_of_the_film() -> None:
    bars = (12, 12, 0, 0)
    fade = [
        (16 + (frame - 16.0) * min(1, i / 12)).astype(np.uint8)
        for i, frame in enumerate(boxed(bars, 24, 2))
    ]
    found = bars_of(marked(boxed(bars, 20) + fade, film=bars))
    assert found == [bars] * 44


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_night_scene_has_no_bars(tmp_path: Path, seed: int) -> None:
    """Dark at the top, as a sky at night: with grain, and without an edge; a wall at one side."""
    ramp = np.clip(np.arange(96)[:, None] - 30, 0, 100) * 0.8
    rng = np.random.default_rng(seed)
    grain = [16 + ramp + rng.normal(0, 3, (96, 128)).clip(-1, 9) for _ in range(30)]
    smooth = [16 + ramp + np.zeros((96, 128)) + i % 3 for i in range(30)]
    wall = boxed((0, 0, 30, 0), 30, seed)
    for frames in (grain, smooth, wall):
        assert set(bars_of(marked([f.astype(np.uint8) for f in frames]))) == {NO_BARS}
    for number, frames in enumerate((grain, smooth)):
        path = write(tmp_path / f"{number}.mkv", [f.astype(np.uint8) for f in frames])
        assert {batch.bars for batch in FilmSource(path).batches(8)} == {NO_BARS}


def test_a_picture_that_grows_into_the_bars_is_seen_whole_to_the_end_of_the_shot() -> None:
    frames = boxed((12, 12, 0, 0), 40)
    frames[20:24] = boxed(NO_BARS, 40)[20:24]
    found = marked(frames + boxed((12, 12, 0, 0), 20, 2), film=(12, 12, 0, 0))
    bars = [(12, 12, 0, 0)]
    assert bars_of(found) == bars * 20 + [NO_BARS] * 20 + bars * 20
    begins = [batch.cuts[0] for batch in found if batch.pts[0] == 20]
    assert begins == [True]  # there the stabilizer begins anew


def test_subtitles_in_a_bar_change_nothing() -> None:
    frames = boxed((16, 16, 0, 0), 40)
    for frame in frames[10:30]:
        frame[86:92, 40:88:3] = 235
    assert set(bars_of(marked(frames, film=(16, 16, 0, 0)))) == {(16, 16, 0, 0)}


@pytest.mark.parametrize("size", [3, 7])
def test_bars_after_a_checkpoint_are_those_of_the_run_before(size: int) -> None:
    """At a cut, within a shot, and within one whose picture has grown into its bars."""
    frames = boxed((12, 12, 0, 0), 30, 1)
    frames[25:] = boxed(NO_BARS, 30, 1)[25:]
    frames += boxed((0, 0, 16, 16), 60, 2)
    spacing = Spacing(TIME_BASE * 14, TIME_BASE * 14)

    def run(first: int, resume: LumaBatch | None = None) -> list[LumaBatch]:
        point = resume.checkpoint if resume else None
        given = batches(frames[first:], size, range(first, len(frames)))
        if point is not None:  # the first batch as it was
            luma = torch.from_numpy(np.stack(frames[first:]))[:, None]
            parts = [slice(0, point.batch)]
            parts += [slice(i, i + size) for i in range(point.batch, len(luma), size)]
            whole = LumaBatch(luma, 8, True, tuple(range(first, len(frames))), (1,) * len(luma))
            given = (whole[part] for part in parts)
        limited = (replace(each, full_range=False) for each in given)
        cuts = mark_cuts(limited, TIME_BASE, spacing=spacing, resume=point)
        return list(mark_bars(cuts, resume=point))

    found = run(0)
    points = [batch for batch in found if batch.checkpoint]
    assert len(points) >= 4 and any(p.checkpoint and p.checkpoint.bars[0] for p in points)
    for point in points:
        again = run(point.pts[0], point)
        rest = [batch for batch in found if batch.pts[0] >= point.pts[0]]
        assert [(b.pts, b.bars, b.cuts) for b in again] == [(b.pts, b.bars, b.cuts) for b in rest]
    assert {b.bars for b in found} == {(12, 12, 0, 0), NO_BARS, (0, 0, 16, 16)}
    assert all(a.pts[-1] + 1 == b.pts[0] for a, b in pairwise(found))


def test_frames_that_do_not_follow_each_other_have_the_films() -> None:
    frames = boxed((12, 12, 0, 0), 3)
    frames[1] = boxed(NO_BARS, 1)[0]
    given = (replace(b, full_range=False, bars=(12, 12, 0, 0)) for b in batches(frames, 1))
    assert bars_of(list(mark_bars(given))) == [(12, 12, 0, 0), NO_BARS, (12, 12, 0, 0)]


@pytest.mark.parametrize("rotation", [0, 90])
def test_the_network_sees_no_bars(rotation: int) -> None:
    bars = (12, 12, 16, 0)
    frames = torch.from_numpy(np.stack(boxed(bars, 2)))[:, None]
    batch = LumaBatch(frames, 8, False, (0, 1), (1, 1), bars=bars, rotation=rotation)
    inside = replace(batch, luma=frames[..., 12:84, 16:].contiguous(), bars=NO_BARS)
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    seen = colorizer.lightness(batch)
    assert float(seen.min()) > 5
    assert torch.equal(seen, colorizer.lightness(inside))


@pytest.mark.parametrize("bars", [*ALL, (10, 15, 8, 1)])
@pytest.mark.parametrize("name", ["yuv420p", "yuv444p10le", "gbrp"])
def test_bars_get_no_color(bars: Bars, name: str) -> None:
    """The picture within them is composed as if there were none; also of odd sides."""
    top, left = bars[0], bars[2]
    frames = torch.from_numpy(np.stack(boxed(bars, 2)))[:, None]
    if bars[1] % 2:
        frames = frames[..., :-1, :-1]
    height, width = frames.shape[-2:]
    batch = LumaBatch(frames, 8, False, (0, 1), (1, 1), bars=bars)
    area = slice(top, height - bars[1]), slice(left, width - bars[3])
    ab = torch.linspace(-30, 30, 2 * 2 * 8 * 8).reshape(2, 2, 8, 8)
    depth = 10 if "10" in name else 8
    across = 2 if "420" in name else 1
    tags = ColorTags(name == "gbrp", "bt709")
    format = PixelFormat(name, depth, (across, across), name == "gbrp", tags)
    inner = replace(batch, luma=frames[..., area[0], area[1]].contiguous(), bars=NO_BARS)
    colored, alone = compose(batch, ab, format), compose(inner, ab, format)
    gray = compose(replace(batch, bars=NO_BARS), 0 * ab, format)
    for i, plane in enumerate(colored.planes):
        step = across if i else 1
        rows = slice(area[0].start // step, -(-area[0].stop // step))
        columns = slice(area[1].start // step, -(-area[1].stop // step))
        assert torch.equal(plane[:, rows, columns], alone.planes[i])
        around = torch.ones(plane.shape[1:], dtype=torch.bool)
        around[rows, columns] = False
        assert around.any() and torch.equal(plane[:, around], gray.planes[i][:, around])
