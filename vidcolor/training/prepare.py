"""Create what a training starts with: the data set, the loaders, and the model's first values."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from ..errors import RecipeError, TrainingError, WeightsError
from ..evaluation import MIN_SIZE
from ..models import ColorModel, create_model
from ..models.state_dicts import TORCH_SUFFIXES, read_tensors
from ..models.weights import load_model, read_entry
from .data.augment import Augment
from .data.balance import BalancedOrder
from .data.dataset import DataSet, Part, load_dataset
from .data.loaders import CropLoader, DeviceLoader, shrinker, store_bytes
from .data.picture_cache import PictureCache
from .objectives import OBJECTIVES
from .optim import freeze
from .options import TrainOptions
from .recipe import Recipe
from .recipe_file import RecipeFile


def open_dataset(file: RecipeFile, options: TrainOptions) -> DataSet:
    """Read the recipe's pictures and split them.

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
        root=Path(recipe.data_root),
        split=(recipe.split[0], recipe.split[1], recipe.split[2]),
        test_part=recipe.test_part,
        classes=recipe.classes,
        limit=recipe.limit,
        min_chroma=recipe.min_chroma,
        seed=recipe.seed,
        validation=[Path(path) for path in recipe.validation],
        shrink=shrinker(recipe.fit, recipe.size, recipe.input_size),
        cache=picture_cache(recipe, options),
    )


def picture_cache(recipe: Recipe, options: TrainOptions) -> PictureCache | None:
    """The cache of decoded pictures; None keeps them in memory."""
    if options.cache is None:
        return None
    kept = max(2 * recipe.size, recipe.input_size) if recipe.fit == "crop" else recipe.size
    return PictureCache(options.cache, f"{recipe.fit}-{kept}")


def check_sizes(recipe: Recipe, model: ColorModel) -> None:
    """Check that the model and the measures accept the recipe's picture sizes.

    Raises:
        RecipeError: they do not; the message names the key.
    """
    stride = model.stride
    for key, size in (("size", recipe.size), ("input_size", recipe.input_size)):
        if size % stride or 0 < size < MIN_SIZE:
            least = stride * math.ceil(MIN_SIZE / stride)
            raise RecipeError(
                f"recipe key '{key}' must be a multiple of {stride} for '{recipe.model}', at least "
                f"{least}, not {size}"
            )


def train_loader(
    recipe: Recipe, part: Part, device: torch.device, workers: int
) -> DeviceLoader | CropLoader:
    """Load the training part in random order, augmented.

    Args:
        recipe: the settings.
        part: the pictures.
        device: where the training runs; the pictures are kept there if they need less than a third
            of its free memory.
        workers: processes that cut the crops (`fit = "crop"`).
    """
    augment = Augment(
        recipe.flip, recipe.rotate, recipe.min_scale, recipe.old_film_share, recipe.ortho
    )
    if recipe.fit == "crop":
        settings = (recipe.epoch_size, recipe.batch_size, recipe.seed)
        return CropLoader(
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
        if store_bytes(len(part), recipe.size, space, recipe.repeat_augmented) > free / 3:
            device = torch.device("cpu")
    return DeviceLoader(
        part,
        space=space,
        size=recipe.size,
        fit=recipe.fit,
        batch_size=recipe.batch_size,
        augment=augment,
        seed=recipe.seed,
        device=device,
        epoch_size=recipe.epoch_size,
        repeat_augmented=recipe.repeat_augmented,
    )


def eval_loader(recipe: Recipe, part: Part) -> DeviceLoader:
    """Load a part for evaluation: not augmented, at the size the weights are meant for."""
    crops = recipe.fit == "crop"
    size = (recipe.input_size or recipe.size) if crops else recipe.size
    return DeviceLoader(
        part,
        space=OBJECTIVES[recipe.objective].space,
        size=size,
        fit="cover" if crops else recipe.fit,
        batch_size=max(1, min(256, 2**20 // size**2)),
        augment=Augment(),
        seed=recipe.seed,
        device=torch.device("cpu"),
    )


def _load_pretrained(model: ColorModel, source: str) -> None:
    """Load the pretrained part of the model from a file, or download it by torchvision."""
    try:
        if source == "torchvision":
            tensors = model.download_pretrained()
        else:
            tensors = read_tensors(Path(source))
        model.load_pretrained(tensors)
    except OSError as error:
        raise TrainingError(
            f"torchvision's weights could not be downloaded ({error}); give the file with "
            "--encoder FILE, or start from random values with --set encoder="
        ) from error
    except (WeightsError, KeyError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"{source}: not an encoder for this model: {error}; give another --encoder, or none"
        ) from error


def start_weights(recipe: Recipe) -> tuple[str | None, Path | None]:
    """The name and the file of the starting weights `init`, as `load_model` takes them.

    Raises:
        TrainingError, WeightsError: there is no such file, or it is damaged.
    """
    file = Path(recipe.init)
    if file.is_file():  # a public checkpoint does not name its architecture; the recipe does
        return None if read_entry(file) else recipe.model, file
    if file.suffix in (".safetensors", *TORCH_SUFFIXES):
        raise TrainingError(f"{recipe.init}: no such weights file to start from")
    return recipe.init, None


def _load_initial(model: ColorModel, recipe: Recipe) -> None:
    """Copy trained weights of the same architecture."""
    init = recipe.init
    source, entry = load_model(*start_weights(recipe))
    if entry.architecture != recipe.model:
        raise TrainingError(
            f"{init}: weights of '{entry.architecture}', but the recipe trains '{recipe.model}'"
        )
    wanted, given = model.state_dict(), source.state_dict()
    for name in [*wanted, *given]:
        theirs, ours = (
            tuple(tensors[name].shape) if name in tensors else "none" for tensors in (given, wanted)
        )
        if theirs != ours:
            raise TrainingError(
                f"{init}: does not fit the recipe's model_options: {name} has shape {theirs}, not "
                f"{ours}"
            )
    model.load_state_dict(given)


def initial_model(recipe: Recipe) -> ColorModel:
    """Create the recipe's model on the CPU with its first values and its frozen part.

    Args:
        recipe: the settings; `seed` decides random values.

    Raises:
        TrainingError, WeightsError: the initial or pretrained values do not fit.
    """
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model, **recipe.model_options)
    if recipe.encoder and not recipe.init:
        _load_pretrained(model, recipe.encoder)
        if model.base_model:
            model.load_base(load_model(model.base_model)[0].state_dict())
    if recipe.init:
        _load_initial(model, recipe)
    if not list(model.parameters()):
        raise TrainingError(f"recipe key 'model': '{recipe.model}' has nothing to train")
    freeze(model, recipe.freeze)
    return model


def describe_start(recipe: Recipe, model: ColorModel) -> str:
    """What the first weights of `initial_model` are, in words."""
    if recipe.init:
        return f"the weights {recipe.init}"
    if recipe.encoder:
        base = f", and the weights {model.base_model}" if model.base_model else ""
        return f"the encoder of {recipe.encoder}{base}; the rest random"
    if type(model).load_pretrained is ColorModel.load_pretrained:
        return "random values"
    return (
        "random values, in the encoder too: it learns far more from ImageNet's (--encoder FILE) or "
        "from trained weights (--init)"
    )
