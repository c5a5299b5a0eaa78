"""Color conversions as pure tensor functions: sRGB, CIE Lab and Y'CbCr.

Conventions of every function:

* color images are `(*, 3, H, W)`, single planes `(*, 1, H, W)`, floating point, any device;
* R'G'B' (gamma-encoded sRGB) and linear RGB are in [0, 1];
* L* is in [0, 100], a* and b* in about [-128, 127], illuminant D65, 2 degree observer;
* Y' is in [0, 1], Cb and Cr in [-0.5, 0.5], before quantization to a bit depth and range.

Every curve here is a power function with a linear segment below a joint. The code has no branch: it
adds the power of the part above the joint and the line of the part below it, because `torch.where`
costs more on a CPU than the power.

A gray pixel (R' = G' = B') has a* = b* = 0 up to rounding, because the white point is the RGB
matrix times (1, 1, 1) and not a rounded literal.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .codes import LUMA_COEFFICIENTS, quantize_luma
from .lookup import take_1d

MIN_CHROMA = 2.0  # mean Lab chroma below which a picture counts as gray

# Linear sRGB to CIE XYZ, D65. Source: W3C CSS Color Module Level 4, sample code (IEC 61966-2-1
# primaries, exact rationals).
_RGB_TO_XYZ = torch.tensor(
    [
        [506752 / 1228815, 87881 / 245763, 12673 / 70218],
        [87098 / 409605, 175762 / 245763, 12673 / 175545],
        [7918 / 409605, 87881 / 737289, 1001167 / 1053270],
    ],
    dtype=torch.float64,
)
_WHITE = _RGB_TO_XYZ.sum(dim=1)
_RGB_TO_WXYZ = _RGB_TO_XYZ / _WHITE[:, None]  # XYZ divided by the white point: (1, 1, 1) is white
_WXYZ_TO_RGB = torch.linalg.inv(_RGB_TO_WXYZ)

# Joint of the two parts of the sRGB curve, in linear light and encoded. IEC 61966-2-1 gives both
# rounded, as 0.0031308 and 0.04045.
_JOINT = 0.003130668442500634
_ENCODED_JOINT = 12.92 * _JOINT

# CIE 15:2004, 8.2.1: the linear part of the Lab function begins at (6/29)^3.
_DELTA = 6 / 29


def _multiply(matrix: Tensor, image: Tensor) -> Tensor:
    """Multiply each pixel of `(*, 3, H, W)` by a 3x3 matrix, without a transposed copy."""
    r, g, b = image.unbind(-3)
    rows = matrix.tolist()
    return torch.stack([r * m[0] + g * m[1] + b * m[2] for m in rows], dim=-3)


def srgb_to_linear(rgb: Tensor) -> Tensor:
    """Convert R'G'B' to linear RGB, any shape. Source: IEC 61966-2-1:1999, eq. 1.5 and 1.6."""
    curve = rgb.clamp_min(_ENCODED_JOINT)
    return ((curve + 0.055) / 1.055) ** 2.4 + (rgb - curve) / 12.92


def linear_to_srgb(rgb: Tensor) -> Tensor:
    """Convert linear RGB to R'G'B', any shape. Source: IEC 61966-2-1:1999, eq. 1.7 and 1.8."""
    curve = rgb.clamp_min(_JOINT)
    return (1.055 * curve ** (1 / 2.4) - 0.055) + (rgb - curve) * 12.92


def _lab_f(t: Tensor) -> Tensor:
    curve = t.clamp_min(_DELTA**3)
    return curve ** (1 / 3) + (t - curve) / (3 * _DELTA**2)


def _lab_f_inverse(t: Tensor) -> Tensor:
    curve = t.clamp_min(_DELTA)
    return curve**3 + 3 * _DELTA**2 * (t - curve)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Convert R'G'B' in [0, 1] to Lab, both `(*, 3, H, W)`. Source: CIE 15:2004, 8.2.1."""
    fx, fy, fz = _lab_f(_multiply(_RGB_TO_WXYZ, srgb_to_linear(rgb))).unbind(-3)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=-3)


def lab_to_linear(lab: Tensor) -> Tensor:
    """Convert Lab to linear RGB, `(*, 3, H, W)`; colors outside sRGB fall outside [0, 1]."""
    lightness, a, b = lab.unbind(-3)
    fy = (lightness + 16) / 116
    return _multiply(
        _WXYZ_TO_RGB, _lab_f_inverse(torch.stack([fy + a / 500, fy, fy - b / 200], dim=-3))
    )


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert Lab to R'G'B', `(*, 3, H, W)`, clipped to [0, 1].

    Clipping changes lightness: call `limit_chroma` first where lightness must be kept.
    """
    return linear_to_srgb(lab_to_linear(lab).clamp(0, 1)).clamp(0, 1)


def gray_to_lightness(gray: Tensor) -> Tensor:
    """L* in [0, 100] of gray pixels R' = G' = B' = `gray` in [0, 1], any shape."""
    return 116 * _lab_f(srgb_to_linear(gray)) - 16


def lightness_to_gray(lightness: Tensor) -> Tensor:
    """Gray level in [0, 1] whose L* is `lightness`, any shape; inverts `gray_to_lightness`."""
    return linear_to_srgb(lightness_to_luminance(lightness)).clamp(0, 1)


def rgb_to_yuv(rgb: Tensor, matrix: str) -> Tensor:
    """Convert R'G'B' in [0, 1] to Y'CbCr, `(*, 3, H, W)`; `matrix`: key of `LUMA_COEFFICIENTS`.

    Source: ITU-T H.273, equations 39 to 41.
    """
    kr, kb = LUMA_COEFFICIENTS[matrix]
    r, g, b = rgb.unbind(-3)
    y = kr * r + (1 - kr - kb) * g + kb * b
    return torch.stack([y, (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))], dim=-3)


