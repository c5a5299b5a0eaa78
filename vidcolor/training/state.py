"""What a training carries from step to step: model, average, optimiser, schedule, stopping."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DivergedError, TrainingError
from ..models import ColorModel
from .checkpoint import optimizer_tensors, restore_optimizer
from .data.batch import Batch
from .data.loaders import derive_seed
from .distributed import Team
from .objectives import create_objective
from .objectives.base import Objective
from .optim import EarlyStopping, Schedule, make_optimizer, set_training
from .recipe import Recipe, recipe_values

# what may differ when a training is resumed: it decides nothing that has been done already
_MAY_CHANGE = ("epochs", "patience", "encoder", "data")
_MOST_OVERFLOWS = 10
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class _Step(nn.Module):
    """From a batch to its loss, so that a team's gradients can be averaged in one place."""

    def __init__(self, model: nn.Module, objective: Objective, precision: str) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.dtype = _PRECISIONS[precision]

    def forward(self, batch: Batch) -> Tensor:
        kind = batch.picture.device.type
        with torch.autocast(kind, self.dtype, enabled=self.dtype != torch.float32):
            raw = self.objective.predict(self.model, batch)
        return self.objective.loss(raw, batch)


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for slow, quick in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(quick, 1 - decay)
        else:
            slow.copy_(quick)


