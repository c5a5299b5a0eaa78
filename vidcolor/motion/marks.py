"""Shots and checkpoints of frames that were looked at before: `Marks`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..frames import LumaBatch
from .bars import FRAMES
from .shots import divide


@dataclass(frozen=True)
class Marks:
    """What `mark_cuts` or `mark_checkpoints` found in consecutive frames.

    Attributes:
        frames: how many there are.
        cuts: for each frame whether a shot begins with it; empty if shots were not looked for.
        shots: for each frame the number of its shot; empty likewise.
        checkpoints: the number of the shot before each checkpoint, by the number of the frame
            after it, counted from the first of these frames.
    """

    frames: int
    cuts: tuple[bool, ...] = ()
    shots: tuple[int, ...] = ()
    checkpoints: Mapping[int, int] = field(default_factory=dict)

    def apply(self, batches: Iterable[LumaBatch]) -> Iterator[LumaBatch]:
        """Mark batches that begin with the first of these frames, in place of the search for them.

        Behind the last of these frames come some more, which `mark_bars` may look at; they count
        as of the same shot.
        """
        done, most = 0, self.frames + FRAMES
        for batch in batches:
            for part in (batch[: max(0, self.frames - done)], batch[max(0, self.frames - done) :]):
                end = done + len(part)
                cuts, shots = self.cuts[done:end], self.shots[done:end]
                if done >= self.frames and self.cuts:
                    cuts, shots = (False,) * len(part), self.shots[-1:] * len(part)
                here = {i - done: shot for i, shot in self.checkpoints.items() if done <= i < end}
                if part.pts:
                    yield from divide(replace(part, cuts=cuts, shots=shots), here)
                done = end
            if done >= most:
                return
            del batch, part  # not to be kept while the next one is decoded

    def limit(self, batches: Iterable[LumaBatch]) -> Iterator[LumaBatch]:
        """Pass on the batches up to the last of these frames, where they are divided."""
        done = 0
        for batch in batches:
            yield batch
            done += len(batch)
            if done >= self.frames:
                return
            del batch
