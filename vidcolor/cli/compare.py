"""`vidcolor compare`: a film of an original and its result beside each other."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import InputError
from ..run.settings import Settings
from .check import COMPARED
from .log import verbosity
from .options import FilePath, takes
from .shots import every_minute
from .text import say

_WRITTEN = {"encoder", "crf", "preset", "pix_fmt", "copy", "overwrite"}


@click.command("compare")
@click.argument("source", metavar="IN", type=FilePath())
@click.argument("result", metavar="OUT", type=FilePath())
@click.option("-o", "--output", type=FilePath(), required=True, help="Write this film.")
@click.option("--wipe", is_flag=True, help="Show both in one picture, split by a moving line.")
@takes(settings=Settings, only=(COMPARED - {"large_pictures"}) | _WRITTEN)
@verbosity
def compare_command(
    source: Path, result: Path, output: Path, wipe: bool, settings: Settings
) -> None:
    """Write a film of IN and its result OUT side by side, with the sound.

    \b
    vidcolor compare old_film.mp4 color.mp4 -o side.mp4
    vidcolor compare old_film.mp4 color.mp4 -o wipe.mp4 --wipe
    """
    from ..review.compare import write_comparison
    from ..review.pictures import pairs_of
    from .screen import Screen

    (pair, *others) = pairs_of(str(source), result, settings.fps)
    if others or pair.item.is_picture:
        raise InputError(f"{source}: is not one film; give a film and its result")
    report = write_comparison(
        pair.item,
        pair.output,
        output,
        settings,
        wipe=wipe,
        on_progress=every_minute(Screen(quiet=False, as_json=False)),
    )
    for line in (*report.damage, *report.notes):
        say(f"warning: {line}", err=True)
    say(f"{report.path}: {report.frames} frames, {report.streams_copied} other streams")
    sys.exit(1 if report.incomplete else 0)
