"""Color conversions against pasted literals, then round trips."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vidcolor.color.codes import (
    LUMA_COEFFICIENTS,
    luma_levels,
    luma_to_gray,
    quantize_chroma,
    quantize_luma,
)
from vidcolor.color.convert import (
    gray_to_lightness,
    lab_to_rgb,
    lab_to_rgb8,
    lab_to_yuv,
    lightness_to_gray,
    lightness_to_luminance,
    linear_to_srgb,
    luma_for_luminance,
    rgb_offsets,
    rgb_to_lab,
    rgb_to_yuv,
    srgb_to_linear,
    yuv_to_rgb,
)
from vidcolor.color.lookup import gather_pixels, scatter_pixels, true_indices

# R'G'B' codes and the L*a*b* that scikit-image 0.26 (skimage.color.rgb2lab, D65, 2 degrees) gives.
# Its RGB matrix and white point are rounded to four to six digits, which is worth up to 0.012.
SCIKIT_IMAGE = (
    ((255, 0, 0), (53.2406, 80.0923, 67.2028)),
    ((0, 255, 0), (87.7351, -86.1830, 83.1797)),
    ((0, 0, 255), (32.2957, 79.1856, -107.8573)),
    ((0, 255, 255), (91.1133, -48.0906, -14.1263)),
    ((255, 0, 255), (60.3235, 98.2331, -60.8210)),
    ((255, 255, 0), (97.1395, -21.5547, 94.4781)),
    ((255, 255, 255), (100.0000, -0.0025, 0.0047)),
    ((0, 0, 0), (0.0000, 0.0000, 0.0000)),
    ((119, 119, 119), (50.0344, -0.0014, 0.0026)),
    ((1, 2, 3), (0.5098, -0.1225, -0.4705)),
    ((200, 120, 40), (57.9123, 25.2952, 54.0828)),
    ((32, 64, 128), (28.1986, 12.0921, -39.6247)),
    ((250, 128, 114), (67.2640, 45.2255, 29.0965)),
    ((10, 200, 190), (72.9491, -42.7094, -6.7074)),
)

RED, GREEN, BLUE, WHITE, BLACK = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 255),
    (0, 0, 0),
)

# Limited-range 8-bit codes of full-intensity primaries, as in tables of ITU-R BT.601, BT.709 and
# BT.2020 color bars.
YUV_CODES = (
    ("bt709", RED, (63, 102, 240)),
    ("bt709", GREEN, (173, 42, 26)),
    ("bt709", BLUE, (32, 240, 118)),
    ("bt709", WHITE, (235, 128, 128)),
    ("bt709", BLACK, (16, 128, 128)),
    ("smpte170m", RED, (81, 90, 240)),
    ("smpte170m", GREEN, (145, 54, 34)),
    ("smpte170m", BLUE, (41, 240, 110)),
    ("bt470bg", RED, (81, 90, 240)),
    ("bt2020nc", RED, (74, 97, 240)),
    ("bt2020nc", GREEN, (164, 47, 25)),
    ("bt2020nc", BLUE, (29, 240, 119)),
)


def pixel(rgb: tuple[int, int, int]) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float64)[:, None, None] / 255


def codes(rgb: tuple[int, int, int], matrix: str, depth: int, full: bool) -> tuple[int, ...]:
    y, cb, cr = rgb_to_yuv(pixel(rgb), matrix)
    quantized = (
        quantize_luma(y, depth, full),
        quantize_chroma(cb, depth, full),
        quantize_chroma(cr, depth, full),
    )
    return tuple(int(plane) for plane in quantized)


@pytest.fixture(scope="module")
def grid() -> Tensor:
    """A 17-cubed grid of R'G'B', `(1, 3, 17, 289)` float64 in [0, 1]."""
    levels = torch.linspace(0, 1, 17, dtype=torch.float64)
    return torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 17, 289)


@pytest.mark.parametrize(("rgb", "lab"), SCIKIT_IMAGE)
def test_lab_agrees_with_scikit_image(
    rgb: tuple[int, int, int], lab: tuple[float, float, float]
) -> None:
    result = rgb_to_lab(pixel(rgb)).flatten()
    torch.testing.assert_close(result, torch.tensor(lab, dtype=torch.float64), atol=0.012, rtol=0)


def test_lab_of_white_and_black_is_exact() -> None:
    white, black = rgb_to_lab(pixel(WHITE)).flatten(), rgb_to_lab(pixel(BLACK)).flatten()
    assert white.tolist() == pytest.approx([100, 0, 0], abs=1e-9)
    assert black.tolist() == pytest.approx([0, 0, 0], abs=1e-9)


