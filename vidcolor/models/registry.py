"""The architectures by name.

A model registers itself in its own file, anywhere below this package:

    @register_model("name")
    class Name(ColorModel): ...

An installed package adds models by entry points of the group `vidcolor.models`; see
`vidcolor.system.registry`.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Mapping
from typing import Any

from ..errors import WeightsError
from ..system.registry import Registry
from .base import ColorModel
from .entry import is_option

DEFAULT_MODEL = "fast"

MODELS: Registry[ColorModel] = Registry(
    "model",
    ColorModel,  # type: ignore[type-abstract]
    "vidcolor.models",
    WeightsError,
)
register_model = MODELS.register


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check that an architecture has these options, and that weights can record their values.

    Raises:
        WeightsError: the architecture `name` has no such option, or a value has the wrong type or
            is too large.
    """
    accepted = inspect.signature(MODELS[name]).parameters
    for key, value in options.items():
        if key not in accepted:
            known = ", ".join(accepted) or "none"
            raise WeightsError(
                f"the architecture '{name}' has no option {reprlib.repr(key)}; it has: {known}"
            )
        if not is_option(value):
            raise WeightsError(
                f"the architecture '{name}': {key} must be true, false, a short text or a number "
                f"up to 10000, not {reprlib.repr(value)}"
            )


def create_model(name: str, **options: Any) -> ColorModel:
    """A freshly initialized model of the architecture `name`.

    Args:
        name: a key of `MODELS`.
        options: the architecture's own keyword arguments.

    Raises:
        WeightsError: no architecture has that name, or it has no such option or value.
    """
    if name not in MODELS:
        raise WeightsError(
            f"no model architecture is called {reprlib.repr(name)}; there are: {', '.join(MODELS)}"
        )
    check_options(name, options)
    try:
        return MODELS[name](**options)
    except (TypeError, ValueError, OverflowError, MemoryError, RuntimeError) as error:
        # torch's RuntimeErrors, as of numbers too large for memory, go on for lines
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(f"the architecture '{name}': {reason}") from error
