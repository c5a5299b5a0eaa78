"""How vidcolor scales: real runs, and a simulation that takes their costs to 10,000 workers.

    python -m benchmarks.scale --write docs/SCALE.md

needs two idle processors and 20 minutes. It colors with one and two workers, kills a node of a
cluster, simulates, and puts all tables into docs/SCALE.md. With `--skip-runs --json scale.json` it
simulates alone, with the costs of an earlier run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from .real import measure
from .tables import simulated, tables, write_into


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and simulate; print tables, write them and the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description="How vidcolor scales."
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw efficiency and length")
    parser.add_argument(
        "--skip-runs", action="store_true", help="take the real runs' figures from --json"
    )
    parser.add_argument("--minutes", type=float, default=16.0, help="for the real runs [16]")
    parser.add_argument("--seconds", type=float, default=90.0, help="of the film [90]")
    parser.add_argument("--pictures", type=int, default=256, help="in the folder [256]")
    parser.add_argument("--model", default="fast", help="[fast]")
    parser.add_argument("--size", default="640x480", help="of the film's frames [640x480]")
    parser.add_argument("--most", type=int, default=10_000, help="workers [10000]")
    given = parser.parse_args(arguments)
    if given.skip_runs and not given.json:
        parser.error("--skip-runs needs --json")
    found = {}
    if given.skip_runs:
        found["measured"] = json.loads(given.json.read_text(encoding="utf-8"))["measured"]
    else:
        found["measured"] = measure(
            seconds=given.seconds,
            pictures=given.pictures,
            minutes=given.minutes,
            model=given.model,
            size=given.size,
        )
        _tell(found, given)  # now, so that an end of the simulation does not lose it
    found["simulated"] = simulated(found["measured"], given.most, given.plot)
    _tell(found, given)


def _tell(found: dict[str, Any], given: argparse.Namespace) -> None:
    """Print and write what was found last."""
    kind = list(found)[-1]
    for table in tables(found[kind]):
        Console(width=110).print(table.rich())
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if given.write:
        write_into(given.write, kind, found[kind])


if __name__ == "__main__":
    main()
