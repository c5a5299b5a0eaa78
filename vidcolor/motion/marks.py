"""Shots and checkpoints of frames that were looked at before: `Marks`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..frames import LumaBatch
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

        Ends behind the last of these frames, or with the batches if they have fewer.
        """
        done = 0
        for batch in batches:
            batch = batch[: self.frames - done]
            end = done + len(batch)
            batch = replace(batch, cuts=self.cuts[done:end], shots=self.shots[done:end])
            here = {i - done: shot for i, shot in self.checkpoints.items() if done <= i < end}
            yield from divide(batch, here)
            done = end
            if done == self.frames:
                return
            del batch  # not to be kept while the next one is decoded
