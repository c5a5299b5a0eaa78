"""The lines of a journal: JSON, and rows of numbers in few characters."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..system.files import parse_json


def json_lines(path: Path) -> Iterator[Any]:
    """The lines of a file, up to the first that is not whole."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield parse_json(line)
            except ValueError:
                return


def pack(values: Iterable[int]) -> list[list[int]]:
    """Whole numbers as runs of equal differences."""
    numbers = [0, *values]
    steps = (b - a for a, b in itertools.pairwise(numbers))
    return [[step, len(list(run))] for step, run in itertools.groupby(steps)]


def unpack(runs: Sequence[Sequence[int]], most: int) -> list[int]:
    """The numbers of `pack`.

    Raises:
        ValueError: there are more than `most`.
    """
    if sum(max(0, count) for _, count in runs) > most:
        raise ValueError("more frames than the film has")
    steps = itertools.chain.from_iterable(itertools.repeat(step, count) for step, count in runs)
    return list(itertools.accumulate(steps))
