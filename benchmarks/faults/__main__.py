"""The fault campaign, in one command.

    python -m benchmarks.faults --json faults.json

Runs of `vidcolor` are killed at random moments, work on full disks and with little memory, get
mutated inputs and odd names, and meet each other. README.md says what the figures are. The exit
code is 1 if something was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vidcolor import __version__

from .disk import disk
from .fuzz import SHARES, fuzz
from .inputs import Shelf
from .kill import kill
from .memory import memory
from .names import names
from .process import preload
from .tally import ZEROS, Tally
from .together import together

PARTS = ("kill", "disk", "memory", "fuzz", "together", "names")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description="What becomes of runs that go wrong."
    )
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="this part alone; may be given several times"
    )
    parser.add_argument("--kills", type=int, metavar="N", help="kills [120]")
    parser.add_argument("--inputs", type=int, metavar="N", help="mutated inputs [1000]")
    parser.add_argument(
        "--kind",
        action="append",
        choices=tuple(SHARES),
        help="mutated inputs of this kind alone; may be given several times",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all that is random")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--folder", type=Path, help="where to work, and to keep what was wrong")
    parser.add_argument("--quick", action="store_true", help="a short form, under a minute")
    return parser


def _parts(given: argparse.Namespace, shelf: Shelf) -> dict[str, Callable[[], Tally]]:
    quick = given.quick
    kills = given.kills or (5 if quick else 120)
    inputs = given.inputs or (30 if quick else 1000)

    def chance(part: str) -> random.Random:
        return random.Random(f"{given.seed} {part}")  # the same whichever parts are chosen

    return {
        "kill": lambda: kill(shelf, kills, chance("kill")),
        "disk": lambda: disk(shelf, chance("disk"), quick=quick),
        "memory": lambda: memory(shelf, chance("memory"), quick=quick),
        "fuzz": lambda: fuzz(shelf, inputs, chance("fuzz"), given.kind or ()),
        "together": lambda: together(shelf, quick=quick),
        "names": lambda: names(shelf, quick=quick),
    }


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    columns = ("runs", "seconds", *ZEROS)
    table = Table("part", *(column.replace("_", " ") for column in columns), title="faults")
    for part, figures in rows.items():
        table.add_row(part, *(f"{figures.get(column, 0):g}" for column in columns))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; the exit code."""
    given = _parser().parse_args(arguments)
    # forks of this process must not find other threads' locks
    os.environ["OMP_NUM_THREADS"] = "1"
    preload()
    found: dict[str, Any] = {
        "benchmark": "faults",
        "version": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
        "seed": given.seed,
        "quick": given.quick,
        "parts": {},
        "faults": [],
    }
    with tempfile.TemporaryDirectory(prefix="vidcolor-faults-") as name:
        folder = given.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["VIDCOLOR_CACHE"] = str(folder / "cache")
        os.environ["VIDCOLOR_WEIGHTS"] = str(folder / "own weights")
        os.environ["COLUMNS"] = "400"
        seconds, count = (4.0, 6) if given.quick else (30.0, 40)
        shelf = Shelf(folder, seconds=seconds, count=count)
        for part, run in _parts(given, shelf).items():
            if given.only and part not in given.only:
                continue
            began = time.monotonic()
            tally = run()
            tally.figures["seconds"] = round(time.monotonic() - began)
            found["parts"][part] = tally.figures
            found["faults"] += [f"{part}: {line}" for line in tally.faults]
            if given.json:  # after each part, because the next may take long
                given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console = Console(width=max(120, Console().width), highlight=False)
    console.print(_table(found["parts"]))
    for part, figures in found["parts"].items():
        others = {k: v for k, v in figures.items() if k not in (*ZEROS, "runs", "seconds")}
        if others:
            console.print(f"{part}: " + ", ".join(f"{k} {v:g}" for k, v in others.items()))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
