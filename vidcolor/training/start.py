"""What a training starts from: fresh values, pretrained ones, or one's own weights."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import TrainingError, WeightsError
from ..models import ColorModel, create_model
from ..models.state_dicts import TORCH_SUFFIXES, read_tensors
from ..models.weights import load_model, read_entry
from .optim import freeze
from .recipe import Recipe


def _load_pretrained(model: ColorModel, source: str) -> None:
    """Fill the model's pretrained part from a file, or from what torchvision downloads."""
    try:
        if source == "torchvision":
            tensors = model.download_pretrained()
        else:
            tensors = read_tensors(Path(source))
        model.load_pretrained(tensors)
    except OSError as error:
        raise TrainingError(
            f"torchvision's weights could not be downloaded ({error}); give the file with "
            "--encoder FILE, or start afresh with --set encoder="
        ) from error
    except (WeightsError, KeyError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"{source}: not an encoder for this model: {error}; give another --encoder, or none"
        ) from error


def _load_initial(model: ColorModel, init: str, recipe: Recipe) -> None:
    """Copy trained weights of the same architecture, a file or the name of stored ones."""
    file = Path(init) if Path(init).is_file() else None
    if file is None and Path(init).suffix in (".safetensors", *TORCH_SUFFIXES):
        raise TrainingError(f"{init}: no such weights file to start from")
    if file is None:
        source, entry = load_model(init)
    else:  # a public checkpoint does not say what it is: the recipe does
        source, entry = load_model(None if read_entry(file) else recipe.model, file)
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


def starting_model(recipe: Recipe, init: str | None = None) -> ColorModel:
    """The recipe's model on the CPU with its first values, its frozen part marked.

    Args:
        recipe: the settings; `seed` decides fresh values.
        init: weights of the same architecture to go on from.

    Raises:
        TrainingError, WeightsError: the initial or pretrained values do not fit.
    """
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model, **recipe.model_options)
    if recipe.encoder and not init:
        _load_pretrained(model, recipe.encoder)
        if model.base_model:
            model.load_base(load_model(model.base_model)[0].state_dict())
    if init:
        _load_initial(model, init, recipe)
    if not list(model.parameters()):
        raise TrainingError(f"recipe key 'model': '{recipe.model}' has nothing to train")
    freeze(model, recipe.freeze)
    return model
