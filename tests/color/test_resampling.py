"""OpenCV's resizing and torch's give the same planes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vidcolor.color import resize as resampling
from vidcolor.color.resize import block_means, enlarge


@pytest.mark.parametrize("size", [(7, 9), (14, 18), (31, 50), (3, 40), (8, 40000)], ids=str)
def test_planes_are_enlarged_bilinearly(size: tuple[int, int]) -> None:
    planes = 40 * torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    wanted = F.interpolate(planes, size=size, mode="bilinear")
    assert torch.allclose(enlarge(planes, size), wanted, atol=1e-3)
    turned = planes.transpose(-2, -1).contiguous().transpose(-2, -1)  # other strides
    assert torch.allclose(enlarge(turned, size), wanted, atol=1e-3)


def test_other_types_and_gradients() -> None:
    planes = torch.randn(1, 2, 5, 5, dtype=torch.float64)
    wanted = F.interpolate(planes, size=(9, 9), mode="bilinear")
    assert torch.equal(enlarge(planes, (9, 9)), wanted)
    learned = planes.float().requires_grad_()
    enlarge(learned, (9, 9)).sum().backward()
    assert learned.grad is not None


def test_no_planes_stay_none() -> None:
    assert enlarge(torch.zeros(0, 2, 4, 4), (8, 8)).shape == (0, 2, 8, 8)


@pytest.mark.parametrize("block", [(1, 1), (2, 1), (2, 2)], ids=str)
@pytest.mark.parametrize("type", [torch.uint8, torch.uint16, torch.int32], ids=str)
def test_block_means(block: tuple[int, int], type: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    codes = torch.randint(0, 256, (2, 1, 12, 20), generator=generator).to(type)
    means = block_means(codes, block)
    assert means.dtype == type
    exact = F.avg_pool2d(codes.float(), (block[1], block[0]))
    assert means.shape == exact.shape
    assert (means.float() - exact).abs().max() <= 0.5


def test_without_opencv_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    codes = torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8, generator=generator)
    planes = torch.randn(1, 2, 5, 5, generator=generator)
    blocks = ((2, 2), (2, 1), (1, 2))
    with_opencv = [block_means(codes, block) for block in blocks], enlarge(planes, (13, 11))
    monkeypatch.setattr(resampling, "_opencv", lambda: None)
    for block, means in zip(blocks, with_opencv[0], strict=True):
        assert torch.equal(block_means(codes, block), means)
    assert torch.allclose(enlarge(planes, (13, 11)), with_opencv[1], atol=1e-4)
