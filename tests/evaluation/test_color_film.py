"""Color films as truth: luma is the film's own, colors are those that a player shows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.test_stills import photograph
from tests.helpers.clips import encode, frames
from vidcolor.errors import InputError
from vidcolor.evaluation.color_film import ColorFilmSource, RgbBatch
from vidcolor.frames import Segment
from vidcolor.sources import FilmSource

COUNT, HEIGHT, WIDTH = 7, 96, 128


def pictures(count: int = COUNT) -> list[np.ndarray]:
    """Smooth colored frames `(H, W, 3)`, each different."""
    return [
        photograph(i, HEIGHT, WIDTH).permute(1, 2, 0).contiguous().numpy() for i in range(count)
    ]


def write(path: Path, pix_fmt: str, *, span: int = 1, matrix: int = 6, rotation: int = 0) -> Path:
    """A film of `pictures`; `span` is 1 for limited range and 2 for full, `matrix` as in H.273."""
    codec = "ffv1" if path.suffix == ".mkv" else "libx264"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.color_range, stream.codec_context.colorspace = span, matrix
        if rotation:
            stream.set_display_rotation(-rotation)
        for i, picture in enumerate(pictures()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            rgb = pix_fmt.startswith(("gbr", "bgr", "rgb"))
            colorspace = "ITU709" if matrix == 1 else "ITU601"
            frame = frame.reformat(
                format=pix_fmt,
                dst_colorspace=None if rgb else colorspace,
                dst_color_range=None if rgb else span,
            )
            frame.pts, frame.time_base = i, Fraction(1, 10)
            frame.color_range, frame.colorspace = span, matrix
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path: Path, **options: Any) -> tuple[list[RgbBatch], torch.Tensor]:
    batches = list(ColorFilmSource(path, long_side=512, **options).batches(3))
    return batches, torch.cat([batch.rgb for batch in batches])


@pytest.mark.parametrize(
    ("pix_fmt", "span", "matrix"),
    [
        ("yuv420p", 1, 6),
        ("yuv420p", 2, 6),
        ("yuv444p", 1, 1),
        ("yuv422p10le", 1, 6),
        ("yuv444p10le", 2, 1),
        ("bgr0", 2, 2),
        ("gbrp10le", 2, 2),
    ],
)
def test_colors_and_luma(tmp_path: Path, pix_fmt: str, span: int, matrix: int) -> None:
    path = write(tmp_path / "film.mkv", pix_fmt, span=span, matrix=matrix)
    batches, rgb = read(path)
    truth = torch.from_numpy(np.stack(pictures())).permute(0, 3, 1, 2)
    error = (rgb.int() - truth.int()).abs()
    assert rgb.shape == (COUNT, 3, HEIGHT, WIDTH)
    assert error.float().mean() < 1.2  # 4:2:0 costs something at the frame's border
    assert error.max() < 10
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert [p for batch in batches for p in batch.pts] == [100 * i for i in range(COUNT)]
    assert [batch.first_index for batch in batches] == [0, 3, 6]

    plain = list(FilmSource(path).batches(3))
    for batch, other in zip(batches, plain, strict=True):
        assert (batch.bit_depth, batch.full_range) == (8, other.full_range)
        wanted = other.luma.int() / (1 << (other.bit_depth - 8))
        difference = (batch.luma.int() - wanted).abs().max()
        assert difference == 0 if pix_fmt.endswith("p") and other.bit_depth == 8 else difference < 2


def test_luma_of_the_colors_is_the_luma(tmp_path: Path) -> None:
    batches, rgb = read(write(tmp_path / "film.mkv", "yuv444p"))
    luma = torch.cat([batch.luma for batch in batches]).float()
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    from_rgb = (rgb.float() * weights).sum(1, keepdim=True) * 219 / 255 + 16
    assert (from_rgb - luma).abs().max() < 1


def test_shrinking_and_small_films(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", "yuv420p")
    source = ColorFilmSource(path, long_side=64)
    assert (source.width, source.height) == (64, 48)
    (batch, *_) = source.batches(2)
    assert (tuple(batch.luma.shape), tuple(batch.rgb.shape)) == ((2, 1, 48, 64), (2, 3, 48, 64))
    truth = torch.from_numpy(pictures(1)[0]).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(truth, (48, 64), mode="bicubic", antialias=True)
    assert (batch.rgb[:1].float() - small).abs().mean() < 1
    assert ColorFilmSource(path, long_side=500).width == WIDTH  # never enlarged
    with pytest.raises(InputError, match=r"film\.mkv: .*20x15 pixels"):
        ColorFilmSource(path, long_side=20)


def test_a_batch_can_be_cut_and_moved(tmp_path: Path) -> None:
    (batch, *_) = read(write(tmp_path / "film.mkv", "yuv444p"))[0]
    part = batch[1:3].to("cpu")
    assert isinstance(part, RgbBatch)
    assert torch.equal(part.rgb, batch.rgb[1:3])
    assert torch.equal(part.luma, batch.luma[1:3])
    assert (part.pts, part.first_index) == (batch.pts[1:3], 1)


@pytest.mark.parametrize(
    ("limit", "sizes"), [(0, []), (2, [2]), (3, [3]), (5, [3, 2]), (99, [3, 3, 1])]
)
def test_limit(tmp_path: Path, limit: int, sizes: list[int]) -> None:
    source = ColorFilmSource(write(tmp_path / "film.mkv", "yuv420p"), long_side=64)
    assert [len(batch) for batch in source.batches(3, limit)] == sizes


def test_segment(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", "yuv444p")
    _, rgb = read(path, segment=Segment(Fraction(2, 10), Fraction(5, 10)))
    assert torch.equal(rgb, read(path)[1][2:5])


def test_a_numbered_sequence(tmp_path: Path) -> None:
    for i, picture in enumerate(pictures()):
        Image.fromarray(picture).save(tmp_path / f"{i:03d}.png")
    _, rgb = read(tmp_path / "%03d.png", rate=Fraction(25))
    truth = torch.from_numpy(np.stack(pictures())).permute(0, 3, 1, 2)
    assert (rgb.int() - truth.int()).abs().max() <= 3


def test_a_rotated_film_is_read_upright(tmp_path: Path) -> None:
    upright = read(write(tmp_path / "film.mp4", "yuv444p"))[1]
    source = ColorFilmSource(write(tmp_path / "turned.mp4", "yuv444p", rotation=90), long_side=64)
    assert source.facts.rotation == 90
    assert (source.width, source.height) == (48, 64)
    batches, turned = read(tmp_path / "turned.mp4")
    # clockwise by a quarter: the first row becomes the last column
    assert torch.equal(turned[:, :, :, -1], upright[:, :, 0, :])
    assert turned.shape == (COUNT, 3, WIDTH, HEIGHT)
    assert batches[0].rotation == 0


def test_damage_is_reported(tmp_path: Path) -> None:
    path = encode(tmp_path / "film.mkv", "ffv1", "yuv420p", frames(12), chroma=40).path
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    batches, rgb = read(path)
    damage = [line for batch in batches for line in batch.damage]
    assert 0 < len(rgb) < 12
    assert damage == [line for batch in FilmSource(path).batches(3) for line in batch.damage]
    assert any("ends early" in line for line in damage)
