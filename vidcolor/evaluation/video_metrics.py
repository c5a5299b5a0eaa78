"""Measures of colour in time: does a colour stay, and does it move with what it belongs to.

All are running sums: a film of two hours takes the memory of a short clip. Frames go in one by
one, in order. Neither measure says that a colour is right: grey scores best of all. Print the
truth's and grey's values beside a model's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ..motion.flow import flow, squared_length, visible, warp

DISTANCES = (1, 2, 4)  # of the frames that CDC compares
LEAST_FRAMES = max(DISTANCES) + 1


def histograms(frame: np.ndarray) -> np.ndarray:
    """The share of pixels at each of 256 levels, by channel: `(C, H, W)` uint8 to `(C, 256)`."""
    counts = [np.bincount(channel.ravel(), minlength=256) for channel in frame]
    return np.stack(counts) / frame[0].size


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence of distributions `(*, N)` that sum to 1, `(*,)` in [0, ln 2].

    Natural logarithm, no root: (KL(p, m) + KL(q, m)) / 2 with m = (p + q) / 2, and 0 ln 0 = 0.
    Source: Lin 1991, "Divergence measures based on the Shannon entropy".
    """
    middle = (first + second) / 2
    safe = np.where(middle > 0, middle, 1)  # where it is 0, so are both

    def divergence(p: np.ndarray) -> np.ndarray:
        return (p * np.log(np.where(p > 0, p, 1) / safe)).sum(axis=-1)

    # equal distributions may come out a rounding error below 0
    return np.maximum((divergence(first) + divergence(second)) / 2, 0)


class ColourConsistency:
    """CDC, the colour distribution consistency of one clip; lower is steadier.

    By channel and for t = 1, 2, 4 the mean Jensen-Shannon divergence of the histograms of all
    pairs of frames t apart; then the mean over the three t and over the channels. Source: Liu et
    al. 2021, "Temporally consistent video colorization with deep feature propagation and
    self-regularization learning". The definition knows nothing of shot cuts, so pairs
    across a cut count; of the clip only the last four frames' histograms are kept.
    """

    def __init__(self) -> None:
        self._last: deque[np.ndarray] = deque(maxlen=max(DISTANCES))
        self._sums = np.zeros(len(DISTANCES))
        self._counts = np.zeros(len(DISTANCES), dtype=np.int64)

    def add(self, frame: np.ndarray) -> None:
        """Take the next frame, R'G'B' `(3, H, W)` uint8."""
        shares = histograms(frame)
        for i, distance in enumerate(DISTANCES):
            if len(self._last) >= distance:
                self._sums[i] += jensen_shannon(self._last[-distance], shares).mean()
                self._counts[i] += 1
        self._last.append(shares)

    @property
    def value(self) -> float:
        """The CDC of the frames so far, in [0, ln 2].

        Raises:
            ValueError: there are fewer than five frames, so no pair is four apart.
        """
        if not self._counts.all():
            raise ValueError(f"CDC needs at least {LEAST_FRAMES} frames")
        return float((self._sums / self._counts).mean())


@dataclass(frozen=True)
class Motion:
    """From a frame back to the one before it.

    Attributes:
        to_previous: flow from the frame to the one before, `(H, W, 2)` float32, pixels.
        seen: where the frame's pixels are visible in the one before, `(H, W)` bool, not all False.
    """

    to_previous: np.ndarray
    seen: np.ndarray


class TruthMotion:
    """How the true film moves, pair by pair: what every row's colours are warped along.

    Attributes:
        pairs: neighbours whose motion was found.
        cuts: neighbours left out because a shot begins with the second.
        duplicates: left out because their luma is identical: a film of 12 frames a second in a
            container of 24 would halve everybody's error.
        unmatched: left out because no pixel is visible in both.
    """

    def __init__(self) -> None:
        self.pairs = self.cuts = self.duplicates = self.unmatched = 0
        self._seen = 0.0
        self._previous: np.ndarray | None = None

    @property
    def seen(self) -> float:
        """Mean share of the pixels that are visible in both frames of a pair, nan without pairs."""
        return self._seen / self.pairs if self.pairs else float("nan")

    def add(self, luma: np.ndarray, starts_shot: bool = False) -> Motion | None:
        """Take the next frame's luma, `(H, W)` uint8, both sides at least 16.

        Returns:
            The way back to the frame before; None for the first frame, and where the pair is left
            out. DIS flow, preset medium; visibility by `motion.visible`.
        """
        previous, self._previous = self._previous, luma
        if previous is None:
            return None
        if starts_shot:
            self.cuts += 1
            return None
        if np.array_equal(previous, luma):
            self.duplicates += 1
            return None
        back = flow(luma, previous, "medium")
        seen = visible(back, flow(previous, luma, "medium"))
        if not seen.any():
            self.unmatched += 1
            return None
        self.pairs += 1
        self._seen += float(seen.mean())
        return Motion(back, seen)


class WarpError:
    """Mean squared change of colour along the motion; lower is steadier.

    For each pair the previous frame's a*b* are warped to the present one; the squared differences
    of a* and of b* are added, their sum averaged over the visible pixels, and this averaged over
    the pairs. Source: Lai et al. 2018, "Learning blind video temporal consistency", there
    in R'G'B'; here lightness is left out, because a colorizer keeps it.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._pairs = 0
        self._previous: np.ndarray | None = None

    def add(self, ab: np.ndarray, motion: Motion | None) -> None:
        """Take the next frame's a*b*, `(H, W, 2)` float32, and the true film's way back."""
        previous, self._previous = self._previous, ab
        if motion is None or previous is None:
            return
        change = squared_length(ab - warp(previous, motion.to_previous))
        self._sum += float(change[motion.seen].mean(dtype=np.float64))
        self._pairs += 1

    @property
    def value(self) -> float:
        """Lab units squared, at least 0; nan without pairs."""
        return self._sum / self._pairs if self._pairs else float("nan")
