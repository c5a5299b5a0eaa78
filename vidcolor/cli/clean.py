"""`vidcolor clean`: remove what killed runs have left."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .log import verbosity
from .options import FilePath
from .text import say


@click.command("clean")
@click.argument("folder", type=FilePath())
@click.option("--dry-run", is_flag=True, help="List them and remove nothing.")
@verbosity
def clean_command(folder: Path, dry_run: bool) -> None:
    """Remove what killed runs have left in FOLDER and its subfolders.

    That is temporary files, unfinished films that could be resumed, and the state of single files.
    What a running process uses stays, and so do files that vidcolor has not named. The state of
    a folder (.NAME.vidcolor.sqlite), by which done work is known, stays too.

    \b
    vidcolor clean color/ --dry-run
    vidcolor clean color/

    \b
    Exit codes: 0 all removed (or listed), 1 something could not be removed.
    """
    from ..run.job.leftovers import find_leftovers

    if not folder.is_dir():
        raise click.UsageError(f"{folder}: is not a folder")
    count, total, lost = 0, 0, False
    for each in find_leftovers(folder):
        try:
            if not dry_run and not each.remove():
                continue  # a run has taken it up meanwhile
        except OSError as error:
            say(f"error: {each.path}: cannot be removed ({error.strerror})", err=True)
            lost = True
            continue
        count, total = count + 1, total + each.bytes
        say(f"{each.path}: {each.kind}, {each.bytes / 1e6:.1f} MB")
    word = "found" if dry_run else "removed"
    say(f"{count} {word}, {total / 1e6:.1f} MB", err=True)
    sys.exit(1 if lost else 0)
