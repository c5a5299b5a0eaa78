"""Checks of the architectures' options, with one clear line for a bad value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """`value` where it is a whole number of at least `least`.

    Raises:
        ValueError: it is another type (True and False too), or smaller.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return value


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """`value` where it is one of `allowed`.

    Raises:
        ValueError: it is not.
    """
    # type and value, because True == 1 in Python
    if not any(type(value) is type(choice) and value == choice for choice in allowed):
        known = ", ".join(map(str, allowed))
        raise ValueError(f"{name} must be one of {known}, not {value!r}")
    return value


def switch(name: str, value: Any) -> bool:
    """`value` where it is True or False.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return value


def fraction(name: str, value: Any) -> float:
    """`value` as a float where it is a number in [0, 1).

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, not {value!r}")
    return float(value)
