"""Print lines that may hold names of files: `say`; JSON for a terminal: `json_text`."""

from __future__ import annotations

import json
from typing import Any

import click

from ..system.text import is_control
from ..system.text import printable as printable


def json_text(values: Any, *, indent: int | None = None) -> str:
    """JSON in readable characters, with the escapes of JSON for what `printable` escapes."""
    text = json.dumps(values, ensure_ascii=False, indent=indent, default=str)
    return "".join(f"\\u{ord(c):04x}" if c != "\n" and is_control(c) else c for c in text)


def say(line: str, *, err: bool = False) -> None:
    """Print a line that may hold names of files, to standard output or error."""
    click.echo(printable(line), err=err)
