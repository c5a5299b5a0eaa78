"""Plot a training's history and a grid's runs as PNG files.

matplotlib is used through its objects and the Agg canvas: no pyplot, so there is no global state,
and no screen is needed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..objectives.base import higher_is_better
from .report import diverged_epoch, write_file
from .tables import NO_MEASURE, Row, best_row, finite, is_diverged, setting, short_key, varying

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (4.4, 3.2)  # inches
_COLUMNS = 3
_MARKED = 40  # a curve of fewer points shows each as a dot
_MOST_LINES = 12  # more changes of the learning rate are a panel instead of lines
_LOG_RATIO = 30.0  # values of a greater ratio get a log axis
_NAMES = {"psnr": "PSNR, dB", "psnr_over_gray": "PSNR over gray, dB", "lr": "learning rate"}


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


def _ring(axes: Axes, x: float, y: float, label: str) -> None:
    style: dict[str, Any] = {"mfc": "none", "mec": "C2", "ms": 9, "mew": 1.8}
    axes.plot([x], [y], "o", label=label, **style)


def _finish(axes: Axes, values: Sequence[float], x_label: str, *, log: bool) -> None:
    """Set the axes, with a log scale if `log` and the values differ greatly; add a legend."""
    known = [value for value in values if math.isfinite(value)]
    if log and known and min(known) > 0 and max(known) > _LOG_RATIO * min(known):
        axes.set_yscale("log")
    axes.set_xlabel(x_label)
    axes.grid(alpha=0.3)
    if known and axes.get_legend_handles_labels()[0]:
        # a corner, because the search for the best place warns on a slow machine
        rising = known[-1] > known[0]
        axes.legend(fontsize=7, loc="lower right" if rising else "upper right")


def _points(history: Sequence[Row], key: str, end: float = math.inf) -> dict[int, float]:
    """Values of `key` by epoch; rows without it are left out, values from epoch `end` on are nan.

    Measures of a prediction of nan may look like numbers: its 12-margin error would be 0, because
    no comparison with nan is true.
    """
    found = {}
    for number, row in enumerate(history, start=1):
        if key in row:
            epoch, value = int(row.get("epoch", number)), finite(row[key])
            found[epoch] = math.nan if value is None or epoch >= end else value
    return found


def _lowest_loss(history: Sequence[Row], end: float) -> int | None:
    """The epoch of the lowest loss, of the validation if there is one."""
    for key in ("loss", "train_loss"):
        points = {e: v for e, v in _points(history, key, end).items() if math.isfinite(v)}
        if points:
            return min(points, key=lambda epoch: points[epoch])
    return None


def plot_history(
    history: Sequence[Row], path: Path, title: str, best_epoch: int | None = None
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

    present = dict.fromkeys(key for row in history for key in row if key not in NO_MEASURE)
    keys = sorted(dict.fromkeys(k.removeprefix("train_") for k in present), key="loss".__ne__)
    rates = list(_points(history, "lr").items())
    changes = [e for (_, old), (e, new) in pairwise(rates) if old != new]
    if len(changes) > _MOST_LINES:
        keys.append("lr")
        changes = []
    diverged = diverged_epoch(history)
    end = math.inf if diverged is None else diverged
    best_epoch = _lowest_loss(history, end) if best_epoch is None else best_epoch

    figure, panels = _figure(max(1, len(keys)), title)
    for axes, key in zip(panels, keys, strict=False):
        points = _points(history, key, math.inf if key == "lr" else end)
        train = _points(history, f"train_{key}", end)
        for values, name, color in ((train, "train", "C0"), (points, "validation", "C1")):
            if values:
                label, marker = _label(key) if key == "lr" else name, "." * (len(values) < _MARKED)
                axes.plot(
                    list(values), list(values.values()), label=label, c=color, lw=1.3, marker=marker
                )
        if best_epoch is not None and math.isfinite(best := points.get(best_epoch, math.nan)):
            _ring(axes, best_epoch, best, f"epoch {best_epoch}: {best:.4g}")
        axes.set_title(_label(key), fontsize=10, parse_math=False)
        log = key == "lr" or "loss" in key
        _finish(axes, [*train.values(), *points.values()], "epoch", log=log)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for epoch in changes:
            axes.axvline(epoch - 0.5, color="0.35", lw=0.7, ls="--")
        if diverged is not None and key != "lr":
            rate = dict(rates).get(diverged, math.nan)
            at = f" at lr {rate:g}" if math.isfinite(rate) else ""
            _note(axes, f"diverged in epoch {diverged}{at}")
    if not keys:
        _note(panels[0], "no epoch was finished")
    _save(figure, path)


def plot_runs(
    histories: Mapping[str, Sequence[Row]], measures: Sequence[str], path: Path, title: str
) -> None:
    """Write a PNG that lays the curves of several runs over each other, a panel for each measure.

    Args:
        histories: by the runs' names; see `plot_history`.
        measures: such as `loss`; `train_loss` is drawn dashed in its panel.
        path: of the PNG, replaced atomically.
        title: above the panels.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.ticker import MaxNLocator

    figure, panels = _figure(len(measures), title)
    for axes, key in zip(panels, measures, strict=True):
        drawn: list[float] = []
        for i, (name, history) in enumerate(histories.items()):
            end = diverged_epoch(history) or math.inf
            for measure, line in ((f"train_{key}", "--"), (key, "-")):
                points = _points(history, measure, end)
                label = f"{name}, diverged" if end == 1 else name
                style: dict[str, Any] = {
                    "ls": line,
                    "c": f"C{i % 10}",
                    "marker": "." * (len(points) < _MARKED),
                }
                axes.plot(
                    list(points),
                    list(points.values()),
                    label=label if line == "-" else None,
                    **style,
                )
                drawn += points.values()
        axes.set_title(_label(key), fontsize=10, parse_math=False)
        _finish(axes, drawn, "epoch", log="loss" in key)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
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


