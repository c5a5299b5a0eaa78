"""Contact sheets: every picture is at its documented place, in its own colors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vidcolor.evaluation.sheets import (
    CAPTION,
    COLUMN_WIDTH,
    GUTTER,
    LABEL,
    ROW_HEIGHT,
    write_contact_sheet,
)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        return np.asarray(picture)


def flat(red: float, green: float, blue: float, count: int = 2, side: int = 32) -> Tensor:
    return torch.tensor([red, green, blue])[None, :, None, None].repeat(count, 1, side, side)


def test_places_and_colors(tmp_path: Path) -> None:
    prediction = flat(0.2, 0.4, 0.6)
    prediction[1, :, 5, 7] = torch.tensor([1.0, 0.0, 0.0])
    path = tmp_path / "sheets" / "a.png"  # the folder is made
    write_contact_sheet(torch.full((2, 1, 32, 32), 0.5), prediction, flat(0.0, 1.0, 0.0), path)
    sheet = read(path)
    step = 96 + GUTTER
    assert sheet.shape == (CAPTION + GUTTER + 2 * step, GUTTER + 3 * step, 3)
    for row in range(2):
        top = CAPTION + GUTTER + row * step
        for column, color in enumerate([(128, 128, 128), (51, 102, 153), (0, 255, 0)]):
            left = GUTTER + column * step
            tile = sheet[top : top + 96, left : left + 96]
            spot = row == 1 and column == 1
            expected = np.broadcast_to(np.array(color), tile.shape).copy()
            if spot:  # one pixel of the picture is 3x3 on the sheet
                expected[15:18, 21:24] = (255, 0, 0)
            assert (tile == expected).all(), (row, column)
            assert (sheet[top : top + 96, left - GUTTER : left] == 255).all()
    for column in range(3):  # each column has its name above it
        strip = sheet[:CAPTION, GUTTER + column * step :][:, :96]
        assert strip.min() < 100


@pytest.mark.parametrize(
    ("side", "height"), [(16, 96), (31, 124), (95, 190), (96, 96), (100, 100), (128, 128)]
)
def test_whole_factors_up_to_the_row_height(tmp_path: Path, side: int, height: int) -> None:
    picture = torch.rand(1, 3, side, side)
    write_contact_sheet(picture[:, :1], picture, picture, tmp_path / "a.png")
    sheet = read(tmp_path / "a.png")
    assert height >= ROW_HEIGHT
    assert sheet.shape[0] == CAPTION + GUTTER + height + GUTTER
    target = sheet[CAPTION + GUTTER :, GUTTER + 2 * (height + GUTTER) :][:height, :height]
    factor = height // side
    assert np.allclose(target[::factor, ::factor], picture[0].permute(1, 2, 0) * 255, atol=0.51)


def test_narrow_pictures_leave_room_for_the_names(tmp_path: Path) -> None:
    picture = torch.zeros(1, 1, 96, 20)
    write_contact_sheet(picture, picture, picture, tmp_path / "a.png")
    assert read(tmp_path / "a.png").shape[1] == GUTTER + 3 * (COLUMN_WIDTH + GUTTER)


def test_labels_stand_below_their_rows(tmp_path: Path) -> None:
    picture = torch.ones(2, 1, 96, 96)
    labels = ["", "馬 " + "a very long name " * 20]
    write_contact_sheet(picture, picture, picture, tmp_path / "a.png", labels)
    sheet = read(tmp_path / "a.png")
    step = 96 + GUTTER + LABEL
    assert sheet.shape[0] == CAPTION + GUTTER + 2 * step
    below = [sheet[CAPTION + GUTTER + row * step + 96 :][:LABEL] for row in range(2)]
    assert below[0].min() == 255
    assert below[1].min() < 100
    assert below[1][:, -GUTTER:].min() == 255  # truncated at the edge
    with pytest.raises(ValueError, match="1 labels for 2 pictures"):
        write_contact_sheet(picture, picture, picture, tmp_path / "a.png", ["x"])


def test_values_outside_and_nan(tmp_path: Path) -> None:
    gray = torch.full((1, 1, 96, 96), 2.0)
    prediction = torch.full((1, 3, 96, 96), math.nan)
    write_contact_sheet(gray, prediction, prediction - 1, tmp_path / "a.png")
    row = read(tmp_path / "a.png")[CAPTION + GUTTER + 5]
    assert row[GUTTER + 5].tolist() == [255, 255, 255]
    assert row[GUTTER + 105].tolist() == [0, 0, 0]


def test_the_callers_tensors_and_the_bytes_stay(tmp_path: Path) -> None:
    gray, rgb = torch.rand(2, 1, 8, 8), torch.rand(2, 3, 8, 8, requires_grad=True)
    before = rgb.detach().clone()
    for name in ("a.png", "b.png"):
        write_contact_sheet(gray, rgb, rgb, tmp_path / name)
    assert torch.equal(rgb, before)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 8, 9), r"prediction \(2, 3, 8, 9\).*\(2, 1, 8, 8\)"),
        ((1, 3, 8, 8), r"prediction \(1, 3, 8, 8\)"),
        ((2, 2, 8, 8), r"prediction must be \(N, 1 or 3, H, W\), not \(2, 2, 8, 8\)"),
        ((3, 8, 8), "prediction must be"),
    ],
)
def test_shapes_are_checked(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    good = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match=message):
        write_contact_sheet(good, torch.zeros(shape), good, tmp_path / "a.png")
