"""How vidcolor scales.

    python -m benchmarks.scale measure --json scale.json --write docs/SCALE.md
    python -m benchmarks.scale simulate --costs scale.json --write docs/SCALE.md

`measure` runs one and two workers; it needs two idle processors and some minutes. `simulate` takes
their costs to 10,000 workers. Both put their tables into docs/SCALE.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from .real import measure
from .tables import simulated, tables, write_into


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or simulate; print tables and write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description="How vidcolor scales."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    real = commands.add_parser("measure", help="run one and two workers on this machine")
    real.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    real.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this text")
    real.add_argument("--seconds", type=float, default=150.0, help="of the film [150]")
    real.add_argument("--pictures", type=int, default=256, help="in the folder [256]")
    real.add_argument("--rounds", type=int, default=3, help="turns of each; medians count [3]")
    real.add_argument("--model", default="fast", help="[fast]")
    real.add_argument("--size", default="640x480", help="of the film's frames [640x480]")
    model = commands.add_parser("simulate", help="simulate 1 to 10,000 workers")
    model.add_argument("--costs", type=Path, metavar="FILE", help="figures of `measure`")
    model.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    model.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this text")
    model.add_argument("--plot", type=Path, metavar="FILE", help="draw efficiency and length")
    model.add_argument("--most", type=int, default=10_000, help="workers [10000]")
    given = parser.parse_args(arguments)
    console = Console(width=110)
    if given.command == "measure":
        found = measure(
            seconds=given.seconds,
            pictures=given.pictures,
            rounds=given.rounds,
            model=given.model,
            size=given.size,
        )
    else:
        figures = json.loads(given.costs.read_text(encoding="utf-8")) if given.costs else None
        found = simulated(figures, given.most, given.plot)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for table in tables(found):
        console.print(table.rich())
    if given.write:
        write_into(given.write, found["kind"], found)


if __name__ == "__main__":
    main()
