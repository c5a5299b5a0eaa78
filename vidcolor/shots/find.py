"""Find a film's shots, and choose the frames of each that are worth coloring."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..motion.shots import mark_cuts
from ..sources import FilmSource
from ..system.opencv import load_problem, opencv

_BATCH = 8
_SIDE = 256  # longer side at which sharpness is measured, pixels
_VIEW = (16, 12)  # width and height of what two frames are compared by
_KEPT = 2000  # frames of a shot that are looked at; of a longer one every second, fourth ...
_BLANK = 4.0  # standard deviation of luma, levels of 255, below which a frame shows nothing
_EDGE = 3  # frames beside a cut that are left out, as they may be blended
_SHARP = 0.5  # weight of sharpness beside likeness to the shot
# A view that is less like all stills than this asks for one more, if so large a share of the shot
# has it.
_LIKE, _LEAST_SHARE, _MOST_STILLS = 0.6, 0.1, 4


@dataclass(frozen=True)
class FoundShot:
    """A shot: its frames, both ends included, and the frames to color."""

    first: int
    last: int
    stills: tuple[int, ...]


@dataclass
class _Views:
    """What is kept of a shot's frames to choose from."""

    step: int = 1  # one of so many frames is kept
    numbers: list[int] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    views: list[NDArray[np.float32]] = field(default_factory=list)
    blank: list[bool] = field(default_factory=list)

    def add(self, number: int, first: int, plane: NDArray[np.generic], white: int) -> None:
        """Look at a frame: luma `(H, W)`, codes up to `white`."""
        if (number - first) % self.step:
            return
        if len(self.numbers) == 2 * _KEPT:
            self.step *= 2
            for kept in (self.numbers, self.sharpness, self.views, self.blank):
                del kept[1::2]
            if (number - first) % self.step:
                return
        cv2 = opencv()

        scale = min(1.0, _SIDE / max(plane.shape))
        size = (max(8, round(plane.shape[1] * scale)), max(8, round(plane.shape[0] * scale)))
        small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        small *= 255 / white
        spread = float(small.std())
        view = cv2.resize(small, _VIEW, interpolation=cv2.INTER_AREA)
        view -= view.mean()
        self.numbers.append(number)
        self.blank.append(spread < _BLANK)
        self.sharpness.append(float(cv2.Laplacian(small, cv2.CV_32F).std()) / (spread + 1))
        self.views.append(view.ravel() / (float(np.linalg.norm(view)) + 1e-6))

    def choose(self, first: int, last: int, parts: int | None) -> tuple[int, ...]:
        """The frames to color: one in each of so many parts, or as many as the view changes."""
        numbers, views = np.array(self.numbers), np.stack(self.views)
        shown = ~np.array(self.blank)
        inner = (numbers >= first + _EDGE) & (numbers <= last - _EDGE)
        usable = next(mask for mask in (shown & inner, shown, inner | True) if mask.any())
        numbers, views = numbers[usable], views[usable]
        rank = np.argsort(np.argsort(np.array(self.sharpness)[usable])) / max(1, len(numbers) - 1)

        def best(which: NDArray[np.bool_]) -> int:
            typical = views @ views[which].mean(axis=0)
            return int(np.argmax(np.where(which, typical + _SHARP * rank, -np.inf)))

        everywhere = np.ones(len(numbers), bool)
        if parts is not None:
            part = (numbers - first) * parts // (last - first + 1)
            chosen = [best(part == i) for i in range(parts) if (part == i).any()]
        else:
            chosen = [best(everywhere)]
            while len(chosen) < _MOST_STILLS:
                other = (views @ views[chosen].T).max(axis=1) < _LIKE
                if other.mean() < _LEAST_SHARE:
                    break
                chosen.append(best(_middle_of_longest(other)))
        return tuple(sorted(int(numbers[i]) for i in set(chosen)))


def _middle_of_longest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The middle half of the longest run that is set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    begins, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - begins))
    begin, end = int(begins[longest]), int(ends[longest])
    quarter = (end - begin) // 4
    middle = np.zeros_like(mask)
    middle[begin + quarter : end - quarter] = True
    return middle


def find_shots(
    film: FilmSource,
    *,
    per_shot: int | None = None,
    every: float | None = None,
    on_progress: Callable[[int], None] = lambda frames: None,
) -> tuple[list[FoundShot], array[int], list[str]]:
    """Read a film once, and find its shots and the frames to color.

    A frame is chosen that is like the others of its shot, and sharp. Without `per_shot` and
    `every`, a shot whose view changes much gets up to four.

    Args:
        film: the whole film.
        per_shot: stills of each shot, evenly over it.
        every: seconds between two stills of a shot at most.
        on_progress: called with the number of frames read.

    Returns:
        The shots in order, the pts of every frame, and a line for each part that cannot be read.

    Raises:
        InputError: nothing of the film can be read, or OpenCV is missing.
    """
    if problem := load_problem():
        raise InputError(f"{film.path}: shots cannot be found, because {problem}")
    pts: array[int] = array("q")
    found: list[FoundShot] = []
    warnings: list[str] = []
    first, views, shot = 0, _Views(), 0

    def close(last: int) -> None:
        parts = per_shot
        if every is not None:
            seconds = (pts[last] - pts[first]) * film.facts.time_base
            parts = max(parts or 1, math.ceil(seconds / Fraction(every)))
        parts = None if parts is None else min(parts, last - first + 1)
        found.append(FoundShot(first, last, views.choose(first, last, parts)))

    for batch in mark_cuts(film.batches(_BATCH), film.facts.time_base):
        warnings += [each for each in (*batch.damage, *batch.notes) if each not in warnings]
        planes, white = batch.luma.numpy()[:, 0], (1 << batch.bit_depth) - 1
        for plane, at, there in zip(planes, batch.pts, batch.shots, strict=True):
            if there != shot:
                close(len(pts) - 1)
                first, views, shot = len(pts), _Views(), there
            views.add(len(pts), first, plane, white)
            pts.append(at)
        on_progress(len(pts))
    if not pts:
        raise InputError(f"{film.path}: no frame could be decoded")
    close(len(pts) - 1)
    return found, pts, warnings
