"""Make text printable: `printable` escapes what would control a terminal or a page."""

from __future__ import annotations

import unicodedata

# Marks that change the direction of what follows; Unicode Standard Annex 9, section 2.
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def is_control(character: str) -> bool:
    """Whether a character controls a terminal, or is half of one."""
    return character in _DIRECTIONS or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """The text with every control character, mark of text direction and undecoded byte escaped:
    a file's name must not control the terminal, or look like another name."""
    return "".join(
        (f"\\x{ord(c):02x}" if ord(c) < 0xA0 else f"\\u{ord(c):04x}") if is_control(c) else c
        for c in text
    )


def counted(number: int, what: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
