"""`vidcolor check`: look for mistakes, before they cost hours and when the work is done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from ..run.settings import ColorizerOptions, Settings
from .log import verbosity
from .options import FilePath, make_colorizer, takes
from .shots import every_minute
from .text import json_text, say

if TYPE_CHECKING:
    from ..review.finding import Review

# What tells which part of an original a result was made of, and how its frames were made.
COMPARED = {"start", "end", "fps", "deinterlace", "allow_playlists", "large_pictures"}


@click.command("check")
@click.argument("source", metavar="FOLDER|IN", type=FilePath())
@click.argument("output", metavar="[OUT]", type=FilePath(), required=False)
@takes(
    options=ColorizerOptions,
    settings=Settings,
    only={"model", "weights", "device", "precision", "size"} | COMPARED,
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object for each file, one a line."
)
@verbosity
def check_command(
    source: Path, output: Path | None, options: ColorizerOptions, settings: Settings, as_json: bool
) -> None:
    """Check a FOLDER of shots, or compare a result OUT with its original IN.

    \b
    vidcolor check shots/                    # before the run
    vidcolor check old_film.mp4 color.mp4    # after it
    vidcolor check photos/ photos.color/

    With a folder of shots, print one line for each still that is gray in parts, shifted or scaled,
    redrawn, or that disagrees with another, and for each shot without a colored still.
    --model, --weights, --device, --precision and --size apply only here.

    With IN and OUT, which may be films, pictures or folders, compare lightness, frames, times and
    streams, and print by timecode: flicker, color jumps without a cut, shots that are nearly gray
    or of one tint, blobs of color. The run's range, frame rate and deinterlacing are read from
    OUT. If OUT does not record them, give --start, --end, --fps or --deinterlace.

    \b
    Exit codes: 0 nothing was found, 1 something was found or cannot be read, 2 usage.
    """
    if output is not None:
        sys.exit(_compare(source, output, settings, as_json))
    from ..run.references.shot_list import read_shots
    from ..shots.check import check_shots

    if not source.is_dir():
        raise InputError(
            f"{source}: is no folder of shots; make one with 'vidcolor shots', or give a result "
            "to compare with"
        )
    listed = read_shots(source)
    findings = check_shots(listed, make_colorizer(options))
    if as_json:
        click.echo(json_text({"folder": str(source), "findings": [vars(f) for f in findings]}))
    else:
        for each in findings:
            say(each.text)
        if not findings:
            say(f"{source}: {len(listed.shots)} shots, nothing to correct")
    sys.exit(1 if findings else 0)


def _compare(source: Path, output: Path, settings: Settings, as_json: bool) -> int:
    """Compare, print, and return the exit code."""
    from ..review.check import review_film
    from ..review.pictures import pairs_of, review_all
    from ..run.pairs import Pair
    from .screen import Screen

    pairs = pairs_of(str(source), output, settings.fps)
    on_progress = every_minute(Screen(quiet=False, as_json=as_json))

    def film(pair: Pair) -> Review:
        return review_film(pair.item, pair.output, settings, on_progress=on_progress)

    found = False
    for review in review_all(pairs, settings, film):
        found = found or bool(review.findings)
        if as_json:
            click.echo(json_text(review.to_dict()))
        elif review.findings or review.is_film or len(pairs) == 1:
            print_review(review)
    if not as_json and len(pairs) > 1:
        say(f"{len(pairs)} files compared, {'see above' if found else 'nothing found'}")
    return 1 if found else 0


def print_review(review: Review) -> None:
    """Print what a review found, a line each."""
    for each in review.findings:
        say(f"{review.output}: {each.line}")
    for note in review.notes:
        say(f"note: {note}")
    say(review.summary)