def plot_grid(rows: Sequence[Row], path: Path, title: str, value: str) -> None:
    """Write a PNG with `value` of a grid's runs against the learning rate.

    A grid without a rate is plotted against the key with the most values. Each combination of the
    other keys is a line; runs that diverged are crosses at the upper edge; a ring marks the best.

    Args:
        rows: see `tables`.
        path: of the PNG, replaced atomically.
        title: above the plot.
        value: the measure to plot, such as `loss` or `margin_error`.

    Raises:
        OutputError: the file cannot be written.
    """
    # ten lines and their legend need room
    figure, (axes,) = _figure(1, title, scale=1.5)
    keys, rows = varying(rows)
    if keys:
        _plot_runs(axes, keys, rows, value)
    else:
        _note(axes, "no run was finished")
    _save(figure, path)


def _plot_runs(axes: Axes, keys: Sequence[str], rows: Sequence[Row], value: str) -> None:
    settings = [row["settings"] for row in rows]
    # against the learning rate, else against the key with the most values
    x_key = "lr" if "lr" in keys else max(keys, key=lambda k: len({repr(s[k]) for s in settings}))
    places, log = _places([s[x_key] for s in settings], x_key == "lr")
    xs = [places[setting(s[x_key])] for s in settings]
    lines: dict[str, list[tuple[float, float]]] = {}
    for row, x in zip(rows, xs, strict=True):
        name = ", ".join(f"{_label(k)} {setting(row['settings'][k])}" for k in keys if k != x_key)
        line, y = lines.setdefault(name, []), finite(row.get(value))
        if y is not None or is_diverged(row):
            line.append((x, math.nan if y is None or is_diverged(row) else y))
    for i, (name, line) in enumerate(lines.items()):
        line.sort(key=lambda point: point[0])
        axes.plot(
            [x for x, _ in line],
            [y for _, y in line],
            # ten colors, then the next dash
            ls=("-", "--", ":", "-.")[i // 10 % 4],
            c=f"C{i % 10}",
            marker=".",
            lw=1.2,
            label=name or None,
        )
    best = best_row(rows, value)
    if best is not None:
        _ring(axes, xs[best], y := float(rows[best][value]), f"best: {y:.4g}")
    if lost := [x for row, x in zip(rows, xs, strict=True) if is_diverged(row)]:
        top = axes.get_xaxis_transform()  # x in data, y in the panel: they have no value
        axes.plot(lost, [0.96] * len(lost), "x", color="C3", ms=8, transform=top, label="diverged")
    _finish(axes, [y for line in lines.values() for _, y in line], _label(x_key), log=True)
    if log:
        axes.set_xscale("log")
    axes.set_xticks(list(places.values()), list(places))
    axes.set_xticks([], minor=True)
    better = "higher" if higher_is_better(value) else "lower"
    axes.set_ylabel(f"{_label(value)} ({better} is better)")
