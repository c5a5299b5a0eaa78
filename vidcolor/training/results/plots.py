"""Plots of a training's history and of a grid's runs, as PNG files.

matplotlib is used through its objects and the Agg canvas alone: no pyplot, so nothing is global,
nothing needs a screen, and two runs in one process do not disturb each other.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..objectives.measures import higher_is_better
from .markdown import finite, setting, short_key
from .report import best_row, diverged_epoch, is_diverged, with_varying, write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (4.4, 3.2)  # inches
_DPI = 100
_COLUMNS = 3
_DOTS = 40  # a curve of fewer points shows each as a dot; a single point would be no line at all
_MOST_LINES = 12  # more changes of the rate than this become a panel of their own
_SPAN = 30.0  # a loss whose greatest value is this many times its least has a log axis

# no measures, and so no panels
_BOOKKEEPING = {"epoch", "step", "steps", "lr", "seconds", "images_per_second"}
_NAMES = {"loss": "loss", "psnr": "PSNR, dB", "gain": "gain over grey, dB", "lr": "learning rate"}


def _figure(panels: int, title: str) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(panels, _COLUMNS)
    rows = math.ceil(panels / columns)
    figure = Figure(
        figsize=(_PANEL[0] * columns, _PANEL[1] * rows + 0.4), dpi=_DPI, layout="constrained"
    )
    figure.suptitle(title, parse_math=False)  # a dollar sign in a title is a dollar sign
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]


def _save(figure: Figure, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    data = io.BytesIO()
    # no name and version of matplotlib: a rerun gives the same file, byte for byte
    FigureCanvasAgg(figure).print_png(data, metadata={"Software": None})
    write_file(path, data.getvalue())


def _label(key: str) -> str:
    return _NAMES.get(key, short_key(key).replace("_", " "))


def _log_if_wide(axes: Axes, values: Sequence[float]) -> None:
    known = [v for v in values if math.isfinite(v)]
    if known and min(known) > 0 and max(known) > _SPAN * min(known):
        axes.set_yscale("log")


def _note(axes: Axes, text: str) -> None:
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color="C3",
        parse_math=False,
        bbox={"facecolor": "white", "edgecolor": "C3", "alpha": 0.9},
    )


def _points(
    history: Sequence[Mapping[str, Any]], key: str, end: float
) -> tuple[list[int], list[float]]:
    """Epochs and values of `key`: absent rows are passed over, and all from `end` on is nan.

    What is measured on a prediction of nan is no number to show, though it may look like one: no
    comparison with nan is true, so that its 12-margin error would be 0.
    """
    epochs, values = [], []
    for number, row in enumerate(history, start=1):
        if key in row:
            epoch, value = int(row.get("epoch", number)), finite(row[key])
            epochs.append(epoch)
            values.append(math.nan if value is None or epoch >= end else value)
    return epochs, values


def _rate_changes(history: Sequence[Mapping[str, Any]]) -> list[int]:
    """The epochs that ran at another rate than the one before."""
    epochs, rates = _points(history, "lr", math.inf)
    changed = zip(epochs[1:], rates, rates[1:], strict=False)
    return [epoch for epoch, before, after in changed if before != after]


def _best_epoch(history: Sequence[Mapping[str, Any]], end: float) -> int | None:
    """The epoch of the lowest loss, validation's where it is known."""
    for key in ("loss", "train_loss"):
        epochs, values = _points(history, key, end)
        known = [(value, epoch) for epoch, value in zip(epochs, values, strict=True)]
        known = [pair for pair in known if math.isfinite(pair[0])]
        if known:
            return min(known)[1]
    return None


