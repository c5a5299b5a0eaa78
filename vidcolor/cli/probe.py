"""`vidcolor probe`: how fast models and stages are here, and what a run of files will take."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .look import look_options
from .run import keep_film_memory, make_colorizer, model_options
from .work import make_settings, work_options

if TYPE_CHECKING:
    from ..run.colorizer import Colorizer

_ONE_MODEL = "with films or pictures, give one {} only: it is for one run that is to be foreseen"


class FrameType(click.ParamType):
    """`WIDTHxHEIGHT`, as two whole numbers from 16 on."""

    name = "WIDTHxHEIGHT"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Width and height; a usage error where it cannot be read."""
        if isinstance(value, tuple):
            return value
        sides = str(value).lower().split("x")
        if len(sides) != 2 or not all(s.isdecimal() and 16 <= int(s) <= 16384 for s in sides):
            self.fail(f"'{value}' is not a size; write 640x480, from 16 to 16384", param, ctx)
        return int(sides[0]), int(sides[1])


class NumbersType(click.ParamType):
    """A list of whole numbers, `1,2,4`; `auto` is None."""

    name = "auto|n,n,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...] | None:
        """The numbers, ascending; a usage error where one cannot be read."""
        if value in (None, "auto") or isinstance(value, tuple):
            return None if value == "auto" else value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() and 1 <= int(part) <= 4096 for part in parts):
            self.fail(f"'{value}' is no list like 1,2,4, of numbers from 1 to 4096", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


@click.command("probe")
@click.argument("inputs", nargs=-1)
@partial(model_options, several=True)
@look_options
@work_options
@click.option("-o", "--output", help="Where the run would write: for the free space there.")
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=20.0,
    show_default=True,
    help="About so long films are measured; the longest is in any case, at two places.",
)
@click.option(
    "--frame",
    type=FrameType(),
    default="640x480",
    show_default=True,
    help="Size of the frames, without an input.",
)
@click.option(
    "--batches",
    type=NumbersType(),
    default="auto",
    show_default=True,
    help="Batch sizes to measure; auto doubles as long as it gains.",
)
@click.option(
    "--keep/--no-keep", default=True, help="Keep the fastest for --batch-size auto [yes]."
)
@click.option("--train", metavar="RECIPE", help="Batch sizes of a training by this recipe.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Write bars too.",
)
def probe_command(inputs: tuple[str, ...], **options: Any) -> None:
    """Measure this machine, or what a run of INPUTS will take.

    \b
    vidcolor probe                                   # models, batch sizes and stages
    vidcolor probe --model fast --size 256 --size 512 --frame 1920x1080
    vidcolor probe old_film.mp4 photos/ --crf 20     # time, memory and disk of that run
    vidcolor probe --train S1b                       # batch sizes of a training

    Without an input the fastest batch of each model is kept in the user's cache folder (or in
    VIDCOLOR_CACHE), and 'run --batch-size auto' uses it. Nothing else is written.
    """
    if options["plot"] is not None and options["plot"].suffix.lower() != ".png":
        raise click.UsageError(f"a plot is a PNG file; use --plot {options['plot']}.png")
    if not all(inputs):
        raise click.UsageError("an input is an empty name; is a variable unset?")
    if options["train"] is not None:
        if inputs:
            raise click.UsageError("--train goes without films and pictures")
        _training(options)
    elif inputs:
        _forecast(inputs, options)
    else:
        _machine(options)


def _makers(options: dict[str, Any]) -> Iterator[Callable[[], Colorizer]]:
    """What loads every model at every size, one after the other."""
    from ..models.weights import manifest

    names: list[str | None] = list(options["model"])
    if not names:
        names = list(manifest()) if options["weights"] is None else [None]
    for name in names:
        for size in options["size"] or (None,):
            yield partial(make_colorizer, {**options, "model": name, "size": size})


def _machine(options: dict[str, Any]) -> None:
    from ..probe.machine import probe_machine
    from ..probe.plot import plot_machine
    from .probe_screen import show_machine, working

    width, height = options["frame"]
    with working(options["as_json"]) as say:
        report = probe_machine(
            _makers(options),
            width,
            height,
            make_settings(options),
            batches=options["batches"],
            keep=options["keep"] and not options["tta"] and not options["references"],
            told=lambda model: say(f"{model.model} at {model.size} is measured"),
        )
    if options["as_json"]:
        click.echo(json.dumps(report.to_dict()))
    else:
        show_machine(report)
    if options["plot"] is not None:
        plot_machine(report, options["plot"])
    if report.problems:
        raise SystemExit(1)


def _seconds_since_start() -> float:
    """Since this process began, with all that was imported and loaded since."""
    import psutil

    return max(0.0, time.time() - psutil.Process().create_time())


def _forecast(inputs: tuple[str, ...], options: dict[str, Any]) -> None:
    from ..probe.forecast import forecast
    from ..probe.plot import plot_forecast
    from ..run.plan import plan
    from .probe_screen import show_forecast, working

    chosen = dict(options)
    for key in ("model", "size"):
        if len(options[key]) > 1:
            raise click.UsageError(_ONE_MODEL.format(f"--{key}"))
        chosen[key] = next(iter(options[key]), None)
    settings = make_settings(options, overwrite=True)  # nothing is written where it would be
    jobs, reports = plan(inputs, options["output"], settings)
    colorizer = make_colorizer(chosen)
    keep_film_memory(jobs, colorizer)
    startup = _seconds_since_start()  # a run does the same up to here
    with working(options["as_json"]) as say:
        say("a few seconds of the run are measured")
        report = forecast(
            jobs,
            reports,
            colorizer,
            settings,
            budget=options["seconds"],
            startup_seconds=startup,
        )
    if options["as_json"]:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        show_forecast(report)
    if options["plot"] is not None and report.rows:
        plot_forecast(report, options["plot"])
    if report.problems:
        raise SystemExit(1)


def _training(options: dict[str, Any]) -> None:
    from ..system.devices import choose_device
    from ..training.probe import plot_training, probe_training
    from ..training.recipe_files import find_recipe, load_recipe
    from .probe_screen import show_training, working

    overrides: dict[str, Any] = {}
    if options["precision"] != "auto":
        overrides["precision"] = options["precision"]
    if len(options["size"]) > 1 or options["model"] or options["weights"]:
        raise click.UsageError("--train takes one --size and no --model: the recipe has its own")
    if options["size"]:
        overrides["size"] = options["size"][0]
    file = load_recipe(find_recipe(options["train"]), overrides)
    with working(options["as_json"]) as say:
        say(f"steps of {file.name} are measured")
        report = probe_training(file, choose_device(options["device"]), options["batches"])
    if options["as_json"]:
        click.echo(json.dumps(report.to_dict()))
    else:
        show_training(report)
    if options["plot"] is not None:
        plot_training(report, options["plot"])
