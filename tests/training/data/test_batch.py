"""Batches: each view of the pictures, whichever of them is held."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vidcolor.color.convert import gray_to_lightness, rgb_to_lab
from vidcolor.training.data.batch import Batch


@pytest.fixture
def rgb() -> Tensor:
    return torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))


def test_rgb_and_lab_are_two_views_of_one_picture(rgb: Tensor) -> None:
    lab = rgb_to_lab(rgb)
    first, second = Batch(rgb, "rgb"), Batch(lab, "lab")
    assert first.rgb is rgb and second.lab is lab  # what is held is not converted
    torch.testing.assert_close(first.lab, lab)
    torch.testing.assert_close(second.rgb, rgb, atol=1e-4, rtol=0)
    torch.testing.assert_close(first.ab, lab[:, 1:])
    assert torch.equal(second.ab, lab[:, 1:])
    assert len(first) == len(second) == 2


def test_conversions_happen_once(rgb: Tensor) -> None:
    batch = Batch(rgb, "rgb")
    assert batch.lab is batch.lab and batch.gray is batch.gray
    assert batch.lightness is batch.lightness


def test_gray_is_the_luma_of_bt601() -> None:
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0.5, 0.5, 0.5]])
    gray = Batch(colors[:, :, None, None], "rgb").gray
    assert gray.shape == (5, 1, 1, 1)
    expected = torch.tensor([0.299, 0.587, 0.114, 1.0, 0.5])
    torch.testing.assert_close(gray.flatten(), expected, atol=2e-4, rtol=0)
    lab = Batch(rgb_to_lab(colors[:, :, None, None]), "lab")
    torch.testing.assert_close(lab.gray, gray, atol=1e-4, rtol=0)


def test_lightness_is_of_the_luma_in_rgb_and_the_pictures_own_in_lab(rgb: Tensor) -> None:
    lab = rgb_to_lab(rgb)
    assert torch.equal(Batch(lab, "lab").lightness, lab[:, :1])
    batch = Batch(rgb, "rgb")
    assert torch.equal(batch.lightness, gray_to_lightness(batch.gray))
    # white is L* 100, and mid gray has the lightness that sRGB gives it
    gray = Batch(torch.tensor([1.0, 0.5]).view(2, 1, 1, 1).expand(2, 3, 1, 1), "rgb").lightness
    torch.testing.assert_close(gray.flatten(), torch.tensor([100.0, 53.39]), atol=0.02, rtol=0)


@pytest.mark.parametrize("space", ["rgb", "lab"])
def test_a_degraded_lightness_is_what_the_model_sees(rgb: Tensor, space: str) -> None:
    picture = rgb if space == "rgb" else rgb_to_lab(rgb)
    degraded = torch.full((2, 1, 4, 6), 42.0)
    batch = Batch(picture, space, degraded)
    assert batch.lightness is degraded
    # networks that read gray levels see the same
    torch.testing.assert_close(gray_to_lightness(batch.gray), degraded, atol=1e-3, rtol=0)
    torch.testing.assert_close(batch.lab, rgb_to_lab(rgb))  # the truth stays


def test_batches_move_with_all_they_hold(rgb: Tensor) -> None:
    batch = Batch(rgb, "rgb", torch.zeros(2, 1, 4, 6))
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    assert moved.degraded is not None
    assert moved.picture.device.type == moved.degraded.device.type == "meta"
    assert moved.space == "rgb" and len(moved) == 2
    assert Batch(rgb, "lab").to(torch.device("meta")).degraded is None
