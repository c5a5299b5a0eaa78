"""The one place that makes text printable: what would control a terminal is escaped."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import click

# Marks that change the direction of what follows; Unicode Standard Annex 9, section 2.
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def _is_control(character: str) -> bool:
    return character in _DIRECTIONS or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """The text with every control character, mark of text direction and undecoded byte escaped:
    a file's name must not control the terminal, or look like another name."""
    return "".join(
        (f"\\x{ord(c):02x}" if ord(c) < 0xA0 else f"\\u{ord(c):04x}") if _is_control(c) else c
        for c in text
    )


def json_text(values: Any, *, indent: int | None = None) -> str:
    """JSON in readable characters, with the escapes of JSON for what `printable` escapes."""
    text = json.dumps(values, ensure_ascii=False, indent=indent, default=str)
    return "".join(f"\\u{ord(c):04x}" if c != "\n" and _is_control(c) else c for c in text)


def say(line: str, *, err: bool = False) -> None:
    """Print a line that may hold names of files, to standard output or error."""
    click.echo(printable(line), err=err)
