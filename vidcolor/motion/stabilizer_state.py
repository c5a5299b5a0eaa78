"""The state of a `Stabilizer` between two frames, to save it and to go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .flow import Array


@dataclass(frozen=True)
class ChromaState:
    """The filter's state after the last frame that was not a repeat.

    Attributes:
        lightness: `(h', w')` float32 L*, at the chroma's size.
        ab: `(h', w', 2)` float32, stabilized.
        weight: `(h', w')` float32, number of predictions that `ab` is the mean of.
    """

    lightness: Array
    ab: Array
    weight: Array


@dataclass(frozen=True)
class Tracking:
    """The state of `Stabilizer.track` before a frame.

    Attributes:
        gray: `(h, w)` uint8, the last frame that was not a repeat, at the flow's size; None before
            the first.
        inferred, since_inferred: number of the shot's frames that the network has to see, and of
            frames since the last of these.
    """

    gray: Array | None
    inferred: int
    since_inferred: int


@dataclass(frozen=True)
class StabilizerState:
    """The state of a stabilizer before a frame, of `track` and of `stabilize`."""

    tracking: Tracking
    chroma: ChromaState | None

    def to_arrays(self) -> dict[str, Array]:
        """The state as arrays by name, for `numpy.savez`."""
        counts = (self.tracking.inferred, self.tracking.since_inferred)
        arrays = {"counts": np.array(counts)}
        if self.tracking.gray is not None:
            arrays["gray"] = self.tracking.gray
        if self.chroma is not None:
            arrays |= {name: getattr(self.chroma, name) for name in ("lightness", "ab", "weight")}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> StabilizerState:
        """The state of `to_arrays`.

        Raises:
            KeyError, ValueError: the arrays are not those of a state.
        """
        inferred, since = (int(count) for count in arrays["counts"])
        chroma = None
        if "ab" in arrays:
            chroma = ChromaState(arrays["lightness"], arrays["ab"], arrays["weight"])
        return cls(Tracking(arrays.get("gray"), inferred, since), chroma)
