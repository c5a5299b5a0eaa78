"""`vidcolor probe`: how fast models and stages are here, and what a run of files will take."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from ..options import check_options, option
from ..run.settings import ColorizerOptions, Settings
from .options import make_colorizer, parse_frame_size, parse_numbers, repeated, takes
from .run import keep_film_memory
from .text import printable, say

if TYPE_CHECKING:
    from rich.console import Console

    from ..probe import Forecast, ForecastReport, MachineReport

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

    def __post_init__(self) -> None:
        check_options(self)


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
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def probe_command(
    inputs: tuple[str, ...],
    model: tuple[str, ...],
    size: tuple[int, ...],
    options: ColorizerOptions,
    settings: Settings,
    output: str | None,
    probe: ProbeOptions,
    as_json: bool,
) -> None:
    """Measure this machine, or estimate what a run of INPUTS takes.

    \b
    vidcolor probe                                   # models, batch sizes and stages
    vidcolor probe --model fast --size 256 --size 512 --frame 1920x1080
    vidcolor probe old_film.mp4 photos/ --crf 20     # time, memory and disk of that run

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
    if inputs:
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
    if report.problems:
        raise SystemExit(1)


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


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


def _print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=Text(title))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    _console().print(table)


def _console() -> Console:
    from rich.console import Console

    from .screen import width_of

    return Console(file=sys.stdout, highlight=False, width=width_of(sys.stdout))


def _memory(values: Mapping[str, int]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {n / _GIB:.2f} GiB" for key, n in values.items())


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


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


def show_machine(report: MachineReport) -> None:
    """Print what was measured without an input."""
    width, height = report.frame
    _print_lines([f"{report.device}: {_memory(report.memory)}; frames of {width}x{height}"])
    for model in report.models:
        _print_table(
            f"{model.model} at {model.size}: sees {model.seen[1]}x{model.seen[0]}, "
            f"{model.precision}, {model.parameters / 1e6:.2f} M parameters, "
            f"{model.macs / 1e9:.2f} GMACs",
            ("batch", "model ms/frame", "compose ms/frame", "fps", "memory"),
            (
                (
                    f"{row.batch} (fastest)" if row.batch == model.fastest else str(row.batch),
                    _number(row.model_ms, 2),
                    _number(row.compose_ms, 2),
                    _number(row.fps),
                    _mib(row.taken_bytes),
                )
                for row in model.rows
            ),
        )
        fastest = "none fits" if model.fastest is None else f"{model.fastest}"
        _print_lines([f"fastest batch: {fastest}; largest that fits: {model.largest}"])
    names = list(dict.fromkeys(name for model in report.models for name in model.stages.fps))
    _print_table(
        f"fps of each stage alone, {report.encoder}",
        ("model", *names, "end to end", "binds"),
        (
            (
                f"{model.model} at {model.size}",
                *(_number(model.stages.fps.get(name)) for name in names),
                _number(model.stages.end_to_end),
                str(model.stages.binds),
            )
            for model in report.models
            if model.stages.fps
        ),
    )
    _print_lines(f"error: {problem}" for problem in report.problems)


def _row(row: Forecast) -> list[str]:
    if row.kind == "pictures":
        name, what = "pictures", f"{row.frames} files"
    else:
        name, what = str(row.input), f"{row.frames} frames of {row.width}x{row.height}"
    how = "measured" if row.measured else "estimated"
    return [name, what, duration(row.seconds), f"{row.fps:.1f}", size_text(row.bytes), how]


def show_forecast(report: ForecastReport) -> None:
    """Print what a run will take."""
    lines = []
    _print_lines([f"{report.device}: {_memory(report.memory)}"])
    if report.rows:
        _print_table(
            f"a run with {report.model} at {report.size}, {report.precision}",
            ("input", "what", "time", "fps", "output", "how"),
            map(_row, report.rows),
        )
        vram = f", VRAM {_mib(report.vram_bytes)}" if report.vram_bytes else ""
        free = "" if report.disk_free is None else f" of {size_text(report.disk_free)} free"
        lines.append(
            f"time: {duration(report.seconds)}; memory: {_mib(report.memory_bytes)}{vram}; "
            f"disk: {size_text(report.disk_bytes)}{free}"
        )
    if not report.fits:
        lines.append("warning: the disk has no room for that; choose another one with -o")
    lines += [f"note: {note}" for row in report.rows for note in row.notes]
    _print_lines(lines + [f"error: {problem}" for problem in report.problems])
