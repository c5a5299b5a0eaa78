"""Upsample the predicted ab to the size of the film's L*, along the edges of L*.

The interpolation is bilinear. Where ab and L* change together, ab also follows L* between its own
samples: a line is fitted to both in small windows, as in a guided filter (He, Sun and Tang 2013,
"Guided image filtering", eq. 5). Unlike there, each line passes through ab's own value, so ab is
not smoothed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..system.opencv import opencv

# Tuned on true chroma, downsampled 4 to 32 times.
_SLOPE_FACTOR = 0.5  # larger factors copy patterns of L* into the colors
_FLAT_VARIANCE = 50.0  # variance of L* below which a window counts as flat
_HALVED_ROWS = 128
_CPU_BAND, _GPU_BAND = 1 << 18, 1 << 24  # pixels of a band; on the CPU for each thread


def upsample_chroma(ab: Tensor, lightness: Tensor) -> Tensor:
    """Upsample ab to the size of `lightness`.

    Args:
        ab: `(B, 2, h, w)`.
        lightness: `(B, 1, H, W)` L* in [0, 100].

    Returns:
        `(B, 2, H, W)`, within the range of the 3x3 neighborhood in ab.
    """
    return torch.cat([band for _, _, band in upsample_bands(ab, lightness)], dim=-2)


class RowsOfLightness(Protocol):
    """L* in [0, 100] of a picture that is too large to hold as floats: a few rows at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(B, 1, H, W)`."""

    def rows(self, rows: slice) -> Tensor:
        """`(B, 1, h, W)` float32."""


def _rows_of(lightness: Tensor | RowsOfLightness, rows: slice) -> Tensor:
    return lightness[..., rows, :] if isinstance(lightness, Tensor) else lightness.rows(rows)


def _area_means(lightness: Tensor | RowsOfLightness, size: tuple[int, int]) -> Tensor:
    """L* downsampled to `size` by means over areas."""
    if isinstance(lightness, Tensor):
        return F.interpolate(lightness, size=size, mode="area")
    height = lightness.shape[-2]
    # made first: small pieces between large ones would keep the heap from being used again
    means = torch.empty(*lightness.shape[:2], *size)
    for line in range(size[0]):  # the rows that the area of one line touches, as PyTorch has them
        rows = slice(line * height // size[0], -(-(line + 1) * height // size[0]))
        part = F.adaptive_avg_pool2d(lightness.rows(rows), (1, size[1]))
        means[..., line : line + 1, :] = part
    return means


def upsample_bands(
    ab: Tensor, lightness: Tensor | RowsOfLightness
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Upsample ab as `upsample_chroma` does, one band of rows at a time.

    A scan of 100 million pixels would take many gigabytes at once.

    Yields:
        The band's rows, its L* and its ab.
    """
    height, width = lightness.shape[-2:]
    same_size = ab.shape[-2:] == lightness.shape[-2:]
    size = (ab.shape[-2], ab.shape[-1])
    planes = ab if same_size else _fit_lines(ab, _area_means(lightness, size))
    pixels = _CPU_BAND * torch.get_num_threads() if ab.device.type == "cpu" else _GPU_BAND
    if not isinstance(lightness, Tensor):  # memory counts more than time
        pixels //= 2
    step = max(1, pixels // max(1, width * len(ab)))
    for first in range(0, height, step):
        last = min(first + step, height)
        light = _rows_of(lightness, slice(first, last))
        rows = _resized_rows(planes, first, last, (height, width))
        yield slice(first, last), light, rows if same_size else _evaluate_lines(rows, light)


def _mean_3x3(x: Tensor) -> Tensor:
    """Mean over the pixel and its eight neighbors; padding at borders does not count."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _extreme_3x3(x: Tensor, extreme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Minimum or maximum over the pixel and its eight neighbors; `max_pool2d` is several times
    slower.

    Args:
        x: `(*, h, w)`.
        extreme: `torch.minimum` or `torch.maximum`.
    """
    for dim in (-2, -1):
        last = x.shape[dim] - 1
        before, after = (x.narrow(dim, start, last) for start in (0, 1))
        result = x.clone()
        result.narrow(dim, 1, last).copy_(extreme(after, before))
        head = result.narrow(dim, 0, last)
        head.copy_(extreme(head, after))
        x = result
    return x


def _fit_lines(ab: Tensor, guide: Tensor) -> Tensor:
    """Fit a line a*(L*) and b*(L*) around each sample of ab; `guide` is L* at its size.

    Returns:
        `(B, 8, h, w)`: slope, offset, minimum and maximum, of a* and b* each.
    """
    mean_guide, mean_ab = _mean_3x3(guide), _mean_3x3(ab)
    covariance = _mean_3x3(guide * ab) - mean_guide * mean_ab
    variance = _mean_3x3(guide * guide) - mean_guide**2
    slope = _SLOPE_FACTOR * covariance / (variance + _FLAT_VARIANCE)
    low, high = _extreme_3x3(ab, torch.minimum), _extreme_3x3(ab, torch.maximum)
    return torch.cat([slope, ab - slope * guide, low, high], dim=1)


def _evaluate_lines(planes: Tensor, lightness: Tensor) -> Tensor:
    """Values at `lightness` of the lines from `_fit_lines`, resized to its size; `(B, 2, h, w)`."""
    slope, offset, low, high = torch.split(planes, 2, dim=1)
    # A scratch or a speck lies outside the window's range of L*; clamp so that it gains no color.
    result: Tensor = (slope * lightness + offset).clamp(low, high)
    return result


def _resized_rows(planes: Tensor, first: int, last: int, size: tuple[int, int]) -> Tensor:
    """Rows `first` to `last` (exclusive) of `resize_bilinear(planes, size)`."""
    height, width = size
    if planes.shape[-2:] == size:
        return planes[..., first:last, :]
    source_height = planes.shape[-2]
    y = torch.arange(first, last, device=planes.device, dtype=torch.float32) + 0.5
    y = (y * (source_height / height) - 0.5).clamp_min(0)
    upper = y.floor().to(torch.int64)
    lower = (upper + 1).clamp_max(source_height - 1)
    fraction = (y - upper)[:, None]
    rows = torch.lerp(planes[..., upper, :], planes[..., lower, :], fraction)
    return resize_bilinear(rows, (last - first, width))


def resize_bilinear(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize by bilinear interpolation, borders repeated, without antialiasing.

    Args:
        planes: `(B, C, h, w)`.
        size: height and width of the result.

    Returns:
        `(B, C, *size)`.
    """
    count, channels, height, width = planes.shape
    if (height, width) == size:
        return planes
    plain = planes.device.type == "cpu" and planes.dtype == torch.float32
    cv2 = opencv() if plain and not planes.requires_grad else None
    if cv2 is None or not count:
        return F.interpolate(planes, size=size, mode="bilinear")
    out = torch.empty(count, channels, *size)
    flat = planes.contiguous().flatten(0, 1).numpy()
    for source, target in zip(flat, out.flatten(0, 1).numpy(), strict=True):
        cv2.resize(source, (size[1], size[0]), target, interpolation=cv2.INTER_LINEAR)
    return out


def halved(codes: Tensor) -> Tensor:
    """`block_means` of 2 by 2 in parts, for pictures of many pixels; an odd last row or column is
    left out."""
    height, width = (side // 2 for side in codes.shape[-2:])
    # made first: small pieces between large ones would keep the heap from being used again
    means = torch.empty(*codes.shape[:-2], height, width, dtype=codes.dtype, device=codes.device)
    for top in range(0, height, _HALVED_ROWS):
        end = min(top + _HALVED_ROWS, height)
        part = codes[..., 2 * top : 2 * end, : 2 * width]
        means[..., top:end, :] = block_means(part, (2, 2))
    return means


def block_means(codes: Tensor, block: tuple[int, int]) -> Tensor:
    """Mean code of each block, rounded.

    Args:
        codes: `(B, 1, H, W)` integers, H and W multiples of the block's sides.
        block: width and height of a block, 1 or 2 each.

    Returns:
        `(B, 1, H / height, W / width)` of `codes`' type.
    """
    across, down = block
    if block == (1, 1):
        return codes
    count, _, height, width = codes.shape
    size = (height // down, width // across)
    cv2 = opencv() if codes.device.type == "cpu" and codes.dtype == torch.uint8 else None
    if cv2 is None:
        means = F.avg_pool2d(codes.to(torch.float32), (down, across))
        # Round as OpenCV does: halves up where a block has four codes, else halves to even.
        means = means.add_(0.5).floor_() if down == across else means.round_()
        return means.to(codes.dtype)
    out = torch.empty(count, 1, *size, dtype=torch.uint8)
    for source, target in zip(codes[:, 0].numpy(), out[:, 0].numpy(), strict=True):
        cv2.resize(source, (size[1], size[0]), target, interpolation=cv2.INTER_AREA)
    return out
