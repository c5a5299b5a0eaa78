"""The times of a film's frames: repair them (`FrameTimes`), find holes in them (`FrameGaps`)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av

from ..frames import VideoInfo

_FAR_BACK = 0.5  # seconds; less is a muxer's rounding or a frame out of order
# What makes a rate constant enough to miss frames in it.
_ODD, _FEW = 0.05, 2  # most steps of another length: a share, or a number where there are few
_NEAR, _FAR = 0.6, 1.6  # a step of one frame, as a multiple of the median step
_MOST_STEPS = 1000  # different steps; with more, the rate is not constant
# Guessed times: how far they may be off, in seconds, and how many in a row, before they are right.
_GUESS, _NEAR_GUESS, _MOST_GUESSES = 0.25, 0.02, 100
_FIELD = Fraction(1001, 60000)  # seconds, of what repeats fields


class FrameTimes:
    """Gives every frame a pts, greater than the one before.

    Args:
        facts: of the film.
        note: takes one line about times that had to be repaired.

    Attributes:
        damage: a line if the times go far back, so that what follows is not in step; else empty.
            Whoever tells it clears it.
    """

    def __init__(self, facts: VideoInfo, note: Callable[[str], None]) -> None:
        rate = facts.average_rate or Fraction(25)
        self.step = 1 / (rate * facts.time_base)  # ticks a frame
        self.dts: deque[int] = deque()  # of packets whose frames are still to come
        self.untimed = facts.first_pts is None
        self.last: int | None = None
        self.path, self.note, self.repaired = facts.path, note, False
        self.exact = Fraction(0)
        self.damage = ""
        self.guessed, self.unit = facts.guessed_times, facts.time_base
        self.expected: Fraction | None = None  # time of the next frame, by what was shown before
        self.off = 0  # guesses in a row that are far from it

    def sent(self, packet: av.Packet[Any]) -> None:
        if self.untimed and packet.size and packet.dts is not None:
            self.dts.append(packet.dts)

    def failed(self) -> None:
        if self.dts:
            self.dts.pop()

    def pts(self, frame: av.VideoFrame) -> int:
        pts = self._counted(frame) if self.guessed else frame.pts
        if pts is None and self.dts:
            # AVI carries decoding times only. Frames leave in the order of their presentation, so
            # the n-th frame out is shown at the n-th decoding time (plus a constant).
            pts = self.dts.popleft()
        if pts is None:
            # Raw streams have no times at all: count, with the exact step, so as not to drift.
            self.exact = Fraction(0) if self.last is None else self.exact + self.step
            pts = round(self.exact)
        else:
            self.exact = Fraction(pts)
        if self.last is not None and pts <= self.last:
            seconds = float(pts * (frame.time_base or 0))
            back = float((self.last - pts) * (frame.time_base or 0))
            if back > _FAR_BACK and not self.repaired:
                self.repaired = True
                self.damage = (
                    f"{self.path}: its times go back by {back:.3f} s to {seconds:.3f} s, as where "
                    "films were joined byte by byte; what follows is not in step"
                )
            if not self.repaired:
                self.repaired = True
                self.note(
                    f"{self.path}: times do not increase at {seconds:.3f} s; "
                    "repaired there and after"
                )
            pts = self.last + 1
        self.last = pts
        return pts

    def _counted(self, frame: av.VideoFrame) -> int | None:
        """Time of a frame by the fields that those before it are shown for."""
        own = None if frame.pts is None else Fraction(frame.pts)
        time = own if self.expected is None else self.expected
        if own is not None and time is not None:
            far = float(abs(own - time) * self.unit)
            self.off = self.off + 1 if far > _NEAR_GUESS else 0
            if far > _GUESS or self.off > _MOST_GUESSES:
                time, self.off = own, 0  # the film jumps there, or something is missing
        if time is None:
            return None
        fields = max(1, round((frame.duration or 0) * self.unit / _FIELD))
        self.expected = time + fields * _FIELD / self.unit
        return round(time)


class FrameGaps:
    """Counts the frames that are missing between the others of a constant rate.

    Attributes:
        first: pts of the frame before the first hole, None without one.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._steps: Counter[int] = Counter()
        self._places: dict[int, int] = {}  # step: pts before its first occurrence

    def step(self, before: int, after: int) -> None:
        """Take the pts of two frames that follow each other."""
        if len(self._steps) <= _MOST_STEPS:
            self._steps[after - before] += 1
            self._places.setdefault(after - before, before)

    def missing(self) -> int:
        """Frames that are missing; 0 where the rate is not constant."""
        total = self._steps.total()
        if not total or len(self._steps) > _MOST_STEPS:
            return 0
        seen, median = 0, 0
        for step, count in sorted(self._steps.items()):
            seen += count
            median = step
            if 2 * seen >= total:
                break
        if median <= 0:
            return 0
        holes = {step: n for step, n in self._steps.items() if step > _FAR * median}
        odd = sum(
            n for step, n in self._steps.items() if not _NEAR * median <= step <= _FAR * median
        )
        if not holes or odd > max(_FEW, _ODD * total) or 4 * odd > total:
            return 0
        self.first = min(self._places[step] for step in holes)
        return sum(n * (round(Fraction(step, median)) - 1) for step, n in holes.items())
