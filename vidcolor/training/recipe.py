"""Recipes: the settings of a training, checked key by key.

This module imports neither torch nor the models before a recipe is made.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from ..errors import RecipeError, WeightsError
from ..options import OptionError, check_options, option, words

_LARGEST = 2**53  # whole numbers below it are exact as floats
_TYPES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
}


def _number(default: Any, help: str, low: float = 0, high: float | None = None) -> Any:
    return option(default, help=help, low=low, high=high)


@dataclass(frozen=True)
class Recipe:
    """The settings that decide a training's weights. A field's name is its key in the file.

    Attributes:
        model: an architecture of `vidcolor.models.MODELS`.
        model_options: the architecture's keyword arguments.
        objective: a name in `vidcolor.training.objectives.OBJECTIVES`.
        objective_options: the objective's keyword arguments.
        monitor: the validation measure that chooses the best epoch: `loss` or one that the
            objective measures.
        shares: shares of the crops by the folder a picture lies in; the other folders divide the
            rest in proportion to their pictures (`fit = "crop"` only).

    The help of the other fields says what they are. Lists become tuples, whole numbers become
    floats where the field is a float.

    Raises:
        RecipeError: a value has the wrong type or is out of range; the message names the key.
    """

    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    objective: str = "ab_huber"
    objective_options: dict[str, Any] = field(default_factory=dict)
    init: str = option(
        "", help="Trained weights of the same architecture to start from: a file or a name."
    )
    data: tuple[str, ...] = option((), help="cifar10, folders and zips of color pictures.")
    data_root: str = option("data", help="Folder where cifar10 is looked for, and downloaded to.")
    validation: tuple[str, ...] = option(
        (), help="Pictures to validate on, instead of a part of the data."
    )
    classes: tuple[str, ...] = option((), help="Keep the pictures of these classes; empty: all.")
    split: tuple[float, ...] = _number((0.8, 0.1, 0.1), "Shares of training, validation and test.")
    test_part: str = option(
        "split",
        choices=words("split", "folder"),
        help="split: draw the test part from all pictures; folder: those in a folder test or val.",
    )
    limit: int = _number(0, "Most pictures of each part; 0: all.")
    min_chroma: float = _number(0.0, "Leave out pictures of a lower mean Lab chroma.")
    size: int = _number(256, "Side of the training pictures, pixels.", 1)
    fit: str = option(
        "cover",
        choices=words("stretch", "cover", "crop"),
        help="How a picture becomes a square. stretch: bilinear; cover: bicubic, center crop; "
        "crop: random resized crops, cut by worker processes.",
    )
    flip: bool = option(False, help="Mirror half of the pictures.")
    rotate: float = _number(0.0, "Rotate by up to this many degrees either way.", 0, 180)
    min_scale: float = _number(1.0, "Least share of a random crop's area; 1: no crop.", 0, 1)
    repeat_augmented: int = _number(
        1, "Repetitions of the training part; all but the first are augmented, once and for all.", 1
    )
    old_film_share: float = _number(0.0, "Share of the crops that look like old film.", 0, 1)
    ortho: float = _number(0.0, "Share of the crops in the gray of orthochromatic film.", 0, 1)
    shares: dict[str, float] = field(default_factory=dict)
    batch_size: int = _number(16, "Pictures in a step.", 1)
    epochs: int = _number(30, "Most epochs.", 1)
    epoch_size: int = _number(0, "Pictures in an epoch; 0: the training part's number.")
    monitor: str = "loss"
    patience: int = _number(5, "Stop after so many epochs without a better value; 0: never.")
    optimizer: str = option(
        "adam",
        choices=words("sgd", "adam", "adamw"),
        help="sgd and adam: L2 decay of all parameters; adamw: decoupled, not of biases and norms.",
    )
    momentum: float = _number(0.0, "Momentum of SGD.")
    lr: tuple[float, ...] = _number((1e-3,), "Learning rates, one for each stage.")
    encoder_lr: float = _number(0.0, "Rate of the encoder's parameters in the first stage; 0: lr.")
    weight_decay: tuple[float, ...] = _number((0.0,), "One for each stage, or one for all.")
    schedule: str = option(
        "constant",
        choices=words("constant", "step", "plateau", "linear"),
        help="step: the next stage at each of milestones; plateau: the next stage after `plateau` "
        "epochs without a better value; linear: rise over `warmup` steps, hold, then fall to 0 "
        "over the last `decay_share` of all steps.",
    )
    milestones: tuple[int, ...] = _number((), "Epochs at which the schedule step goes on.")
    plateau: int = _number(3, "See schedule.", 1)
    warmup: int = _number(0, "Steps; see schedule.")
    decay_share: float = _number(0.0, "Share of all steps; see schedule.", 0, 1)
    clip_norm: float = _number(0.0, "Largest norm of the gradient; 0: no limit.")
    ema: float = _number(0.0, "Decay of the weights' moving average, which is kept; 0: none.")
    recalibrate_bn_steps: int = _number(
        0, "Steps of training pictures to measure batch norm statistics on before each validation."
    )
    fixed_norms: bool = option(
        False, help="Keep the statistics of batch norms: for pictures of one kind, from `init`."
    )
    precision: str = option(
        "fp32",
        choices=words("fp32", "bf16", "fp16", "auto"),
        help="Arithmetic of the forward pass; auto: bf16 where the processor or GPU has it.",
    )
    seed: int = _number(0, "Of the split, the order, the augmentation and the first weights.")
    freeze: str = option(
        "", choices={'""': "", "backbone": "backbone"}, help="backbone: train the head alone."
    )
    encoder: str = option("", help="Pretrained encoder: torchvision, or a file; empty: none.")
    input_size: int = _number(
        0,
        "Side the weights are meant to run at, pixels; 0: size, or with crops and init that of the "
        "starting weights.",
    )
    chroma_gain: float = _number(
        0.0,
        "Factor on the predicted a*b* when the weights run; 0: that of the starting weights, or 1.",
        0,
        10,
    )

    def __post_init__(self) -> None:
        for key, kind in field_types(Recipe).items():
            value = checked_value(f"recipe key '{key}'", getattr(self, key), kind)
            object.__setattr__(self, key, value)
        try:
            check_options(self)
            for wrong, key, reason in self._mistakes():
                if wrong:
                    raise OptionError(key, reason)
        except OptionError as error:
            raise RecipeError(f"recipe key '{error.name}' {one_line(error.reason)}") from error

    def _mistakes(self) -> Iterator[tuple[bool, str, str]]:
        """Whether a rule is broken, the key, and the rule; later rules rely on the earlier."""
        from ..models import MODELS
        from ..models import check_options as check_model_options
        from .objectives import OBJECTIVES

        for key, known in (("model", MODELS), ("objective", OBJECTIVES)):
            value = getattr(self, key)
            names = ", ".join(known)
            yield value not in known, key, f"must be one of {names}, not {reprlib.repr(value)}"
        measures = ("loss", *OBJECTIVES[self.objective].measure_names)
        reason = f"must be one of {', '.join(measures)}, not {reprlib.repr(self.monitor)}"
        yield self.monitor not in measures, "monitor", reason
        try:
            check_model_options(self.model, self.model_options)
        except WeightsError as error:
            yield True, "model_options", f"cannot be used: {error}"
        yield not self.min_scale, "min_scale", "must be above 0"
        yield self.ema >= 1, "ema", "must be below 1"
        yield self.momentum >= 1, "momentum", "must be below 1"
        wrong = len(self.split) != 3 or abs(sum(self.split) - 1) > 1e-6
        yield wrong, "split", "must be three shares that sum to 1"
        yield not self.lr or 0 in self.lr, "lr", "must be one or more rates above 0"
        several = len(self.weight_decay) not in (1, len(self.lr))
        yield several, "weight_decay", "must be one value, or one for each 'lr'"
        wrong = self.schedule == "step" and len(self.milestones) != len(self.lr) - 1
        yield wrong, "milestones", "must be one fewer than the values of 'lr'"
        wrong = self.schedule != "step" and bool(self.milestones)
        yield wrong, "milestones", 'needs schedule = "step"'
        wrong = self.schedule in ("constant", "linear") and len(self.lr) > 1
        yield wrong, "lr", f"must be one rate with the schedule '{self.schedule}'"
        for folder, share in self.shares.items():
            good = isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1
            yield not good, "shares", f"must give {folder!r} a share from 0 to 1, not {share!r}"
        total = sum(self.shares.values())
        yield total > 1 + 1e-6, "shares", f"must sum to 1 at most, not {total:g}"
        crops = self.fit == "crop"
        for key in ("old_film_share", "ortho", "shares"):
            yield not crops and bool(getattr(self, key)), key, 'needs fit = "crop"'
        yield crops and bool(self.rotate), "rotate", 'does not work with fit = "crop"'
        wrong = self.fixed_norms and bool(self.recalibrate_bn_steps)
        yield wrong, "recalibrate_bn_steps", "does not work with fixed_norms"
        wrong = crops and self.repeat_augmented > 1
        yield wrong, "repeat_augmented", 'does not work with fit = "crop"'


@cache
def field_types(kind: type[Any]) -> dict[str, Any]:
    """The types of a dataclass's fields by name."""
    return get_type_hints(kind)


