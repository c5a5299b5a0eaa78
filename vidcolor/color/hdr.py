"""High dynamic range and BT.2020: light of PQ and HLG signals, a view of it for the network, and
the Cb, Cr of predicted colors beside the film's own luma.

A signal is what a luma code stands for, 0 for black to 1 for white.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..frames import ColorTags
from .convert import (
    lab_to_linear,
    lightness_to_luminance,
    linear_to_srgb,
    rgb_to_yuv,
    srgb_to_linear,
)

# Code points of ITU-T H.273.
PQ, HLG, _BT2020 = 16, 18, 9

# SMPTE ST 2084:2014, 5.2.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_PQ_PEAK = 10000.0  # cd/m2
# ITU-R BT.2100-2, table 5.
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2

_WHITE = 203.0  # cd/m2 of diffuse white, ITU-R BT.2408-7, table 1
_KNEE, _HIGHEST = 0.3, 1000.0 / _WHITE  # of the tone curve, in units of diffuse white

# Linear RGB of BT.709 to BT.2020 primaries. Source: ITU-R BT.2087-0, table 1.
_TO_BT2020 = torch.tensor(
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
)


def is_hdr(transfer: int) -> bool:
    """Whether a transfer code point is PQ or HLG."""
    return transfer in (PQ, HLG)


def is_wide(tags: ColorTags) -> bool:
    """Whether codes are not those of an sRGB-like film: PQ, HLG or BT.2020 primaries."""
    return is_hdr(tags.transfer) or tags.primaries == _BT2020


def _to_light(signal: Tensor, transfer: int) -> Tensor:
    """Linear light of a signal, 0 to 1, any shape: of the display for PQ, of the scene for HLG."""
    if transfer == PQ:
        root = signal.clamp(0, 1) ** (1 / _M2)
        return ((root - _C1).clamp_min(0) / (_C2 - _C3 * root)) ** (1 / _M1)
    if transfer == HLG:
        above = (((signal.clamp_min(0.5) - _HLG_C) / _HLG_A).exp() + _HLG_B) / 12
        return torch.where(signal <= 0.5, signal.clamp_min(0) ** 2 / 3, above)
    return srgb_to_linear(signal)


def _to_signal(light: Tensor, transfer: int) -> Tensor:
    """Inverts `_to_light`."""
    if transfer == PQ:
        power = light.clamp(0, 1) ** _M1
        return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    if transfer == HLG:
        above = _HLG_A * (12 * light - _HLG_B).clamp_min(1e-6).log() + _HLG_C
        return torch.where(light <= 1 / 12, (3 * light.clamp_min(0)).sqrt(), above)
    return linear_to_srgb(light)


def tone_mapped(signal: Tensor, transfer: int) -> Tensor:
    """The gray level in [0, 1] that shows a PQ or HLG signal on an sRGB display, any shape.

    Diffuse white of 203 cd/m2 (ITU-R BT.2408) counts as 1. Light up to 0.3 of it stays; what is
    above is compressed by a Moebius curve that takes 1000 cd/m2 to 1. Source: FFmpeg, vf_tonemap,
    `mobius`. A gray HLG signal gets the display light of a 1000 cd/m2 screen, `Y = 1000 E^1.2`
    (ITU-R BT.2100-2, table 5).
    """
    light = _to_light(signal, transfer)
    nits = _PQ_PEAK * light if transfer == PQ else _HLG_PEAK * light**_HLG_GAMMA
    x, j, peak = nits / _WHITE, _KNEE, _HIGHEST
    a = -j * j * (peak - 1) / (j * j - 2 * j + peak)
    b = (j * j - 2 * j * peak + peak) / (peak - 1)
    bent = (b * b + 2 * b * j + j * j) / (b - a) * (x + a) / (x + b)
    return linear_to_srgb(torch.where(x <= j, x, bent).clamp(0, 1)).clamp(0, 1)


def wide_chroma(signal: Tensor, lightness: Tensor, ab: Tensor, tags: ColorTags) -> Tensor:
    """Cb, Cr that give pixels of a PQ, HLG or BT.2020 film a predicted color.

    The pixel gets the color's proportions of red, green and blue, at the light of its own signal.

    Args:
        signal: `(B, 1, H, W)` luma in [0, 1].
        lightness: `(B, 1, H, W)` L* that the color was predicted for, tone-mapped.
        ab: `(B, 2, H, W)` a*b*, in the sRGB gamut at this lightness.
        tags: of the film.

    Returns:
        `(B, 2, H, W)`; 0 for a* = b* = 0.
    """
    rgb = lab_to_linear(torch.cat([lightness, ab], dim=1)).clamp_min(0)
    if tags.primaries == _BT2020:
        rgb = torch.einsum("ij,bjhw->bihw", _TO_BT2020.to(rgb), rgb)
    share = rgb / lightness_to_luminance(lightness).clamp_min(1e-4)
    light = share * _to_light(signal, tags.transfer)
    return rgb_to_yuv(_to_signal(light.clamp(0, 1), tags.transfer), tags.matrix)[:, 1:]
