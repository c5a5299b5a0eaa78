"""The sRGB gamut: how much chroma a lightness, or a luminance, leaves room for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from .convert import lab_to_linear, luminance_weights, srgb_to_linear
from .lookup import look_up, pick, put, where

_GAMUT_L, _GAMUT_H = 256, 360  # cells of the table in lightness and in hue


@cache
def gamut_table() -> Tensor:
    """The largest in-gamut Lab chroma, `(1, 1, 257, 361)` float32, by lightness and hue.

    Row i is L* = 100 i / 256, column j is the hue angle 2 pi j / 360 - pi. Each entry is found by
    bisection in float64 and then lowered to the least of its neighbours in lightness and hue, so
    that bilinear interpolation between entries stays inside the gamut.
    """
    lightness = torch.linspace(0, 100, _GAMUT_L + 1, dtype=torch.float64)[:, None]
    hue = torch.linspace(-torch.pi, torch.pi, _GAMUT_H + 1, dtype=torch.float64)[None, :]
    low = torch.zeros(_GAMUT_L + 1, _GAMUT_H + 1, dtype=torch.float64)
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
        `(B, 2, H, W)` with the same hue angles; L* of the resulting sRGB colour is `lightness`.
    """
    if ab.device.type != "cpu":
        return ab * _room(lightness, ab)
    # most chroma is far from any limit, and an angle costs ten multiplications
    step = (lightness[:, 0] * (_GAMUT_L / 100)).to(torch.int32).clamp_(0, _GAMUT_L - 1)
    squared = ab[:, 0].square().addcmul(ab[:, 1], ab[:, 1])
    vivid = where(squared > look_up(_least_limits(), step).square_())
    if 2 * len(vivid) > step.numel():
        return ab * _room(lightness, ab)
    some = pick(ab, vivid)
    return put(ab, vivid, some * _room(pick(lightness, vivid), some))


@cache
def _least_limits() -> Tensor:
    """The least entry of `gamut_table` in each cell of lightness, `(256,)`."""
    rows = gamut_table()[0, 0].amin(dim=1)
    return torch.minimum(rows[1:], rows[:-1])


def _room(lightness: Tensor, ab: Tensor) -> Tensor:
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
        dark, bright: `(*, 1, H, W)` the least and the largest Y', in [0, 1], of the pixels that
            have one chroma; the same plane where each has its own.
        offsets: `(*, 3, H, W)` from `rgb_offsets`.

    Returns:
        `(*, 1, H, W)`.
    """
    high = (1 - bright) / offsets.amax(dim=-3, keepdim=True).clamp_min(1e-6)
    low = dark / (-offsets.amin(dim=-3, keepdim=True)).clamp_min(1e-6)
    return torch.minimum(high, low).clamp_max(1.0)


def luminance_span(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest relative luminance at which R'G'B' has room for a chroma.

    Args:
        offsets: `(*, 3, H, W)` of its Cb, Cr, from `color.rgb_offsets`.

    Returns:
        Two planes `(*, 1, H, W)`: Y where a component is 0, and where one is 1. The first is above
        the second where there is no room at all.
    """
    weights = offsets.new_tensor(luminance_weights())[:, None, None]
    low = (-offsets.amin(dim=-3, keepdim=True)).clamp_min(0)
    high = (1 - offsets.amax(dim=-3, keepdim=True)).clamp_max(1)
    least, most = (
        (srgb_to_linear((luma + offsets).clamp(0, 1)) * weights).sum(dim=-3, keepdim=True)
        for luma in (low, high)
    )
    never = low > high
    return least.masked_fill(never, 2.0), most.masked_fill(never, -1.0)


ROUNDING = 1e-5  # of a luminance beside `luminance_span`; one code of 8 bit is at least 3e-4
_HALVINGS = 7  # of a share of chroma: to less than a code of 8 bit


def scaled_to_fit(chroma: Tensor, fits: Callable[[Tensor], Tensor]) -> Tensor:
    """Each pixel's chroma times the largest share, found by halving, with which it fits.

    Args:
        chroma: `(B, 2, h, w)` Cb, Cr, none of which fits as it is; 0 does.
        fits: `(B, 1, h, w)` bool, of such a tensor.
    """
    share = torch.zeros_like(chroma[:, :1])
    for halving in range(1, _HALVINGS + 1):
        tried = share + 0.5**halving
        share = torch.where(fits(chroma * tried), tried, share)
    return chroma * share