def one_line(text: str) -> str:
    """`text` without line breaks, cut to 600 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 600 else f"{text[:597]}..."


def checked_value(key: str, value: Any, kind: Any) -> Any:
    """`value` as the type `kind`: text, a number, a truth value, a tuple or a table of these.

    Raises:
        RecipeError: it has another type, or a number is not finite or above 2^53.
    """
    wanted = get_origin(kind) or kind
    if wanted is tuple:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(checked_value(key, each, get_args(kind)[0]) for each in values)
    if wanted is float and type(value) is int and abs(value) < _LARGEST:
        value = float(value)
    if type(value) is not wanted:
        raise RecipeError(f"{key} must be {_TYPES[wanted]}, not {one_line(reprlib.repr(value))}")
    numbers = value.values() if isinstance(value, dict) else [value]
    for number in numbers:
        if (isinstance(number, float) and not math.isfinite(number)) or (
            isinstance(number, int) and abs(number) >= _LARGEST
        ):
            raise RecipeError(f"{key} must be finite and below 2^53")
    return value


def make_recipe(values: Mapping[str, Any], origin: str) -> Recipe:
    """Build a recipe from keys and values.

    Raises:
        RecipeError: an unknown key, a missing `model`, or a wrong value; the message begins with
            `origin` and names the key.
    """
    known = [each.name for each in fields(Recipe)]
    for key in values:
        if key not in known:
            raise RecipeError(
                f"{origin}: unknown key {reprlib.repr(key)}; known: {', '.join(known)}"
            )
    if "model" not in values:
        raise RecipeError(f"{origin}: the key 'model' is missing")
    try:
        return Recipe(**values)
    except RecipeError as error:
        raise RecipeError(f"{origin}: {error}") from error


def overridden(recipe: Recipe, overrides: Mapping[str, Any], origin: str) -> Recipe:
    """`recipe` with some keys replaced; `model_options.layers` sets one key of a table.

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
            raise RecipeError(f"{origin}: unknown key {reprlib.repr(key)}")
    return make_recipe(values, origin)


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON values: lists for tuples."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}
