"""Frames that are marked by what was found before are marked as in one go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.helpers.shots import TIME_BASE, batches, pan
from vidcolor.frames import LumaBatch
from vidcolor.motion.bars import mark_bars
from vidcolor.motion.flow import Array
from vidcolor.motion.marks import Marks
from vidcolor.motion.shots import Spacing, mark_cuts
from vidcolor.run.parallel.segments import scan

SPACING = Spacing(Fraction(1), Fraction(2))


def letterboxed(frames: Iterable[Array], rows: int) -> Iterator[Array]:
    for frame in frames:
        frame[:rows] = frame[-rows:] = 0
        yield frame


def film() -> list[Array]:
    """Shots with other bars each; for one of 3 frames the shot after it is looked at, too."""
    shots = [
        pan(10, 1),
        list(letterboxed(pan(3, 2), 12)),
        pan(60, 3),
        list(letterboxed(pan(30, 4), 20)),
        pan(12, 5),
    ]
    return [frame for shot in shots for frame in shot]


def times(count: int) -> list[int]:
    """Pts of the film's frames; before and behind the shot of 3 frames time jumps."""
    return [number + 50 * ((number >= 10) + (number >= 13)) for number in range(count)]


Marked = list[tuple[tuple[int, ...], tuple[bool, ...], tuple[int, ...], object, bool]]


def facts(marked: Iterable[LumaBatch]) -> Marked:
    return [(b.pts, b.cuts, b.shots, b.bars, b.checkpoint is not None) for b in marked]


@pytest.mark.parametrize("size", [1, 4, 7])
def test_segments_are_marked_as_the_whole(size: int) -> None:
    frames = film()
    pts = times(len(frames))
    marked = mark_cuts(batches(frames, size, pts), TIME_BASE, spacing=SPACING)
    whole = facts(mark_bars(marked))
    assert len({bars for *_, bars, _ in whole}) >= 2
    read = (batch for batch in batches(frames, size, pts))
    segments = list(scan(read, TIME_BASE, SPACING, shots=True, length=Fraction(1)))
    assert sum(segment.marks.frames for segment in segments) == len(frames)
    assert 3 in [segment.marks.frames for segment in segments]
    parts: Marked = []
    for segment in segments:
        begin = segment.begin
        first = segment.first
        rest = frames[first:]
        count = begin.batch if begin else size  # as a film is read from a checkpoint on
        given = [
            replace(
                batch,
                first_index=first + start,
                pts=tuple(pts[first + start : first + start + len(batch)]),
            )
            for start, batch in _read(rest, count, size)
        ]
        part = facts(segment.marks.limit(mark_bars(segment.marks.apply(given), resume=begin)))
        part[0] = (*part[0][:4], begin is not None)  # the batch before is in another process
        parts += part
    assert parts == whole


def _read(frames: list[Array], first: int, size: int) -> Iterator[tuple[int, LumaBatch]]:
    (head,) = batches(frames[:first], first)
    yield 0, head
    start = first
    for batch in batches(frames[first:], size):
        yield start, batch
        start += len(batch)


def test_fewer_frames_than_marks() -> None:
    marks = Marks(10, (True,) + (False,) * 9, (0,) * 10)
    frames = [np.zeros((32, 32), np.uint8)] * 6
    marked = list(marks.limit(marks.apply(batches(frames, 4))))
    assert [len(batch) for batch in marked] == [4, 2]
