"""`vidcolor merge`: combine a chroma file with its film."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from ..run.settings import Settings, failed
from .log import verbosity
from .options import FilePath, takes
from .shots import every_minute


@click.command("merge")
@click.argument("master", type=FilePath())
@click.argument("chroma", type=FilePath())
@click.option("-o", "--output", type=FilePath(), required=True, help="Write this film.")
@takes(settings=Settings, only={"encoder", "crf", "preset", "pix_fmt", "copy", "overwrite"})
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@verbosity
def merge_command(
    master: Path, chroma: Path, output: Path, settings: Settings, as_json: bool, quiet: bool
) -> None:
    """Combine the luma of MASTER with the colors of CHROMA.

    \b
    vidcolor run old_film.mkv --output-chroma colors.mkv
    vidcolor merge old_film.mkv colors.mkv -o color.mkv --encoder ffv1

    The luma is MASTER's, bit for bit. Sound and other streams are copied as 'vidcolor run' copies
    them. CHROMA must have been made from this very file.

    \b
    Exit codes: 0 done, 1 the two do not belong together or a file cannot be read or written.
    """
    from ..run.merge import merge
    from .screen import Screen

    screen, began = Screen(quiet=quiet, as_json=as_json), time.monotonic()
    try:
        report = merge(master, chroma, output, settings, every_minute(screen))
    except Exception as error:  # also of the disk; one line, as in a run
        report = failed(master, output, error)
    report.seconds = time.monotonic() - began
    screen.finished(report)
    sys.exit(1 if report.is_problem else 0)
