"""The architectures, by name.

The contract every model keeps: `forward` takes L* `(B, 1, H, W)` in [0, 100], with H and W
multiples of the class attribute `stride`, and returns a*b* `(B, 2, h, w)` in Lab units at any
h <= H, w <= W that spans the same field of view. Each picture of a batch is coloured on its own.
A name with a leading underscore is hidden from listings.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ..errors import WeightsError
from .fast import Fast
from .ramp import Ramp

MODELS: dict[str, Callable[[], nn.Module]] = {
    "fast": Fast,
    "_ramp": Ramp,
}


def create_model(name: str) -> nn.Module:
    """A freshly initialised model of the architecture `name`.

    Raises:
        WeightsError: no architecture has that name.
    """
    if name not in MODELS:
        known = ", ".join(sorted(n for n in MODELS if not n.startswith("_")))
        raise WeightsError(f"no model architecture is called '{name}'; there are: {known}")
    return MODELS[name]()
