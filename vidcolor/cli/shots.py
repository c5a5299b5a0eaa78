"""`vidcolor shots`: find a film's shots and write stills of them to color."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from ..run.settings import ColorizerOptions, Settings
from ..system.text import counted
from .log import verbosity
from .options import FilePath, make_colorizer, takes
from .text import json_text, say

if TYPE_CHECKING:
    from ..run.settings import Progress, ProgressCallback
    from ..shots.write import Written
    from .screen import Screen

# of the run's settings those that decide which frames there are, and of the model's all that
# concern its encoder
_EVERY = 60.0  # seconds between two lines of progress
_SETTINGS = {"deinterlace", "fps", "allow_playlists", "overwrite"}
_OPTIONS = {"model", "weights", "device", "precision", "size"}


@click.command("shots")
@click.argument("film", type=FilePath())
@click.option("-o", "--output", type=FilePath(), required=True, help="Write into this folder.")
@click.option(
    "--per-shot", type=click.IntRange(1, 1000), metavar="N", help="Write N stills of each shot."
)
@click.option(
    "--every",
    type=click.FloatRange(0.04, 86400),
    metavar="SECONDS",
    help="Write a still at least every so many seconds of a shot.",
)
@takes(options=ColorizerOptions, settings=Settings, only=_SETTINGS | _OPTIONS)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@verbosity
def shots_command(
    film: Path,
    output: Path,
    per_shot: int | None,
    every: float | None,
    options: ColorizerOptions,
    settings: Settings,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find the shots of FILM and write gray stills of them, to color by hand or with a program.

    \b
    vidcolor shots old_film.mp4 -o shots/
    vidcolor check shots/                    # when stills are colored
    vidcolor run old_film.mp4 --shots shots/ -o color.mp4

    The folder gets a still of each shot (more where the view changes much), shots.toml to edit,
    shots.csv, shots.edl and shots.otio for other programs, and a contact sheet. Shots that look
    alike are grouped into set-ups: color one still of each. docs/SHOTS.md tells the rest.
    """
    from ..shots.write import write_shots
    from ..sources import FilmSource, expand
    from .screen import Screen

    screen = Screen(quiet=quiet, as_json=as_json)
    items = expand([str(film)], rate=settings.fps)
    if len(items) != 1 or items[0].is_picture:
        raise InputError(f"{film}: is not one film; give a single film or numbered sequence")
    rate = settings.fps if items[0].takes_rate else None
    source = items[0].open(
        rate=rate, playlists=settings.allow_playlists, deinterlace=settings.deinterlace
    )
    assert isinstance(source, FilmSource)
    colorizer = make_colorizer(options)
    written = write_shots(
        source,
        output,
        colorizer,
        per_shot=per_shot,
        every=every,
        overwrite=settings.overwrite,
        on_progress=every_minute(screen),
    )
    for warning in written.warnings:
        screen.print_line(f"warning: {warning}")
    if as_json:
        click.echo(json_text({**asdict(written), "folder": str(written.folder)}))
    elif not quiet:
        for line in _summary(written):
            say(line)


def every_minute(screen: Screen) -> ProgressCallback:
    """Prints a line every minute."""
    said = time.monotonic()

    def on_progress(progress: Progress) -> None:
        nonlocal said
        if time.monotonic() - said > _EVERY:
            said = time.monotonic()
            of = f" of {progress.total}" if progress.total else ""
            screen.print_line(f"{progress.input.name}: frame {progress.done}{of}")

    return on_progress


def _summary(written: Written) -> list[str]:
    """What was found, and what to do next."""

    text = f"{written.folder}: {counted(written.shots, 'shot')}, "
    if written.setups is not None:
        text += f"{counted(written.setups, 'set-up')}, "
    text += f"{counted(written.stills, 'still')}"
    if written.kept:
        text += f", {written.kept} of them in color already"
    few = len(written.alone) < written.stills
    return [text, f"color {'at least ' if few else ''}{', '.join(written.alone)}"]
