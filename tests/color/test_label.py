"""The label: small, in its corner, upright, on the frames that get it, and nowhere else."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from vidcolor.color.compose import compose
from vidcolor.color.label import Label
from vidcolor.frames import ColorTags, LumaBatch, PixelFormat


def gray(
    height: int = 240,
    width: int = 320,
    count: int = 2,
    depth: int = 8,
    level: float = 0.4,
    **more: object,
) -> LumaBatch:
    full = bool(more.pop("full_range", False))
    code = round(level * ((1 << depth) - 1))
    dtype = torch.uint8 if depth == 8 else torch.uint16
    luma = torch.full((count, 1, height, width), code).to(dtype)
    return LumaBatch(luma, depth, full, tuple(range(count)), (1,) * count, **more)  # type: ignore[arg-type]


def changed(before: LumaBatch, after: LumaBatch) -> torch.Tensor:
    return before.luma.to(torch.int32) != after.luma.to(torch.int32)


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize("full_range", [False, True])
def test_it_lies_in_the_lower_right_corner(depth: int, full_range: bool) -> None:
    batch = gray(depth=depth, full_range=full_range)
    made = Label()(batch)
    where = changed(batch, made)[:, 0]
    assert torch.equal(where[0], where[1])
    rows, columns = (torch.nonzero(where[0].any(dim=axis)).flatten() for axis in (1, 0))
    assert rows[0] > 240 * 0.85 and columns[0] > 320 * 0.6
    assert rows[-1] < 239 and columns[-1] < 319
    unit = 1 << (depth - 8)
    top = (1 << depth) - 1 if full_range else 235 * unit
    codes = made.luma.to(torch.int32)
    assert 0.7 * top < int(codes.max()) <= top
    assert int(codes.min()) >= (0 if full_range else 16 * unit)
    assert int(codes.min()) < int(batch.luma.to(torch.int32).min())  # an edge around the letters


def test_it_can_be_read_on_white_too() -> None:
    batch = gray(level=0.92)
    made = Label()(batch).luma.to(torch.int32)
    assert int(made.max()) - int(made.min()) > 60


@pytest.mark.parametrize("first", [0, 3, 5, 40])
def test_the_first_frames_get_it(first: int) -> None:
    batch = gray(count=4, first_index=first)
    made = Label(5)(batch)
    has = changed(batch, made).flatten(1).any(dim=1).tolist()
    assert has == [first + number < 5 for number in range(4)]


@pytest.mark.parametrize(
    ("rotation", "corner"), [(90, "upper right"), (180, "upper left"), (270, "lower left")]
)
def test_it_stands_upright_where_the_film_is_shown_turned(rotation: int, corner: str) -> None:
    batch = gray(rotation=rotation)
    stored = changed(batch, Label()(batch))[0, 0]
    shown = torch.rot90(stored, -(rotation // 90))
    rows, columns = (torch.nonzero(shown.any(dim=axis)).flatten() for axis in (1, 0))
    height, width = shown.shape
    assert rows[0] > height * 0.7 and columns[0] > width * 0.3
    assert len(columns) > len(rows)
    upper, left = corner.split()[0] == "upper", corner.split()[1] == "left"
    down, across = torch.nonzero(stored)[:, 0].float(), torch.nonzero(stored)[:, 1].float()
    assert (down.mean() < 120) == upper and (across.mean() < 160) == left


def test_wide_pixels_get_narrow_letters() -> None:
    batch = gray()
    widths = []
    for aspect in (Fraction(1), Fraction(2)):
        where = changed(batch, Label(aspect=aspect)(batch))[0, 0]
        widths.append(len(torch.nonzero(where.any(dim=0))))
    assert 0.4 < widths[1] / widths[0] < 0.65


@pytest.mark.parametrize("size", [(16, 16), (48, 64), (4, 400), (400, 4), (2160, 3840)])
def test_any_size_is_taken(size: tuple[int, int]) -> None:
    batch = gray(*size, count=1)
    made = Label()(batch)
    assert made.luma.shape == batch.luma.shape and made.luma.dtype == batch.luma.dtype


def test_hdr_white_does_not_dazzle() -> None:
    for transfer, level in ((16, 0.58), (18, 0.75)):
        batch = gray(depth=10, level=0.3, transfer=transfer)
        brightest = int(Label()(batch).luma.to(torch.int32).max())
        assert brightest <= 64 + level * (940 - 64) + 1


def test_letters_are_white_in_a_colored_film() -> None:
    batch = Label()(gray(720, 960, count=1))
    ab = torch.full((1, 2, 8, 8), 40.0)
    format = PixelFormat("yuv444p", 8, (1, 1), False, ColorTags(False, "bt709"))
    y, cb, cr = compose(batch, ab, format).planes
    white = y[0].to(torch.int32) > 215
    assert white.any()
    for plane in (cb, cr):
        codes = plane[0].to(torch.int32)
        assert int((codes[white] - 128).abs().max()) < int((codes[0, 0] - 128).abs()) * 0.75
