"""Times of frames in few numbers, for files: runs of equal steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence


def pack(values: Iterable[int]) -> list[list[int]]:
    """Whole numbers as pairs: a step from the one before, at first from 0, and its repetitions."""
    numbers = [0, *values]
    steps = (b - a for a, b in itertools.pairwise(numbers))
    return [[step, len(list(run))] for step, run in itertools.groupby(steps)]


def unpack(runs: Sequence[Sequence[int]], most: int) -> list[int]:
    """The numbers that `pack` was given.

    Raises:
        ValueError: they are more than `most`, as in a damaged file.
    """
    if sum(max(0, count) for _, count in runs) > most:
        raise ValueError("more frames than the film has")
    steps = itertools.chain.from_iterable(itertools.repeat(step, count) for step, count in runs)
    return list(itertools.accumulate(steps))
