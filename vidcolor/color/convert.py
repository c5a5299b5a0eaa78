"""Colour conversions as pure tensor functions: sRGB, CIE Lab and Y'CbCr.

Conventions, the same in every function:

* colour images are `(*, 3, H, W)`, single planes `(*, 1, H, W)`, floating point, any device;
* R'G'B' (gamma-encoded sRGB) and linear RGB are in [0, 1];
* L* is in [0, 100], a* and b* in about [-128, 127], illuminant D65, 2 degree observer;
* Y' is in [0, 1], Cb and Cr in [-0.5, 0.5], before quantisation to a bit depth and range.

Every curve here is a power with a straight line below some point, where the two meet. It is written
without a branch, as the power of what is above the point plus the line of what is below:
`torch.where` costs a CPU more than the power.

A grey pixel (R' = G' = B') has a* = b* = 0 exactly up to rounding, because the white point is
the RGB matrix times (1, 1, 1) and not a rounded literal.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .codes import LUMA_COEFFICIENTS, quantize_luma
from .lookup import look_up

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

# Where the two parts of the sRGB curve meet, in linear light and encoded. IEC 61966-2-1 gives them
# rounded, as 0.0031308 and 0.04045.
_JOINT = 0.003130668442500634
_ENCODED_JOINT = 12.92 * _JOINT

# CIE 15:2004, 8.2.1: the linear part of the Lab function begins at (6/29)^3.
_DELTA = 6 / 29


def _apply(matrix: Tensor, image: Tensor) -> Tensor:
    """Multiply each pixel of `(*, 3, H, W)` by a 3x3 matrix, without a transposed copy."""
    r, g, b = image.unbind(-3)
    rows = matrix.tolist()
    return torch.stack([r * m[0] + g * m[1] + b * m[2] for m in rows], dim=-3)


def srgb_to_linear(rgb: Tensor) -> Tensor:
    """R'G'B' to linear RGB, any shape. Source: IEC 61966-2-1:1999, eq. 1.5 and 1.6."""
    curve = rgb.clamp_min(_ENCODED_JOINT)
    return ((curve + 0.055) / 1.055) ** 2.4 + (rgb - curve) / 12.92


def linear_to_srgb(rgb: Tensor) -> Tensor:
    """Linear RGB to R'G'B', any shape. Source: IEC 61966-2-1:1999, eq. 1.7 and 1.8."""
    curve = rgb.clamp_min(_JOINT)
    return (1.055 * curve ** (1 / 2.4) - 0.055) + (rgb - curve) * 12.92


def _lab_f(t: Tensor) -> Tensor:
    curve = t.clamp_min(_DELTA**3)
    return curve ** (1 / 3) + (t - curve) / (3 * _DELTA**2)


def _lab_f_inverse(t: Tensor) -> Tensor:
    curve = t.clamp_min(_DELTA)
    return curve**3 + 3 * _DELTA**2 * (t - curve)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """R'G'B' in [0, 1] to Lab, `(*, 3, H, W)` to `(*, 3, H, W)`. Source: CIE 15:2004, 8.2.1."""
    fx, fy, fz = _lab_f(_apply(_RGB_TO_WXYZ, srgb_to_linear(rgb))).unbind(-3)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=-3)


def lab_to_linear(lab: Tensor) -> Tensor:
    """Lab to linear RGB, `(*, 3, H, W)`; colours outside sRGB fall outside [0, 1]."""
    lightness, a, b = lab.unbind(-3)
    fy = (lightness + 16) / 116
    return _apply(
        _WXYZ_TO_RGB, _lab_f_inverse(torch.stack([fy + a / 500, fy, fy - b / 200], dim=-3))
    )


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Lab to R'G'B', `(*, 3, H, W)`, clipped to [0, 1].

    Clipping changes lightness: call `limit_chroma` first where lightness must be kept.
    """
    return linear_to_srgb(lab_to_linear(lab).clamp(0, 1)).clamp(0, 1)


def grey_to_lightness(grey: Tensor) -> Tensor:
    """The L* in [0, 100] of grey pixels R' = G' = B' = `grey` in [0, 1], any shape."""
    return 116 * _lab_f(srgb_to_linear(grey)) - 16


def lightness_to_grey(lightness: Tensor) -> Tensor:
    """The grey level in [0, 1] whose L* is `lightness`, any shape; inverts `grey_to_lightness`."""
    return linear_to_srgb(lightness_to_luminance(lightness)).clamp(0, 1)


def rgb_to_yuv(rgb: Tensor, matrix: str) -> Tensor:
    """R'G'B' in [0, 1] to Y'CbCr, `(*, 3, H, W)`. `matrix` is a key of `LUMA_COEFFICIENTS`.

    Source: ITU-T H.273, equations 39 to 41.
    """
    kr, kb = LUMA_COEFFICIENTS[matrix]
    r, g, b = rgb.unbind(-3)
    y = kr * r + (1 - kr - kb) * g + kb * b
    return torch.stack([y, (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))], dim=-3)


