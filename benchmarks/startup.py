"""How long one waits: for `vidcolor --help`, and for the first frames of `vidcolor run`.

Both are whole processes, from their start. `python -m benchmarks.startup FILE ARGUMENTS...` is the
second one's: it runs the command line and ends when the first batch has been given to the encoder,
writing the moment to FILE.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]


def _run(arguments: Sequence[str]) -> float:
    """Seconds from the start of a Python process to its end; its screen output is dropped.

    Raises:
        RuntimeError: it failed; the message is what it printed.
    """
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr or done.stdout}")
    return seconds


def _to_first_frame(film: Path, options: Sequence[str]) -> float:
    """Seconds from the start of `vidcolor run` until its first batch is in the encoder."""
    with tempfile.TemporaryDirectory() as folder:
        moment = Path(folder) / "moment"
        output = Path(folder) / film.name
        arguments = ["run", str(film), "-o", str(output), "--quiet", *options]
        began = time.monotonic()
        _run(["-m", "benchmarks.startup", str(moment), *arguments])
        # the system's clock, the same one for all processes
        return float(moment.read_text(encoding="ascii")) - began


def startup_costs(
    *, film: Path, model: str, device: str, rounds: int, warm_up: bool = True
) -> list[dict[str, Any]]:
    """`wait`, what is waited for, and the median `seconds` over `rounds` processes; with
    `warm_up` each once before, so that the files are in the system's cache."""
    options = ("--model", model, "--device", device)
    waits: dict[str, Callable[[], float]] = {
        "python": lambda: _run(["-c", "pass"]),
        "vidcolor --help": lambda: _run(["-m", "vidcolor", "--help"]),
        "vidcolor run, first frames": lambda: _to_first_frame(film, options),
    }
    rows = []
    for name, wait in waits.items():
        if warm_up:
            wait()
        rows.append({"wait": name, "seconds": statistics.median(wait() for _ in range(rounds))})
    return rows


class _SinkFinder(importlib.abc.MetaPathFinder):
    """Puts a hand on `FilmSink.write` when its module is imported, and not before: an import by
    the measurement would change the order of the imports it measures."""

    def __init__(self, moment: Path) -> None:
        self.moment = moment

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "vidcolor.sinks.film":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_hold(module: ModuleType) -> None:
            load(module)
            self._hold(module.FilmSink)

        spec.loader.exec_module = load_and_hold  # type: ignore[method-assign]
        return spec

    def _hold(self, sink: Any) -> None:
        write = sink.write

        def write_once(this: Any, batch: Any) -> None:
            write(this, batch)
            self.moment.write_text(repr(time.monotonic()), encoding="ascii")
            os._exit(0)  # the rest of the film is of no interest

        sink.write = write_once


def main() -> None:
    """Run the command line up to its first batch."""
    moment, *arguments = sys.argv[1:]
    sys.meta_path.insert(0, _SinkFinder(Path(moment)))
    sys.argv = ["vidcolor", *arguments]
    from vidcolor.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
