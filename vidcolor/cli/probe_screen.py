"""The tables of `vidcolor probe`, on standard output; what it is at goes to standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .screen import width_of

if TYPE_CHECKING:
    from ..probe import Forecast, ForecastReport, MachineReport, ModelReport
    from ..training.probe import TrainingReport

_GIB, _MIB = 1 << 30, 1 << 20


@contextmanager
def working(as_json: bool) -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says what is measured; nothing with JSON or where nobody looks."""
    from .screen import Screen

    console = Screen(quiet=False, verbose=False, as_json=as_json).console
    if as_json or not console.is_terminal:
        yield lambda line: None
        return
    with console.status("measuring") as status:
        yield lambda line: status.update(Text(line))


def _console() -> Console:
    return Console(file=sys.stdout, highlight=False, width=width_of(sys.stdout))


def _memory(values: Mapping[str, int]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {n / _GIB:.2f} GiB" for key, n in values.items())


def _mib(value: int | None) -> str:
    return "does not fit" if value is None else f"{value / _MIB:.0f} MiB"


def duration(seconds: float) -> str:
    """Seconds for people: `4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def size_text(count: float) -> str:
    """Bytes for people: `820 kB`, `3.4 MB`, `1.25 GB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


def _batches(model: ModelReport) -> Table:
    title = (
        f"{model.model} at {model.size}: sees {model.seen[1]}x{model.seen[0]}, {model.precision}, "
        f"{model.parameters / 1e6:.2f} M parameters, {model.macs / 1e9:.2f} GMACs"
    )
    table = Table("batch", "model ms/frame", "compose ms/frame", "fps", "memory", title=Text(title))
    for row in model.rows:
        if row.fps is None:
            table.add_row(str(row.batch), "-", "-", "-", _mib(None))
            continue
        mark = " (fastest)" if row.batch == model.fastest else ""
        table.add_row(
            f"{row.batch}{mark}",
            f"{row.model_ms:.2f}",
            f"{row.compose_ms:.2f}",
            f"{row.fps:.1f}",
            _mib(row.taken_bytes),
        )
    return table


def _stages(report: MachineReport) -> Table:
    names = list(dict.fromkeys(name for model in report.models for name in model.stages.fps))
    title = f"fps of each stage alone, {report.encoder}"
    table = Table("model", *names, "end to end", "binds", title=Text(title))
    for model in report.models:
        if not model.stages.fps:
            continue
        fps = [model.stages.fps.get(name) for name in names]
        table.add_row(
            f"{model.model} at {model.size}",
            *("-" if each is None else f"{each:.1f}" for each in fps),
            f"{model.stages.end_to_end:.1f}",
            str(model.stages.binds),
        )
    return table


def show_machine(report: MachineReport) -> None:
    """Print what was measured without an input."""
    out = _console()
    width, height = report.frame
    out.print(Text(f"{report.device}: {_memory(report.memory)}; frames of {width}x{height}"))
    for model in report.models:
        out.print(_batches(model))
        fastest = "none fits" if model.fastest is None else f"{model.fastest}"
        out.print(Text(f"fastest batch: {fastest}; largest that fits: {model.largest}"))
    out.print(_stages(report))
    for problem in report.problems:
        out.print(Text(f"error: {problem}"))


def _row(row: Forecast) -> list[str]:
    what = f"{row.frames} files" if row.kind == "pictures" else f"{row.frames} frames"
    if row.width:
        what += f" of {row.width}x{row.height}"
    name = "pictures" if row.kind == "pictures" else str(row.input)
    sure = "measured" if row.measured else "by the others"
    return [name, what, duration(row.seconds), f"{row.fps:.1f}", size_text(row.bytes), sure]


def show_forecast(report: ForecastReport) -> None:
    """Print what a run will take."""
    out = _console()
    out.print(Text(f"{report.device}: {_memory(report.memory)}"))
    title = f"a run with {report.model} at {report.size}, {report.precision}"
    table = Table("input", "what", "time", "fps", "output", "by", title=Text(title))
    for row in report.rows:
        table.add_row(*map(Text, _row(row)))
    if report.rows:
        out.print(table)
        vram = f", VRAM {_mib(report.vram_bytes)}" if report.vram_bytes else ""
        out.print(
            Text(
                f"time: {duration(report.seconds)}; memory: {_mib(report.memory_bytes)}{vram}; "
                f"disk: {size_text(report.disk_bytes)}"
                + ("" if report.disk_free is None else f" of {size_text(report.disk_free)} free")
            )
        )
    if not report.fits:
        out.print(Text("warning: the disk has no room for that; choose another one with -o"))
    for row in report.rows:
        for note in row.notes:
            out.print(Text(f"note: {note}"))
    for problem in report.problems:
        out.print(Text(f"error: {problem}"))


def show_training(report: TrainingReport) -> None:
    """Print the batch sizes of a training."""
    out = _console()
    out.print(Text(f"{report.device}: {_memory(report.memory)}"))
    title = (
        f"steps of {report.recipe}: {report.model}, {report.size}x{report.size}, "
        f"{report.precision}, {report.trained / 1e6:.2f} of {report.parameters / 1e6:.2f} M "
        "parameters trained"
    )
    table = Table("batch", "images/s", "memory", title=Text(title))
    for row in report.rows:
        own = " (the recipe's)" if row.batch == report.asked else ""
        speed = "-" if row.images_per_second is None else f"{row.images_per_second:.1f}"
        table.add_row(f"{row.batch}{own}", speed, _mib(row.taken_bytes))
    out.print(table)
    out.print(Text(f"fastest batch: {report.fastest}; largest that fits: {report.largest}"))