_GAMMA_STEPS = (1 << 16) - 1


@cache
def _gamma_table(device: str) -> Tensor:
    """`linear_to_srgb` of 0 to 1 in `_GAMMA_STEPS` steps, float32."""
    return linear_to_srgb(torch.linspace(0, 1, _GAMMA_STEPS + 1)).to(device)


def _gamma_steps(lightness: Tensor, ab: Tensor) -> Tensor:
    """The entry of `_gamma_table` for each linear R, G and B of Lab, `(B, 3, H, W)` int32."""
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
    """`rgb_to_yuv(lab_to_rgb(...), matrix)` in less than half the time, for use without gradients.

    The sRGB curve comes from a table, which puts Y', Cb and Cr off by at most 1e-4.

    Args:
        lightness: `(B, 1, H, W)` L*, float32.
        ab: `(B, 2, H, W)` float32.
        matrix: a key of `LUMA_COEFFICIENTS`.

    Returns:
        `(B, 3, H, W)`.
    """
    step = _gamma_steps(lightness, ab)
    return rgb_to_yuv(look_up(_gamma_table(str(step.device)), step), matrix)


@cache
def _level_table(device: str) -> Tensor:
    """`_gamma_table` in 256 levels, uint8."""
    return quantize_luma(_gamma_table("cpu"), 8, full_range=True).to(device)


def lab_to_levels(lightness: Tensor, ab: Tensor) -> Tensor:
    """`lab_to_rgb` in 256 levels, uint8 `(B, 3, H, W)`, by table like `lab_to_yuv`: in dark
    colours one value in fifty is rounded to the other side."""
    step = _gamma_steps(lightness, ab)
    return look_up(_level_table(str(step.device)), step)


def yuv_to_rgb(yuv: Tensor, matrix: str) -> Tensor:
    """Y'CbCr to R'G'B', `(*, 3, H, W)`, not clipped; inverts `rgb_to_yuv`."""
    kr, kb = LUMA_COEFFICIENTS[matrix]
    y, cb, cr = yuv.unbind(-3)
    r = y + 2 * (1 - kr) * cr
    b = y + 2 * (1 - kb) * cb
    return torch.stack([r, (y - kr * r - kb * b) / (1 - kr - kb), b], dim=-3)


def luminance_weights() -> list[float]:
    """The shares of linear R, G and B in the relative luminance Y."""
    weights: list[float] = _RGB_TO_XYZ[1].tolist()
    return weights


def luma_for_luminance(luminance: Tensor, offsets: Tensor, luma: Tensor, steps: int = 1) -> Tensor:
    """The Y' that gives a pixel the wanted luminance when its Cb, Cr are fixed.

    Newton's method on the relative luminance Y of IEC 61966-2-1, a convex increasing function of
    Y' once Cb and Cr are given.

    Args:
        luminance: `(*, 1, H, W)` wanted relative luminance Y in [0, 1] (L* by CIE 15).
        offsets: `(*, 3, H, W)` of its Cb, Cr, from `rgb_offsets`.
        luma: `(*, 1, H, W)` first guess of Y'.
        steps: Newton steps.

    Returns:
        `(*, 1, H, W)` Y' in [0, 1].
    """
    weights = offsets.new_tensor(luminance_weights())[:, None, None]
    for _ in range(steps):
        x = luma + offsets
        # srgb_to_linear; the slope of its line is taken as the power's at the joint, which is
        # within 2 % of it
        above = x.clamp_min(_ENCODED_JOINT)
        base = (above + 0.055).mul_(1 / 1.055)
        root = base**1.4
        slope = (root * weights).sum(dim=-3, keepdim=True).mul_(2.4 / 1.055)
        linear = root.mul_(base).add_(x.sub_(above), alpha=1 / 12.92)
        value = linear.mul_(weights).sum(dim=-3, keepdim=True).sub_(luminance)
        luma = (luma - value.div_(slope)).clamp_(0, 1)
    return luma


def rgb_offsets(chroma: Tensor, matrix: str) -> Tensor:
    """What Cb, Cr `(*, 2, H, W)` add to Y' in each of R', G', B': `(*, 3, H, W)`."""
    return yuv_to_rgb(torch.cat([torch.zeros_like(chroma[..., :1, :, :]), chroma], dim=-3), matrix)


def lightness_to_luminance(lightness: Tensor) -> Tensor:
    """L* in [0, 100] to relative luminance Y in [0, 1], any shape. Source: CIE 15:2004, 8.2.1."""
    return _lab_f_inverse((lightness + 16) / 116)


MIN_CHROMA = 2.0  # mean Lab chroma below which a picture says nothing about colour
