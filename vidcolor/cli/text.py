"""Print lines that may hold names of files: `say`."""

from __future__ import annotations

import click

from ..system.text import printable as printable


def say(line: str, *, err: bool = False) -> None:
    """Print a line that may hold names of files, to standard output or error."""
    click.echo(printable(line), err=err)
