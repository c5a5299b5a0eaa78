"""`vidcolor probe`: how fast models and stages are here, and what a run of files will take."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..options import OptionError, check_options, option
from ..run.settings import ColorizerOptions, Settings
from .options import make_colorizer, parse_frame_size, parse_numbers, repeated, takes
from .run import keep_film_memory

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..probe import Forecast, ForecastReport, MachineReport, ModelReport
    from ..training.probe import TrainingReport

_GIB, _MIB = 1 << 30, 1 << 20


@dataclass(frozen=True)
class ProbeOptions:
    """What is measured, and what becomes of the result."""

    seconds: float = option(
        20.0,
        low=0,
        help="Time budget for measuring films, in seconds. The longest film is always measured.",
    )
    frame: tuple[int, int] = option(
        (640, 480),
        word="640x480",
        parse=parse_frame_size,
        metavar="WIDTHxHEIGHT",
        help="Size of the frames when no input is given.",
    )
    batches: tuple[int, ...] | None = option(
        None,
        word="auto",
        parse=parse_numbers,
        metavar="auto|N,N,...",
        help="Batch sizes to measure. auto: double the size as long as that is faster.",
    )
    keep: bool = option(True, help="Remember the fastest batch size for --batch-size auto.")
    plot: Path | None = option(None, metavar="FILE.png", help="Also draw the result as bars.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.plot is not None and self.plot.suffix.lower() != ".png":
            raise OptionError("plot", f"must be a PNG file; use {self.plot}.png")


@click.command("probe")
@click.argument("inputs", nargs=-1)
@repeated(ColorizerOptions, "model", " Repeatable [without inputs: all shipped models].")
@repeated(ColorizerOptions, "size", " Repeatable.")
@takes(
    options=ColorizerOptions,
    settings=Settings,
    without=("model", "size", "overwrite", "skip_existing"),
)
@click.option("-o", "--output", help="Where the run would write; shows the free space there.")
@takes(probe=ProbeOptions)
@click.option("--train", metavar="RECIPE", help="Measure batch sizes of a training by this recipe.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def probe_command(
    inputs: tuple[str, ...],
    model: tuple[str, ...],
    size: tuple[int, ...],
    options: ColorizerOptions,
    settings: Settings,
    output: str | None,
    probe: ProbeOptions,
    train: str | None,
    as_json: bool,
) -> None:
    """Measure this machine, or estimate what a run of INPUTS takes.

    \b
    vidcolor probe                                   # models, batch sizes and stages
    vidcolor probe --model fast --size 256 --size 512 --frame 1920x1080
    vidcolor probe old_film.mp4 photos/ --crf 20     # time, memory and disk of that run
    vidcolor probe --train S1b                       # batch sizes of a training

    Without an input, the fastest batch size of each model is stored in the user's cache folder (or
    in VIDCOLOR_CACHE), and 'run --batch-size auto' uses it. Nothing else is written.
    """
    if not all(inputs):
        raise click.UsageError("an input is an empty name; is a variable unset?")
    chosen = [
        replace(options, model=name, size=side)
        for name in model or (None,)
        for side in size or (None,)
    ]
    if train is not None:
        if inputs or model or options.weights or len(size) > 1:
            raise click.UsageError(
                "--train takes no input, no --model and one --size: the recipe names its model"
            )
        _training(train, chosen[0], probe, as_json)
    elif inputs:
        if len(chosen) > 1:
            raise click.UsageError("an estimate is for one run; give a single --model and --size")
        _forecast(inputs, output, chosen[0], settings, probe, as_json)
    else:
        if not model and options.weights is None:
            from ..models.weights import manifest

            chosen = [replace(each, model=name) for name in manifest() for each in chosen]
        _machine(chosen, settings, probe, as_json)


def _machine(
    chosen: list[ColorizerOptions], settings: Settings, probe: ProbeOptions, as_json: bool
) -> None:
    from ..probe.machine import probe_machine
    from ..probe.plot import plot_machine

    one = chosen[0]
    with _working(as_json) as show:
        report = probe_machine(
            [partial(make_colorizer, each) for each in chosen],
            *probe.frame,
            settings,
            batches=probe.batches,
            keep=probe.keep and not one.tta and not one.references,
            on_result=lambda model: show(f"measured {model.model} at {model.size}"),
        )
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    else:
        show_machine(report)
    if probe.plot is not None:
        plot_machine(report, probe.plot)
    if report.problems:
        raise SystemExit(1)


def _seconds_since_start() -> float:
    """Since this process began, with all that was imported and loaded since."""
    import psutil

    return max(0.0, time.time() - psutil.Process().create_time())


def _forecast(
    inputs: tuple[str, ...],
    output: str | None,
    options: ColorizerOptions,
    settings: Settings,
    probe: ProbeOptions,
    as_json: bool,
) -> None:
    from ..probe.forecast import forecast
    from ..probe.plot import plot_forecast
    from ..run.plan import plan

    settings = replace(settings, overwrite=True)  # probe writes nothing to the outputs
    jobs, reports = plan(inputs, output, settings)
    colorizer = make_colorizer(options)
    keep_film_memory(jobs, colorizer)
    startup = _seconds_since_start()  # a run does the same up to here
    with _working(as_json) as show:
        show("measuring a few seconds of the run")
        report = forecast(
            jobs,
            reports,
            colorizer,
            settings,
            budget=probe.seconds,
            startup_seconds=startup,
        )
    if as_json:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        show_forecast(report)
    if probe.plot is not None and report.rows:
        plot_forecast(report, probe.plot)
    if report.problems:
        raise SystemExit(1)


def _training(recipe: str, options: ColorizerOptions, probe: ProbeOptions, as_json: bool) -> None:
    from ..system.devices import choose_device
    from ..training.probe import plot_training, probe_training
    from ..training.recipe import find_recipe, load_recipe

    overrides: dict[str, Any] = {}
    if options.precision != "auto":
        overrides["precision"] = options.precision
    if options.size is not None:
        overrides["size"] = options.size
    file = load_recipe(find_recipe(recipe), overrides)
    with _working(as_json) as show:
        show(f"measuring steps of {file.name}")
        report = probe_training(file, choose_device(options.device), probe.batches)
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    else:
        show_training(report)
    if probe.plot is not None:
        plot_training(report, probe.plot)


@contextmanager
def _working(as_json: bool) -> Iterator[Callable[[str], None]]:
    """A status line on a terminal; nothing with JSON, or if standard error is no terminal.

    Yields:
        A function that changes the line.
    """
    from rich.text import Text

    from .screen import Screen

    console = Screen(quiet=False, verbose=False, as_json=as_json).console
    if as_json or not console.is_terminal:
        yield lambda line: None
        return
    with console.status("measuring") as status:
        yield lambda line: status.update(Text(line))


def _console() -> Console:
    from rich.console import Console

    from .screen import width_of

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
    from rich.table import Table
    from rich.text import Text

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
    from rich.table import Table
    from rich.text import Text

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
    from rich.text import Text

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
    sure = "measured" if row.measured else "estimated"
    return [name, what, duration(row.seconds), f"{row.fps:.1f}", size_text(row.bytes), sure]


def show_forecast(report: ForecastReport) -> None:
    """Print what a run will take."""
    from rich.table import Table
    from rich.text import Text

    out = _console()
    out.print(Text(f"{report.device}: {_memory(report.memory)}"))
    title = f"a run with {report.model} at {report.size}, {report.precision}"
    table = Table("input", "what", "time", "fps", "output", "how", title=Text(title))
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
    from rich.table import Table
    from rich.text import Text

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
