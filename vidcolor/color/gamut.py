"""The sRGB gamut: the chroma that a lightness, or a luminance, leaves room for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from .convert import lab_to_linear, luminance_weights, srgb_to_linear
from .lookup import gather_pixels, scatter_pixels, take_1d, true_indices

_LIGHTNESS_CELLS, _HUE_CELLS = 256, 360  # of the gamut table

LUMINANCE_TOLERANCE = 1e-5  # for `luminance_range`; one code at 8 bits is at least 3e-4
_BISECTIONS = 7  # of a chroma factor: finer than a code at 8 bits


@cache
def gamut_table() -> Tensor:
    """The largest in-gamut Lab chroma by lightness and hue, `(1, 1, 257, 361)` float32.

    Row i is L* = 100 i / 256, column j is the hue angle 2 pi j / 360 - pi. Each entry is found by
    bisection in float64 and then lowered to the minimum of its neighbors in lightness and hue, so
    that bilinear interpolation between entries stays inside the gamut.
    """
    lightness = torch.linspace(0, 100, _LIGHTNESS_CELLS + 1, dtype=torch.float64)[:, None]
    hue = torch.linspace(-torch.pi, torch.pi, _HUE_CELLS + 1, dtype=torch.float64)[None, :]
    low = torch.zeros(_LIGHTNESS_CELLS + 1, _HUE_CELLS + 1, dtype=torch.float64)
    high = torch.full_like(low, 200.0)
    for _ in range(30):
        chroma = (low + high) / 2
        lab = torch.stack([lightness.expand_as(chroma), chroma * hue.cos(), chroma * hue.sin()])
        rgb = lab_to_linear(lab)
        inside = ((rgb >= -1e-9) & (rgb <= 1 + 1e-9)).all(dim=0)
        low, high = torch.where(inside, chroma, low), torch.where(inside, high, chroma)
    padded = torch.nn.functional.pad(low[None, None], (1, 1, 1, 1), mode="replicate")
    return -torch.nn.functional.max_pool2d(-padded, 3, stride=1).to(torch.float32)


@cache
def _gamut_table_on(device: str) -> Tensor:
    return gamut_table().to(device)


def limit_chroma(lightness: Tensor, ab: Tensor) -> Tensor:
    """Scale a*, b* down to the sRGB gamut at the same lightness and hue.

    Args:
        lightness: `(B, 1, H, W)` L*.
        ab: `(B, 2, H, W)`.

    Returns:
        `(B, 2, H, W)` with the same hue angles; L* of the resulting sRGB color is `lightness`.
    """
    if ab.device.type != "cpu":
        return ab * _gamut_factor(lightness, ab)
    # Most chroma is far from any limit, and computing a hue costs as much as ten multiplications.
    cell = (lightness[:, 0] * (_LIGHTNESS_CELLS / 100)).to(torch.int32)
    cell.clamp_(0, _LIGHTNESS_CELLS - 1)
    squared = ab[:, 0].square().addcmul(ab[:, 1], ab[:, 1])
    vivid = true_indices(squared > take_1d(_min_chroma_limits(), cell).square_())
    if 2 * len(vivid) > cell.numel():
        return ab * _gamut_factor(lightness, ab)
    pixels = gather_pixels(ab, vivid)
    factor = _gamut_factor(gather_pixels(lightness, vivid), pixels)
    return scatter_pixels(ab, vivid, pixels * factor)


@cache
def _min_chroma_limits() -> Tensor:
    """The minimum of `gamut_table` over all hues in each cell of lightness, `(256,)`."""
    rows = gamut_table()[0, 0].amin(dim=1)
    return torch.minimum(rows[1:], rows[:-1])


def _gamut_factor(lightness: Tensor, ab: Tensor) -> Tensor:
    """The factor in [0, 1] that brings a*, b* into the gamut, `(B, 1, H, W)`."""
    table = _gamut_table_on(str(ab.device)).to(ab.dtype)
    a, b = ab[:, 0], ab[:, 1]
    grid = torch.stack([torch.atan2(b, a) / torch.pi, lightness[:, 0] / 50 - 1], dim=-1)
    limit = torch.nn.functional.grid_sample(
        table.expand(len(ab), -1, -1, -1), grid, padding_mode="border", align_corners=True
    )
    chroma = torch.hypot(a, b)[:, None]
    return (limit / chroma.clamp_min(1e-6)).clamp_max(1.0)


def chroma_headroom(dark: Tensor, bright: Tensor, offsets: Tensor) -> Tensor:
    """The factor in [0, 1] on `offsets` that keeps Y' + offset inside [0, 1].

    Args:
        dark, bright: `(*, 1, H, W)` minimum and maximum Y' in [0, 1] of the pixels that share one
            chroma; the same plane where each pixel has its own chroma.
        offsets: `(*, 3, H, W)` from `rgb_offsets`.

    Returns:
        `(*, 1, H, W)`.
    """
    high = (1 - bright) / offsets.amax(dim=-3, keepdim=True).clamp_min(1e-6)
    low = dark / (-offsets.amin(dim=-3, keepdim=True)).clamp_min(1e-6)
    return torch.minimum(high, low).clamp_max(1.0)


def luminance_range(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The range of relative luminance in which R'G'B' can represent a chroma.

    Args:
        offsets: `(*, 3, H, W)` from `rgb_offsets` of its Cb, Cr.

    Returns:
        Minimum and maximum, `(*, 1, H, W)` each: Y where a component is 0, and where one is 1. The
        minimum is 2 and the maximum -1 where no luminance fits.
    """
    weights = offsets.new_tensor(luminance_weights())[:, None, None]
    low = (-offsets.amin(dim=-3, keepdim=True)).clamp_min(0)
    high = (1 - offsets.amax(dim=-3, keepdim=True)).clamp_max(1)
    minimum, maximum = (
        (srgb_to_linear((luma + offsets).clamp(0, 1)) * weights).sum(dim=-3, keepdim=True)
        for luma in (low, high)
    )
    empty = low > high
    return minimum.masked_fill(empty, 2.0), maximum.masked_fill(empty, -1.0)


def scale_to_fit(chroma: Tensor, fits: Callable[[Tensor], Tensor]) -> Tensor:
    """Scale each pixel's chroma by the largest factor, found by bisection, for which it fits.

    Args:
        chroma: `(B, 2, h, w)` Cb, Cr. No pixel fits unscaled; chroma 0 fits.
        fits: takes chroma of this shape, returns `(B, 1, h, w)` bool.

    Returns:
        `(B, 2, h, w)`.
    """
    factor = torch.zeros_like(chroma[:, :1])
    for step in range(1, _BISECTIONS + 1):
        larger = factor + 0.5**step
        factor = torch.where(fits(chroma * larger), larger, factor)
    return chroma * factor
