"""Shots from a list: cuts, numbers, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from tests.helpers.shots import TIME_BASE, batches, pan
from vidcolor.frames import LumaBatch
from vidcolor.motion.listed import mark_listed
from vidcolor.motion.shots import Spacing

FIRSTS = (0, 7, 20)


def locate(pts: int) -> tuple[int, int]:
    return pts, sum(first <= pts for first in FIRSTS) - 1


def joined(found: list[LumaBatch]) -> tuple[list[bool], list[int], list[int]]:
    return (
        [cut for batch in found for cut in batch.cuts],
        [shot for batch in found for shot in batch.shots],
        [number for batch in found for number in batch.numbers],
    )


@pytest.mark.parametrize("size", [1, 4, 30])
def test_the_list_decides_not_the_picture(size: int) -> None:
    found = list(mark_listed(batches(pan(30, 1), size), locate))
    cuts, shots, numbers = joined(found)
    assert cuts == [i in FIRSTS for i in range(30)]
    assert shots == [0] * 7 + [1] * 13 + [2] * 10 and numbers == list(range(30))
    assert all(batch.checkpoint is None for batch in found)


def test_a_film_may_begin_within_a_shot() -> None:
    cuts, shots, _ = joined(list(mark_listed(batches(pan(10, 1), 4, range(12, 22)), locate)))
    assert cuts == [True, *[False] * 7, True, False] and shots == [1] * 8 + [2] * 2


def test_a_run_resumes_at_its_checkpoints() -> None:
    spacing = Spacing(Fraction(8, 25), Fraction(12, 25))
    whole = list(mark_listed(batches(pan(30, 1), 4), locate, TIME_BASE, spacing=spacing))
    points = [batch.checkpoint for batch in whole if batch.checkpoint]
    # after the least distance the next cut, or within a shot after the most
    assert [(p.pts, p.cut, p.shot) for p in points] == [(12, False, 1), (20, True, 1)]
    for point in points:
        rest = list(batches(pan(30, 1)[point.pts :], 4, range(point.pts, 30)))
        rest = [replace(b, first_index=b.first_index + point.pts) for b in rest]
        again = list(mark_listed(rest, locate, TIME_BASE, spacing=spacing, resume=point))
        ours, theirs = joined(again), joined(whole)
        assert ours == tuple(each[point.pts :] for each in theirs)
        later = [p.pts for p in points if p.pts > point.pts]
        assert [b.checkpoint.pts for b in again if b.checkpoint] == later
