"""Compose: lightness kept on every pixel, exact luma, odd sizes, bands."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.pretend_cuda import CUDA, pretend_cuda
from vidcolor.color.codes import luma_levels
from vidcolor.color.compose import compose, film_lightness
from vidcolor.color.convert import rgb_to_lab, yuv_to_rgb
from vidcolor.errors import OutputError
from vidcolor.frames import ColorBatch, ColorTags, LumaBatch, PixelFormat


def yuv_format(depth: int, subsampling: tuple[int, int], full: bool, matrix: str) -> PixelFormat:
    return PixelFormat("test", depth, subsampling, False, ColorTags(full, matrix))


RGB8 = PixelFormat("rgb24", 8, (1, 1), True, ColorTags(True, "smpte170m"))
RGB16 = PixelFormat("rgb48", 16, (1, 1), True, ColorTags(True, "smpte170m"))


def luma_batch(luma: Tensor, depth: int = 8, full: bool = False) -> LumaBatch:
    count = len(luma)
    return LumaBatch(luma, depth, full, tuple(range(count)), (1,) * count)


def decode(color: ColorBatch) -> Tensor:
    """R'G'B' `(B, 3, H, W)` from a player that repeats chroma over its block."""
    depth, full = color.format.bit_depth, color.format.tags.full_range
    if color.format.rgb:
        return torch.stack([p.float() for p in color.planes], dim=1) / ((1 << depth) - 1)
    black, white = luma_levels(depth, full)
    span = (1 << depth) - 1 if full else 224 << (depth - 8)
    height, width = color.planes[0].shape[-2:]
    across, down = color.format.subsampling
    planes = [(color.planes[0].float() - black) / (white - black)]
    for plane in color.planes[1:]:
        chroma = (plane.float() - (1 << (depth - 1))) / span
        chroma = chroma.repeat_interleave(down, -2).repeat_interleave(across, -1)
        planes.append(chroma[:, :height, :width])
    return yuv_to_rgb(torch.stack(planes, dim=1), color.format.tags.matrix).clamp(0, 1)


@pytest.fixture(scope="module")
def ramp_and_noise() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    luma = torch.randint(0, 256, (2, 1, 65, 97), dtype=torch.uint8, generator=generator)
    luma[1] = torch.linspace(0, 255, 97).to(torch.uint8)
    return luma


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("full", [False, True])
def test_lightness_is_kept_on_every_pixel(
    ramp_and_noise: Tensor, matrix: str, subsampling: tuple[int, int], full: bool
) -> None:
    batch = luma_batch(ramp_and_noise, full=full)
    ab = 45 * torch.randn(2, 2, 17, 25, generator=torch.Generator().manual_seed(2))
    color = compose(batch, ab, yuv_format(8, subsampling, full, matrix))
    error = (rgb_to_lab(decode(color))[:, :1] - film_lightness(batch)).abs()
    assert error.max() < 0.4  # one code
    assert color.planes[1].float().std() > 2  # the output has color


@pytest.mark.parametrize(("depth", "bound"), [(10, 0.12), (12, 0.05)])
def test_high_bit_depths_keep_lightness_finer(depth: int, bound: float) -> None:
    luma = torch.linspace(0, (1 << depth) - 1, 200).to(torch.uint16).expand(1, 1, 8, 200)
    ab = torch.tensor([25.0, -30.0]).view(1, 2, 1, 1).expand(1, 2, 4, 50)
    batch = luma_batch(luma.contiguous(), depth)
    color = compose(batch, ab, yuv_format(depth, (2, 2), False, "bt709"))
    error = (rgb_to_lab(decode(color))[:, :1] - film_lightness(batch)).abs()
    assert color.planes[0].dtype == torch.int32
    assert error.max() < bound


@pytest.mark.parametrize("strength", [20, 80])
def test_10_bit_films_keep_lightness_under_strong_colors(strength: int) -> None:
    noise = torch.rand(1, 1, 17, 25, generator=torch.Generator().manual_seed(7))
    smooth = F.interpolate(noise, size=(64, 96), mode="bicubic").clamp(0, 1)
    luma = (64 + 876 * smooth).round().to(torch.uint16)
    ab = strength * torch.randn(1, 2, 16, 24, generator=torch.Generator().manual_seed(8))
    batch = luma_batch(luma, 10)
    color = compose(batch, ab, yuv_format(10, (2, 2), False, "bt709"))
    error = (rgb_to_lab(decode(color))[:, :1] - film_lightness(batch)).abs()
    assert error.max() < 0.4


def test_rgb_pictures_keep_lightness_and_predicted_chroma() -> None:
    luma = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 256).repeat(1, 1, 4, 1)
    batch = luma_batch(luma, full=True)
    ab = torch.tensor([20.0, 15.0]).view(1, 2, 1, 1).expand(1, 2, 1, 64).contiguous()
    for format, bound in ((RGB8, 0.4), (RGB16, 0.002)):
        lab = rgb_to_lab(decode(compose(batch, ab, format)))
        assert (lab[:, :1] - film_lightness(batch)).abs().max() < bound
        middle = lab[0, 1:, :, 100:160]  # far from black and white, nothing is out of gamut
        assert (middle - torch.tensor([20.0, 15.0]).view(2, 1, 1)).abs().max() < 1.0


