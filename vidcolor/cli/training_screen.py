"""What `vidcolor train` prints: a progress bar, a line for each epoch, tables at the end.

Apart from `train`, whose help must not wait for rich.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..training.distributed import is_main_process
from ..training.options import TrainCallbacks, TrainForecast, TrainHeader, TrainProgress
from ..training.recipe_file import RecipeFile
from ..training.results.tables import duration
from .screen import width_of
from .text import printable

_LINE_SECONDS = 60.0  # between lines of progress, where there is no bar
_SHOWN = {
    "psnr": "PSNR",
    "psnr_over_gray": "over gray",
    "margin_error": "12-margin error",
    "accuracy": "accuracy",
}


def print_recipes(files: Sequence[RecipeFile]) -> None:
    """Print the table of recipes."""
    table = Table("recipe", "what it trains", "model", "data", "runs")
    for file in files:
        sizes = [len(values) for values in file.grid.values()]
        runs = [f"--grid: {math.prod(sizes)}"] if sizes else []
        runs += [f"--variants: {len(file.variants)}"] if file.variants else []
        data = ", ".join(file.recipe.data) or "--data"
        table.add_row(file.name, Text(file.title), file.recipe.model, data, ", ".join(runs))
    Console(highlight=False, width=width_of(sys.stdout)).print(table)


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


class TrainingScreen:
    """Prints a training: a progress bar, a line for each epoch, tables at the end."""

    def __init__(self, file: RecipeFile, console: Console, bar: Progress) -> None:
        self.file, self.console, self.bar = file, console, bar
        self.task = bar.add_task("reading the pictures", total=None, loss="", rate="", left="")
        self.own = ""  # what the measures of an epoch are of, if not of a*b* under the true L*
        self.printed = time.monotonic()  # a line of progress, where there is no bar

    def print_line(self, line: str) -> None:
        """Print one line."""
        self.console.print(Text(printable(line)), soft_wrap=True)

    def notice(self, line: str) -> None:
        """Print a line about pictures left out or a file that cannot be written."""
        self.print_line(f"note: {line}")

    def callbacks(self) -> TrainCallbacks:
        """The callbacks for `train`."""
        return TrainCallbacks(
            on_start=self._start,
            on_forecast=self._forecast,
            on_validation=self._validation,
            on_progress=self._progress,
            on_epoch=self._epoch,
            on_notice=self.notice,
        )

    def _start(self, header: TrainHeader) -> None:
        parts = ", ".join(f"{count:,} {part}" for part, count in header.parts.items())
        threads = f", {header.threads} thread{'s' * (header.threads > 1)}" if header.threads else ""
        shared = f", {header.processes} processes" if header.processes > 1 else ""
        rows = {
            "recipe": f"{header.recipe}: {header.title}" if header.title else header.recipe,
            "model": f"{header.model}, {header.parameters:,} parameters",
            "start": header.start,
            "pictures": f"{', '.join(header.sources)}: {parts}",
            "device": f"{header.device}{threads}{shared}",
            "loss": f"{header.objective}, {header.precision}",
            "steps": f"{header.steps:,} at most ({header.epochs} epochs) of {header.batch_size} "
            f"pictures at {header.size}x{header.size}",
        }
        if header.note:
            self.own = " (own picture)"
            rows["measures"] = (
                f"while it trains {header.note}; at the end of its a*b* under the true L*"
            )
        for name, text in rows.items():
            self.print_line(f"{name + ':':<10}{text}")
        self.bar.update(self.task, description=f"epoch 1/{header.epochs}")

    def _forecast(self, forecast: TrainForecast) -> None:
        self.print_line(
            f"predicted: {duration(forecast.seconds)} at most, {forecast.memory / 2**30:.1f} GiB "
            f"of memory ({forecast.rate:.1f} images/s over {forecast.steps} steps)"
        )

    def _validation(self, epoch: int) -> None:
        name = f"epoch {epoch}" if epoch else "the starting weights"
        self.bar.update(self.task, description=f"measuring {name}")

    def _progress(self, progress: TrainProgress) -> None:
        left = f"{duration(progress.seconds_left)} left"
        self.bar.update(
            self.task,
            description=f"epoch {progress.epoch}/{progress.epochs}",
            completed=progress.total * (progress.epoch - 1) + progress.done,
            total=progress.total * progress.epochs,
            loss=f"loss {progress.loss:.4g}",
            rate=f"{progress.rate:.0f} images/s",
            left=left,
        )
        if self.bar.disable and time.monotonic() - self.printed >= _LINE_SECONDS:
            self.printed = time.monotonic()
            self.print_line(
                f"epoch {progress.epoch}/{progress.epochs}  {progress.done:,} of "
                f"{progress.total:,} pictures  train loss {_number(progress.loss)}  "
                f"{progress.rate:.1f} images/s  {left}"
            )

    def _epoch(self, row: dict[str, float], best: bool) -> None:
        if not row["epoch"]:
            self.print_line(f"epoch 0, the starting weights: {self._measures(row)}")
            return
        self.print_line(
            f"epoch {int(row['epoch'])}/{self.file.recipe.epochs}  train loss "
            f"{_number(row['train_loss'])}  {self._measures(row)}  lr {row['lr']:.3g}  "
            f"{row['seconds']:.0f} s{'  best' if best else ''}"
        )

    def _measures(self, row: dict[str, float]) -> str:
        shown = (
            f"{label}{self.own} {_number(row[key])}" for key, label in _SHOWN.items() if key in row
        )
        return "  ".join((f"validation loss {_number(row['loss'])}", *shown))

    def finished(self, results: dict[str, Any], folder: Path) -> None:
        """Print the reason of the end, the table of the test part, and the files."""
        self.bar.stop()
        self.print_line(
            f"{results['status']} after {results['epochs']} epochs: {results['reason']}; "
            f"{results['images_per_second']:.0f} images/s"
        )
        if test := results["test"]:
            forms = {
                "psnr": ("PSNR, dB", ".3f"),
                "psnr_over_gray": ("over gray", "+.3f"),
                "colorfulness": ("colorfulness", ".3f"),
                "margin_error": ("12-margin error", ".4f"),
            }
            table = Table("", *(head for head, _ in forms.values()))
            table.title = f"{test['num_pictures']} test pictures at {test['size']}x{test['size']}"
            for row in test["rows"]:
                table.add_row(row["name"], *(f"{row[k]:{form}}" for k, (_, form) in forms.items()))
            self.console.print(table)
        weights = folder / "weights.safetensors"
        self.print_line(f"{folder / 'summary.md'}: results, curves and pictures")
        self.print_line(f"{weights}: use it with 'vidcolor run FILM --weights {weights}'")

    def grid_started(self, runs: int) -> None:
        """Show a grid of so many runs."""
        self.bar.update(self.task, description="runs", completed=0, total=runs)

    def grid_row(self, done: int, total: int, row: dict[str, Any]) -> None:
        """Print a finished run of a grid."""
        self.bar.update(self.task, completed=done, total=total)
        monitor = self.file.recipe.monitor
        self.print_line(
            f"{done}/{total}  {row['name']}  {row['status']}  {row['epochs']} epochs  "
            f"{monitor} {_number(row.get(monitor))}  {row['seconds']:.0f} s"
        )

    def grid_finished(self, rows: Sequence[dict[str, Any]], folder: Path) -> None:
        """Print the table of a grid."""
        self.bar.stop()
        for line in (folder / "grid.md").read_text(encoding="utf-8").splitlines():
            self.print_line(line)
        self.print_line(
            f"{folder / 'grid.png'}: the plot; {folder / 'grid.json'}: {len(rows)} runs"
        )


@contextmanager
def training_screen(file: RecipeFile) -> Iterator[TrainingScreen]:
    """A screen on standard output, with a progress bar if that is a terminal."""
    console = Console(highlight=False, width=width_of(sys.stdout))
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
        transient=True,
        disable=not (console.is_terminal and is_main_process()),
    )
    with bar:
        yield TrainingScreen(file, console, bar)
