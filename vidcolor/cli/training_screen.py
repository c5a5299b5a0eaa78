"""What a person sees of a training: a live bar, a line for each epoch, tables at the end."""

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

from ..training.distributed import is_leader
from ..training.options import Listener
from ..training.options import Progress as Place
from ..training.recipe_files import RecipeFile
from .screen import width_of

_SHOWN = {
    "psnr": "PSNR",
    "gain": "over grey",
    "margin_error": "12-margin error",
    "accuracy": "accuracy",
}


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


class TrainingScreen:
    """Prints a training; see `training_screen`."""

    def __init__(self, file: RecipeFile, console: Console, bar: Progress) -> None:
        self.file, self.console, self.bar = file, console, bar
        self.task = bar.add_task("reading the pictures", total=None, loss="", rate="")

    def say(self, line: str) -> None:
        """One line."""
        self.console.print(Text(line), soft_wrap=True)

    def notice(self, line: str) -> None:
        """A line about something left out or gone wrong."""
        self.say(f"note: {line}")

    def listener(self) -> Listener:
        """What the training is to call."""
        return Listener(progress=self._progress, epoch=self._epoch, notice=self.notice)

    def _progress(self, place: Place) -> None:
        total = place.total * place.epochs
        self.bar.update(
            self.task,
            description=f"epoch {place.epoch}/{place.epochs}",
            completed=place.total * (place.epoch - 1) + place.done,
            total=total,
            loss=f"loss {place.loss:.4g}",
            rate=f"{place.rate:.0f} images/s",
        )

    def _epoch(self, row: dict[str, float], best: bool) -> None:
        measures = "  ".join(
            f"{label} {_number(row[key])}" for key, label in _SHOWN.items() if key in row
        )
        self.say(
            f"epoch {int(row['epoch'])}/{self.file.recipe.epochs}  train loss "
            f"{_number(row['train_loss'])}  validation loss {_number(row['loss'])}  {measures}  "
            f"lr {row['lr']:g}  {row['seconds']:.0f} s{'  best' if best else ''}"
        )

    def finished(self, results: dict[str, Any], folder: Path) -> None:
        """The end of a training: why it ended, the test part, where everything lies."""
        self.bar.stop()
        self.say(
            f"{results['status']} after {results['epochs']} epochs: {results['reason']}; "
            f"{results['images_per_second']:.0f} images/s"
        )
        test = results["test"]
        if test:
            table = Table("", "PSNR, dB", "over grey", "colourfulness", "12-margin error")
            table.title = f"{test['num_pictures']} test pictures at {test['size']}x{test['size']}"
            for row in test["rows"]:
                table.add_row(
                    row["name"],
                    f"{row['psnr']:.3f}",
                    f"{row['gain']:+.3f}",
                    f"{row['colourfulness']:.3f}",
                    f"{row['margin_error']:.4f}",
                )
            self.console.print(table)
        weights = folder / "weights.safetensors"
        self.say(f"{folder / 'summary.md'}: results, curves and pictures")
        self.say(f"{weights}: use it with 'vidcolor run FILM --weights {weights}'")

    def grid_row(self, done: int, total: int, row: dict[str, Any]) -> None:
        """A run of a grid is done."""
        self.bar.update(self.task, description="runs", completed=done, total=total)
        monitor = self.file.recipe.monitor
        self.say(
            f"{done}/{total}  {row['name']}  {row['status']}  {row['epochs']} epochs  "
            f"{monitor} {_number(row.get(monitor))}  {row['seconds']:.0f} s"
        )

    def grid_finished(self, rows: Sequence[dict[str, Any]], folder: Path) -> None:
        """The table of a grid."""
        self.bar.stop()
        self.say((folder / "grid.md").read_text(encoding="utf-8"))
        self.say(f"{folder / 'grid.png'}: the plot; {folder / 'grid.json'}: {len(rows)} runs")


@contextmanager
def training_screen(file: RecipeFile) -> Iterator[TrainingScreen]:
    """A screen on standard output, with a live bar where that is a terminal."""
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
        disable=not (console.is_terminal and is_leader()),
    )
    with bar:
        yield TrainingScreen(file, console, bar)


def recipe_table(files: Sequence[RecipeFile]) -> None:
    """The shipped recipes, on standard output."""
    table = Table("recipe", "what it trains", "model", "data", "runs")
    for file in files:
        sizes = [len(values) for values in file.grid.values()]
        runs = [f"--grid: {math.prod(sizes)}"] if sizes else []
        runs += [f"--variants: {len(file.variants)}"] if file.variants else []
        table.add_row(
            file.name,
            Text(file.title),
            file.recipe.model,
            ", ".join(file.recipe.data) or "--data",
            ", ".join(runs),
        )
    Console(highlight=False, width=width_of(sys.stdout)).print(table)
