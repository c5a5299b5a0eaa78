"""`vidcolor train` and `vidcolor recipes`: train weights by a recipe, on colour pictures."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import parse_assignment, parsed

if TYPE_CHECKING:
    from ..training.options import Options
    from ..training.recipe_files import RecipeFile


_SHORT_CUTS = ("epochs", "batch_size", "lr", "patience", "limit", "seed", "precision")


@click.command("train")
@click.option(
    "--recipe",
    "recipe",
    help="Name of a recipe ('vidcolor recipes' lists them) or a TOML file.  [default: S0]",
)
@click.option(
    "--data",
    multiple=True,
    help="cifar10, a folder, or a zip of colour pictures; may be given several times.  "
    "[default: the recipe's own]",
)
@click.option(
    "--data-root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    show_default=True,
    help="Where cifar10 is looked for, and downloaded to.",
)
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Pictures to validate on, instead of a part of the data.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for weights, checkpoints and results.  [default: runs/RECIPE]",
)
@click.option("--epochs", type=click.IntRange(1), help="Epochs at most.")
@click.option("--batch-size", type=click.IntRange(1), help="Pictures a step.")
@click.option("--lr", type=float, help="Learning rate.")
@click.option("--patience", type=click.IntRange(0), help="Epochs without a better value; 0: never.")
@click.option(
    "--limit", type=click.IntRange(0), help="Use at most this many pictures of each part."
)
@click.option("--seed", type=click.IntRange(0), help="Of everything random.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Arithmetic.")
@click.option(
    "--set",
    "overrides",
    type=parsed(parse_assignment),
    multiple=True,
    metavar="KEY=VALUE",
    help="Override any key of the recipe, such as model_options.layers=4; repeatable.",
)
@click.option(
    "--encoder",
    help="Pretrained values to start from: a file, or 'torchvision' to download them.",
)
@click.option("--init", help="Trained weights of the same architecture to go on from.")
@click.option("--freeze", type=click.Choice(["backbone"]), help="Train the model's head alone.")
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
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the checkpoint in the output folder, with the settings it was begun with.",
)
@click.option(
    "--resume-or-begin",
    "either",
    is_flag=True,
    help="Resume where there is a checkpoint, begin where there is none: one command for both.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Processes that cut random crops of mixed-size pictures.",
)
@click.option(
    "--save-minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Minutes between checkpoints.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep decoded pictures in this folder and map them into memory: the next training of the "
    "same pictures starts at once, and several share them.  [default: decode into memory]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads of the training's arithmetic on a CPU.  [default: one a core]",
)
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard event files too.")
def train_command(
    recipe: str | None,
    data: tuple[str, ...],
    data_root: Path,
    validation: tuple[Path, ...],
    output: Path | None,
    overrides: tuple[tuple[str, Any], ...],
    encoder: str | None,
    init: str | None,
    freeze: str | None,
    grid: bool,
    variants: str | None,
    jobs: int,
    resume: bool,
    device: str,
    workers: int,
    save_minutes: float,
    tensorboard: bool,
    either: bool,
    cache: Path | None,
    threads: int | None,
    **short_cuts: Any,
) -> None:
    """Train weights by a recipe.

    \b
    vidcolor train --data cifar10
    vidcolor train --recipe S1b --data photos/ --set size=128 -o runs/mine
    vidcolor train --recipe S2 --grid --jobs 0
    torchrun --nproc-per-node 2 -m vidcolor train --recipe S0
    vidcolor run old_film.mp4 --weights runs/mine/weights.safetensors -o color.mp4

    Training stops early when the recipe's measure gets no better; the weights of the best epoch
    are kept. Checkpoints are written every few minutes, at every best and on Ctrl-C; --resume goes
    on from the newest.
    """
    from ..system.devices import choose_device
    from ..training.checkpoint import Shelf
    from ..training.options import Options
    from ..training.recipe_files import DEFAULT, find_recipe, load_recipe

    if grid and variants:
        raise click.UsageError("--grid and --variants are two different sets of runs")
    if jobs != 1 and not (grid or variants):
        raise click.UsageError("--jobs is for --grid and --variants")
    changes = {key: short_cuts[key] for key in _SHORT_CUTS if short_cuts[key] is not None}
    changes |= {k: v for k, v in (("encoder", encoder), ("freeze", freeze)) if v is not None}
    if data:
        changes["data"] = list(data)
    if threads:
        import torch

        torch.set_num_threads(threads)
    begun = (output or Path("runs") / DEFAULT) / "recipe.toml"
    # with all that was set at its start
    resumed = (resume or either) and recipe is None and begun.is_file()
    path = begun if resumed else find_recipe(recipe or DEFAULT)
    file = load_recipe(path, {**changes, **dict(overrides)})
    folder = output or Path("runs") / file.name
    options = Options(
        root=data_root,
        validation=validation,
        init=init,
        resume=resume or (either and bool(Shelf(folder).paths())),
        device=str(choose_device(device)),
        workers=workers,
        save_minutes=save_minutes,
        tensorboard=tensorboard,
        command=shlex.join(["vidcolor", *sys.argv[1:]]),
        cache=cache,
    )
    if grid or variants:
        _run_many(file, folder, options, variants, jobs)
    else:
        _run_one(file, folder, options)


def _run_one(file: RecipeFile, folder: Path, options: Options) -> None:
    from ..training.distributed import is_leader
    from ..training.trainer import train
    from .training_screen import training_screen

    with training_screen(file) as screen:
        results = train(file, folder, options, screen.listener())
        if is_leader():
            screen.finished(results, folder)


def _run_many(
    file: RecipeFile, folder: Path, options: Options, variants: str | None, jobs: int
) -> None:
    from ..training.grid import jobs_that_fit, run_grid
    from ..training.recipe_files import combinations
    from .training_screen import training_screen

    if variants is None:
        runs: dict[str, dict[str, Any]] = combinations(file.grid) if file.grid else {}
        what = "grid"
    else:
        chosen = list(file.variants) if variants == "all" else variants.split(",")
        unknown = [name for name in chosen if name not in file.variants]
        if unknown:
            known = ", ".join(file.variants) or "none"
            raise click.UsageError(f"the recipe has no variant '{unknown[0]}'; it has: {known}")
        runs, what = {name: file.variants[name] for name in chosen}, "variants"
    if not runs:
        raise click.UsageError(f"the recipe '{file.name}' has no {what}")
    folder = folder / what
    with training_screen(file) as screen:
        rows = run_grid(
            file,
            runs,
            folder,
            options,
            title=f"{file.name}: {what}",
            jobs=jobs_that_fit(jobs),
            report=screen.grid_row,
            notice=screen.notice,
        )
        screen.grid_finished(rows, folder)
    if len(rows) < len(runs):
        raise SystemExit(1)


@click.command("recipes")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def recipes_command(as_json: bool) -> None:
    """List the recipes that `vidcolor train --recipe NAME` knows."""
    import json

    from ..training.recipe import recipe_values
    from ..training.recipe_files import load_recipe, shipped_recipes
    from .training_screen import recipe_table

    files = [load_recipe(path) for path in shipped_recipes().values()]
    if as_json:
        found = {f.name: {"title": f.title, **recipe_values(f.recipe)} for f in files}
        click.echo(json.dumps(found, indent=1))
    else:
        recipe_table(files)
