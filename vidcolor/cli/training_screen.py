"""What `vidcolor train` prints: a progress bar, a line for each epoch, tables at the end.

Apart from `train`, whose help must not wait for rich.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..training.distributed import is_main_process
from ..training.options import TrainCallbacks, TrainProgress
from ..training.recipe import RecipeFile
from .screen import width_of
from .text import printable

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
        self.task = bar.add_task("reading the pictures", total=None, loss="", rate="")

    def print_line(self, line: str) -> None:
        """Print one line."""
        self.console.print(Text(printable(line)), soft_wrap=True)

    def notice(self, line: str) -> None:
        """Print a line about pictures left out or a file that cannot be written."""
        self.print_line(f"note: {line}")

    def callbacks(self) -> TrainCallbacks:
        """The callbacks for `train`."""
        return TrainCallbacks(
            on_progress=self._progress, on_epoch=self._epoch, on_notice=self.notice
        )

    def _progress(self, progress: TrainProgress) -> None:
        self.bar.update(
            self.task,
            description=f"epoch {progress.epoch}/{progress.epochs}",
            completed=progress.total * (progress.epoch - 1) + progress.done,
            total=progress.total * progress.epochs,
            loss=f"loss {progress.loss:.4g}",
            rate=f"{progress.rate:.0f} images/s",
        )

    def _epoch(self, row: dict[str, float], best: bool) -> None:
        measures = "  ".join(
            f"{label} {_number(row[key])}" for key, label in _SHOWN.items() if key in row
        )
        self.print_line(
            f"epoch {int(row['epoch'])}/{self.file.recipe.epochs}  train loss "
            f"{_number(row['train_loss'])}  validation loss {_number(row['loss'])}  {measures}  "
            f"lr {row['lr']:g}  {row['seconds']:.0f} s{'  best' if best else ''}"
        )

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

    def grid_row(self, done: int, total: int, row: dict[str, Any]) -> None:
        """Print a finished run of a grid."""
        self.bar.update(self.task, description="runs", completed=done, total=total)
        monitor = self.file.recipe.monitor
        self.print_line(
            f"{done}/{total}  {row['name']}  {row['status']}  {row['epochs']} epochs  "
            f"{monitor} {_number(row.get(monitor))}  {row['seconds']:.0f} s"
        )

    def grid_finished(self, rows: Sequence[dict[str, Any]], folder: Path) -> None:
        """Print the table of a grid."""
        self.bar.stop()
        self.print_line((folder / "grid.md").read_text(encoding="utf-8"))
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
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (console.is_terminal and is_main_process()),
    )
    with bar:
        yield TrainingScreen(file, console, bar)
