"""Black bars above and below a film's picture, or beside it: `BarFinder`."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from ..color.codes import Codes, luma_levels
from ..frames import NO_BARS, Bars, VideoInfo
from .luma import luma_plane

# In codes of 8 bits. A night scene is darker than these in no row of a whole film, for its grain;
# and its edge to what is bright is soft.
_BLACK, _NOISE = 3.0, 2.0  # mean above black, and spread, of a row that is part of a bar
_EDGE = 10.0  # mean by which the picture's first rows are brighter than the bar
_LEAST, _MOST = 0.02, 0.4  # of the side, a bar's width
_STEP = 4  # of the pixels that are looked at along a row


class BarFinder:
    """Finds the bars that all frames of a sample have.

    Args:
        facts: of the film.
    """

    def __init__(self, facts: VideoInfo) -> None:
        self._facts = facts
        self._rows: NDArray[np.float64] | None = None
        self._columns: NDArray[np.float64] | None = None

    def add(self, frame: av.VideoFrame) -> None:
        """Take a frame; one of another size is passed over."""
        facts = self._facts
        if (frame.width, frame.height) != (facts.width, facts.height) or facts.rotation:
            return
        luma = luma_plane(frame)
        rows = self._look(luma[:, ::_STEP], 1)
        columns = self._look(luma[::_STEP], 0)
        self._rows = rows if self._rows is None else np.maximum(self._rows, rows)
        self._columns = columns if self._columns is None else np.maximum(self._columns, columns)

    def _look(self, luma: Codes, axis: int) -> NDArray[np.float64]:
        """Mean above black and spread of every row (axis 1) or column, `(2, N)`."""
        facts = self._facts
        black = luma_levels(facts.bit_depth, facts.tags.full_range)[0]
        scale = 1 << (facts.bit_depth - 8)
        mean = (luma.mean(axis=axis) - black) / scale
        return np.stack([mean, luma.std(axis=axis) / scale])

    def found(self) -> Bars:
        """Rows at the top and the bottom, columns at the left and the right; even numbers."""
        if self._rows is None or self._columns is None:
            return NO_BARS
        rows, columns = self._rows, self._columns
        top, bottom = _bar(rows), _bar(rows[:, ::-1])
        left, right = _bar(columns), _bar(columns[:, ::-1])
        return top, bottom, left, right


def _bar(profile: NDArray[np.float64]) -> int:
    """Width of the bar at the beginning of a profile."""
    mean, spread = profile
    length = len(mean)
    picture = np.flatnonzero((mean > _BLACK) | (spread > _NOISE))
    width = int(picture[0]) if len(picture) else 0
    if not _LEAST * length <= width <= _MOST * length:
        return 0
    within = mean[width : width + max(4, length // 50)]
    return width // 2 * 2 if within.max() - mean[:width].max() >= _EDGE else 0


def confirmed(luma: Codes, bars: Bars, facts: VideoInfo) -> Bars:
    """The bars if they are black in this frame `(H, W)`, else none."""
    top, bottom, left, right = bars
    height, width = luma.shape
    black = luma_levels(facts.bit_depth, facts.tags.full_range)[0]
    scale = 1 << (facts.bit_depth - 8)
    for part in (luma[:top], luma[height - bottom :], luma[:, :left], luma[:, width - right :]):
        if not part.size:
            continue
        some = part[:, ::_STEP] if part.shape[1] > _STEP else part
        dark = some.mean() - black <= _BLACK * scale and some.std() <= 2 * _NOISE * scale
        if not dark:
            return NO_BARS
    return bars
