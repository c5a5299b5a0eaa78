"""`vidcolor probe`: how fast models are here, and what a run of given files takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from ..options import check_options, option
from ..run.settings import ColorizerOptions, Settings
from .log import verbosity
from .options import make_colorizer, parse_frame_size, parse_numbers, repeated, takes
from .run import set_memory_policy
from .text import json_text, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..probe import Forecast, ForecastReport, ModelsReport

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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbosity
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
    vidcolor probe                                   # models and batch sizes
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
    report: ForecastReport | ModelsReport
    if inputs:
        if len(chosen) > 1:
            raise click.UsageError("an estimate is for one run; give a single --model and --size")
        report = _forecast(inputs, output, chosen[0], settings, probe)
        lines = forecast_lines(report)
    else:
        if not model and options.weights is None:
            from ..models.weights import manifest

            chosen = [replace(each, model=name) for name in manifest() for each in chosen]
        report = _probe_models(chosen, probe)
        lines = models_lines(report)
    if as_json:
        click.echo(json_text(asdict(report)))
    else:
        from rich.console import Console

        from .screen import width_of

        console = Console(file=sys.stdout, highlight=False, width=width_of(sys.stdout))
        for line in [*lines, *(f"error: {problem}" for problem in report.problems)]:
            console.print(printable(line) if isinstance(line, str) else line, markup=False)
    if report.problems:
        raise SystemExit(1)


def _probe_models(chosen: list[ColorizerOptions], probe: ProbeOptions) -> ModelsReport:
    from ..probe import probe_models
    from .screen import Screen

    one = chosen[0]
    with Screen(quiet=False, as_json=False).console.status("measuring") as status:
        return probe_models(
            [partial(make_colorizer, each) for each in chosen],
            *probe.frame,
            batches=probe.batches,
            keep=probe.keep and not one.tta and not one.references,
            on_result=lambda found: status.update(f"measured {found.model} at {found.size}"),
        )


def _seconds_since_start() -> float:
    """Seconds since this process began, which imported and loaded all that a run needs."""
    import psutil

    return max(0.0, time.time() - psutil.Process().create_time())


def _forecast(
    inputs: tuple[str, ...],
    output: str | None,
    options: ColorizerOptions,
    settings: Settings,
    probe: ProbeOptions,
) -> ForecastReport:
    from ..probe.forecast import forecast
    from ..run.plan import plan
    from .screen import Screen

    settings = replace(settings, overwrite=True)  # probe writes nothing to the outputs
    jobs, reports = plan(inputs, output, settings)
    colorizer = make_colorizer(options)
    set_memory_policy(jobs, colorizer)
    startup = _seconds_since_start()  # a run does the same up to here
    with Screen(quiet=False, as_json=False).console.status("measuring the run"):
        return forecast(
            jobs, reports, colorizer, settings, budget=probe.seconds, startup_seconds=startup
        )


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=Text(title))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _memory(values: Mapping[str, int]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {n / _GIB:.2f} GiB" for key, n in values.items())


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _mib(value: int | None) -> str:
    return "does not fit" if value is None else f"{value / _MIB:.0f} MiB"


def models_lines(report: ModelsReport) -> list[RenderableType]:
    """Text and tables of what was measured without an input."""
    width, height = report.frame
    lines: list[RenderableType] = [
        f"{report.device}: {_memory(report.memory)}; frames of {width}x{height}"
    ]
    for model in report.models:
        cells = [
            (
                f"{row.batch} (fastest)" if row.batch == model.fastest else str(row.batch),
                _number(row.model_ms, 2),
                _number(row.compose_ms, 2),
                _number(row.fps),
                _mib(row.taken_bytes),
            )
            for row in model.rows
        ]
        title = (
            f"{model.model} at {model.size}: sees {model.seen[1]}x{model.seen[0]}, "
            f"{model.precision}, {model.parameters / 1e6:.2f} M parameters, "
            f"{model.gmacs:.2f} GMACs"
        )
        columns = ("batch", "model ms/frame", "compose ms/frame", "fps", "memory")
        lines += [
            _table(title, columns, cells),
            f"fastest batch: {model.fastest or 'none fits'}; largest that fits, by memory per "
            f"frame: {model.largest}",
        ]
    return lines


def _row(row: Forecast) -> list[str]:
    from rich.filesize import decimal

    from ..training.results.tables import duration

    if row.kind == "pictures":
        name, what = "pictures", f"{row.frames} files"
    else:
        name, what = str(row.input), f"{row.frames} frames of {row.width}x{row.height}"
    how = "measured" if row.measured else "estimated"
    return [name, what, duration(row.seconds), f"{row.fps:.1f}", decimal(row.bytes), how]


def forecast_lines(report: ForecastReport) -> list[RenderableType]:
    """Text and a table of what a run takes."""
    from rich.filesize import decimal

    from ..training.results.tables import duration

    lines: list[RenderableType] = [f"{report.device}: {_memory(report.memory)}"]
    if report.rows:
        title = f"a run with {report.model} at {report.size}, {report.precision}"
        columns = ("input", "what", "time", "fps", "output", "how")
        vram = f", VRAM {_mib(report.vram_bytes)}" if report.vram_bytes else ""
        free = "" if report.disk_free is None else f" of {decimal(report.disk_free)} free"
        lines += [
            _table(title, columns, map(_row, report.rows)),
            f"time: {duration(report.seconds)}; memory: {_mib(report.memory_bytes)}{vram}; "
            f"disk: {decimal(report.disk_bytes)}{free}",
        ]
    if not report.fits:
        lines.append("warning: the disk has no room for that; choose another one with -o")
    return [*lines, *(f"note: {note}" for row in report.rows for note in row.notes)]
