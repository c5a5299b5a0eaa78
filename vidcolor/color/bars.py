"""Black bars around the picture of a film: out of the network's view, and without color."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..frames import LumaBatch


def fill_bars(plane: Tensor, batch: LumaBatch) -> Tensor:
    """Mirror the picture into its bars, so that the network sees no black edges.

    Args:
        plane: `(B, 1, h, w)` of the batch's frames at any size.
        batch: says where their bars are.
    """
    if not any(map(any, batch.bars)):
        return plane
    plane = plane.clone()
    height, width = batch.luma.shape[-2:]
    for frame, (top, bottom, left, right) in zip(plane, batch.bars, strict=True):
        for view, before, after, side in (
            (frame, top, bottom, height),
            (frame.transpose(-1, -2), left, right, width),
        ):
            length = view.shape[-2]
            for part, bar in ((view, before), (view.flip(-2), after)):
                count = math.ceil(bar * length / side)  # a row that is partly black goes too
                if count:
                    mirrored = part[:, count : 2 * count].flip(-2)
                    if part is view:
                        view[:, :count] = mirrored
                    else:
                        view[:, length - count :] = mirrored.flip(-2)
    return plane


def clear_bars(ab: Tensor, batch: LumaBatch, rows: slice, subsampling: tuple[int, int]) -> Tensor:
    """a*b* with 0 in the bars.

    Args:
        ab: `(B, 2, h, w)`, some rows of the frames' a*b*.
        batch: says where their bars are.
        rows: which rows these are.
        subsampling: horizontal and vertical pixels of the frame for each value.
    """
    if not any(map(any, batch.bars)):
        return ab
    height, width = batch.luma.shape[-2:]
    across, down = subsampling
    y = torch.arange(rows.start, rows.start + ab.shape[-2], device=ab.device)[:, None] * down
    x = torch.arange(ab.shape[-1], device=ab.device) * across
    bars = torch.tensor(batch.bars, device=ab.device)[..., None, None]
    top, bottom, left, right = bars.unbind(1)
    inside = (y >= top) & (y < height - bottom) & (x >= left) & (x < width - right)
    return ab * inside[:, None]
