"""`vidcolor check`: look for mistakes before they cost hours."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import InputError
from ..run.settings import ColorizerOptions
from .log import verbosity
from .options import FilePath, make_colorizer, takes
from .text import json_text, say


@click.command("check")
@click.argument("folder", type=FilePath())
@takes(options=ColorizerOptions, only={"model", "weights", "device", "precision", "size"})
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbosity
def check_command(folder: Path, options: ColorizerOptions, as_json: bool) -> None:
    """Check a FOLDER of shots: its shots.toml and the stills that you have colored.

    \b
    vidcolor check shots/

    Print one line for each still that is gray in parts, shifted or scaled, redrawn, or that
    disagrees with another, and for each shot without a colored still.

    \b
    Exit codes: 0 nothing was found, 1 something was found or cannot be read, 2 usage.
    """
    from ..run.shot_list import read_shots
    from ..shots.check import check_shots

    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder of shots; make one with 'vidcolor shots'")
    listed = read_shots(folder)
    findings = check_shots(listed, make_colorizer(options))
    if as_json:
        click.echo(json_text({"folder": str(folder), "findings": [vars(f) for f in findings]}))
    else:
        for each in findings:
            say(each.text)
        if not findings:
            say(f"{folder}: {len(listed.shots)} shots, nothing to correct")
    sys.exit(1 if findings else 0)
