"""Resizing of planes: by OpenCV on the CPU, many times as fast there, and by torch elsewhere.

Both take a sample for a square whose colour stands in its middle, and agree within rounding.
OpenCV is imported on first use; where its wheel cannot be loaded, torch does all.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .motion import unavailable


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
