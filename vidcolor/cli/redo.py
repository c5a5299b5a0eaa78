"""`vidcolor redo`: color single shots of a finished film again."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import click
from click.core import ParameterSource

from ..frames import WHOLE
from ..run.settings import ColorizerOptions, Settings, failed
from .log import verbosity
from .options import FilePath, parsed, takes
from .shots import every_minute

_SETTINGS = {"stabilize", "encoder", "crf", "preset", "pix_fmt", "start", "end", "batch_size"}
_OPTIONS = {
    "model", "weights", "device", "precision", "size", "tta", "references", "reference_strength",
    "reference_gray", "saturation", "temperature", "tint",
}  # fmt: skip


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise ValueError(f"'{text}' is not a list of shots, such as 12,17")
    return tuple(int(part) for part in parts)


@click.command("redo")
@click.argument("film", type=FilePath())
@click.option(
    "--shots",
    type=parsed(_numbers),
    default=None,
    metavar="NUMBERS",
    help="Color these shots again: 12 or 12,17, by their numbers in shots.toml.",
)
@click.option(
    "--folder",
    type=FilePath(),
    help="Read the shots from this folder.  [default: the one that FILM names]",
)
@click.option(
    "--source",
    type=FilePath(),
    help="Read the original from this file.  [default: the file of its name beside FILM]",
)
@takes(options=ColorizerOptions, settings=Settings, only=_SETTINGS | _OPTIONS)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@verbosity
def redo_command(
    film: Path,
    shots: tuple[int, ...] | None,
    folder: Path | None,
    source: Path | None,
    options: ColorizerOptions,
    settings: Settings,
    as_json: bool,
    quiet: bool,
) -> None:
    """Color single shots of FILM again. FILM must come from 'vidcolor run'.

    \b
    vidcolor redo color.mp4 --shots 12,17
    vidcolor redo color.mp4 --start 1:20 --end 1:35 --saturation 0.8

    Everything else stays bit for bit: the other frames, the sound, the times. The range of --start
    and --end is extended to the nearest key frames outside it. The original, the model and all
    settings that are not given are taken from FILM's marks (vidcolor inspect). FILM is replaced
    only after the new file is complete and verified. FILM can be MKV, MP4 or MOV.

    \b
    Exit codes: 0 done, 1 failed, and FILM is unchanged.
    """
    from ..run.redo import RedoRequest, redo
    from .screen import Screen

    context = click.get_current_context()
    given = frozenset(
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    )
    if bool(shots) == (not settings.segment.is_full):
        raise click.UsageError("give either --shots, or --start and --end")
    screen, began = Screen(quiet=quiet, as_json=as_json), time.monotonic()
    request = RedoRequest(shots or (), settings.segment, source, folder, given)
    try:
        report = redo(
            film, request, options, replace(settings, segment=WHOLE), every_minute(screen)
        )
    except Exception as error:  # also of the disk; one line, as in a run
        report = failed(film, film, error)
    report.seconds = time.monotonic() - began
    screen.finished(report)
    sys.exit(1 if report.is_problem else 0)
