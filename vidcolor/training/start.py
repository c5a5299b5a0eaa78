"""Settle what a training begins or goes on with: its recipe, its folder, what depends on here.

A training that goes on has the settings of its start, which lie in its folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import RecipeError
from ..evaluation.metrics import find_alexnet
from ..models.weights import load_model
from ..system.devices import has_bf16
from .data.dataset import CIFAR10
from .prepare import start_weights
from .recipe import Recipe, overridden, recipe_values
from .recipe_file import RecipeFile, find_recipe, load_recipe

FROM_NOTHING = "S0"  # the recipe for CIFAR-10, and where no data are named
FINE_TUNING = "fine_tune"  # the recipe for one's own pictures
WITHOUT_LPIPS = "without-lpips"  # a recipe's variant for machines without AlexNet's features


def default_recipe(data: tuple[str, ...]) -> str:
    """The recipe for these data if none is named."""
    return FINE_TUNING if data and CIFAR10 not in data else FROM_NOTHING


def choose_recipe(
    name: str | None, output: Path | None, changes: Mapping[str, Any], *, resume: bool
) -> tuple[RecipeFile, Path, list[str]]:
    """The recipe of a training, its folder, and lines about what was chosen.

    Args:
        name: of a shipped recipe, or a file; None: `default_recipe` of the data.
        output: the folder; None: `runs/` and the recipe's name.
        changes: keys that the command line replaces.
        resume: take the settings that are saved in the folder, if there are any.

    Raises:
        RecipeError: there is no such recipe, it has a mistake, or the folder has a training of
            another recipe.
    """
    if resume and name is None and output is not None and (output / "recipe.toml").is_file():
        return load_recipe(output / "recipe.toml", changes), output, []
    given = load_recipe(find_recipe(name or default_recipe(changes.get("data", ()))), changes)
    folder = output or Path("runs") / given.name
    saved = folder / "recipe.toml"
    if resume and saved.is_file():
        file = load_recipe(saved, changes)
        if file.name != given.name:
            raise RecipeError(
                f"{folder}: holds a training of the recipe '{file.name}', not '{given.name}'; "
                "leave out --recipe, or choose another folder with -o"
            )
        return file, folder, _differences(file, given, saved)
    chosen = "objective" in changes or _finds_lpips(given.recipe)
    if WITHOUT_LPIPS in given.variants and not chosen:
        changes = {**given.variants[WITHOUT_LPIPS], **changes}
        recipe = overridden(given.recipe, changes, f"variant '{WITHOUT_LPIPS}'")
        line = (
            "AlexNet's features are not here, so the loss is without LPIPS; with them colors get "
            "better edges: --set objective_options.lpips_weights=FILE (torchvision's AlexNet)"
        )
        return dataclasses.replace(given, recipe=recipe), folder, [line]
    return given, folder, []


def _finds_lpips(recipe: Recipe) -> bool:
    named = recipe.objective_options.get("lpips_weights")
    return bool(named) or find_alexnet() is not None


def _differences(file: RecipeFile, given: RecipeFile, saved: Path) -> list[str]:
    """A line on the keys of the recipe that its author changed since the training began."""
    ours, theirs = recipe_values(file.recipe), recipe_values(given.recipe)
    settled = {"input_size", "chroma_gain", "precision"}
    known = {key.partition(".")[0] for key in file.changed}
    other = [key for key in ours if ours[key] != theirs[key] and key not in known | settled]
    if not other or WITHOUT_LPIPS in given.variants:
        return []
    return [
        f"the recipe has another {', '.join(other)} now; the settings are those of the start, in "
        f"{saved}; change them with --set"
    ]


def settle(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe with what depends on the device and the starting weights filled in.

    Precision `auto` becomes bf16 or fp32. The input size (with crops) and the chroma gain are
    those of `init` where the recipe has none. A settled recipe stays as it is.

    Raises:
        WeightsError: `init` cannot be read.
        RecipeError: the device lacks the precision.
    """
    changes: dict[str, Any] = {}
    if recipe.precision == "auto":
        gpu = device.type == "cuda" and torch.cuda.is_bf16_supported()
        changes["precision"] = "bf16" if gpu or (device.type == "cpu" and has_bf16()) else "fp32"
    if recipe.precision == "fp16" and device.type == "cpu":
        raise RecipeError("recipe key 'precision': fp16 needs a GPU; use bf16 on the CPU")
    size = recipe.fit == "crop" and not recipe.input_size
    if recipe.init and (size or not recipe.chroma_gain):
        entry = load_model(*start_weights(recipe))[1]
        if size:
            changes["input_size"] = entry.input_size
        if not recipe.chroma_gain:
            changes["chroma_gain"] = entry.chroma_gain
    return dataclasses.replace(recipe, **changes)
