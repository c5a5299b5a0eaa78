"""Options as fields of frozen dataclasses: name, type, default, limits and help in one place.

    @dataclass(frozen=True)
    class Settings:
        quality: int = option(95, low=1, high=100, help="Quality of JPEG and WebP pictures.")

        def __post_init__(self) -> None:
            check_options(self)

`cli.options` turns every such field into a command-line option and hands the command an instance
of the dataclass. So a new option is a new field and its use. Nothing here imports click or torch,
which keeps `--help` quick.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields
from fractions import Fraction
from numbers import Integral, Rational, Real
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from .errors import VidcolorError

_KEY = "option"


class OptionError(VidcolorError, ValueError):
    """An option's value cannot be used.

    Attributes:
        name: of the field.
        reason: what follows the name in the message, such as `must be at least 1, not 0`.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name, self.reason = name, reason


@dataclass(frozen=True)
class Option:
    """What the command line shows and checks of one field.

    Attributes:
        help: the help text.
        flag: the option's name if it is not the field's, with dashes: `--luma`.
        short: a one-letter name, such as `-y`.
        metavar: what stands for the value in the help; by default click's name of the type.
        low, high: limits of a number, both included; in a tuple, of each of its numbers.
        choices: the words to choose from, each with its value.
        parse: makes the value from the text; raises ValueError with a reason.
        word: the word for the default value, such as `auto` for None.
        repeatable: the option may be given several times; its values make a tuple.
    """

    help: str
    flag: str = ""
    short: str = ""
    metavar: str | None = None
    low: float | None = None
    high: float | None = None
    choices: Mapping[str, Any] | None = None
    parse: Callable[[str], Any] | None = None
    word: str = ""
    repeatable: bool = False


def option(default: Any, **properties: Any) -> Any:
    """A dataclass field that is an option.

    Args:
        default: the field's default value, immutable.
        **properties: the attributes of `Option`; `help` is required.
    """
    return field(default=default, metadata={_KEY: Option(**properties)})


def option_of(each: Field[Any]) -> Option | None:
    """The option of a dataclass field, None for a field that was not made by `option`."""
    found: Option | None = each.metadata.get(_KEY)
    return found


def words(*choices: str) -> dict[str, str]:
    """`choices` for a field whose values are the words themselves."""
    return {word: word for word in choices}


# What is accepted for a type, and its name in a message. Whole numbers are numbers too.
_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((Integral,), "a whole number"),
    float: ((Real,), "a number"),
    Fraction: ((Rational,), "a fraction or a whole number"),
    Path: ((str, os.PathLike), "a path"),
    str: ((str,), "text"),
    bool: ((bool,), "True or False"),
    type(None): ((type(None),), "None"),
}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a field's type; what stands in a sequence or a set is checked too."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if kind in _KINDS:
        return isinstance(value, _KINDS[kind][0]) and (kind is bool or not isinstance(value, bool))
    if kind in (tuple, Sequence, frozenset):
        several = (Set,) if kind is frozenset else (kind,)
        items = isinstance(value, several) and not isinstance(value, str)
        return items and all(_fits(item, inner[0]) for item in value)
    return kind is Any or isinstance(value, kind)


def _type_name(hint: Any) -> str:
    kind = get_origin(hint) or hint
    if kind in (Union, UnionType):
        return " or ".join(_type_name(each) for each in get_args(hint))
    if kind in (tuple, Sequence, frozenset):
        return f"several, each {_type_name(get_args(hint)[0])}"
    return _KINDS[kind][1] if kind in _KINDS else f"a {kind.__name__}"


def check_options(options: Any) -> None:
    """Check every option of a dataclass instance against its type, limits and choices.

    Raises:
        OptionError: a value is out of range, of another type, or not among the choices.
    """
    hints = get_type_hints(type(options))
    for each in fields(options):
        known, value = option_of(each), getattr(options, each.name)
        if known is None or (value is None and each.default is None):
            continue
        if known.choices is not None and value not in known.choices.values():
            values = ", ".join(map(repr, known.choices.values()))
            raise OptionError(each.name, f"must be one of {values}, not {value!r}")
        hint = hints[each.name]
        if known.choices is None and not _fits(value, hint):
            raise OptionError(each.name, f"must be {_type_name(hint)}, not {value!r}")
        low, high = known.low, known.high
        if low is None and high is None:
            continue
        for item in value if isinstance(value, tuple) else (value,):
            # nan fails every comparison
            if (low is not None and not item >= low) or (high is not None and not item <= high):
                if high is None:
                    raise OptionError(each.name, f"must be at least {low:g}, not {item}")
                raise OptionError(each.name, f"must lie between {low:g} and {high:g}, not {item}")


def parse_time(text: str) -> Fraction:
    """Seconds (`90`, `12.48`) or `[HH:]MM:SS[.fff]` as an exact fraction of seconds.

    Raises:
        ValueError: the text is not a time.
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(re.fullmatch(r"\d{1,7}(\.\d{1,12})?", part) for part in parts):
        raise ValueError(f"'{text}' is not a time; write seconds or HH:MM:SS.fff")
    seconds = Fraction(0)
    for part in parts:
        seconds = seconds * 60 + Fraction(part)
    return seconds


def parse_rate(text: str) -> Fraction:
    """A frame rate, `24`, `23.976` or `30000/1001`, as an exact fraction of frames a second.

    Raises:
        ValueError: the text is not a positive number.
    """
    rate = Fraction(0)
    if len(text) <= 40 and "e" not in text.lower():  # 1e9999999 would take minutes and all memory
        with suppress(ValueError, ZeroDivisionError):
            rate = Fraction(text)
    if rate <= 0:
        raise ValueError(f"'{text}' is not a frame rate; write 24 or 30000/1001")
    return rate
