"""All that vidcolor costs, in one run.

    python -m benchmarks --json figures.json

Five sections, of which `--only` picks some: `models`, `stages`, `scaling`, `startup`, `peers`.
README.md says how to read them.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from vidcolor import __version__
from vidcolor.errors import VidcolorError

from .alone import alone
from .films import FilmShelf, FilmSize, film_size
from .jobs import machine
from .sections import SECTIONS, Bench, Choice
from .tables import TABLES

# What `--quick` measures: all parts of the code, in a few seconds. Its figures say nothing.
_TINY = film_size("96x64")
QUICK = Choice(
    models=("fast",),
    rounds=1,
    model_sizes=(64,),
    batches=(1,),
    least_seconds=0.0,
    stage_films=((_TINY, 0.5),),
    length_size=_TINY,
    lengths=(0.25, 0.5),
    scale_sizes=(_TINY, film_size("128x96")),
    scale_seconds=0.25,
    startup_warm_up=False,
    peers=("eccv16",),
    peer_film=(_TINY, 0.5),
    peer_frames=2,
    peer_seconds=0.0,
    peer_input=32,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What vidcolor costs on this machine."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument(
        "--only",
        action="append",
        choices=tuple(SECTIONS),
        help="this section alone; may be given several times",
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="this model; may be given several times [fast and best]",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N [cpu]")
    parser.add_argument("--rounds", type=_at_least_one, help="turns of each; medians count [3]")
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=_size,
        metavar="SIZE",
        help="frame sizes of stages and scaling: 480p, 720p, 1080p, or 640x480",
    )
    parser.add_argument(
        "--lengths", nargs="+", type=float, metavar="S", help="seconds, in scaling [2 4 8]"
    )
    parser.add_argument(
        "--peer-frames",
        type=_at_least_one,
        metavar="N",
        help="frames of a peer's loop, at least, beside 5 seconds [3]",
    )
    parser.add_argument(
        "--quick", action="store_true", help="everything at its smallest, for tests"
    )
    return parser


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _end(number: int, frame: FrameType | None) -> None:
    """Ends the program so that its processes and its folder go with it."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _size(text: str) -> FilmSize:
    try:
        return film_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _choice(given: argparse.Namespace) -> Choice:
    choice = replace(QUICK if given.quick else Choice(), device=given.device)
    if given.model:
        choice = replace(choice, models=tuple(given.model))
    if given.rounds:
        choice = replace(choice, rounds=given.rounds)
    if given.peer_frames:
        choice = replace(choice, peer_frames=given.peer_frames)
    if given.lengths:
        choice = replace(choice, lengths=tuple(given.lengths))
    if given.sizes:
        seconds = dict(choice.stage_films)
        films = tuple((size, seconds.get(size, choice.scale_seconds)) for size in given.sizes)
        choice = replace(choice, stage_films=films, scale_sizes=tuple(given.sizes))
    return choice


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables as they come, and write the JSON."""
    parser = _parser()
    given = parser.parse_args(arguments)
    choice = _choice(given)
    chosen = given.only or list(SECTIONS)
    if "scaling" in chosen and min(len(set(choice.lengths)), len(set(choice.scale_sizes))) < 2:
        parser.error("scaling needs two different lengths and two sizes")
    try:
        about = alone(machine, device=choice.device, models=choice.models)
    except VidcolorError as error:
        parser.error(str(error))
    del about["peak_rss_bytes"]
    found: dict[str, Any] = {
        "benchmark": "vidcolor",
        "version": __version__,
        "python": platform.python_version(),
        **about,
        "rounds": choice.rounds,
        "quick": given.quick,
    }
    console = Console(width=max(100, Console().width))
    console.print(
        f"{about['device']}, {about['cores']} cores, {about['precision']}, torch {about['torch']}",
        highlight=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bench = Bench(choice, FilmShelf(work), work, lambda line: print(line, file=sys.stderr))
        for name in SECTIONS:
            if name not in chosen:
                continue
            found[name] = SECTIONS[name](bench)
            for table in TABLES[name](found[name], about):
                console.print(table)
            if given.json:  # after each section, because the next may take long
                given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    main()
