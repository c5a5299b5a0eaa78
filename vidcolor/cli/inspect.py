"""`vidcolor inspect`: print what a file says of its origin, and check it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from .text import say

_LINES = {
    "digital_source_type": "digital source type",
    "software": "software",
    "model": "model",
    "model_sha256": "model's SHA-256",
    "settings": "settings",
    "date": "date",
    "source": "source",
    "source_sha256": "source's SHA-256",
    "source_type": "source's own type",
}


@click.command("inspect")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="Compare the SHA-256 of this original.  [default: the file of its name beside FILE]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each file.")
def inspect_command(files: tuple[Path, ...], source: Path | None, as_json: bool) -> None:
    """Print what FILES say of their origin, and check it.

    \b
    vidcolor inspect color.mp4 --source old_film.mp4

    Compare the SHA-256 of the original and of the model, and verify the signature of Content
    Credentials (with vidcolor[c2pa]).

    \b
    Exit codes: 0 nothing is wrong, also where a file says nothing; 1 a file cannot be read, the
    SHA-256 of the original differs or the signature is not valid.
    """
    from ..errors import InputError
    from ..run.provenance.inspection import inspect

    if source is not None and len(files) > 1:
        raise click.UsageError("--source goes with one file")
    fine = True
    for file in files:
        try:
            found = inspect(file, source)
        except InputError as error:
            say(f"error: {error}", err=True)
            fine = False
            continue
        fine = fine and found.holds
        if as_json:
            click.echo(json.dumps(found.to_dict(), ensure_ascii=False))
            continue
        if not found.marks and found.credentials is None:
            say(f"{file}: says nothing of its origin")
            continue
        say(str(file))
        for name, title in _LINES.items():
            if name in found.marks:
                say(f"  {title}: {found.marks[name]}")
        for check in found.checks:
            say(f"  {check.name} {check.state}: {check.detail}")
    sys.exit(0 if fine else 1)