class Run:
    """The moving parts of a training.

    Args:
        recipe: the settings.
        model: with its first values, on any device.
        team: the processes that share the work.
        steps_per_epoch: optimiser steps an epoch.
    """

    def __init__(self, recipe: Recipe, model: ColorModel, team: Team, steps_per_epoch: int) -> None:
        self.recipe, self.team = recipe, team
        model = team.synchronized(model).to(team.device)
        self.model = model.to(memory_format=torch.channels_last)
        self.objective = create_objective(recipe.objective, self.model, recipe.objective_options)
        self.average = self.model
        self.optimizer = make_optimizer(self.model, recipe)
        self.schedule = Schedule(recipe, recipe.epochs * steps_per_epoch)
        self.stopping = EarlyStopping(recipe.monitor, recipe.patience)
        self.scaler = torch.amp.GradScaler(team.device.type, enabled=recipe.precision == "fp16")
        self.epoch = self.batch = self.step = self.overflows = 0
        self.losses: list[tuple[Tensor, int]] = []  # of steps not read yet, and their pictures
        self.partial = [0.0, 0.0]  # weighted losses of the epoch so far, and their weights
        self.history: list[dict[str, float]] = []
        self.best_checkpoint = ""
        self.seconds = self.training_seconds = 0.0
        self.pictures = 0

    def begin(self, sample: Batch | None, *, initialised: bool) -> None:
        """Fit the objective to `sample` (None when a checkpoint follows), and set out."""
        if sample is not None:
            with torch.no_grad():
                self.objective.prepare(self.model, sample, initialised=initialised)
        if self.recipe.ema:
            self.average = copy.deepcopy(self.model)
        set_training(self.model)
        self.shared = self.team.share(_Step(self.model, self.objective, self.recipe.precision))

    def advance(self, batch: Batch, weight: float) -> None:
        """One optimiser step; `weight` makes the mean over the team the whole batch's mean."""
        # dropout and the like depend on the seed and the step alone, so nothing is to be restored
        torch.manual_seed(derive_seed(self.recipe.seed, self.step, self.team.rank))
        self.schedule.apply(self.optimizer, self.step)
        loss = self.shared(batch) * weight
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.batch += 1
        self.losses.append((loss.detach(), len(batch) if weight else 0))
        if self.recipe.ema:
            # the average starts short, so that it does not remember the initial weights
            _update_average(
                self.average, self.model, min(self.recipe.ema, self.step / (self.step + 9))
            )

    def pass_over(self) -> None:
        """Leave out a batch that is too small for the model."""
        self.batch += 1

    def settle(self) -> float:
        """Read the losses of the last steps from the device; returns the epoch's mean so far.

        Raises:
            DivergedError: one of them is nan or infinite. In fp16, which overflows now and then
                and whose scaler then leaves the step out, ten in a row are.
        """
        if self.losses:
            values = torch.stack([loss for loss, _ in self.losses]).tolist()
            # every rank must see the same, or one would stop and the others wait for it
            counts = [float(count) for _, count in self.losses]
            sums = self.team.sums([*values, *counts])
            means = [total / self.team.world for total in sums[: len(values)]]
            for index, (value, count) in enumerate(zip(means, sums[len(values) :], strict=True)):
                if math.isfinite(value):
                    self.overflows = 0
                    self.partial[0] += value * count
                    self.partial[1] += count
                    continue
                self.overflows += 1
                if not self.scaler.is_enabled() or self.overflows >= _MOST_OVERFLOWS:
                    rate = self.schedule.rate
                    raise DivergedError(
                        f"diverged in epoch {self.epoch + 1}, at step "
                        f"{self.step - len(means) + index}, with learning rate {rate:g}: the loss "
                        f"is {value}; try --set lr={rate / 10:g}"
                    )
            self.losses = []
        return self.partial[0] / self.partial[1] if self.partial[1] else math.nan

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Batch]) -> None:
        """Fit the statistics of the averaged weights' batch norms to training pictures.

        What a norm gathered in training belongs to other weights than their average, and to
        activations of another precision.
        """
        set_training(self.average)
        norms = [m for m in self.average.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
        self.average.eval()
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
            norm.train()
        if norms:
            for batch in batches:
                self.objective.predict(self.average, batch.to(self.team.device))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        set_training(self.model)

    @torch.inference_mode()
    def measure(
        self,
        model: nn.Module,
        batches: Iterable[Batch],
        team: Team | None = None,
        tap: Callable[[int, Tensor, Batch, dict[str, Tensor]], None] | None = None,
    ) -> dict[str, float]:
        """Mean loss and measures of `model` over pictures, the batches shared by `team`.

        `tap` is given each batch's first picture's number, the predictions, the batch and the
        measures of its pictures.
        """
        team = team or self.team
        model.eval()
        team.same_buffers(model)
        totals: dict[str, float] = {"loss": 0.0}
        count, first = 0.0, 0
        for index, batch in enumerate(batches):
            begin, first = first, first + len(batch)
            if index % team.world != team.rank:
                continue
            raw = self.objective.predict(model, batch)
            totals["loss"] += float(self.objective.loss(raw, batch)) * len(batch)
            made = self.objective.picture(model, raw, batch)
            measures = self.objective.measures(made, raw, batch)
            for name, values in measures.items():
                totals[name] = totals.get(name, 0.0) + float(values.double().sum())
            if tap is not None:
                tap(begin, made, batch, measures)
            count += len(batch)
        set_training(self.model)
        if team.world > 1:
            totals = self._summed(totals)
            (count,) = team.sums([count])
        return {name: total / count for name, total in totals.items()}

    def _summed(self, totals: dict[str, float]) -> dict[str, float]:
        """The totals over the team; a rank without a batch knows no names, so rank 0 names them."""
        names: list[Any] = [sorted(totals)]
        torch.distributed.broadcast_object_list(names, src=0)
        sums = self.team.sums([totals.get(name, 0.0) for name in names[0]])
        return dict(zip(names[0], sums, strict=True))

    @torch.inference_mode()
    def picture(self, model: nn.Module, batch: Batch) -> Tensor:
        """What `model` makes of `batch`, R'G'B' `(B, 3, H, W)` in [0, 1]."""
        model.eval()
        made = self.objective.picture(model, self.objective.predict(model, batch), batch)
        set_training(self.model)
        return made

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of a checkpoint, by name."""
        found = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.recipe.ema:
            found |= {f"ema.{k}": v for k, v in self.average.state_dict().items()}
        found |= {f"objective.{k}": v for k, v in self.objective.state().items()}
        return found | optimizer_tensors(self.optimizer)

    def state(self) -> dict[str, Any]:
        """The rest of a checkpoint, readable."""
        return {
            "recipe": recipe_values(self.recipe),
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "optimizer": {
                "name": self.recipe.optimizer,
                "lr": self.schedule.rate,
                "weight_decay": self.schedule.weight_decay,
            },
            "schedule": self.schedule.state(),
            "scaler": self.scaler.state_dict(),
            "stopping": self.stopping.state(),
            "rng": {"seed": self.recipe.seed, "rule": "torch is seeded by (seed, step) each step"},
            "partial": self.partial,
            "history": self.history,
            "best_checkpoint": self.best_checkpoint,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "pictures": self.pictures,
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any], origin: str) -> None:
        """Take back `tensors()` and `state()`.

        Raises:
            TrainingError: the checkpoint is of another recipe or model.
        """
        if lacking := [key for key in self.state() if key not in state]:
            raise TrainingError(f"{origin}: its checkpoint lacks '{lacking[0]}'; remove its files")
        plain = recipe_values(Recipe(self.recipe.model, self.recipe.model_options))
        for key, ours in recipe_values(self.recipe).items():
            theirs = state["recipe"].get(key, plain[key])  # a key that is younger than it
            if key == "objective_options":  # where a file lies decides nothing
                theirs, ours = ({**(v or {}), "lpips_weights": ""} for v in (theirs, ours))
            if theirs != ours and key not in _MAY_CHANGE:
                raise TrainingError(
                    f"{origin}: its checkpoint has {key} = {theirs!r}, the recipe {ours!r}; resume "
                    "with the settings it began with, or choose another output folder"
                )

        def part(prefix: str) -> dict[str, Tensor]:
            return {
                k.removeprefix(prefix): v.to(self.team.device)
                for k, v in tensors.items()
                if k.startswith(prefix)
            }

        try:
            self.model.load_state_dict(part("model."))
            if self.recipe.ema:
                self.average.load_state_dict(part("ema."))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise TrainingError(f"{origin}: not a checkpoint of this model: {reason}") from error
        self.objective.restore(part("objective."))
        restore_optimizer(self.optimizer, tensors)
        self.schedule.restore(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.stopping.restore(state["stopping"])
        self.epoch, self.batch, self.step = (state[key] for key in ("epoch", "batch", "step"))
        self.partial, self.history = list(state["partial"]), list(state["history"])
        self.best_checkpoint = state["best_checkpoint"]
        self.seconds, self.training_seconds = state["seconds"], state["training_seconds"]
        self.pictures = state["pictures"]
