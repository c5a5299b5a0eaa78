"""Recipes: everything that decides the weights a training produces, checked key by key."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import RecipeError, WeightsError
from ..models import MODELS, check_options
from .objectives import OBJECTIVES
from .objectives.measures import MONITORS

_CHOICES: dict[str, Collection[str]] = {
    "model": MODELS,
    "objective": OBJECTIVES,
    "monitor": MONITORS,
    "optimizer": ("sgd", "adam", "adamw"),
    "schedule": ("constant", "step", "plateau", "linear"),
    "precision": ("fp32", "bf16", "fp16"),
    "fit": ("stretch", "cover", "crop"),
    "test_part": ("split", "folder"),
    "freeze": ("", "backbone"),
}


@dataclass(frozen=True)
class Recipe:
    """The settings of one training; the field names are the keys of the file.

    Attributes:
        model: an architecture of the registry.
        model_options: its constructor's keyword arguments.
        objective: a key of `vidcolor.training.objectives.OBJECTIVES`.
        objective_options: its keyword arguments.
        data: where the pictures come from: `cifar10`, folders and zips.
        classes: keep only the pictures of these classes; all when empty.
        split: shares of training, validation and test pictures.
        test_part: `split` draws the test part from all pictures; `folder` takes those below a
            folder `test` or `val`.
        limit: use at most this many training pictures, and as many to validate and to test; 0 is
            all.
        min_chroma: pictures whose mean Lab chroma is below this are left out; 0 keeps all.
        size: side of the training pictures, pixels.
        fit: how a picture becomes a square: `stretch` (bilinear), `cover` (bicubic, centre crop),
            or `crop` (random resized crops, cut by worker processes).
        flip: mirror half of the pictures.
        rotate: rotate by up to this many degrees either way.
        min_scale: least share of a picture's area that a random crop covers; 1 is no crop.
        enlarge: the training part counts this many times, all but the first with fixed random
            augmentations.
        degrade: share of the crops that are made to look like old film (`fit = "crop"` only).
        ortho: share of the crops whose grey is that of a film which sees little or no red
            (`fit = "crop"` only).
        shares: shares of the crops by the folder that a picture lies in; folders that are not named
            divide the rest in proportion to their pictures (`fit = "crop"` only).
        batch_size: pictures a step.
        epochs: epochs at most.
        epoch_size: pictures an epoch; 0 is the training part's number.
        monitor: the measure of the validation part that decides what is best.
        patience: stop after this many epochs without a better value; 0 never stops early.
        optimizer: `sgd`, `adam` (L2 decay) or `adamw` (decoupled decay).
        momentum: of SGD.
        lr: learning rates, one for each stage of the schedule.
        encoder_lr: first stage's rate for the parameters under `encoder.`; 0 is the same as `lr`.
        weight_decay: one for each stage, or one for all; AdamW spares biases and norms.
        schedule: `constant`; `step` (the next stage at each of `milestones`); `plateau` (the next
            stage after `plateau` epochs without a better value); `linear` (rises over `warmup`
            steps, holds, and falls to 0 over the share `cooldown` of all steps).
        milestones, plateau, warmup, cooldown: see `schedule`.
        clip_norm: the gradient's norm is clipped to this; 0 leaves it.
        ema: decay of the moving average of the weights that is validated and kept; 0 is none.
        calibrate: steps' worth of training pictures that the batch norms' statistics are fitted to,
            in float32, before each validation; 0 leaves what training gathered.
        precision: arithmetic of the forward pass: `fp32`, `bf16` or `fp16` (autocast).
        seed: of the split, the order, the augmentations and the initial weights.
        freeze: `backbone` trains the model's head alone.
        encoder: start from pretrained values: `torchvision` downloads the model's own, else a
            file; empty is none.
        input_size: side at which the weights are meant to run, pixels; 0 is `size`.
    """

    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    objective: str = "ab_huber"
    objective_options: dict[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    split: tuple[float, ...] = (0.8, 0.1, 0.1)
    test_part: str = "split"
    limit: int = 0
    min_chroma: float = 0.0
    size: int = 256
    fit: str = "cover"
    flip: bool = False
    rotate: float = 0.0
    min_scale: float = 1.0
    enlarge: int = 1
    degrade: float = 0.0
    ortho: float = 0.0
    shares: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 16
    epochs: int = 30
    epoch_size: int = 0
    monitor: str = "loss"
    patience: int = 5
    optimizer: str = "adam"
    momentum: float = 0.0
    lr: tuple[float, ...] = (1e-3,)
    encoder_lr: float = 0.0
    weight_decay: tuple[float, ...] = (0.0,)
    schedule: str = "constant"
    milestones: tuple[int, ...] = ()
    plateau: int = 3
    warmup: int = 0
    cooldown: float = 0.0
    clip_norm: float = 0.0
    ema: float = 0.0
    calibrate: int = 0
    precision: str = "fp32"
    seed: int = 0
    freeze: str = ""
    encoder: str = ""
    input_size: int = 0

    def __post_init__(self) -> None:
        for key, choices in _CHOICES.items():
            value = getattr(self, key)
            if value not in choices:
                known = ", ".join(c or '""' for c in choices)
                raise RecipeError(f"recipe key '{key}': '{value}' is not one of {known}")
        for key in ("size", "batch_size", "epochs", "enlarge", "plateau"):
            if getattr(self, key) < 1:
                raise RecipeError(f"recipe key '{key}': must be at least 1")
        numbers = {
            key: value if isinstance(value, tuple) else (value,)
            for key, value in dataclasses.asdict(self).items()
            if isinstance(value, int | float | tuple) and key not in ("classes", "data")
        }
        for key, values in numbers.items():
            if not all(math.isfinite(value) for value in values):
                raise RecipeError(f"recipe key '{key}': must be finite")
            if any(value < 0 for value in values):
                raise RecipeError(f"recipe key '{key}': must not be negative")
        for key in ("min_scale", "degrade", "ortho", "cooldown"):
            if getattr(self, key) > 1:
                raise RecipeError(f"recipe key '{key}': must lie between 0 and 1")
        for key in ("ema", "momentum"):
            if getattr(self, key) >= 1:
                raise RecipeError(f"recipe key '{key}': must be below 1")
        if not self.min_scale:
            raise RecipeError("recipe key 'min_scale': must be above 0")
        try:
            check_options(self.model, self.model_options)
        except WeightsError as error:
            raise RecipeError(f"recipe key 'model_options': {error}") from error
        if len(self.split) != 3 or abs(sum(self.split) - 1) > 1e-6:
            raise RecipeError("recipe key 'split': three shares that sum to 1 are wanted")
        if not self.lr or 0 in self.lr:
            raise RecipeError("recipe key 'lr': one rate or more is wanted, each above 0")
        if len(self.weight_decay) not in (1, len(self.lr)):
            raise RecipeError("recipe key 'weight_decay': give one value, or one for each 'lr'")
        if self.schedule == "step" and len(self.milestones) != len(self.lr) - 1:
            raise RecipeError("recipe key 'milestones': one fewer than the values of 'lr'")
        if self.schedule != "step" and self.milestones:
            raise RecipeError("recipe key 'milestones': works with schedule = \"step\" only")
        if self.schedule in ("constant", "linear") and len(self.lr) > 1:
            raise RecipeError(
                f"recipe key 'lr': the schedule '{self.schedule}' has one stage; use 'plateau' or "
                "'step' for several rates"
            )
        _check_shares(self.shares)
        for key in ("degrade", "ortho", "shares"):
            if self.fit != "crop" and getattr(self, key):
                raise RecipeError(f"recipe key '{key}': works with fit = \"crop\" only")
        if self.fit == "crop" and (self.rotate or self.enlarge > 1):
            raise RecipeError("recipe keys 'rotate' and 'enlarge' do not work with fit = \"crop\"")


def _check_shares(shares: dict[str, Any]) -> None:
    for folder, share in shares.items():
        if type(share) not in (int, float) or not 0 < share <= 1:
            raise RecipeError(
                f"recipe key 'shares': '{folder}' must have a share above 0 and at most 1, not "
                f"{share!r}"
            )
    if sum(shares.values()) > 1 + 1e-6:
        raise RecipeError(
            f"recipe key 'shares': they sum to {sum(shares.values()):g}, which is more than 1"
        )


_KINDS: dict[str, tuple[type, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
}


def checked(key: str, value: Any, kind: str, origin: str) -> Any:
    """`value` as the field type `kind` wants it, numbers widened and single values in a list."""
    if kind.startswith("tuple"):
        values = value if isinstance(value, list | tuple) else [value]
        inner = kind.removeprefix("tuple[").partition(",")[0]
        return tuple(checked(key, v, inner, origin) for v in values)
    if kind.startswith("dict"):
        if not isinstance(value, dict):
            raise RecipeError(f"{origin}: key '{key}' must be a table, not {value!r}")
        return value
    wanted, said = _KINDS[kind]
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise RecipeError(f"{origin}: key '{key}' must be {said}, not {value!r}")
    return value


def make_recipe(values: Mapping[str, Any], origin: str) -> Recipe:
    """Check `values` key by key and build the recipe.

    Raises:
        RecipeError: an unknown key, a missing `model` or a value of the wrong type; the message
            begins with `origin` and names the key.
    """
    fields = {item.name: str(item.type) for item in dataclasses.fields(Recipe)}
    for key in values:
        if key not in fields:
            raise RecipeError(f"{origin}: unknown key '{key}'; known: {', '.join(fields)}")
    if "model" not in values:
        raise RecipeError(f"{origin}: the key 'model' is missing")
    return Recipe(**{k: checked(k, v, fields[k], origin) for k, v in values.items()})


def overridden(recipe: Recipe, overrides: Mapping[str, Any], origin: str) -> Recipe:
    """`recipe` with some keys replaced; `model_options.layers` reaches into a table.

    Raises:
        RecipeError: an unknown key, or a value that does not fit.
    """
    values = recipe_values(recipe)
    for key, value in overrides.items():
        table, dot, inner = key.partition(".")
        if not dot:
            values[key] = value
        elif isinstance(values.get(table), dict):
            values[table] = {**values[table], inner: value}
        else:
            raise RecipeError(f"{origin}: unknown key '{key}'")
    return make_recipe(values, origin)


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values for JSON, lists for tuples."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(recipe).items()
    }
