"""Predicted ab brought to the size of the film's L*, its edges drawn toward those of L*.

Bilinear, and where ab and L* change together, ab also follows what L* does between ab's samples: a
line is fitted to both in small windows, as a guided filter does (He, Sun and Tang 2013, "Guided
image filtering", eq. 5), but each line goes through ab's own value, so that nothing of ab is
smoothed away.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..system.opencv import unavailable

# Chosen on true chroma made 4 to 32 times smaller.
_SHARE = 0.5  # of the line's slope; more of it draws patterns of L* into the colours
_FLAT = 50.0  # variance of L* below which a window counts as flat
_CPU_BAND, _GPU_BAND = 1 << 18, 1 << 24  # pixels of a band, a thread


def upsample_chroma(ab: Tensor, lightness: Tensor) -> Tensor:
    """Upsample ab to the size of `lightness`.

    Args:
        ab: `(B, 2, h, w)`.
        lightness: `(B, 1, H, W)` L* in [0, 100].

    Returns:
        `(B, 2, H, W)`, within the range ab has in its neighbourhood.
    """
    return torch.cat([band for _, _, band in bands(ab, lightness)], dim=-2)


class RowsOfLightness(Protocol):
    """L* in [0, 100] of a picture that is too large to hold as floats: a few rows at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(B, 1, H, W)`."""

    def rows(self, rows: slice) -> Tensor:
        """`(B, 1, h, W)` float32."""


def _rows_of(lightness: Tensor | RowsOfLightness, rows: slice) -> Tensor:
    if isinstance(lightness, Tensor):
        return lightness[..., rows, :]
    return lightness.rows(rows)


def _guide(lightness: Tensor | RowsOfLightness, size: tuple[int, int]) -> Tensor:
    """L* at ab's size: means over areas."""
    if isinstance(lightness, Tensor):
        return F.interpolate(lightness, size=size, mode="area")
    height, small = lightness.shape[-2], size[0]
    lines = []
    for line in range(small):  # the rows that the area of one line touches, as PyTorch counts them
        rows = slice(line * height // small, -(-(line + 1) * height // small))
        lines.append(F.adaptive_avg_pool2d(lightness.rows(rows), (1, size[1])))
    return torch.cat(lines, dim=-2)


def bands(
    ab: Tensor, lightness: Tensor | RowsOfLightness
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """`upsample_chroma` in bands of rows, for work on a band at a time: a scan of 100 million
    pixels would take many gigabytes as a whole.

    Yields:
        The band's rows, their L* and their ab.
    """
    height, width = lightness.shape[-2:]
    full = ab.shape[-2:] == lightness.shape[-2:]
    planes = ab if full else _fit_lines(ab, _guide(lightness, ab.shape[-2:]))
    pixels = _CPU_BAND * torch.get_num_threads() if ab.device.type == "cpu" else _GPU_BAND
    step = max(1, pixels // max(1, width * len(ab)))
    for first in range(0, height, step):
        last = min(first + step, height)
        light = _rows_of(lightness, slice(first, last))
        rows = _rows(planes, first, last, (height, width))
        yield slice(first, last), light, rows if full else _on_lines(rows, light)


def _box(x: Tensor) -> Tensor:
    """Mean over the pixel and its eight neighbours, borders counted without padding."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _grown(x: Tensor, larger: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The most, as `larger` says it, of each pixel and its eight neighbours; `max_pool2d` takes
    several times as long."""
    for dim in (-2, -1):
        last = x.shape[dim] - 1
        before, after = (x.narrow(dim, start, last) for start in (0, 1))
        grown = x.clone()
        grown.narrow(dim, 1, last).copy_(larger(after, before))
        at = grown.narrow(dim, 0, last)
        at.copy_(larger(at, after))
        x = grown
    return x


def _fit_lines(ab: Tensor, guide: Tensor) -> Tensor:
    """The lines and their limits at ab's size: slope, offset, least and most of a* and b*,
    `(B, 8, h, w)`."""
    mean_guide, mean_ab = _box(guide), _box(ab)
    covariance = _box(guide * ab) - mean_guide * mean_ab
    variance = _box(guide * guide) - mean_guide**2
    slope = _SHARE * covariance / (variance + _FLAT)
    most, least = _grown(ab, torch.maximum), _grown(ab, torch.minimum)
    return torch.cat([slope, ab - slope * guide, least, most], dim=1)


def _on_lines(planes: Tensor, lightness: Tensor) -> Tensor:
    """The ab that the lines, brought to the size of `lightness`, give there."""
    slope, offset, least, most = planes.split(2, dim=1)
    # a line goes on beyond the window's own L*: a scratch or a speck must not gain colour by it
    return (slope * lightness + offset).clamp(least, most)


def _rows(planes: Tensor, first: int, last: int, size: tuple[int, int]) -> Tensor:
    """Rows `first` to before `last` of `enlarge(planes, size)`."""
    height, width = size
    if planes.shape[-2:] == size:
        return planes[..., first:last, :]
    small = planes.shape[-2]
    at = torch.arange(first, last, device=planes.device, dtype=torch.float32) + 0.5
    at = (at * (small / height) - 0.5).clamp_min(0)
    upper = at.floor().to(torch.int64)
    lower = (upper + 1).clamp_max(small - 1)
    share = (at - upper)[:, None]
    rows = torch.lerp(planes[..., upper, :], planes[..., lower, :], share)
    return enlarge(rows, (last - first, width))


@cache
def _opencv() -> Any:
    return None if unavailable() else importlib.import_module("cv2")


def enlarge(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation, borders repeated.

    Args:
        planes: `(B, C, h, w)`.
        size: height and width of the result; a side that shrinks is not smoothed first.

    Returns:
        `(B, C, *size)`.
    """
    count, channels, height, width = planes.shape
    if (height, width) == size:
        return planes
    plain = planes.device.type == "cpu" and planes.dtype == torch.float32
    cv2 = _opencv() if plain and not planes.requires_grad else None
    if cv2 is None or not count:
        return F.interpolate(planes, size=size, mode="bilinear")
    out = torch.empty(count, channels, *size)
    flat = planes.contiguous().flatten(0, 1).numpy()
    for source, target in zip(flat, out.flatten(0, 1).numpy(), strict=True):
        cv2.resize(source, (size[1], size[0]), target, interpolation=cv2.INTER_LINEAR)
    return out


def block_means(codes: Tensor, block: tuple[int, int]) -> Tensor:
    """The mean code of each block, rounded.

    Args:
        codes: `(B, 1, H, W)` integers, H and W multiples of the block's sides.
        block: its width and height, 1 or 2 each.

    Returns:
        `(B, 1, H / height, W / width)`; of `codes`' type.
    """
    across, down = block
    if block == (1, 1):
        return codes
    count, _, height, width = codes.shape
    size = (height // down, width // across)
    cv2 = _opencv() if codes.device.type == "cpu" and codes.dtype == torch.uint8 else None
    if cv2 is None:
        means = F.avg_pool2d(codes.to(torch.float32), (down, across))
        # as OpenCV does: halves go up where a block has four codes, else to the even one
        means = means.add_(0.5).floor_() if down == across else means.round_()
        return means.to(codes.dtype)
    out = torch.empty(count, 1, *size, dtype=torch.uint8)
    for source, target in zip(codes[:, 0].numpy(), out[:, 0].numpy(), strict=True):
        cv2.resize(source, (size[1], size[0]), target, interpolation=cv2.INTER_AREA)
    return out
