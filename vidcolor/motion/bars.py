"""Black bars above and below the picture, or beside it, shot by shot: `mark_bars`.

A letterboxed film may hold shots with bars at the sides too, and a film of full frames may hold
letterboxed ones. The first frames of a shot decide. The bars stay the same to the end of the shot,
so that the picture within them does too: it alone is shown to the network. Where the picture
reaches into the bars, the rest of the shot is seen whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from ..frames import NO_BARS, Bars, Checkpoint, LumaBatch
from .flow import Array

# In codes of 8 bits. A night scene is darker than these in no row of a shot, for its grain; and
# its edge to what is bright is soft.
_BLACK, _NOISE = 3.0, 2.0  # mean above black, and spread, of a row that is part of a bar
_EDGE = 10.0  # mean by which the picture's first rows are brighter than the bar
_LEAST, _MOST = 0.02, 0.4  # of the side, a bar's width
_EVEN = 0.25  # of the wider one of two opposite bars, by which they may differ
_STEP = 4  # of the pixels that are looked at along a row
FRAMES = 4  # at the beginning of a shot that decide; shot detection has seen so many anyway
_LIT = 16.0  # above black, of a pixel of the picture
_NEAR = 4  # rows of a bar at the picture's edge
_REACHING, _FILLED = 0.02, 0.25  # share of lit pixels near the edge, or in all of a bar


class BarFinder:
    """Finds the bars that all frames have that it is given.

    Args:
        bit_depth: of the luma codes.
        full_range: whether code 0 is black.
    """

    def __init__(self, bit_depth: int, full_range: bool) -> None:
        self._scale = 1 << (bit_depth - 8)
        self._black = 0 if full_range else 16 * self._scale
        self._shape: tuple[int, ...] | None = None
        self._rows: NDArray[np.float64] | None = None
        self._columns: NDArray[np.float64] | None = None

    def add(self, luma: Array) -> None:
        """Take a frame `(H, W)`; one of another size than the first is passed over."""
        self._shape = self._shape or luma.shape
        if luma.shape != self._shape:
            return
        rows = self._profile(luma[:, ::_STEP], 1)
        columns = self._profile(luma[::_STEP], 0)
        self._rows = rows if self._rows is None else np.maximum(self._rows, rows)
        self._columns = columns if self._columns is None else np.maximum(self._columns, columns)

    def _profile(self, luma: Array, axis: int) -> NDArray[np.float64]:
        """Mean above black and spread of every row (axis 1) or column, `(2, N)`."""
        mean = (luma.mean(axis=axis) - self._black) / self._scale
        return np.stack([mean, luma.std(axis=axis) / self._scale])

    def found(self) -> Bars:
        """Rows at the top and the bottom, columns at the left and the right. The picture between
        them begins and ends at even numbers, so that no chroma sample lies in both."""
        if self._rows is None or self._columns is None:
            return NO_BARS
        (top, bottom), (left, right) = (_pair(each) for each in (self._rows, self._columns))
        return top, bottom, left, right


def _pair(profile: NDArray[np.float64]) -> tuple[int, int]:
    """Widths of the bars at both ends of a profile."""
    before, after = _width(profile), _width(profile[:, ::-1])
    end = (profile.shape[1] - after + 1) // 2 * 2 if after else profile.shape[1]
    return before // 2 * 2, max(profile.shape[1] - end, 0)


def _width(profile: NDArray[np.float64]) -> int:
    """Width of the bar at the beginning of a profile."""
    mean, spread = profile
    length = len(mean)
    picture = np.flatnonzero((mean > _BLACK) | (spread > _NOISE))
    width = int(picture[0]) if len(picture) else 0
    if not _LEAST * length <= width <= _MOST * length:
        return 0
    within = mean[width : width + max(4, length // 50)]
    return width if within.max() - mean[:width].max() >= _EDGE else 0


def _is_broken(batch: LumaBatch, luma: Array, bars: Bars) -> bool:
    """Whether the picture reaches into the bars of a frame `(H, W)`. Letters within a bar, such as
    subtitles, do not count: they are no part of the picture, and need no color."""
    scale = 1 << (batch.bit_depth - 8)
    lit = ((0 if batch.full_range else 16) + _LIT) * scale
    top, bottom, left, right = bars
    height, width = luma.shape
    # each with its rows from the picture's edge on
    parts = (
        luma[:top][::-1],
        luma[height - bottom :],
        luma[:, :left].T[::-1],
        luma[:, width - right :].T,
    )
    for part in parts:
        if not part.size:
            continue
        near = part[1 : 1 + _NEAR] if len(part) > _NEAR else part  # compression blurs the edge
        if (near > lit).mean() > _REACHING or (part[::2, ::2] > lit).mean() > _FILLED:
            return True
    return False


def _bars_of_shot(batch: LumaBatch, frames: list[Array]) -> Bars:
    """The bars of a shot that begins with these frames: those of the film, or wider ones."""
    finder = BarFinder(batch.bit_depth, batch.full_range)
    for luma in frames:
        finder.add(luma)
    own, film = finder.found(), batch.bars
    # A dark wall may end with an edge too; bars lie on both sides.
    (top, bottom), (left, right) = (
        pair if abs(pair[0] - pair[1]) <= max(2, _EVEN * max(pair)) else (0, 0)
        for pair in (own[:2], own[2:])
    )
    if any(_is_broken(batch, luma, film) for luma in frames):
        film = NO_BARS  # else they count where the shot begins in the dark, too
    return (
        max(top, film[0]), max(bottom, film[1]), max(left, film[2]), max(right, film[3])
    )  # fmt: skip


def mark_bars(
    batches: Iterable[LumaBatch], *, resume: Checkpoint | None = None
) -> Iterator[LumaBatch]:
    """Fill in the bars of each frame's shot, and divide batches where they change. There the
    stabilizer begins anew, as at a cut.

    Args:
        batches: one film's frames, in order, with the bars of the film; `cuts` may be empty, for
            frames that need not follow each other. Those of rotated and of deinterlaced films too.
        resume: the checkpoint that the batches begin with.
    """
    given = iter(batches)
    waiting: deque[LumaBatch] = deque()
    bars = resume.bars if resume else NO_BARS
    while (batch := waiting.popleft() if waiting else next(given, None)) is not None:
        if batch.checkpoint is not None:
            batch = replace(batch, checkpoint=replace(batch.checkpoint, bars=bars))
        frames = batch.luma.numpy()[:, 0]
        begin, cuts = 0, list(batch.cuts)
        for i, luma in enumerate(frames):
            now = bars
            if not cuts:
                now = NO_BARS if _is_broken(batch, luma, batch.bars) else batch.bars
            elif cuts[i]:
                while len(frames) - i + sum(map(len, waiting)) < FRAMES:
                    if (following := next(given, None)) is None:
                        break
                    waiting.append(following)
                ahead = chain(frames[i:], *(each.luma.numpy()[:, 0] for each in waiting))
                now = _bars_of_shot(batch, list(islice(ahead, FRAMES)))
            if any(now) and cuts and _is_broken(batch, luma, now):
                now = NO_BARS
            if now != bars:
                if i > begin:
                    yield _part(batch, slice(begin, i), bars, cuts)
                begin, bars = i, now
                if cuts:
                    cuts[i] = True
        yield _part(batch, slice(begin, len(frames)), bars, cuts)


def _part(batch: LumaBatch, part: slice, bars: Bars, cuts: list[bool]) -> LumaBatch:
    some = replace(replace(batch, cuts=tuple(cuts))[part], bars=bars)
    return replace(some, damage=(), notes=()) if part.start else some  # each is told once
