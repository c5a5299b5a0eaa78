"""Plot a training's history and a grid's runs as PNG files.

matplotlib is used through its objects and the Agg canvas: no pyplot, so there is no global state,
and no screen is needed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..objectives.base import higher_is_better
from .grid_table import best_row, is_diverged, varying
from .markdown import finite, setting, short_key
from .report import diverged_epoch, write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (4.4, 3.2)  # inches
_COLUMNS = 3
_MARKED = 40  # a curve of fewer points shows each as a dot
_MOST_LINES = 12  # more changes of the learning rate are a panel instead of lines
_LOG_RATIO = 30.0  # values of a greater ratio get a log axis
_NO_MEASURE = {"epoch", "step", "steps", "lr", "seconds", "images_per_second"}
_NAMES = {
    "psnr": "PSNR, dB",
    "psnr_over_gray": "PSNR over gray, dB",
    "lr": "learning rate",
}
Curve = tuple[Sequence[float], Sequence[float], dict[str, Any]]  # x, y, matplotlib's style


def _figure(panels: int, title: str, scale: float = 1.0) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(panels, _COLUMNS)
    rows = math.ceil(panels / columns)
    size = (scale * _PANEL[0] * columns, scale * (_PANEL[1] * rows + 0.4))
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    figure.suptitle(title, parse_math=False)  # a dollar sign in a title is a dollar sign
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]


def _save(figure: Figure, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    data = io.BytesIO()
    # no version of matplotlib, so that the same values give the same file
    canvas = FigureCanvasAgg(figure)
    canvas.print_png(data, metadata={"Software": None})  # type: ignore[no-untyped-call]
    write_file(path, data.getvalue())


def _label(key: str) -> str:
    return _NAMES.get(key, short_key(key).replace("_", " "))


def _note(axes: Axes, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "C3", "alpha": 0.9}
    at: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, text, color="C3", parse_math=False, bbox=box, **at)


def _draw(
    axes: Axes,
    curves: Mapping[str, Curve],
    best: tuple[float, float, str] | None,
    *,
    title: str,
    x_label: str,
    log: bool,
) -> None:
    """Draw a panel: curves by label, a ring at the best point, and a legend."""
    for label, (xs, ys, style) in curves.items():
        axes.plot(xs, ys, label=label or None, **style)
    if best is not None:
        ring: dict[str, Any] = {"mfc": "none", "mec": "C2", "ms": 9, "mew": 1.8}
        axes.plot([best[0]], [best[1]], "o", label=best[2], **ring)
    known = [y for _, ys, _ in curves.values() for y in ys if math.isfinite(y)]
    if log and known and min(known) > 0 and max(known) > _LOG_RATIO * min(known):
        axes.set_yscale("log")
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.set_xlabel(x_label)
    axes.grid(alpha=0.3)
    if known and axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)


def _points(
    history: Sequence[Mapping[str, Any]], key: str, end: float
) -> tuple[list[int], list[float]]:
    """Epochs and values of `key`; rows without it are left out, values from epoch `end` on are nan.

    Measures of a prediction of nan may look like numbers: its 12-margin error would be 0, because
    no comparison with nan is true.
    """
    epochs, values = [], []
    for number, row in enumerate(history, start=1):
        if key in row:
            epoch, value = int(row.get("epoch", number)), finite(row[key])
            epochs.append(epoch)
            values.append(math.nan if value is None or epoch >= end else value)
    return epochs, values


def _lowest_loss(history: Sequence[Mapping[str, Any]], end: float) -> int | None:
    """The epoch of the lowest loss, of the validation if there is one."""
    for key in ("loss", "train_loss"):
        pairs = zip(*reversed(_points(history, key, end)), strict=True)
        if known := [pair for pair in pairs if math.isfinite(pair[0])]:
            epoch: int = min(known)[1]
            return epoch
    return None


def plot_history(
    history: Sequence[Mapping[str, Any]], path: Path, title: str, best_epoch: int | None = None
) -> None:
    """Write a PNG with a panel for the losses and one for each further measure.

    Dashed vertical lines are changes of the learning rate; if it changes often, it has a panel. A
    ring marks the best epoch. The same history gives the same bytes.

    Args:
        history: one dict an epoch: `epoch` (from 1), `train_loss`, `loss` (of the validation),
            `lr`, `seconds`, and measures by any name; `train_X` shares the panel of `X`. nan,
            infinity or None as a loss means that the run diverged: the panels say so, and show
            nothing from that epoch on.
        path: of the PNG, replaced atomically.
        title: above the panels.
        best_epoch: the epoch whose weights are kept; by default that of the lowest loss.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.ticker import MaxNLocator

    present = dict.fromkeys(key for row in history for key in row)
    keys = list(dict.fromkeys(k.removeprefix("train_") for k in present if k not in _NO_MEASURE))
    keys.sort(key=lambda key: key != "loss")
    epochs, rates = _points(history, "lr", math.inf)
    changes = [e for e, old, new in zip(epochs[1:], rates, rates[1:], strict=False) if old != new]
    if len(changes) > _MOST_LINES:
        keys.append("lr")
        changes = []
    diverged = diverged_epoch(history)
    end = math.inf if diverged is None else diverged
    best_epoch = _lowest_loss(history, end) if best_epoch is None else best_epoch

    figure, panels = _figure(max(1, len(keys)), title)
    for axes, key in zip(panels, keys, strict=False):
        curves: dict[str, Curve] = {}
        best = None
        parts = (
            (("", "learning rate"),) if key == "lr" else (("train_", "train"), ("", "validation"))
        )
        for prefix, name in parts:
            epochs, values = _points(history, prefix + key, math.inf if key == "lr" else end)
            style = {"color": "C1" if not prefix else "C0", "lw": 1.3}
            if epochs:
                curves[name] = epochs, values, {**style, "marker": "." * (len(epochs) < _MARKED)}
            if best_epoch in epochs and not prefix:
                value = values[epochs.index(best_epoch)]
                if math.isfinite(value):
                    best = best_epoch, value, f"epoch {best_epoch}: {value:.4g}"
        log = key == "lr" or "loss" in key
        _draw(axes, curves, best, title=_label(key), x_label="epoch", log=log)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for epoch in changes:
            axes.axvline(epoch - 0.5, color="0.35", lw=0.7, ls="--")
        if diverged is not None and key != "lr":
            rate = next((finite(r.get("lr")) for r in history if r.get("epoch") == diverged), None)
            at = "" if rate is None else f" at lr {rate:g}"
            _note(axes, f"diverged in epoch {diverged}{at}")
    if not keys:
        _note(panels[0], "no epoch was finished")
    _save(figure, path)


