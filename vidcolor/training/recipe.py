"""Recipes: everything that decides the weights a training produces, as one small TOML file."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from ..models import MODELS
from .losses import LOSSES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Recipe:
    """The settings of one training; the field names are the keys of the file.

    Attributes:
        model: an architecture of the registry.
        loss: a key of `vidcolor.training.losses.LOSSES`.
        crop: side of the square training crop, pixels.
        min_scale: least share of a picture's area that a crop covers.
        degrade: share of the crops that are made to look like old film.
        batch_size: pictures a step.
        steps: optimiser steps in all.
        warmup: steps over which the rate rises from 0.
        cooldown: share of the steps, at the end, over which the rate falls linearly to 0.
        lr: AdamW's rate for the decoder.
        encoder_lr: AdamW's rate for the pretrained encoder, if the model has one.
        weight_decay: AdamW's decoupled decay, on weights of two dimensions or more.
        clip_norm: the gradient's norm is clipped to this.
        ema: decay of the exponential moving average of the weights that is validated and kept.
        bf16: run the forward pass under bfloat16 autocast.
        seed: of the split, the order, the crops and the initial weights.
        validate_every: steps between validations.
        min_chroma: pictures whose mean Lab chroma is below this are left out.
        input_size: side at which the model is validated and meant to run, pixels.
    """

    model: str
    loss: str = "huber"
    crop: int = 160
    min_scale: float = 0.35
    degrade: float = 0.3
    batch_size: int = 32
    steps: int = 10_000
    warmup: int = 200
    cooldown: float = 0.25
    lr: float = 1e-3
    encoder_lr: float = 3e-4
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema: float = 0.999
    bf16: bool = True
    seed: int = 0
    validate_every: int = 1000
    min_chroma: float = 2.0
    input_size: int = 256

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise TrainingError(f"recipe key 'model': no architecture is called '{self.model}'")
        if self.loss not in LOSSES:
            raise TrainingError(
                f"recipe key 'loss': '{self.loss}' is not one of {', '.join(sorted(LOSSES))}"
            )
        for key in ("crop", "batch_size", "steps", "validate_every", "input_size"):
            if getattr(self, key) < 1:
                raise TrainingError(f"recipe key '{key}': must be at least 1")
        for key in ("min_scale", "degrade", "cooldown", "ema"):
            if not 0 <= getattr(self, key) <= 1:
                raise TrainingError(f"recipe key '{key}': must lie between 0 and 1")


_TYPES = {"str": str, "int": int, "float": float, "bool": bool}


def make_recipe(values: dict[str, Any], origin: str) -> Recipe:
    """Check `values` key by key and build the recipe.

    Raises:
        TrainingError: an unknown key, a missing `model` or a value of the wrong type; the message
            begins with `origin` and names the key.
    """
    fields = {field.name: _TYPES[str(field.type)] for field in dataclasses.fields(Recipe)}
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise TrainingError(f"{origin}: unknown key '{key}'; known: {', '.join(fields)}")
        kind = fields[key]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise TrainingError(f"{origin}: key '{key}' must be a {kind.__name__}, not {value!r}")
        checked[key] = value
    if "model" not in checked:
        raise TrainingError(f"{origin}: the key 'model' is missing")
    return Recipe(**checked)


def parse_value(text: str) -> Any:
    """A value typed on the command line: TOML (`3e-4`, `true`), or plain text where it is not."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def load_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read the TOML file `path`; `overrides` replace its values.

    Raises:
        TrainingError: the file is missing, not TOML, or has a wrong key or value.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(f"{path}: no such recipe") from error
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"{path}: not a TOML file: {error}") from error
    return make_recipe({**values, **(overrides or {})}, str(path))
