"""How a film's colors change along its motion: reversals (flicker) and steps (`ChangeMeter`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..motion.flow import Array, flow, normalize_contrast, visible, warp
from .colors import View

_ROWS, _COLUMNS = 6, 8  # places of the picture
_SEEN = 0.3  # share of a place that must be visible in both frames
_LEAST_PLACES = 0.4  # share of the places
_QUARTER = 4  # the places that change most are one of so many


@dataclass(frozen=True)
class Change:
    """How colors changed from the frame before, where the same things are visible in both.

    Attributes:
        step: mean length of the change over all places, in a*b*.
        reversal: length of a change that takes back the one before, over the quarter of the
            places where it is the longest.
        places: change of each place, `(n, 2)`, nan where it is not known.
    """

    step: float
    reversal: float
    places: Array


class ChangeMeter:
    """Takes the frames of a film in order; keeps one, and the change that led to it."""

    def __init__(self) -> None:
        self._last: View | None = None
        self._before: Array | None = None

    def add(self, seen: View, cut: bool) -> Change | None:
        """Take the next frame.

        Args:
            cut: a shot begins with it.

        Returns:
            None where it does not continue the frame before.
        """
        last, self._last = self._last, seen
        before, self._before = self._before, None
        if last is None or cut or last.gray.shape != seen.gray.shape:
            return None
        places = self._places(last, seen)
        known = ~np.isnan(places[:, 0])
        if known.mean() < _LEAST_PLACES:
            return None
        self._before = places
        lengths = np.hypot(*places[known].T)
        reversal = 0.0
        if before is not None:
            product = -(places * before).sum(axis=1)  # nan where one is not known
            back = np.sqrt(np.maximum(product[~np.isnan(product)], 0))
            if len(back):
                reversal = float(np.sort(back)[-max(1, len(places) // _QUARTER) :].mean())
        return Change(float(lengths.mean()), reversal, places)

    @staticmethod
    def _places(last: View, seen: View) -> Array:
        one, two = normalize_contrast(last.gray), normalize_contrast(seen.gray)
        back = flow(two, one)
        both = visible(back, flow(one, two)) & seen.shown
        change = seen.ab - warp(last.ab, back)
        height, width = both.shape
        rows = np.linspace(0, height, _ROWS + 1).astype(int)
        columns = np.linspace(0, width, _COLUMNS + 1).astype(int)
        found = np.full((_ROWS * _COLUMNS, 2), np.nan)
        for i in range(_ROWS * _COLUMNS):
            row, column = divmod(i, _COLUMNS)
            place = (slice(*rows[row : row + 2]), slice(*columns[column : column + 2]))
            if both[place].mean() > _SEEN:
                found[i] = change[place][both[place]].mean(axis=0)
        return found
