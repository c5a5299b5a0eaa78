"""Format numbers, settings and tables as Markdown text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def finite(value: Any) -> float | None:
    """`value` as a float; None if it is nan, infinite, None or not a number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def cell(value: Any, form: str = "") -> str:
    """`value` as the text of a table cell; None and nan are a dash.

    Floats are formatted by `form`, by default with four digits or more, never as `1e+04`.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:{form or (',.0f' if 1e3 <= abs(value) < 1e15 else '.4g')}}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return " to ".join(cell(v, form) for v in value)
    return " ".join(str(value).split()).replace("|", "\\|").replace("*", "\\*")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def values_table(head: Sequence[str], values: Mapping[str, Any]) -> str:
    """A Markdown table of keys and values."""
    return table(head, [[cell(key), cell(value)] for key, value in values.items()])


def duration(seconds: float | None) -> str:
    """`seconds` in two units at most: `4.2 s`, `3 min 5 s`, `1 h 12 min`."""
    value = finite(seconds)
    if value is None:
        return "-"
    if value < 59.95:
        return f"{value:.1f} s"
    if value < 3599.5:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min {rest} s"
    hours, rest = divmod(round(value / 60), 60)
    return f"{hours:,} h {rest} min"


def setting(value: Any) -> str:
    """A setting as it is typed: `0.0001`, no thousands separator, a list without brackets."""
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    return f"{value:g}" if isinstance(value, float) else cell(str(value))


def short_key(key: str) -> str:
    """The last part of a setting's key: `layers` of `model_options.layers`."""
    return key.rpartition(".")[2]
