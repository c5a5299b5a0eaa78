"""The runs of a grid or of variants as Markdown tables.

A run is a row: a dict with `settings` (the keys that were changed, and their values), `status`,
`epochs`, `seconds`, `lr` and the measures of its best epoch, such as `train_loss`, `loss` (of the
validation) and `psnr`. `name` tells runs apart whose `settings` have different keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..objectives.base import higher_is_better
from .markdown import cell, finite, setting, short_key, table

Row = Mapping[str, Any]

_NO_MEASURE = {"epochs", "best_epoch", "epoch", "lr", "seconds", "images_per_second"}
_NAMES = {"train_loss": "train loss", "loss": "validation loss", "margin_error": "margin error"}


def varying(rows: Sequence[Row]) -> tuple[list[str], list[dict[str, Any]]]:
    """The keys of `settings` whose values differ, and the rows with those keys alone.

    A grid of one run keeps all its settings. Variants, whose keys differ, get the key `run` with
    their `name`.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row["settings"]))
    if any(set(row["settings"]) != set(keys) for row in rows):
        settings = [{"run": row.get("name", "-")} for row in rows]
        keys = ["run"]
    else:
        settings = [dict(row["settings"]) for row in rows]
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
    usual = [*_NAMES, "psnr"]
    present = dict.fromkeys(k for row in rows for k in row if k not in _NO_MEASURE)
    order = [*usual, *(k for k in present if k not in usual)]
    measures = [k for k in order if any(finite(row.get(k)) is not None for row in rows)]
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
    columns = list(dict.fromkeys(row["settings"][across] for row in rows))
    tables: dict[str, dict[str, dict[Any, str]]] = {}
    for row in rows:
        settings = row["settings"]
        group = ", ".join(f"{short_key(key)} {setting(settings[key])}" for key in others)
        line = tables.setdefault(group, {}).setdefault(setting(settings[down]), {})
        line[settings[across]] = "diverged" if is_diverged(row) else cell(row.get(monitor))
    head = [short_key(down), *(f"{short_key(across)} {setting(c)}" for c in columns)]
    texts = []
    for group, lines in tables.items():
        cells = [[name, *(line.get(c, "-") for c in columns)] for name, line in lines.items()]
        texts.append((f"{group}:\n\n" if group else "") + table(head, cells))
    return f"\nBest {monitor.replace('_', ' ')}:\n\n" + "\n\n".join(texts) + "\n"
