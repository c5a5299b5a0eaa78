"""The times of a film's frames in the output: `Stamps`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ..errors import OutputError
from ..frames import VideoInfo
from .muxing import frame_rate, is_gapless


class Stamps:
    """Turns the pts of a film's frames into those of the output, and keeps account of them.

    Args:
        facts: of the film.
        output: its path.
        format_name: of the muxer.
        time_base: of the output's video stream.
        shift: seconds taken off every moment.
        timed: the container has moments, not just counts.

    Attributes:
        frames: number of frames so far.
        first_pts, last_pts, last_duration: in the film's time base.
        longest: largest step between two frames, in the film's time base.
    """

    def __init__(
        self,
        facts: VideoInfo,
        output: Path,
        format_name: str,
        *,
        time_base: Fraction,
        shift: Fraction,
        timed: bool,
    ) -> None:
        self._facts, self._output, self._own = facts, output, time_base
        self._gapless, self._shift, self._timed = is_gapless(format_name), shift, timed
        # Of frames inside the encoder, by their pts there, in the output's time base. The muxer
        # needs durations: the last frame's is the only end a film has. Encoders lose them.
        self._durations: dict[int, int] = {}
        self._last_own = 0
        self.frames = self.longest = 0
        self.first_pts = self.last_pts = self.last_duration = 0

    def stamp(self, pts: int, duration: int) -> int:
        """The pts of the next frame in the output's time base.

        Args:
            pts, duration: of the frame, in the film's time base; a duration of 0 is not known and
                becomes the step to the next frame.

        Raises:
            OutputError: the container holds a constant rate only, and the frame is not on it.
        """
        unit = self._facts.time_base
        moved = (pts * unit - self._shift) / self._own
        if not self._timed:
            self._check_constant(moved)
        stamp = round(moved)
        if self._last_own in self._durations and self.last_duration <= 0:
            self._durations[self._last_own] = stamp - self._last_own
        self._durations[stamp] = round(duration * unit / self._own)
        if self.frames:
            self.longest = max(self.longest, pts - self.last_pts)
        else:
            self.first_pts = pts
        self._last_own, self.last_pts, self.last_duration = stamp, pts, duration
        self.frames += 1
        return stamp

    def take_duration(self, stamp: int) -> int:
        """The duration of a frame in the output's time base; 0 if it is not known."""
        return self._durations.pop(stamp, 0)

    def finish(self) -> Fraction:
        """Give the last frame a duration, if it has none; returns its end, seconds."""
        unit = self._facts.time_base
        if self.last_duration <= 0:
            self.last_duration = max(round(1 / frame_rate(self._facts) / unit), 1)
            self._durations[self._last_own] = round(self.last_duration * unit / self._own)
        return (self.last_pts + self.last_duration) * unit

    def _check_constant(self, moved: Fraction) -> None:
        """AVI only counts frames: a moment must be a whole number of them, and a new one; in MXF
        the very next one."""
        step = round(moved)
        after = step == self._last_own + 1 if self._gapless else step > self._last_own
        if abs(moved - step) <= Fraction(1, 4) and (not self.frames or after):
            return
        raise OutputError(
            f"{self._output}: {self._output.suffix} holds a constant frame rate only, and frame "
            f"{self.frames} is not on it; use -o {self._output.with_suffix('.mkv')}"
        )