def plot_history(
    history: Sequence[Mapping[str, Any]], path: Path, title: str, best_epoch: int | None = None
) -> None:
    """Write the curves of a training as a PNG: the losses, and a panel for each further measure.

    Thin vertical lines are changes of the learning rate (a rate that changes all the time has a
    panel instead); a ring marks the best epoch. The same history gives the same bytes.

    Args:
        history: one dict an epoch: `epoch` (from 1), `train_loss`, `loss` (of the validation),
            `lr`, `seconds`, and measures by any name; `train_X` shares the panel of `X`. nan,
            infinity or None as a loss is a diverged run: its panels say so, and show nothing from
            that epoch on. A key that a row lacks was not measured.
        path: of the PNG, replaced atomically.
        title: above the panels.
        best_epoch: the epoch whose weights are kept; the one of the lowest loss if None.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.ticker import MaxNLocator

    present = dict.fromkeys(key for row in history for key in row)
    keys = list(dict.fromkeys(k.removeprefix("train_") for k in present if k not in _BOOKKEEPING))
    if "loss" in keys:
        keys.insert(0, keys.pop(keys.index("loss")))
    changes = _rate_changes(history)
    if len(changes) > _MOST_LINES:
        keys.append("lr")
        changes = []
    diverged = diverged_epoch(history)
    end = math.inf if diverged is None else diverged
    best = _best_epoch(history, end) if best_epoch is None else best_epoch

    figure, panels = _figure(max(1, len(keys)), title)
    for axes, key in zip(panels, keys, strict=False):
        shown: list[float] = []
        for part, name, color in (("train_", "train", "C0"), ("", "validation", "C1")):
            epochs, values = _points(history, part + key, math.inf if key == "lr" else end)
            if not epochs or (key == "lr" and part):
                continue
            marker = "." if len(epochs) < _DOTS else ""
            axes.plot(epochs, values, color=color, marker=marker, lw=1.3, label=name)
            shown += values
            if best in epochs and not part and math.isfinite(y := values[epochs.index(best)]):
                label = f"epoch {best}: {y:.4g}"
                axes.plot([best], [y], "o", mfc="none", mec="C2", ms=9, mew=1.8, label=label)
        if key == "lr" or "loss" in key:
            _log_if_wide(axes, shown)
        for epoch in changes:
            axes.axvline(epoch - 0.5, color="0.35", lw=0.7, ls="--")
        if diverged is not None and key != "lr":
            rate = next((finite(r.get("lr")) for r in history if r.get("epoch") == diverged), None)
            at = "" if rate is None else f" at lr {rate:g}"
            _note(axes, f"diverged in epoch {diverged}{at}")
        axes.set_title(_label(key), fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if key != "lr" and any(math.isfinite(v) for v in shown):
            axes.legend(fontsize=8)
    if not keys:
        _note(panels[0], "no epoch was finished")
    _save(figure, path)


# --------------------------------------------------------------------------- grids


def _x_key(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> str:
    """What a grid is plotted against: its rate, else the key with the most values."""
    if "lr" in keys:
        return "lr"
    return max(keys, key=lambda key: len({repr(row["settings"][key]) for row in rows}))


def _positions(values: Sequence[Any], log: bool) -> tuple[dict[str, float], bool]:
    """Where each setting stands on the x axis, by its text, and whether the axis is logarithmic.

    Words, truth values and missing settings stand side by side.
    """
    numbers = [finite(value) for value in values]
    if all(number is not None for number in numbers):
        places = {setting(v): float(v) for v in sorted(values)}
        least, most = min(places.values()), max(places.values())
        return places, least > 0 and (log or most >= 8 * least)
    return {text: float(i) for i, text in enumerate(dict.fromkeys(map(setting, values)))}, False


def _plot_runs(axes: Axes, rows: Sequence[Mapping[str, Any]], value: str) -> None:
    keys, rows = with_varying(rows)
    if not keys:
        _note(axes, "no settings")
        return
    x_key = _x_key(rows, keys)
    others = [key for key in keys if key != x_key]
    places, log = _positions([row["settings"][x_key] for row in rows], x_key == "lr")
    best = best_row(rows, value)

    lines: dict[str, list[tuple[float, float]]] = {}
    lost: list[float] = []
    for row in rows:
        settings = row["settings"]
        name = ", ".join(f"{_label(k)} {setting(settings[k])}" for k in others)
        x = places[setting(settings[x_key])]
        y = finite(row.get(value))
        line = lines.setdefault(name, [])
        if is_diverged(row):
            lost.append(x)
            line.append((x, math.nan))
        elif y is not None:
            line.append((x, y))
    for i, (name, points) in enumerate(lines.items()):
        if not points:
            continue
        xs, ys = zip(*sorted(points, key=lambda p: p[0]), strict=True)
        style = ("-", "--", ":", "-.")[i // 10 % 4]  # ten colours, then the next dash
        axes.plot(xs, ys, style, color=f"C{i % 10}", marker=".", lw=1.2, label=name or None)
    _log_if_wide(axes, [y for points in lines.values() for _, y in points])
    if lost:
        high = axes.get_xaxis_transform()  # x in data, y in the panel: they have no value
        axes.plot(lost, [0.96] * len(lost), "x", color="C3", ms=8, transform=high, label="diverged")
    if best is not None:
        x, y = places[setting(rows[best]["settings"][x_key])], float(rows[best][value])
        label = f"best: {y:.4g}"
        axes.plot([x], [y], "o", mfc="none", mec="C2", ms=10, mew=1.8, label=label)
    if log:
        axes.set_xscale("log")
    axes.set_xticks(list(places.values()), list(places))
    axes.set_xticks([], minor=True)
    axes.set_xlabel(_label(x_key))
    better = "higher" if higher_is_better(value) else "lower"
    axes.set_ylabel(f"{_label(value)} ({better} is better)")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)


def plot_grid(rows: Sequence[Mapping[str, Any]], path: Path, title: str, value: str) -> None:
    """Write the runs of a grid as a PNG: `value` against the learning rate, or against the key.

    A grid without a rate is drawn against its key of the most values, so that a batch-size study
    is a plot against the batch size. Each combination of the other keys is a line; runs that
    diverged are crosses at the upper edge; a ring marks the best run.

    Args:
        rows: as for `report.grid_markdown`; rows of several grids, told apart by their key
            `grid` (a name), get a panel each.
        path: of the PNG, replaced atomically.
        title: above the panels.
        value: the measure to plot, such as `loss` or `margin_error`.

    Raises:
        OutputError: the file cannot be written.
    """
    grids: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        grids.setdefault(str(row.get("grid", "")), []).append(row)
    figure, panels = _figure(max(1, len(grids)), title)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width * 1.5, height * 1.5)  # ten lines and their legend need room
    for axes, (name, members) in zip(panels, grids.items(), strict=False):
        _plot_runs(axes, members, value)
        axes.set_title(name, fontsize=10, parse_math=False)
    if not grids:
        _note(panels[0], "no run was finished")
    _save(figure, path)
