"""Markdown tables of results: numbers, settings, and the runs of a grid or of variants.

A run is a row: a dict with `settings` (the keys that were changed, and their values), `status`,
`epochs`, `seconds`, `lr` and the measures of its best epoch, such as `train_loss`, `loss` (of the
validation) and `psnr`. `name` tells runs apart whose `settings` have different keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..objectives.base import higher_is_better

Row = Mapping[str, Any]

NO_MEASURE = {"epochs", "best_epoch", "epoch", "lr", "seconds", "images_per_second"}
_NAMES = {"train_loss": "train loss", "loss": "validation loss", "margin_error": "margin error"}


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


def duration(seconds: float | None) -> str:
    """Seconds in two units at most: `4.2 s`, `3 min 5 s`, `1 h 12 min`; a dash for None, nan."""
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


def varying(rows: Sequence[Row]) -> tuple[list[str], list[dict[str, Any]]]:
    """The keys of `settings` whose values differ, and the rows with those keys alone.

    A grid of one run keeps all its settings. Variants, whose keys differ, get the key `run` with
    their `name`.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row["settings"]))
    settings = [row["settings"] for row in rows]
    if any(set(each) != set(keys) for each in settings):
        keys, settings = ["run"], [{"run": row.get("name", "-")} for row in rows]
    else:
        keys = [k for k in keys if len({repr(s[k]) for s in settings}) > 1] or keys
    return keys, [
        {**row, "lr": row["settings"].get("lr", row.get("lr")), "settings": {k: s[k] for k in keys}}
        for row, s in zip(rows, settings, strict=True)
    ]


def is_diverged(row: Row) -> bool:
    """Whether a run diverged: by its status, or by a loss that is nan or infinite."""
    losses = [row.get(key) for key in ("train_loss", "loss")]
    return row.get("status") == "diverged" or any(
        isinstance(loss, float) and not math.isfinite(loss) for loss in losses
    )


def best_row(rows: Sequence[Row], monitor: str) -> int | None:
    """The index of the best run by `monitor` that did not diverge, or None."""
    values = {
        i: value
        for i, row in enumerate(rows)
        if not is_diverged(row) and (value := finite(row.get(monitor))) is not None
    }
    choose = max if higher_is_better(monitor) else min
    return choose(values, key=lambda i: values[i]) if values else None


def grid_markdown(rows: Sequence[Row], monitor: str = "loss") -> str:
    """A table with a line for each run; the best run by `monitor` is bold.

    Columns that no run fills are left out.
    """
    keys, rows = varying(rows)
    order = dict.fromkeys([*_NAMES, "psnr", *(k for row in rows for k in row)])
    measures = [
        k for k in order if k not in NO_MEASURE and any(finite(r.get(k)) is not None for r in rows)
    ]
    lines = []
    for row in rows:
        lost, status = is_diverged(row), cell(row.get("status"))
        if lost:
            status = "diverged" + (f" at lr {setting(row['lr'])}" if row.get("lr") else "")
        texts = [setting(row["settings"][k]) for k in keys] + [status, cell(row.get("epochs"))]
        texts += [cell(None if lost else finite(row.get(k))) for k in measures]
        lines.append([*texts, cell(finite(row.get("seconds")), ",.1f")])
    best = best_row(rows, monitor)
    if best is not None:
        lines[best] = [f"**{text}**" for text in lines[best]]
    head = [*map(short_key, keys), "status", "epochs run", *(_NAMES.get(k, k) for k in measures)]
    return table([cell(text) for text in [*head, "seconds"]], lines) + "\n"


def pivot_markdown(rows: Sequence[Row], monitor: str) -> str:
    """The grid as the documents print it: `monitor` by learning rate across and another key down.

    There is a table for each combination of the other keys; none for a grid of one key.
    """
    keys = list(rows[0]["settings"])
    if len(keys) < 2 or any(list(row["settings"]) != keys for row in rows):
        return ""
    across = "lr" if "lr" in keys else keys[-1]
    *others, down = [key for key in keys if key != across]
    columns = list(dict.fromkeys(setting(row["settings"][across]) for row in rows))
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        texts = {key: setting(value) for key, value in row["settings"].items()}
        group = ", ".join(f"{short_key(key)} {texts[key]}" for key in others)
        line = tables.setdefault(group, {}).setdefault(texts[down], {})
        line[texts[across]] = "diverged" if is_diverged(row) else cell(row.get(monitor))
    head = [short_key(down), *(f"{short_key(across)} {column}" for column in columns)]
    found = []
    for group, lines in tables.items():
        cells = [[name, *(line.get(c, "-") for c in columns)] for name, line in lines.items()]
        found.append((f"{group}:\n\n" if group else "") + table(head, cells))
    return f"\nBest {monitor.replace('_', ' ')}:\n\n" + "\n\n".join(found) + "\n"