def _places(values: Sequence[Any], log: bool) -> tuple[dict[str, float], bool]:
    """The x position of each setting by its text, and whether the axis is logarithmic.

    Words, truth values and missing settings are put side by side.
    """
    if all(finite(value) is not None for value in values):
        places = {setting(v): float(v) for v in sorted(values)}
        least, most = min(places.values()), max(places.values())
        return places, least > 0 and (log or most >= 8 * least)
    return {text: float(i) for i, text in enumerate(dict.fromkeys(map(setting, values)))}, False


def _plot_runs(axes: Axes, rows: Sequence[Mapping[str, Any]], value: str, title: str) -> None:
    keys, rows = varying(rows)
    if not keys:
        _note(axes, "no settings")
        return
    settings = [row["settings"] for row in rows]
    # against the learning rate, else against the key with the most values
    x_key = "lr" if "lr" in keys else max(keys, key=lambda k: len({repr(s[k]) for s in settings}))
    places, log = _places([s[x_key] for s in settings], x_key == "lr")
    points: dict[str, list[tuple[float, float]]] = {}
    lost: list[float] = []
    for row in rows:
        others = (key for key in keys if key != x_key)
        name = ", ".join(f"{_label(k)} {setting(row['settings'][k])}" for k in others)
        x, y = places[setting(row["settings"][x_key])], finite(row.get(value))
        line = points.setdefault(name, [])
        if is_diverged(row):
            lost.append(x)
            line.append((x, math.nan))
        elif y is not None:
            line.append((x, y))
    curves: dict[str, Curve] = {}
    for i, (name, line) in enumerate(points.items()):
        # ten colors, then the next dash
        style = {"ls": ("-", "--", ":", "-.")[i // 10 % 4], "color": f"C{i % 10}", "marker": "."}
        line.sort(key=lambda point: point[0])
        curves[name] = [x for x, _ in line], [y for _, y in line], {**style, "lw": 1.2}
    best = best_row(rows, value)
    ring = None
    if best is not None:
        y = float(rows[best][value])
        ring = places[setting(settings[best][x_key])], y, f"best: {y:.4g}"
    if lost:
        top = axes.get_xaxis_transform()  # x in data, y in the panel: they have no value
        axes.plot(lost, [0.96] * len(lost), "x", color="C3", ms=8, transform=top, label="diverged")
    _draw(axes, curves, ring, title=title, x_label=_label(x_key), log=True)
    if log:
        axes.set_xscale("log")
    axes.set_xticks(list(places.values()), list(places))
    axes.set_xticks([], minor=True)
    better = "higher" if higher_is_better(value) else "lower"
    axes.set_ylabel(f"{_label(value)} ({better} is better)")


def plot_grid(rows: Sequence[Mapping[str, Any]], path: Path, title: str, value: str) -> None:
    """Write a PNG with `value` of a grid's runs against the learning rate.

    A grid without a rate is plotted against the key with the most values. Each combination of the
    other keys is a line; runs that diverged are crosses at the upper edge; a ring marks the best.

    Args:
        rows: see `grid_table`; rows with different `grid` (a name) get a panel each.
        path: of the PNG, replaced atomically.
        title: above the panels.
        value: the measure to plot, such as `loss` or `margin_error`.

    Raises:
        OutputError: the file cannot be written.
    """
    grids: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        grids.setdefault(str(row.get("grid", "")), []).append(row)
    # ten lines and their legend need room
    figure, panels = _figure(max(1, len(grids)), title, scale=1.5)
    for axes, (name, members) in zip(panels, grids.items(), strict=False):
        _plot_runs(axes, members, value, name)
    if not grids:
        _note(panels[0], "no run was finished")
    _save(figure, path)
