"""Black bars around the picture of a film: out of the network's view, and without color."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..frames import NO_BARS, LumaBatch


def areas(batch: LumaBatch) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the picture between the bars, then those of each bar. Together they are
    the frame."""
    height, width = batch.luma.shape[-2:]
    top, bottom, left, right = batch.bars
    rows, columns = slice(top, height - bottom), slice(left, width - right)
    yield rows, columns
    for area in (
        (slice(0, top), slice(0, width)),
        (slice(height - bottom, height), slice(0, width)),
        (rows, slice(0, left)),
        (rows, slice(width - right, width)),
    ):
        if all(side.stop > side.start for side in area):
            yield area


def part_of(batch: LumaBatch, area: tuple[slice, slice]) -> LumaBatch:
    """The batch with these rows and columns of its frames alone, which have no bars."""
    rows, columns = area
    return replace(batch, luma=batch.luma[..., rows, columns], bars=NO_BARS)


def without_bars(batch: LumaBatch) -> LumaBatch:
    """The batch with the picture between its bars alone."""
    return part_of(batch, next(areas(batch))) if any(batch.bars) else batch
