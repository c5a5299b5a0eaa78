"""Turn pixels upright, as a picture's EXIF orientation says: `upright`."""

from __future__ import annotations

from ..color.codes import Codes

_LINES = 64  # that are exchanged at once


def upright(values: Codes, orientation: int) -> Codes:
    """Turn and mirror `(H, W, ...)` as the EXIF orientation says, in place, as a view.

    Source: EXIF 2.32, tag 274.
    """
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        _reverse(values.swapaxes(0, 1))
    if orientation in (3, 4, 7, 8):
        _reverse(values)
    return values


def _reverse(values: Codes) -> None:
    """Reverse the order of the first axis, some at a time."""
    count = len(values)
    for start in range(0, count // 2, _LINES):
        end = min(start + _LINES, count // 2)
        first, last = values[start:end], values[count - end : count - start]
        kept = first.copy()
        first[:], last[:] = last[::-1].copy(), kept[::-1]