def test_gray_axis_has_no_chroma() -> None:
    gray = torch.linspace(0, 1, 256).expand(1, 3, 1, 256)
    lab = rgb_to_lab(gray)
    assert float(lab[:, 1:].abs().max()) < 1e-4
    torch.testing.assert_close(lab[:, :1], gray_to_lightness(gray[:, :1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(lightness_to_gray(lab[:, :1]), gray[:, :1], atol=1e-6, rtol=0)


def test_srgb_curve_literals() -> None:
    # the parts meet at 0.0404482362771 (IEC 61966-2-1 rounds it to 0.04045); half intensity lies at
    # 0.7353569831
    encoded = torch.tensor([0.0, 0.0404482362771, 0.5, 0.7353569831, 1.0], dtype=torch.float64)
    linear = torch.tensor([0.0, 0.0031306684425, 0.2140411405, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(srgb_to_linear(encoded), linear, atol=1e-9, rtol=0)
    torch.testing.assert_close(linear_to_srgb(linear), encoded, atol=1e-6, rtol=0)


def test_mid_gray_lightness_literal() -> None:
    # CIE 15: 18.4187 % of white is L* 50 exactly: ((50 + 16) / 116)^3
    luminance = lightness_to_luminance(torch.tensor([0.0, 8.0, 50.0, 100.0], dtype=torch.float64))
    expected = [0.0, 216 / 24389, 0.18418651851, 1.0]
    assert luminance.tolist() == pytest.approx(expected, abs=1e-9)


def test_lab_round_trip_on_the_grid(grid: Tensor) -> None:
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(grid)), grid, atol=1e-9, rtol=0)
    single = grid.float()
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(single)), single, atol=2e-5, rtol=0)


@pytest.mark.parametrize("matrix", sorted(LUMA_COEFFICIENTS))
def test_yuv_round_trip_on_the_grid(grid: Tensor, matrix: str) -> None:
    yuv = rgb_to_yuv(grid, matrix)
    torch.testing.assert_close(yuv_to_rgb(yuv, matrix), grid, atol=1e-12, rtol=0)
    assert float(yuv[:, 0].min()) >= 0
    assert float(yuv[:, 0].max()) <= 1 + 1e-12
    assert float(yuv[:, 1:].abs().max()) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize(("matrix", "rgb", "expected"), YUV_CODES)
def test_yuv_codes(matrix: str, rgb: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    assert codes(rgb, matrix, 8, full=False) == expected


def test_yuv_codes_at_10_bit_and_full_range() -> None:
    assert codes(RED, "bt709", 10, full=False) == (250, 409, 960)
    assert codes(WHITE, "bt709", 10, full=False) == (940, 512, 512)
    assert codes(BLACK, "bt2020nc", 10, full=False) == (64, 512, 512)
    # JPEG (full-range BT.601): red is 76, 85, 255
    assert codes(RED, "smpte170m", 8, full=True) == (76, 85, 255)
    assert codes(WHITE, "smpte170m", 10, full=True) == (1023, 512, 512)


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize("full", [False, True])
def test_luma_codes_come_back(depth: int, full: bool) -> None:
    black, white = luma_levels(depth, full)
    step = max(1, (white - black) // 500)
    luma = torch.arange(black, white + 1, step)
    # uint16 has few operations in torch, so codes above 8 bits are int32
    luma = luma.to(torch.uint8 if depth == 8 else torch.int32)
    gray = luma_to_gray(luma, depth, full)
    assert gray.dtype == torch.float32
    assert float(gray[0]) == 0
    assert torch.equal(quantize_luma(gray, depth, full), luma)


def test_luma_outside_the_range_is_clipped() -> None:
    gray = luma_to_gray(torch.tensor([0, 16, 235, 255], dtype=torch.uint8), 8, full_range=False)
    assert gray.tolist() == [0, 0, 1, 1]
    assert quantize_luma(torch.tensor([-0.1, 1.1]), 8, full_range=False).tolist() == [16, 235]


def test_scatter_inverts_gather() -> None:
    planes = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    index = true_indices(planes[:, 0] % 3 == 1)
    pixels = gather_pixels(planes, index)
    assert pixels.shape == (1, 3, 1, len(index))
    assert torch.equal(pixels[0, 0, 0], planes[:, 0].flatten()[index])
    assert torch.equal(scatter_pixels(planes, index, pixels), planes)
    negated = scatter_pixels(planes, index, -pixels)
    assert torch.equal(negated, torch.where(planes[:, :1] % 3 == 1, -planes, planes))


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
def test_luma_for_luminance_finds_the_luma(grid: Tensor, matrix: str) -> None:
    yuv = rgb_to_yuv(grid, matrix)
    luminance = lightness_to_luminance(rgb_to_lab(grid)[:, :1])
    guess = yuv[:, :1] + 0.05
    found = luma_for_luminance(luminance, rgb_offsets(yuv[:, 1:], matrix), guess, steps=8)
    torch.testing.assert_close(found, yuv[:, :1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_lab_to_yuv_is_both_steps_in_one(matrix: str) -> None:
    generator = torch.Generator().manual_seed(4)
    lightness = 100 * torch.rand(2, 1, 40, 50, generator=generator)
    ab = 40 * torch.randn(2, 2, 40, 50, generator=generator)
    lab = torch.cat([lightness, ab], dim=1)
    wanted = rgb_to_yuv(lab_to_rgb(lab), matrix)
    assert (lab_to_yuv(lightness, ab, matrix) - wanted).abs().max() < 1.2e-4


def test_black_is_black() -> None:
    black = torch.zeros(1, 3, 1, 1)
    assert (lab_to_rgb(black) >= 0).all()
    assert (lightness_to_gray(black[:, :1]) >= 0).all()


def test_lab_to_rgb8_rounds_lab_to_rgb() -> None:
    generator = torch.Generator().manual_seed(5)
    lightness = 100 * torch.rand(1, 1, 200, 300, generator=generator)
    ab = 30 * torch.randn(1, 2, 200, 300, generator=generator)
    exact = lab_to_rgb(torch.cat([lightness, ab], dim=1)) * 255
    levels = lab_to_rgb8(lightness, ab)
    assert levels.dtype == torch.uint8
    assert (levels - exact).abs().max() < 0.53
    assert (levels == exact.round()).float().mean() > 0.995
