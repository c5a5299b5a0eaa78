"""Measures of temporal consistency of color: its distribution, and its change along the motion.

All measures are running sums, so memory does not grow with the clip. Frames are added one by one,
in order. Neither measure tells whether a color is right, and gray scores best: report the values of
the truth and of gray beside a model's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ..motion.flow import Array, flow, squared_norm, visible, warp

DISTANCES = (1, 2, 4)  # between the frames that CDC compares
LEAST_FRAMES = max(DISTANCES) + 1


def histograms(frame: Array) -> Array:
    """Share of the pixels at each of 256 levels, by channel: `(C, H, W)` uint8 to `(C, 256)`."""
    counts = [np.bincount(channel.ravel(), minlength=256) for channel in frame]
    shares: Array = np.stack(counts) / frame[0].size
    return shares


def jensen_shannon(first: Array, second: Array) -> Array:
    """Jensen-Shannon divergence of distributions `(*, N)` that sum to 1, `(*,)` in [0, ln 2].

    (KL(p, m) + KL(q, m)) / 2 with m = (p + q) / 2 and 0 ln 0 = 0; natural logarithm, no root.
    Source: Lin 1991, "Divergence measures based on the Shannon entropy".
    """
    middle = (first + second) / 2
    safe = np.where(middle > 0, middle, 1)  # where the mean is 0, both terms are

    def divergence(p: Array) -> Array:
        total: Array = (p * np.log(np.where(p > 0, p, 1) / safe)).sum(axis=-1)
        return total

    # rounding may make equal distributions negative
    return np.maximum((divergence(first) + divergence(second)) / 2, 0)


class ColorConsistency:
    """CDC, the color distribution consistency of one clip; lower is more consistent.

    For each channel and t = 1, 2, 4: the mean Jensen-Shannon divergence of the histograms of all
    pairs of frames t apart; then the mean over t and over the channels. Pairs across a cut count,
    as in the definition. Only the histograms of the last four frames are kept. Source: Liu et al.
    2021, "Temporally consistent video colorization with deep feature propagation and
    self-regularization learning".
    """

    def __init__(self) -> None:
        self._last: deque[Array] = deque(maxlen=max(DISTANCES))
        self._sums = np.zeros(len(DISTANCES))
        self._counts = np.zeros(len(DISTANCES), dtype=np.int64)

    def add(self, frame: Array) -> None:
        """Take the next frame, R'G'B' `(3, H, W)` uint8."""
        shares = histograms(frame)
        for i, distance in enumerate(DISTANCES):
            if len(self._last) >= distance:
                self._sums[i] += jensen_shannon(self._last[-distance], shares).mean()
                self._counts[i] += 1
        self._last.append(shares)

    @property
    def value(self) -> float:
        """CDC of the frames so far, in [0, ln 2].

        Raises:
            ValueError: there are fewer than five frames, so no two are four apart.
        """
        if not self._counts.all():
            raise ValueError(f"CDC needs at least {LEAST_FRAMES} frames")
        return float((self._sums / self._counts).mean())


@dataclass(frozen=True)
class BackwardFlow:
    """Optical flow from a frame back to the one before it.

    Attributes:
        to_previous: `(H, W, 2)` float32, pixels.
        visible: `(H, W)` bool, the frame's pixels that are visible in the one before; not all
            False.
    """

    to_previous: Array
    visible: Array


class TruthFlow:
    """Optical flow of the true clip, pair by pair; the colors of every row are warped along it.

    Attributes:
        pairs: number of pairs of consecutive frames with a flow.
        cuts: pairs left out because a shot begins with the second frame.
        duplicates: pairs left out because their luma is identical. Otherwise a film of 12 frames a
            second in a container of 24 would have half the error.
        unmatched: pairs left out because no pixel is visible in both.
    """

    def __init__(self) -> None:
        self.pairs = self.cuts = self.duplicates = self.unmatched = 0
        self._visible = 0.0
        self._previous: Array | None = None

    @property
    def visible_share(self) -> float:
        """Mean share of the pixels visible in both frames of a pair; nan without pairs."""
        return self._visible / self.pairs if self.pairs else float("nan")

    def add(self, luma: Array, starts_shot: bool = False) -> BackwardFlow | None:
        """Take the next frame's luma, `(H, W)` uint8, both sides at least 16.

        Returns:
            The flow to the frame before (DIS, preset medium); None for the first frame and for a
            pair that is left out.
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
        in_both = visible(back, flow(previous, luma, "medium"))
        if not in_both.any():
            self.unmatched += 1
            return None
        self.pairs += 1
        self._visible += float(in_both.mean())
        return BackwardFlow(back, in_both)


class WarpError:
    """Mean squared change of color along the motion; lower is more consistent.

    For each pair, the previous frame's a*b* are warped to the present frame. The squared
    differences of a* and b* are added and averaged over the visible pixels, then over the pairs.
    Source: Lai et al. 2018, "Learning blind video temporal consistency", who use R'G'B'; lightness
    is left out here, because a colorizer keeps it.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._pairs = 0
        self._previous: Array | None = None

    def add(self, ab: Array, truth: BackwardFlow | None) -> None:
        """Take the next frame's a*b*, `(H, W, 2)` float32, and the flow of the true clip."""
        previous, self._previous = self._previous, ab
        if truth is None or previous is None:
            return
        change = squared_norm(ab - warp(previous, truth.to_previous))
        self._sum += float(change[truth.visible].mean(dtype=np.float64))
        self._pairs += 1

    @property
    def value(self) -> float:
        """Warp error of the frames so far, squared Lab units, at least 0; nan without pairs."""
        return self._sum / self._pairs if self._pairs else float("nan")
