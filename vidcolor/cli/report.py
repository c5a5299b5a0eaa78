"""`vidcolor report`: a page that shows a result beside its original."""

from __future__ import annotations

from pathlib import Path

import click

from ..run.settings import Settings
from .check import COMPARED
from .log import verbosity
from .options import FilePath, takes
from .shots import every_minute
from .text import say


@click.command("report")
@click.argument("source", metavar="IN", type=FilePath())
@click.argument("result", metavar="OUT", type=FilePath())
@click.option("-o", "--output", type=FilePath(), required=True, help="Write this HTML file.")
@click.option(
    "--shots",
    type=FilePath(),
    help="Take the shots from this folder, and show its stills beside the result.",
)
@takes(settings=Settings, only=COMPARED | {"overwrite"})
@verbosity
def report_command(
    source: Path, result: Path, output: Path, shots: Path | None, settings: Settings
) -> None:
    """Write a page that shows OUT beside its original IN: films, pictures or folders.

    \b
    vidcolor report old_film.mp4 color.mp4 -o report.html
    vidcolor report old_film.mp4 color.mp4 -o report.html --shots shots/

    The page has a slider for each shot, a contact sheet, chroma and flicker over time, what
    'vidcolor check' finds, and the marks of OUT. It is one file and loads nothing.
    """
    from ..review.report import write_report
    from ..system.text import counted
    from .screen import Screen

    reviews = write_report(
        str(source),
        result,
        output,
        settings,
        shots,
        on_progress=every_minute(Screen(quiet=False, as_json=False)),
    )
    found = sum(len(each.findings) for each in reviews)
    say(f"{output}: {counted(len(reviews), 'file')}, {counted(found, 'finding')}")
