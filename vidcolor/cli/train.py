"""`vidcolor train` and `vidcolor recipes`: train weights by a recipe, on color pictures."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..training.options import RecipeChanges, TrainCallbacks, TrainOptions, TrainProgress
from .options import parse_assignment, parsed, takes
from .screen import width_of

if TYPE_CHECKING:
    from ..training.recipe import RecipeFile

_SHOWN = {
    "psnr": "PSNR",
    "psnr_over_gray": "over gray",
    "margin_error": "12-margin error",
    "accuracy": "accuracy",
}


@click.command("train")
@click.option(
    "--recipe", help="Name of a recipe ('vidcolor recipes' lists them) or a TOML file [S0]."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for weights, checkpoints and results [runs/RECIPE].",
)
@takes(changes=RecipeChanges, options=TrainOptions)
@click.option(
    "--set",
    "overrides",
    type=parsed(parse_assignment),
    multiple=True,
    metavar="KEY=VALUE",
    help="Change any key of the recipe, such as model_options.layers=4; repeatable.",
)
@click.option("--grid", is_flag=True, help="Run every combination of the recipe's grid.")
@click.option(
    "--variants",
    is_flag=False,
    flag_value="all",
    help="Run the recipe's named variants: all, or a comma-separated list.",
)
@click.option(
    "--jobs",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Trainings of a grid at a time; 0: as many as cores and memory allow.",
)
def train_command(
    recipe: str | None,
    output: Path | None,
    changes: RecipeChanges,
    options: TrainOptions,
    overrides: tuple[tuple[str, Any], ...],
    grid: bool,
    variants: str | None,
    jobs: int,
) -> None:
    """Train weights by a recipe.

    \b
    vidcolor train --data cifar10
    vidcolor train --recipe S1b --data photos/ --set size=128 -o runs/mine
    vidcolor train --recipe S2 --grid --jobs 0
    torchrun --nproc-per-node 2 -m vidcolor train --recipe S0
    vidcolor run old_film.mp4 --weights runs/mine/weights.safetensors -o color.mp4

    Training stops early if the recipe's measure does not improve; the weights of the best epoch
    are kept. Checkpoints are written every few minutes, at every best epoch and on Ctrl-C;
    --resume continues from the newest.
    """
    from ..system.devices import choose_device
    from ..training.checkpoint import CheckpointManager
    from ..training.recipe import DEFAULT, find_recipe, load_recipe

    if grid and variants:
        raise click.UsageError("--grid and --variants exclude each other")
    if jobs != 1 and not (grid or variants):
        raise click.UsageError("--jobs needs --grid or --variants")
    # a resumed training has the settings of its start
    begun = (output or Path("runs") / DEFAULT) / "recipe.toml"
    resumed = (options.resume or options.resume_or_begin) and recipe is None and begun.is_file()
    path = begun if resumed else find_recipe(recipe or DEFAULT)
    file = load_recipe(path, {**changes.to_dict(), **dict(overrides)})
    folder = output or Path("runs") / file.name
    found = options.resume_or_begin and bool(CheckpointManager(folder).paths())
    options = dataclasses.replace(
        options,
        resume=options.resume or found,
        device=str(choose_device(options.device)),
        command=shlex.join(["vidcolor", *sys.argv[1:]]),
    )
    if grid or variants:
        _run_many(file, folder, options, variants, jobs)
    else:
        _run_one(file, folder, options)


def _run_one(file: RecipeFile, folder: Path, options: TrainOptions) -> None:
    from ..training.distributed import is_main_process
    from ..training.trainer import train

    with training_screen(file) as screen:
        results = train(file, folder, options, screen.callbacks())
        if is_main_process():
            screen.finished(results, folder)


def _chosen_runs(file: RecipeFile, variants: str | None) -> Mapping[str, Mapping[str, Any]]:
    from ..training.grid import combinations

    if variants is None:
        runs: Mapping[str, Mapping[str, Any]] = combinations(file.grid) if file.grid else {}
    else:
        chosen = list(file.variants) if variants == "all" else variants.split(",")
        unknown = [name for name in chosen if name not in file.variants]
        if unknown:
            known = ", ".join(file.variants) or "none"
            raise click.UsageError(f"the recipe has no variant '{unknown[0]}'; it has: {known}")
        runs = {name: file.variants[name] for name in chosen}
    if not runs:
        what = "grid" if variants is None else "variants"
        raise click.UsageError(f"the recipe '{file.name}' has no {what}")
    return runs


def _run_many(
    file: RecipeFile, folder: Path, options: TrainOptions, variants: str | None, jobs: int
) -> None:
    from ..training.grid import jobs_that_fit, run_grid

    runs = _chosen_runs(file, variants)
    what = "grid" if variants is None else "variants"
    folder = folder / what
    with training_screen(file) as screen:
        rows = run_grid(
            file,
            runs,
            folder,
            options,
            title=f"{file.name}: {what}",
            jobs=jobs_that_fit(jobs),
            on_row=screen.grid_row,
            on_notice=screen.notice,
        )
        screen.grid_finished(rows, folder)
    if len(rows) < len(runs):
        raise SystemExit(1)


@click.command("recipes")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def recipes_command(as_json: bool) -> None:
    """List the recipes that `vidcolor train --recipe NAME` knows."""
    from ..training.recipe import load_recipe, recipe_values, shipped_recipes

    files = [load_recipe(path) for path in shipped_recipes().values()]
    if as_json:
        found = {f.name: {"title": f.title, **recipe_values(f.recipe)} for f in files}
        click.echo(json.dumps(found, indent=1))
    else:
        _print_recipes(files)


def _print_recipes(files: Sequence[RecipeFile]) -> None:
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
        self.console.print(Text(line), soft_wrap=True)

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
    from ..training.distributed import is_main_process

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
