"""Resizing: OpenCV agrees with torch; upsampled chroma follows the edges of L* and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from vidcolor.color.resize import (
    block_means,
    halved,
    resize_bilinear,
    upsample_bands,
    upsample_chroma,
)
from vidcolor.system.opencv import load_problem, opencv, set_opencv_threads


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The height of a band depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_upsampled_chroma_follows_the_edge_of_lightness() -> None:
    lightness = torch.full((1, 1, 128, 128), 20.0)
    lightness[..., 61:] = 80.0  # the edge lies inside a pixel of the small chroma
    ab = torch.zeros(1, 2, 32, 32)
    ab[:, 0] = torch.where(torch.arange(32) < 15, -20.0, 40.0)
    ab[:, 0, :, 15] = -20 * 0.25 + 40 * 0.75
    guided = upsample_chroma(ab, lightness)[0, 0, 64]
    plain = F.interpolate(ab, size=(128, 128), mode="bilinear")[0, 0, 64]
    truth = torch.where(torch.arange(128) < 61, -20.0, 40.0)
    near = slice(56, 66)
    assert (guided - truth)[near].abs().mean() < 0.55 * (plain - truth)[near].abs().mean()
    flat = torch.full((1, 1, 128, 128), 50.0)
    constant = upsample_chroma(torch.full((1, 2, 32, 32), 12.5), flat)
    assert torch.allclose(constant, torch.tensor(12.5), atol=1e-3)


@pytest.mark.parametrize(
    "size", [(64, 64), (65, 97), (12, 97), (17, 97), (17, 25), (1, 1)], ids=str
)
def test_on_constant_lightness_upsampling_is_bilinear(size: tuple[int, int]) -> None:
    """Whatever the chroma does, it is not smoothed."""
    ab = 30 * torch.randn(2, 2, 17, 25, generator=torch.Generator().manual_seed(4))
    plain = F.interpolate(ab, size=size, mode="bilinear")
    found = upsample_chroma(ab, torch.full((2, 1, *size), 40.0))
    assert torch.allclose(found, plain, atol=1e-3)


def test_a_scratch_gains_no_color() -> None:
    """A bright line beside an edge lies outside the range of L* that the line was fitted to."""
    lightness = torch.full((1, 1, 128, 128), 20.0)
    lightness[..., 64:] = 60.0
    lightness[..., 70] = 98.0
    ab = torch.where(torch.arange(32) < 16, 5.0, 30.0).expand(1, 2, 32, 32).contiguous()
    assert upsample_chroma(ab, lightness).max() <= 30.0


@pytest.mark.parametrize("chroma", [(90, 120), (17, 25), (1200, 40), (900, 1000)], ids=str)
def test_bands_are_parts_of_the_whole(one_thread: None, chroma: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(5)
    lightness = 100 * torch.rand(1, 1, 900, 1000, generator=generator)
    ab = 30 * torch.randn(1, 2, *chroma, generator=generator)
    found = list(upsample_bands(ab, lightness))
    assert len(found) > 3
    assert [rows.start for rows, _, _ in found][1:] == [rows.stop for rows, _, _ in found][:-1]
    assert found[-1][0].stop == 900
    torch.set_num_threads(8)
    ((_, _, whole),) = upsample_bands(ab, lightness)
    for rows, light, part in found:
        assert torch.equal(light, lightness[..., rows, :])
        assert torch.allclose(part, whole[..., rows, :], atol=1e-3)


@pytest.mark.parametrize("size", [(7, 9), (14, 18), (31, 50), (3, 40), (8, 40000)], ids=str)
def test_planes_are_resized_bilinearly(size: tuple[int, int]) -> None:
    planes = 40 * torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    wanted = F.interpolate(planes, size=size, mode="bilinear")
    assert torch.allclose(resize_bilinear(planes, size), wanted, atol=1e-3)
    transposed = planes.transpose(-2, -1).contiguous().transpose(-2, -1)  # other strides
    assert torch.allclose(resize_bilinear(transposed, size), wanted, atol=1e-3)


def test_other_types_and_gradients() -> None:
    planes = torch.randn(1, 2, 5, 5, dtype=torch.float64)
    wanted = F.interpolate(planes, size=(9, 9), mode="bilinear")
    assert torch.equal(resize_bilinear(planes, (9, 9)), wanted)
    learned = planes.float().requires_grad_()
    (gradient,) = torch.autograd.grad(resize_bilinear(learned, (9, 9)).sum(), [learned])
    assert gradient.sum() == pytest.approx(2 * 81, rel=1e-5)


def test_an_empty_batch_stays_empty() -> None:
    assert resize_bilinear(torch.zeros(0, 2, 4, 4), (8, 8)).shape == (0, 2, 8, 8)


@pytest.mark.parametrize("block", [(1, 1), (2, 1), (2, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32], ids=str)
def test_block_means(block: tuple[int, int], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    codes = torch.randint(0, 256, (2, 1, 12, 20), generator=generator).to(dtype)
    means = block_means(codes, block)
    assert means.dtype == dtype
    exact = F.avg_pool2d(codes.float(), (block[1], block[0]))
    assert means.shape == exact.shape
    assert (means.float() - exact).abs().max() <= 0.5


def test_without_opencv_torch_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    codes = torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8, generator=generator)
    planes = torch.randn(1, 2, 5, 5, generator=generator)
    blocks = ((2, 2), (2, 1), (1, 2))
    with_opencv = [block_means(codes, block) for block in blocks], resize_bilinear(planes, (13, 11))
    monkeypatch.setitem(sys.modules, "cv2", None)  # makes the import fail
    opencv.cache_clear()
    try:
        assert "apt-get install" in load_problem() and set_opencv_threads(2) == -1
        for block, means in zip(blocks, with_opencv[0], strict=True):
            assert torch.equal(block_means(codes, block), means)
        assert torch.allclose(resize_bilinear(planes, (13, 11)), with_opencv[1], atol=1e-4)
    finally:
        opencv.cache_clear()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_halved_in_parts_is_halved_at_once(dtype: torch.dtype) -> None:
    codes = torch.randint(0, 256, (1, 1, 601, 75)).to(dtype)
    expected = block_means(codes[..., :600, :74], (2, 2))
    assert torch.equal(halved(codes), expected)
    assert torch.equal(halved(codes.mT), block_means(codes.mT[..., :74, :600], (2, 2)))