def test_out_of_gamut_colors_lose_chroma_and_keep_hue() -> None:
    luma = torch.full((1, 1, 8, 8), 200, dtype=torch.uint8)
    batch = luma_batch(luma, full=True)
    ab = torch.tensor([120.0, 90.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8).contiguous()
    lab = rgb_to_lab(decode(compose(batch, ab, RGB16)))
    assert torch.allclose(lab[:, :1], film_lightness(batch), atol=0.01)
    chroma = lab[:, 1:].square().sum(1).sqrt()
    assert 20 < chroma.mean() < 100
    assert torch.allclose(lab[:, 2] / lab[:, 1], torch.tensor(0.75), atol=0.01)


def test_exact_luma_keeps_every_code(ramp_and_noise: Tensor) -> None:
    batch = luma_batch(ramp_and_noise)
    ab = 30 * torch.randn(2, 2, 17, 25, generator=torch.Generator().manual_seed(2))
    color = compose(batch, ab, yuv_format(8, (2, 2), False, "bt709"), exact_luma=True)
    assert torch.equal(color.planes[0], ramp_and_noise[:, 0])
    assert color.planes[1].float().std() > 2


def test_exact_luma_refuses_another_bit_depth_or_range() -> None:
    batch = luma_batch(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    for format in (yuv_format(10, (2, 2), False, "bt709"), yuv_format(8, (2, 2), True, "bt709")):
        with pytest.raises(OutputError, match="--pix-fmt of 8 bit"):
            compose(batch, torch.zeros(1, 2, 2, 2), format, exact_luma=True)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_zero_chroma_returns_the_film(ramp_and_noise: Tensor, subsampling: tuple[int, int]) -> None:
    batch = luma_batch(ramp_and_noise, full=True)
    format = yuv_format(8, subsampling, True, "bt709")
    color = compose(batch, torch.zeros(2, 2, 16, 24), format)
    assert torch.equal(color.planes[0], ramp_and_noise[:, 0])
    assert (color.planes[1] == 128).all() and (color.planes[2] == 128).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (33, 2), (65, 97)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    batch = luma_batch(torch.full((1, 1, *size), 120, dtype=torch.uint8))
    color = compose(batch, torch.full((1, 2, 4, 4), 20.0), yuv_format(8, (2, 2), False, "bt709"))
    assert color.planes[0].shape == (1, *size)
    assert color.planes[1].shape == (1, (size[0] + 1) // 2, (size[1] + 1) // 2)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("chroma", [(90, 120), (1200, 40), (900, 1000)], ids=str)
def test_bands_of_rows_change_nothing(chroma: tuple[int, int], exact: bool) -> None:
    """Also where ab has more rows than the picture, or the same size.

    The height of a band depends on the number of threads.
    """
    generator = torch.Generator().manual_seed(2)
    luma = torch.randint(0, 256, (1, 1, 900, 1000), dtype=torch.uint8, generator=generator)
    batch = luma_batch(luma, full=True)
    ab = 45 * torch.randn(1, 2, *chroma, generator=generator)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 8):  # four bands, one band
            torch.set_num_threads(count)
            color = compose(batch, ab, RGB8, exact_luma=exact)
            found.append(torch.stack(color.planes).int())
    finally:
        torch.set_num_threads(threads)
    assert found[0].shape == (3, 1, 900, 1000)
    assert (found[0] - found[1]).abs().max() <= 1
    assert (found[0] != found[1]).float().mean() < 0.001


@pytest.mark.parametrize("format", [RGB8, yuv_format(8, (2, 2), False, "bt709")])
def test_a_batch_of_no_frames(format: PixelFormat) -> None:
    batch = luma_batch(torch.zeros(0, 1, 6, 8, dtype=torch.uint8))
    color = compose(batch, torch.zeros(0, 2, 2, 2), format)
    assert color.planes[0].shape == (0, 6, 8)


def test_the_table_and_newtons_method_give_the_same_film(ramp_and_noise: Tensor) -> None:
    """8-bit films use the table, all others Newton's method."""
    ab = 30 * torch.randn(2, 2, 17, 25, generator=torch.Generator().manual_seed(1))
    by_table = compose(luma_batch(ramp_and_noise), ab, yuv_format(8, (2, 2), False, "bt709"))
    deep = luma_batch((ramp_and_noise.int() << 2).to(torch.uint16), 10)
    by_newton = compose(deep, ab, yuv_format(10, (2, 2), False, "bt709"))
    for ours, theirs in zip(by_table.planes, by_newton.planes, strict=True):
        difference = (ours - theirs / 4).abs()
        assert difference.mean() < 0.3 and (difference > 1.25).float().mean() < 0.01


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("depth", "format"), [
    (8, yuv_format(8, (2, 2), False, "bt709")),
    (8, yuv_format(8, (2, 1), False, "bt709")),
    (10, yuv_format(10, (2, 2), False, "bt709")),
    (8, RGB8),
    (16, RGB16),
])  # fmt: skip
def test_a_gpu_writes_the_cpu_pixels(
    ramp_and_noise: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    depth: int,
    format: PixelFormat,
    exact: bool,
) -> None:
    """The GPU's code path gives the same pixels, and seldom waits for the GPU."""
    luma = ramp_and_noise.to(torch.int32) << (depth - 8)
    batch = luma_batch(luma.to(torch.uint8 if depth == 8 else torch.uint16), depth)
    ab = 30 * torch.randn(2, 2, 17, 25, generator=torch.Generator().manual_seed(1))
    wanted = compose(batch, ab, format, exact_luma=exact)
    with pretend_cuda(monkeypatch) as device:
        batch, ab = batch.to(CUDA), ab.to(CUDA)
        assert batch.luma.device == CUDA
        found = compose(batch, ab, format, exact_luma=exact)
    for ours, theirs in zip(found.planes, wanted.planes, strict=True):
        assert ours.device.type == "cpu"
        difference = (ours.int() - theirs.int()).abs()
        assert difference.max() <= 1 and (difference > 0).float().mean() < 0.01
    assert len(device.waits) <= 5 and device.waits.count("cpu") == 3
