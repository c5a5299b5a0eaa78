"""From a recipe to its pictures: the data set, and the feeds to train and to measure on."""

from __future__ import annotations

import math

import torch

from ..errors import RecipeError, TrainingError
from ..evaluation import MIN_SIZE
from ..models import ColorModel
from .data.augment import Augment
from .data.balance import BalancedOrder
from .data.dataset import DataSet, Part, load_dataset
from .data.loaders import DeviceFeed, WorkerFeed, shrinker, store_bytes
from .data.picture_cache import PictureCache
from .objectives import OBJECTIVES
from .options import Options
from .recipe import Recipe
from .recipe_files import RecipeFile


def open_dataset(file: RecipeFile, options: Options) -> DataSet:
    """The recipe's pictures, split.

    Raises:
        InputError, TrainingError: the data cannot be used, or the recipe names none.
    """
    recipe = file.recipe
    if not recipe.data:
        raise TrainingError(
            f"the recipe '{file.name}' names no data: give a folder or zip with --data"
        )
    return load_dataset(
        recipe.data,
        root=options.root,
        split=(recipe.split[0], recipe.split[1], recipe.split[2]),
        test_part=recipe.test_part,
        classes=recipe.classes,
        limit=recipe.limit,
        min_chroma=recipe.min_chroma,
        seed=recipe.seed,
        validation=options.validation,
        shrink=shrinker(recipe.fit, recipe.size, recipe.input_size),
        cache=picture_cache(recipe, options),
    )


def picture_cache(recipe: Recipe, options: Options) -> PictureCache | None:
    """Where the options want decoded pictures to be kept; None is in memory."""
    if options.cache is None:
        return None
    kept = max(2 * recipe.size, recipe.input_size) if recipe.fit == "crop" else recipe.size
    return PictureCache(options.cache, f"{recipe.fit}-{kept}")


def check_sizes(recipe: Recipe, model: ColorModel) -> None:
    """Check that the model and the measures take pictures of the recipe's sizes.

    Raises:
        RecipeError: they do not; the message names the key.
    """
    stride = model.stride
    for key, size in (("size", recipe.size), ("input_size", recipe.input_size)):
        if size % stride or 0 < size < MIN_SIZE:
            least = stride * math.ceil(MIN_SIZE / stride)
            raise RecipeError(
                f"recipe key '{key}': '{recipe.model}' wants a multiple of {stride}, at least "
                f"{least}, not {size}"
            )


def training_feed(
    recipe: Recipe, part: Part, device: torch.device, workers: int
) -> DeviceFeed | WorkerFeed:
    """The training part in random order, augmented as the recipe says.

    Args:
        recipe: the settings.
        part: the pictures.
        device: where the training runs; the pictures lie there too if they take less than a third
            of its free memory.
        workers: processes that cut the crops (`fit = "crop"`).
    """
    augment = Augment(recipe.flip, recipe.rotate, recipe.min_scale, recipe.degrade, recipe.ortho)
    if recipe.fit == "crop":
        settings = (recipe.epoch_size, recipe.batch_size, recipe.seed)
        return WorkerFeed(
            part,
            size=recipe.size,
            batch_size=recipe.batch_size,
            augment=augment,
            seed=recipe.seed,
            workers=workers,
            epoch_size=recipe.epoch_size,
            order=BalancedOrder(part.names, recipe.shares, *settings) if recipe.shares else None,
        )
    space = OBJECTIVES[recipe.objective].space
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if store_bytes(len(part), recipe.size, space, recipe.enlarge) > free / 3:
            device = torch.device("cpu")
    return DeviceFeed(
        part,
        space=space,
        size=recipe.size,
        fit=recipe.fit,
        batch_size=recipe.batch_size,
        augment=augment,
        seed=recipe.seed,
        device=device,
        epoch_size=recipe.epoch_size,
        enlarge=recipe.enlarge,
    )


def plain_feed(recipe: Recipe, part: Part) -> DeviceFeed:
    """A part to measure on: no augmentation, at the size that the weights are meant for."""
    crops = recipe.fit == "crop"
    size = (recipe.input_size or recipe.size) if crops else recipe.size
    return DeviceFeed(
        part,
        space=OBJECTIVES[recipe.objective].space,
        size=size,
        fit="cover" if crops else recipe.fit,
        batch_size=max(1, min(256, 2**20 // size**2)),
        augment=Augment(),
        seed=recipe.seed,
        device=torch.device("cpu"),
    )
