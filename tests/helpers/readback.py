"""Reading a written film back, and what the pipeline's tests ask of it."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from tests.color.test_compose import decode
from tests.helpers.films import read_frames, read_streams
from vidcolor.color.compose import film_lightness
from vidcolor.color.convert import rgb_to_lab
from vidcolor.frames import ColorBatch, ColorTags, LumaBatch, PixelFormat

MATRICES = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020nc"}


def planes_of(frame: Any) -> list[np.ndarray]:
    """The codes of each plane of a decoded frame, without the padding of its rows."""
    dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        planes.append(rows.view(dtype)[:, : plane.width])
    return planes


def luma_codes(path: Path) -> np.ndarray:
    """The luma planes of a film with a luma plane, `(N, H, W)`."""
    return np.stack([planes_of(frame)[0] for frame in read_frames(path)])


def read_color(path: Path, luma: np.ndarray, bit_depth: int, full_range: bool) -> ColorBatch:
    """A written film as a batch, its meaning taken from the file's own tags; `luma` and what
    follows describe the film it was made from."""
    frames = read_frames(path)
    first = frames[0]
    depth = first.format.components[0].bits
    across = 840 // first.format.chroma_width(840)
    down = 840 // first.format.chroma_height(840)
    tags = ColorTags(first.color_range == 2, MATRICES[int(first.colorspace)])
    format = PixelFormat(first.format.name, depth, (across, down), False, tags)
    stacked = [np.stack(each) for each in zip(*map(planes_of, frames), strict=True)]
    dtype = np.uint8 if depth == 8 else np.int32
    y, u, v = (torch.from_numpy(each.astype(dtype)) for each in stacked)
    count = len(luma)
    source = LumaBatch(
        torch.from_numpy(np.ascontiguousarray(luma))[:, None],
        bit_depth,
        full_range,
        tuple(range(count)),
        (1,) * count,
    )
    return ColorBatch((y, u, v), format, source)


def assert_lightness_is_kept(color: ColorBatch) -> None:
    """L* of the R'G'B' a player shows is the L* of the film, within the rounding of the codes."""
    lab = rgb_to_lab(decode(color))
    error = (lab[:, :1] - film_lightness(color.source)).abs()
    finer = min(color.format.bit_depth, color.source.bit_depth) - 8
    scale = 0.5 ** min(finer, 2)
    # 0.4 of L* is one code of 8 bits; noise beside strong color costs a second one here and there
    assert error.max() < 1.5 * scale
    assert (error < 0.4 * scale).float().mean() > 0.998


def assert_chroma_is_the_ramps(color: ColorBatch, *, tolerance: float = 1.0) -> None:
    """a*b* are what `_ramp` says of L*, wherever sRGB can show it with room to spare."""
    rgb = decode(color)
    lab = rgb_to_lab(rgb)
    lightness = film_lightness(color.source)
    wanted = torch.cat([0.3 * (lightness - 50), 20 - 0.3 * lightness], dim=1)
    inside = ((rgb > 0.1) & (rgb < 0.9)).all(dim=1, keepdim=True).expand_as(wanted)
    assert inside.float().mean() > 0.15
    error = (lab[:, 1:] - wanted).abs()[inside]
    # a quarter of the pixels lies at an edge or in noise, which the upsampling smooths
    assert error.quantile(0.75) < tolerance
    assert error.mean() < 2 * tolerance


def assert_times_are_kept(source: Path, output: Path) -> None:
    """Every frame at its moment: exact in MP4 and MOV, at its millisecond in Matroska."""
    old = [frame.pts * frame.time_base for frame in read_frames(source)]
    new = read_frames(output)
    assert len(new) == len(old)
    if output.suffix == ".mkv":
        half = Fraction(1, 2)
        assert [frame.pts for frame in new] == [math.floor(each * 1000 + half) for each in old]
    else:
        assert [frame.pts * frame.time_base for frame in new] == old


def assert_look_is_kept(source: Path, output: Path, *, full_range: bool) -> None:
    """Size, pixel aspect, rotation and color tags."""
    (old, *_), (new, *_) = read_frames(source), read_frames(output)
    assert (new.width, new.height) == (old.width, old.height)
    assert new.rotation == old.rotation
    assert new.color_range == (2 if full_range else 1)
    assert new.colorspace == (old.colorspace if old.colorspace in MATRICES else 6)
    tags = [old.color_primaries or 2, old.color_trc or 2]
    if set(tags) == {2} and old.colorspace not in MATRICES and not old.format.is_rgb:
        tags = [6, 6]  # what an untagged film of so few lines is taken for
    assert [new.color_primaries, new.color_trc] == tags
    assert aspect_of(output) == aspect_of(source)


def aspect_of(path: Path) -> Fraction:
    """Width over height of a film's pixels, 1 where the file does not say."""
    with av.open(str(path)) as container:
        return Fraction(container.streams.video[0].sample_aspect_ratio or 1)


def assert_streams_are_kept(source: Path, output: Path) -> None:
    """The other streams packet for packet at their moments, with their labels; chapters; title."""
    old, new = read_streams(source), read_streams(output)
    assert [each.kind for each in new] == [each.kind for each in old]
    for before, after in zip(old, new, strict=True):
        if before.kind == "video":
            continue
        if before.kind == "subtitle":  # MP4 ends each with an empty packet of its own
            assert [p for p in after.payload if len(p) > 2] == [
                p for p in before.payload if len(p) > 2
            ]
        else:
            assert after.payload == before.payload
            pairs = zip(before.times, after.times, strict=True)
            assert all(abs(one - two) <= Fraction(1, 1000) for one, two in pairs)
        assert (after.codec, after.language) == (before.codec, before.language)
        if source.suffix == output.suffix:
            assert (after.title, after.default) == (before.title, before.default)
    with av.open(str(source)) as one, av.open(str(output)) as two:
        assert _chapters(two) == _chapters(one)
        assert two.metadata.get("title") == one.metadata.get("title")
        fonts = [each.data for each in one.streams.attachments]
        assert [each.data for each in two.streams.attachments] == fonts


def _chapters(container: Any) -> list[tuple[Fraction, Fraction, str]]:
    return [
        (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
        for c in container.chapters()
    ]


def assert_same_pixels(one: Path, two: Path) -> None:
    """Two lossless films hold the same frames."""
    first, second = read_frames(one), read_frames(two)
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert a.format.name == b.format.name
        for p, q in zip(planes_of(a), planes_of(b), strict=True):
            assert np.array_equal(p, q)


def files_in(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too, sorted."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
