"""Names that would control a terminal, fake a line, or are no text at all."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .inputs import OPTIONS, Shelf
from .process import Run
from .tally import Tally

FORGED = "error: all your files are gone"
NAMES = {
    "an escape sequence": b"\x1b[31mred\x1b[2J",
    "a forged line": f"a\n{FORGED}\n".encode(),
    "a carriage return": f"a\r{FORGED}".encode(),
    "a C1 control character": "a\x9b31mred".encode(),
    "a mark of direction": "a\u202egnp.evil".encode(),
    "a line separator": f"a\u2028{FORGED}".encode(),
    "bytes that are not UTF-8": b"caf\xe9\xff",
    "markup": b"[red]a [bold",
    "dashes": b"--output=x",
    "signs of printf": b"%s%n%05d",
    "a long name": b"n" * 230,
}
_RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def names(shelf: Shelf, *, quick: bool) -> Tally:
    """Give such names to films, pictures, folders, weights and recipes, in every command."""
    tally = Tally("names")
    chosen = dict(list(NAMES.items())[:2]) if quick else NAMES
    for what, raw in chosen.items():
        folder = shelf.fresh("names")
        name = os.fsdecode(raw)
        try:
            inner = folder / name
            inner.mkdir()
            shutil.copy(shelf.kinds()[0], inner / f"{name}.mkv")
            color = Path(shutil.copy(sorted(shelf.colors().iterdir())[0], inner / f"{name}.png"))
            broken = inner / f"{name}.mp4"
            broken.write_bytes(b"no film")
        except OSError:  # a file system for other names
            tally.count("skipped")
            continue
        output = shelf.fresh("names' output")
        commands: tuple[list[str | Path], ...] = (
            ["run", "-o", output / name, *OPTIONS, "--", inner],
            ["run", "-o", output / "json", *OPTIONS, "--json", "--", inner],
            ["run", "-o", output / "plan", *OPTIONS, "--dry-run", "--", inner, broken],
            ["run", "-o", output / "x.png", *OPTIONS, "--weights", broken, "--", color],
            ["run", *OPTIONS, "--reference", broken, "-o", output / "y.png", "--", color],
            ["eval", *OPTIONS, "--at", "64", "--", folder],
            ["eval", *OPTIONS, "--video", "--", inner],
            ["eval", *OPTIONS, "--json", "--at", "64", "--", folder],
            ["probe", *OPTIONS, "--seconds", "0", "--", inner],
            ["train", "--recipe", broken, "-o", output / "t", "--data", inner],
            ["train", "--recipe", "S0", "-o", inner, "--resume", "--data", inner],
            ["models", "describe", name],
            ["weights", "import", "--name", name, "--model", name, "--", broken],
            [name],
            ["run", f"--{name}"],
        )
        for command in commands[:3] if quick else commands:
            if any("\0" in os.fspath(each) for each in command):
                continue
            ended = Run(command, shelf.logs).wait(100)
            said = f"{what}, {' '.join(map(str, command[:2]))}"
            tally.ended(said, ended)
            if found := _RAW.search(ended.text):
                line = f"{said}: {found[0]!r} is printed raw"
                tally.fault("unclear_messages", line)
            if any(line.startswith(FORGED) for line in ended.text.splitlines()):
                tally.fault("unclear_messages", f"{said}: the forged line is printed")
    return tally
