"""Pictures read in color, as references are: values, size, transparency, errors."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.clips import pattern
from vidcolor.errors import InputError
from vidcolor.sources import read_color

RGB = np.stack([pattern(i, 65, 49) for i in range(3)], axis=-1)
RGB16 = np.stack([pattern(i, 65, 49, 16) for i in range(3)], axis=-1)


def planes(array: np.ndarray) -> torch.Tensor:
    levels = torch.from_numpy(array.astype(np.float32) / np.iinfo(array.dtype).max)
    return levels.permute(2, 0, 1)[None]


def test_colors_are_exact(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "deep.png"), RGB16[..., ::-1])
    for name, array in (("a.png", RGB), ("deep.png", RGB16)):
        picture = read_color(tmp_path / name)
        assert torch.allclose(picture.rgb, planes(array), atol=1e-6)
        assert picture.opacity.shape == (1, 1, *array.shape[:2])
        assert bool((picture.opacity == 1).all())


def test_gray_has_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(RGB[..., 0]).save(tmp_path / "g.png")
    rgb = read_color(tmp_path / "g.png").rgb
    assert torch.allclose(rgb, planes(RGB[..., :1]).expand(1, 3, -1, -1), atol=1e-6)


def test_transparency(tmp_path: Path) -> None:
    rgba = np.dstack([RGB, RGB[..., 0]])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    picture = read_color(tmp_path / "a.png")
    assert torch.allclose(picture.rgb, planes(RGB), atol=1e-6)
    assert torch.allclose(picture.opacity, planes(RGB[..., :1]), atol=1e-6)


def test_a_turned_picture_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown by a quarter turn clockwise
    Image.fromarray(np.rot90(RGB).copy()).save(tmp_path / "t.png", exif=exif)
    assert torch.allclose(read_color(tmp_path / "t.png").rgb, planes(RGB), atol=1e-6)


def test_many_pixels_are_cut_down_by_means(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    height, width = RGB.shape[:2]
    picture = read_color(tmp_path / "a.png", most=height * width // 4)
    rows, columns = height // 2, width // 2
    assert picture.rgb.shape == (1, 3, rows, columns)
    assert picture.opacity.shape == (1, 1, rows, columns)
    blocks = RGB[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 3).mean(axis=(1, 3)) / 255
    wanted = torch.from_numpy(blocks).permute(2, 0, 1)[None].float()
    assert torch.allclose(picture.rgb, wanted, atol=1e-5)
    Image.fromarray(RGB[:1].repeat(40, axis=1)).save(tmp_path / "line.png")
    assert read_color(tmp_path / "line.png", most=100).rgb.shape[2] == 1


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_what_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.png: (is empty|cannot be read)"):
        read_color(tmp_path / "bad.png")
    Image.fromarray(RGB).save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut\.png: cannot be read"):
        read_color(tmp_path / "cut.png")
