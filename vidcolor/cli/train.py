"""`vidcolor train` and `vidcolor recipes`: train weights by a recipe, on color pictures."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..training.options import RecipeChanges, TrainOptions
from .log import verbosity
from .options import parse_assignment, parsed, takes
from .text import json_text

if TYPE_CHECKING:
    from ..training.recipe_file import RecipeFile
    from .training_screen import TrainingScreen


@click.command("train")
@click.option(
    "--recipe",
    help="Name of a recipe ('vidcolor recipes' lists them) or a TOML file [fine_tune; S0 for "
    "cifar10].",
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
@verbosity
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
    """Train weights on color pictures.

    Without --recipe the shipped model `fast` is fine-tuned on your pictures. Give it some hundred
    of the kind that you want to colorize.

    \b
    vidcolor train --data photos/
    vidcolor run old_film.mp4 --weights runs/fine_tune/weights.safetensors -o color.mp4
    vidcolor train --data cifar10
    vidcolor train --recipe S1b --data photos/ --set size=128 -o runs/mine
    vidcolor train --recipe S2 --grid --jobs 0
    torchrun --nproc-per-node 2 -m vidcolor train --recipe S0

    Training stops early if the recipe's measure does not improve; the weights of the best epoch
    are kept. Checkpoints are written every few minutes, at every best epoch and on Ctrl-C;
    --resume continues from the newest.
    """
    if "torch" not in sys.modules:
        # OpenMP reads this when torch is loaded. Its threads wait for each other at every layer; by
        # default they spin, which takes the processor from the one that is waited for
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from ..system.devices import choose_device
    from ..training.checkpoint import CheckpointManager
    from ..training.distributed import is_main_process
    from ..training.start import choose_recipe
    from .training_screen import training_screen

    many = grid or variants is not None
    if grid and variants is not None:
        raise click.UsageError("--grid and --variants exclude each other")
    if jobs != 1 and not many:
        raise click.UsageError("--jobs needs --grid or --variants")
    resume = (options.resume or options.resume_or_begin) and not many  # a grid always resumes
    file, folder, lines = choose_recipe(
        recipe, output, {**changes.to_dict(), **dict(overrides)}, resume=resume
    )
    found = options.resume_or_begin and bool(CheckpointManager(folder).paths())
    options = dataclasses.replace(
        options,
        resume=options.resume or found,
        device=str(choose_device(options.device)),
        command=shlex.join(["vidcolor", *sys.argv[1:]]),
    )
    with training_screen(file) as screen:
        for line in lines if is_main_process() else ():
            screen.notice(line)
        if many:
            _run_many(file, folder, options, variants, jobs, screen)
        else:
            _run_one(file, folder, options, screen)


def _run_one(file: RecipeFile, folder: Path, options: TrainOptions, screen: TrainingScreen) -> None:
    from ..training.distributed import is_main_process
    from ..training.trainer import train

    results = train(file, folder, options, screen.callbacks())
    if is_main_process():
        screen.finished(results, folder)


def _chosen_runs(file: RecipeFile, variants: str | None) -> Mapping[str, Mapping[str, Any]]:
    from ..training.grid import combinations

    if variants is None:
        runs: Mapping[str, Mapping[str, Any]] = (
            combinations(file.grid, file.changed) if file.grid else {}
        )
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
    file: RecipeFile,
    folder: Path,
    options: TrainOptions,
    variants: str | None,
    jobs: int,
    screen: TrainingScreen,
) -> None:
    from ..training.grid import jobs_that_fit, run_grid

    runs = _chosen_runs(file, variants)
    what = "grid" if variants is None else "variants"
    folder = folder / what
    screen.grid_started(len(runs))
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@verbosity
def recipes_command(as_json: bool) -> None:
    """List the recipes that `vidcolor train --recipe NAME` knows."""
    from ..training.recipe import recipe_values
    from ..training.recipe_file import load_recipe, shipped_recipes
    from .training_screen import print_recipes

    files = [load_recipe(path) for path in shipped_recipes().values()]
    if as_json:
        found = {f.name: {"title": f.title, **recipe_values(f.recipe)} for f in files}
        click.echo(json_text(found, indent=1))
    else:
        print_recipes(files)
