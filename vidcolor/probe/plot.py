"""Bars of what `probe` measured, as a PNG file.

matplotlib is used through its objects and the Agg canvas alone, as in `training.curves`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.files import replacing
from .forecast import ForecastReport
from .machine import MachineReport, ModelReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL = (5.2, 3.2)  # inches
_DPI = 100
_COLUMNS = 2
_MINUTE = 60.0


@dataclass(frozen=True)
class Panel:
    """Bars side by side.

    Attributes:
        title: above them.
        unit: of their heights.
        bars: name and height of each; None for what does not fit.
        marked: names of the bars that are of another colour.
        line: a height to draw a line at, and what it is called.
    """

    title: str
    unit: str
    bars: tuple[tuple[str, float | None], ...]
    marked: tuple[str, ...] = ()
    line: tuple[float, str] | None = None


def _draw(axes: Axes, panel: Panel) -> None:
    names = [name for name, _ in panel.bars]
    heights = [height or 0.0 for _, height in panel.bars]
    colors = ["C1" if name in panel.marked else "C0" for name in names]
    bars = axes.bar(range(len(names)), heights, color=colors)
    labels = ["none" if height is None else f"{height:.3g}" for _, height in panel.bars]
    axes.bar_label(bars, labels, fontsize=8)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    for label in axes.get_xticklabels():
        label.set_parse_math(False)  # a dollar sign in a file's name is a dollar sign
    if panel.line is not None:
        axes.axhline(panel.line[0], color="C2", lw=1.2, ls="--", label=panel.line[1])
        axes.legend(fontsize=8)
    axes.set_ylabel(panel.unit)
    axes.set_title(panel.title, fontsize=10, parse_math=False)
    axes.margins(y=0.15)
    axes.grid(axis="y", alpha=0.3)


def plot_panels(panels: Sequence[Panel], path: Path, title: str) -> None:
    """Write panels of bars as a PNG; the same panels give the same bytes.

    Args:
        panels: at least one.
        path: of the PNG, replaced atomically.
        title: above all of them.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(panels), _COLUMNS)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(
        figsize=(_PANEL[0] * columns, _PANEL[1] * rows + 0.4), dpi=_DPI, layout="constrained"
    )
    figure.suptitle(title, parse_math=False)
    for number, panel in enumerate(panels, start=1):
        _draw(figure.add_subplot(rows, columns, number), panel)
    data = io.BytesIO()
    # no name and version of matplotlib: a rerun gives the same file, byte for byte
    FigureCanvasAgg(figure).print_png(data, metadata={"Software": None})
    with replacing(path) as temporary:
        temporary.write_bytes(data.getvalue())


def _name(model: ModelReport) -> str:
    return f"{model.model} at {model.size}"


def machine_panels(report: MachineReport) -> list[Panel]:
    """Two panels a model: frames a second of each stage, and of each batch size."""
    panels = []
    for model in report.models:
        fps = model.stages.fps
        if fps:
            binds = tuple((model.stages.binds or "").split(" and "))
            line = (model.stages.end_to_end, "end to end")
            title = f"{_name(model)}: stages, each alone"
            panels.append(Panel(title, "fps", tuple(fps.items()), binds, line))
        rows = tuple((str(row.batch), row.fps) for row in model.rows)
        title = f"{_name(model)}: model and compose, by batch"
        panels.append(Panel(title, "fps", rows, (str(model.fastest),)))
    return panels


def forecast_panels(report: ForecastReport) -> list[Panel]:
    """Minutes and megabytes of each input."""
    names = [row.input.name if row.kind == "film" else "pictures" for row in report.rows]
    seconds = [row.seconds for row in report.rows]
    unit, scale = ("minutes", _MINUTE) if sum(seconds) > 2 * _MINUTE else ("seconds", 1.0)
    times = tuple((n, s / scale) for n, s in zip(names, seconds, strict=True))
    sizes = tuple((n, row.bytes / 1e6) for n, row in zip(names, report.rows, strict=True))
    return [Panel("time", unit, times), Panel("size of the output", "MB", sizes)]


def plot_machine(report: MachineReport, path: Path) -> None:
    """Write the bars of a probe without an input.

    Raises:
        OutputError: the file cannot be written.
    """
    width, height = report.frame
    title = f"{report.device}, frames of {width}x{height}"
    plot_panels(machine_panels(report), path, title)


def plot_forecast(report: ForecastReport, path: Path) -> None:
    """Write the bars of a forecast.

    Raises:
        OutputError: the file cannot be written.
    """
    plot_panels(forecast_panels(report), path, f"{report.model} on {report.device}")
