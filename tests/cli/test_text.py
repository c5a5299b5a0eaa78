"""What is printed never controls a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest

from vidcolor.cli.text import json_text, printable

ODD = "".join(map(chr, (0, 7, 10, 13, 27, 127, 0x85, 0x9B, 0x200E, 0x2028, 0x202E, 0x2069, 0xDCE9)))
PLAIN = "é\u00e9 \u4e2d \U0001f600 [red] %s \\"


def test_text_keeps_what_is_plain_and_escapes_the_rest() -> None:
    shown = printable(ODD + PLAIN)
    assert shown.endswith(PLAIN) and shown.startswith(r"\x00\x07\x0a\x0d\x1b\x7f\x85\x9b\u200e")
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]


@pytest.mark.parametrize("indent", [None, 1])
def test_json_is_as_safe_and_still_json(indent: int | None) -> None:
    values = {"name": ODD + PLAIN, ODD: [1, None]}
    text = json_text(values, indent=indent)
    assert json.loads(text) == values
    assert PLAIN.replace("\\", r"\\") in text
    assert not set(text.replace("\n", "")) & set(ODD)