_GAMMA_STEPS = (1 << 16) - 1


@cache
def _gamma_table(device: str) -> Tensor:
    """`linear_to_srgb` of 0 to 1 in `_GAMMA_STEPS` steps, `(65536,)` float32."""
    return linear_to_srgb(torch.linspace(0, 1, _GAMMA_STEPS + 1)).to(device)


def _gamma_index(lightness: Tensor, ab: Tensor) -> Tensor:
    """Index into `_gamma_table` for each linear R, G and B of Lab, `(B, 3, H, W)` int32."""
    fy = (lightness + 16) / 116
    f = torch.cat([fy.add(ab[:, :1], alpha=1 / 500), fy, fy.sub(ab[:, 1:], alpha=1 / 200)], dim=1)
    curve = f.clamp_min(_DELTA)  # _lab_f_inverse, in place
    xyz = curve.pow(3).add_(f.sub_(curve), alpha=3 * _DELTA**2)
    linear = torch.empty_like(xyz)
    x, y, z = xyz.unbind(1)
    for row, out in zip((_WXYZ_TO_RGB * _GAMMA_STEPS).tolist(), linear.unbind(1), strict=True):
        torch.mul(x, row[0], out=out).add_(y, alpha=row[1]).add_(z, alpha=row[2])
    return linear.add_(0.5).clamp_(0, _GAMMA_STEPS).to(torch.int32)


def lab_to_yuv(lightness: Tensor, ab: Tensor, matrix: str) -> Tensor:
    """Compute `rgb_to_yuv(lab_to_rgb(...), matrix)` in less than half the time, without gradients.

    The sRGB curve comes from a table, so the error of Y', Cb and Cr is at most 1e-4.

    Args:
        lightness: `(B, 1, H, W)` L*, float32.
        ab: `(B, 2, H, W)` float32.
        matrix: a key of `LUMA_COEFFICIENTS`.

    Returns:
        `(B, 3, H, W)`.
    """
    index = _gamma_index(lightness, ab)
    return rgb_to_yuv(take_1d(_gamma_table(str(index.device)), index), matrix)


@cache
def _gamma_table_8bit(device: str) -> Tensor:
    """`_gamma_table` rounded to 8 bits, `(65536,)` uint8."""
    return quantize_luma(_gamma_table("cpu"), 8, full_range=True).to(device)


def lab_to_rgb8(lightness: Tensor, ab: Tensor) -> Tensor:
    """Convert Lab to R'G'B' at 8 bits, `(B, 3, H, W)` uint8, with a table like `lab_to_yuv`.

    In dark colors one value in fifty is off by one level.
    """
    index = _gamma_index(lightness, ab)
    return take_1d(_gamma_table_8bit(str(index.device)), index)


def yuv_to_rgb(yuv: Tensor, matrix: str) -> Tensor:
    """Convert Y'CbCr to R'G'B', `(*, 3, H, W)`, not clipped; inverts `rgb_to_yuv`."""
    kr, kb = LUMA_COEFFICIENTS[matrix]
    y, cb, cr = yuv.unbind(-3)
    r = y + 2 * (1 - kr) * cr
    b = y + 2 * (1 - kb) * cb
    return torch.stack([r, (y - kr * r - kb * b) / (1 - kr - kb), b], dim=-3)


def luminance_weights() -> list[float]:
    """Weights of linear R, G and B in the relative luminance Y."""
    weights: list[float] = _RGB_TO_XYZ[1].tolist()
    return weights


def luma_for_luminance(luminance: Tensor, offsets: Tensor, luma: Tensor, steps: int = 1) -> Tensor:
    """Find the Y' that gives each pixel its luminance, for fixed Cb, Cr.

    Uses Newton's method on the relative luminance Y of IEC 61966-2-1, which is a convex, increasing
    function of Y' for given Cb and Cr.

    Args:
        luminance: `(*, 1, H, W)` target relative luminance Y in [0, 1].
        offsets: `(*, 3, H, W)` from `rgb_offsets` of Cb, Cr.
        luma: `(*, 1, H, W)` initial estimate of Y'.
        steps: number of Newton steps.

    Returns:
        `(*, 1, H, W)` Y' in [0, 1].
    """
    weights = offsets.new_tensor(luminance_weights())[:, None, None]
    for _ in range(steps):
        x = luma + offsets
        # This is srgb_to_linear. For the linear segment, the slope of the power at the joint is
        # used; it is within 2 % of the segment's.
        above = x.clamp_min(_ENCODED_JOINT)
        base = (above + 0.055).mul_(1 / 1.055)
        root = base**1.4
        slope = (root * weights).sum(dim=-3, keepdim=True).mul_(2.4 / 1.055)
        linear = root.mul_(base).add_(x.sub_(above), alpha=1 / 12.92)
        value = linear.mul_(weights).sum(dim=-3, keepdim=True).sub_(luminance)
        luma = (luma - value.div_(slope)).clamp_(0, 1)
    return luma


def rgb_offsets(chroma: Tensor, matrix: str) -> Tensor:
    """R' - Y', G' - Y' and B' - Y' of Cb, Cr: `(*, 2, H, W)` to `(*, 3, H, W)`."""
    return yuv_to_rgb(torch.cat([torch.zeros_like(chroma[..., :1, :, :]), chroma], dim=-3), matrix)


def lightness_to_luminance(lightness: Tensor) -> Tensor:
    """Convert L* in [0, 100] to relative luminance Y in [0, 1], any shape.

    Source: CIE 15:2004, 8.2.1.
    """
    return _lab_f_inverse((lightness + 16) / 116)
