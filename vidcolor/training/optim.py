"""Optimizer, schedule of learning rates and weight decays, early stopping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import TrainingError
from ..models import ColorModel
from .objectives.base import higher_is_better
from .recipe import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Create the recipe's optimizer for the trainable parameters.

    Its groups have `scale`, a factor on the schedule's rate (other than 1 for the encoder), and
    `decayed`, whether weight decay applies: AdamW spares biases and norms, SGD and Adam do not.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim >= 2 or recipe.optimizer != "adamw"
            groups.setdefault((name.startswith("encoder."), decayed), []).append(parameter)
    encoder_scale = recipe.encoder_lr / recipe.lr[0] if recipe.encoder_lr else 1.0
    settings = [
        {"params": parameters, "scale": encoder_scale if encoder else 1.0, "decayed": decayed}
        for (encoder, decayed), parameters in groups.items()
    ]
    rate = recipe.lr[0]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=rate, momentum=recipe.momentum)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(settings, lr=rate)


def freeze(model: ColorModel, part: str) -> None:
    """Freeze `part` of the model; `backbone` is everything but the head.

    Raises:
        TrainingError: the model names no head.
    """
    if not part:
        return
    if not model.head_prefixes:
        raise TrainingError("recipe key 'freeze': this model has no head to train by itself")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(model.head_prefixes))


def set_training(model: nn.Module, *, fixed_norms: bool = False) -> None:
    """Set training mode; modules whose parameters are all frozen get evaluation mode, so that the
    statistics of a frozen batch norm stay; with `fixed_norms`, all batch norms."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        frozen = parameters and not any(p.requires_grad for p in parameters)
        if frozen or (fixed_norms and isinstance(module, nn.modules.batchnorm._BatchNorm)):
            module.eval()


class Schedule:
    """Learning rate and weight decay of each step; see `Recipe.schedule`."""

    def __init__(self, recipe: Recipe, total_steps: int) -> None:
        self.recipe, self.total_steps = recipe, total_steps
        self.stage = self.waited = 0

    def factor(self, step: int) -> float:
        """The factor on the stage's rate at `step` (0-based)."""
        recipe = self.recipe
        if recipe.schedule != "linear":
            return 1.0
        decay = max(1, round(self.total_steps * recipe.decay_share))
        rise = (step + 1) / max(1, recipe.warmup)
        fall = max(0.0, (self.total_steps - step) / decay) if recipe.decay_share else 1.0
        return min(1.0, rise, fall)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the optimizer's rates and decays for `step`."""
        rate = self.rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
            group["weight_decay"] = self.weight_decay if group["decayed"] else 0.0

    @property
    def rate(self) -> float:
        """The learning rate of the stage."""
        return self.recipe.lr[self.stage]

    def rate_at(self, step: int) -> float:
        """The learning rate at `step` (0-based) of the stage."""
        return self.rate * self.factor(step)

    @property
    def weight_decay(self) -> float:
        """The weight decay of the stage."""
        return self.recipe.weight_decay[min(self.stage, len(self.recipe.weight_decay) - 1)]

    def end_epoch(self, epoch: int, improved: bool) -> bool:
        """Count the end of `epoch` (1-based); True if a new stage begins."""
        recipe, before = self.recipe, self.stage
        if recipe.schedule == "step":
            self.stage = sum(epoch >= milestone for milestone in recipe.milestones)
        elif recipe.schedule == "plateau":
            self.waited = 0 if improved else self.waited + 1
            if self.waited >= recipe.plateau and self.stage + 1 < len(recipe.lr):
                self.stage, self.waited = self.stage + 1, 0
        return self.stage != before

    def state_dict(self) -> dict[str, int]:
        """For a checkpoint."""
        return {"stage": self.stage, "waited": self.waited}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: the recipe has no such stage.
        """
        if state["stage"] >= len(self.recipe.lr):
            raise ValueError(f"the recipe has no stage {state['stage']} of learning rates")
        self.stage, self.waited = state["stage"], state["waited"]


@dataclass
class EarlyStopping:
    """Stop after `patience` epochs without a better value of `monitor`.

    Attributes:
        monitor: `loss` or a measure of the objective.
        patience: epochs; 0 never stops.
        best: the best value so far, None before the first.
        best_epoch: its epoch, 1-based.
        waited: epochs since.
    """

    monitor: str
    patience: int
    best: float | None = None
    best_epoch: int = 0
    waited: int = 0

    def update(self, epoch: int, value: float) -> bool:
        """Count an epoch's value; True if it is the best so far; nan and infinity never are.

        >>> [EarlyStopping("loss", 2).update(1, value) for value in (0.5, float("nan"))]
        [True, False]
        """
        better = math.isfinite(value) and (
            self.best is None
            or (value > self.best if higher_is_better(self.monitor) else value < self.best)
        )
        if better:
            self.best, self.best_epoch, self.waited = value, epoch, 0
        else:
            self.waited += 1
        return better

    @property
    def exhausted(self) -> bool:
        """Whether the patience is used up."""
        return 0 < self.patience <= self.waited

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.best, self.best_epoch, self.waited = (
            state[key] for key in ("best", "best_epoch", "waited")
        )
