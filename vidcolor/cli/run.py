"""`vidcolor run`: colorize films, pictures and folders."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import VidcolorError
from .look import look_arguments, look_options
from .work import make_settings, work_options

if TYPE_CHECKING:
    from ..run.colorizer import Colorizer
    from ..run.plan import Job
    from ..run.settings import Report, Settings


def model_options(command: Any, several: bool = False) -> Any:
    """The options that choose a model and where it runs, shared by several commands.

    Args:
        command: takes them.
        several: `--model` and `--size` can be given several times.
    """
    more = " Repeatable; without inputs all that ship." if several else ""
    for option in reversed(
        [
            click.option(
                "--model",
                metavar="NAME",
                multiple=several,
                help=f"A model of 'vidcolor models' [fast].{more}",
            ),
            click.option(
                "--weights",
                type=click.Path(path_type=Path),
                help="Your own weights (.safetensors), or a public .pth with --model.",
            ),
            click.option(
                "--device",
                default="auto",
                show_default=True,
                help="auto, cpu, cuda, cuda:N or mps.",
            ),
            click.option(
                "--precision",
                type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
                default="auto",
                show_default=True,
                help="Arithmetic of the network. auto: fp16 on CUDA, on processors that have it "
                "bf16 for fast and best (which keep in fp32 what would show), else fp32.",
            ),
            click.option(
                "--size",
                type=click.IntRange(32, 4096),
                multiple=several,
                help="Model resolution: the network sees each frame at about SIZE squared pixels, "
                "in the frame's shape, sides rounded to the model's stride. Time grows with its "
                "square; the output keeps the input's size [the weights' own: 224 for fast, 256 "
                "for best].",
            ),
        ]
    ):
        command = option(command)
    return command


@click.command("run")
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    help="A file, or a folder for several inputs [beside each: NAME.color.EXT, FOLDER.color/].",
)
@model_options
@look_options
@work_options
@click.option("-y", "--overwrite", is_flag=True, help="Replace existing outputs.")
@click.option("--skip-existing", is_flag=True, help="Pass over inputs whose output exists.")
@click.option(
    "--preview",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Write one sheet of N before/after pairs instead.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each finished input.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Print what is decided on the way.")
@click.pass_context
def run_command(
    ctx: click.Context, inputs: tuple[str, ...], output: str | None, **options: Any
) -> None:
    """Colorize INPUTS: films, pictures, folders, globs, or numbered sequences.

    \b
    vidcolor run old_film.mp4 -o color.mp4
    vidcolor run photos/ scans/*.tif -o color/
    vidcolor run frames/%05d.png --fps 24 -o film.mkv
    vidcolor run old_film.mp4 --preview 6 -o sheet.png

    Sound, subtitles, chapters and attachments are copied. An output appears under its name only
    when it is complete. Of a damaged film what can be read goes to NAME.incomplete.EXT.

    \b
    Exit codes: 0 all done, 1 some input failed or was incomplete, 2 usage, 130 interrupted.
    """
    from ..run.plan import plan
    from .screen import Screen

    if not all(inputs) or output == "":
        raise click.UsageError("an input or the output is an empty name; is a variable unset?")
    if options["overwrite"] and options["skip_existing"]:
        raise click.UsageError("--overwrite and --skip-existing exclude each other")
    settings = make_settings(
        options, overwrite=options["overwrite"], skip_existing=options["skip_existing"]
    )
    screen = Screen(quiet=options["quiet"], verbose=options["verbose"], as_json=options["as_json"])
    if options["preview"] is not None:
        _preview(inputs, output, options, settings, screen)
        return
    jobs, reports = plan(inputs, output, settings)
    if options["dry_run"]:
        screen.plan(jobs, reports, _describe_model(options), options["encoder"])
        sys.exit(1 if any(r.status == "failed" for r in reports) else 0)
    for report in reports:
        screen.finished(report)
    if jobs:
        reports += _work(jobs, options, settings, screen)
    screen.summary(reports)
    sys.exit(1 if any(r.status in ("failed", "incomplete") for r in reports) else 0)


def make_colorizer(options: dict[str, Any]) -> Colorizer:
    """The colorizer that `model_options`, and `look_options` where there are any, describe."""
    from ..run.colorizer import Colorizer

    return Colorizer(
        options["model"],
        options["weights"],
        device=options["device"],
        precision=options["precision"],
        size=options["size"],
        **look_arguments(options),
    )


def keep_film_memory(jobs: Sequence[Job], colorizer: Colorizer) -> bool:
    """Retain freed memory (`memory.retain_freed_memory`) for films of one size on the CPU.

    Frames of several sizes, and pictures, would leave gaps in the heap.

    Returns:
        Whether the setting was made.
    """
    from ..run.plan import FilmJob
    from ..system.memory import retain_freed_memory

    sizes = {
        (job.source.facts.width, job.source.facts.height) if isinstance(job, FilmJob) else None
        for job in jobs
    }
    if colorizer.device.type != "cpu" or len(sizes) != 1 or None in sizes:
        return False
    return retain_freed_memory()


def _describe_model(options: dict[str, Any]) -> str:
    colorizer = make_colorizer(options)
    mirrored = ", mirrored too" if colorizer.tta else ""
    count = len(colorizer.references.pictures)
    pulled = f", {count} reference picture{'s' * (count > 1)}" if count else ""
    return (
        f"{colorizer.name}, {colorizer.precision} on {colorizer.device}, "
        f"at {colorizer.size} squared pixels{mirrored}{pulled}"
    )


def _work(jobs: list, options: dict[str, Any], settings: Settings, screen: Any) -> list[Report]:
    from ..run.pipeline import run

    colorizer = make_colorizer(options)
    logging.getLogger("vidcolor").info(
        "%s, %s on %s", colorizer.name, colorizer.precision, colorizer.device
    )
    keep_film_memory(jobs, colorizer)
    done = []
    with screen.progress() as watch:
        for report in run(jobs, colorizer, settings, watch):
            screen.finished(report)
            done.append(report)
    return done


def _preview(
    inputs: tuple[str, ...],
    output: str | None,
    options: dict[str, Any],
    settings: Settings,
    screen: Any,
) -> None:
    from ..run.preview import write_preview
    from ..run.settings import Report
    from ..sources import PICTURE_SUFFIXES, expand

    items = expand(inputs, rate=settings.fps)
    path = Path(output) if output else items[0].path.with_name(f"{items[0].path.stem}.preview.png")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise click.UsageError(f"a preview is a picture; use -o {path.with_suffix('.png')}")
    colorizer = make_colorizer(options)
    began = time.monotonic()
    try:
        pairs, unread = write_preview(
            items,
            path,
            options["preview"],
            colorizer,
            segment=settings.segment,
            rate=settings.fps,
            overwrite=settings.overwrite,
        )
    except VidcolorError as error:
        screen.finished(Report(items[0].path, path, "failed", error=str(error)))
        sys.exit(1)
    report = Report(items[0].path, path, "done", pairs, time.monotonic() - began, warnings=unread)
    screen.sheet(report)
    sys.exit(1 if unread else 0)
