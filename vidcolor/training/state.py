"""The state of a training: model, averaged weights, optimizer, schedule, early stopping."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DivergedError, TrainingError
from ..models import ColorModel
from .checkpoint import check_state, load_optimizer_tensors, optimizer_tensors
from .data.batch import Batch
from .data.loaders import derive_seed
from .distributed import Distributed
from .objectives import create_objective
from .objectives.base import Objective
from .optim import EarlyStopping, Schedule, make_optimizer, set_training
from .recipe import Recipe, recipe_values

# keys that may differ when a training is resumed: past steps do not depend on them
_MAY_CHANGE = (
    *("epochs", "patience"),
    *("encoder", "init", "data", "data_root", "validation", "chroma_gain"),
)
_MOST_OVERFLOWS = 10
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class _Step(nn.Module):
    """Computes the loss of a batch; one module, as DistributedDataParallel needs."""

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
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


class TrainState:
    """Everything that changes in a training, and is saved in checkpoints.

    Args:
        recipe: the settings.
        model: with its first values, on any device.
        distributed: this process and the others.
        steps_per_epoch: optimizer steps in an epoch.
    """

    def __init__(
        self, recipe: Recipe, model: ColorModel, distributed: Distributed, steps_per_epoch: int
    ) -> None:
        self.recipe, self.distributed = recipe, distributed
        model = distributed.convert_batch_norms(model).to(distributed.device)
        self.model = model.to(memory_format=torch.channels_last)
        self.objective = create_objective(recipe.objective, self.model, recipe.objective_options)
        self.average = self.model
        self.optimizer = make_optimizer(self.model, recipe)
        self.schedule = Schedule(recipe, recipe.epochs * steps_per_epoch)
        self.stopping = EarlyStopping(recipe.monitor, recipe.patience)
        self.scaler = torch.amp.GradScaler(
            distributed.device.type, enabled=recipe.precision == "fp16"
        )
        self.epoch = self.batch = self.step = self.overflows = 0
        self.losses: list[tuple[Tensor, int]] = []  # not read yet, with pictures
        self.partial = [0.0, 0.0]  # the epoch's sum of losses and pictures
        self.history: list[dict[str, float]] = []
        self.best_checkpoint = ""
        self.seconds = self.training_seconds = 0.0
        self.pictures = 0

    def start(self, sample: Batch | None, *, initialized: bool) -> None:
        """Fit the objective to `sample`, or leave it if None: a checkpoint follows."""
        if sample is not None:
            with torch.no_grad():
                self.objective.prepare(self.model, sample, initialized=initialized)
        if self.recipe.ema:
            self.average = copy.deepcopy(self.model)
        set_training(self.model, fixed_norms=self.recipe.fixed_norms)
        self.ddp = self.distributed.wrap_ddp(
            _Step(self.model, self.objective, self.recipe.precision)
        )

    def train_step(self, batch: Batch, weight: float) -> None:
        """One optimizer step.

        Args:
            batch: this process's part of the batch.
            weight: makes the mean over the processes the mean over the whole batch.
        """
        # dropout depends on the seed and the step alone, so a checkpoint holds no random state
        torch.manual_seed(derive_seed(self.recipe.seed, self.step, self.distributed.rank))
        self.schedule.apply(self.optimizer, self.step)
        loss = self.ddp(batch) * weight
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
            # a shorter average at first, so that it forgets the initial weights
            _update_average(
                self.average, self.model, min(self.recipe.ema, self.step / (self.step + 9))
            )

    @property
    def used_rate(self) -> float:
        """The learning rate of the last step; of the first before it."""
        return self.schedule.rate_at(max(0, self.step - 1))

    def read_losses(self) -> float:
        """Read the losses of the last steps from the device.

        Returns:
            The epoch's mean loss so far; nan before the first step.

        Raises:
            DivergedError: a loss is nan or infinite; in fp16, whose scaler skips steps that
                overflow, ten in a row.
        """
        if self.losses:
            values = torch.stack([loss for loss, _ in self.losses]).tolist()
            # every rank must decide the same, or one would stop and the others wait for it
            counts = [float(count) for _, count in self.losses]
            sums = self.distributed.all_sum([*values, *counts])
            means = [total / self.distributed.world for total in sums[: len(values)]]
            for index, (value, count) in enumerate(zip(means, sums[len(values) :], strict=True)):
                if math.isfinite(value):
                    self.overflows = 0
                    self.partial[0] += value * count
                    self.partial[1] += count
                    continue
                self.overflows += 1
                if not self.scaler.is_enabled() or self.overflows >= _MOST_OVERFLOWS:
                    rate = self.used_rate
                    raise DivergedError(
                        f"diverged in epoch {self.epoch + 1}, at step "
                        f"{self.step - len(means) + index}, with learning rate {rate:g}: the loss "
                        f"is {value}; try --set lr={rate / 10:g}"
                    )
            self.losses = []
        return self.partial[0] / self.partial[1] if self.partial[1] else math.nan

    @torch.no_grad()
    def recalibrate_bn(self, batches: Iterable[Batch]) -> None:
        """Measure the batch norm statistics of the averaged weights on training pictures.

        The statistics of the training belong to other weights than the average, and to activations
        of another precision.
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
                self.objective.predict(self.average, batch.to(self.distributed.device))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        set_training(self.model, fixed_norms=self.recipe.fixed_norms)

    @torch.inference_mode()
    def evaluate(
        self,
        model: nn.Module,
        batches: Iterable[Batch],
        distributed: Distributed | None = None,
        tap: Callable[[int, Tensor, Batch, dict[str, Tensor]], None] | None = None,
    ) -> dict[str, float]:
        """Mean loss and measures of `model` over pictures.

        Args:
            model: on the device of the batches.
            batches: all pictures; each process measures its share of the batches.
            distributed: the processes; by default those of the training.
            tap: called for each batch with the number of its first picture, the predictions, the
                batch and the measures of its pictures.
        """
        distributed = distributed or self.distributed
        model.eval()
        distributed.sync_buffers(model)
        totals: dict[str, float] = {"loss": 0.0}
        count, first = 0.0, 0
        for index, batch in enumerate(batches):
            begin, first = first, first + len(batch)
            if index % distributed.world != distributed.rank:
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
        set_training(self.model, fixed_norms=self.recipe.fixed_norms)
        if distributed.world > 1:
            totals = self._summed(totals)
            (count,) = distributed.all_sum([count])
        return {name: total / count for name, total in totals.items()}

    def _summed(self, totals: dict[str, float]) -> dict[str, float]:
        """The sums over all processes; rank 0 names the measures: a rank may have no batch."""
        names: list[Any] = [sorted(totals)]
        torch.distributed.broadcast_object_list(names, src=0)
        sums = self.distributed.all_sum([totals.get(name, 0.0) for name in names[0]])
        return dict(zip(names[0], sums, strict=True))

    @torch.inference_mode()
    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """The color pictures that `model` predicts, R'G'B' `(B, 3, H, W)` in [0, 1]."""
        model.eval()
        made = self.objective.picture(model, self.objective.predict(model, batch), batch)
        set_training(self.model, fixed_norms=self.recipe.fixed_norms)
        return made

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint, by name."""
        found = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.recipe.ema:
            found |= {f"ema.{k}": v for k, v in self.average.state_dict().items()}
        found |= {f"objective.{k}": v for k, v in self.objective.state_dict().items()}
        return found | optimizer_tensors(self.optimizer)

    def to_dict(self) -> dict[str, Any]:
        """The rest of a checkpoint as JSON values."""
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
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "stopping": self.stopping.state_dict(),
            "rng": {"seed": self.recipe.seed, "rule": "torch is seeded by (seed, step) each step"},
            "partial": self.partial,
            "history": self.history,
            "best_checkpoint": self.best_checkpoint,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "pictures": self.pictures,
        }

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any], origin: str) -> None:
        """Load what `tensors()` and `to_dict()` returned.

        Raises:
            TrainingError: the checkpoint is of another recipe or model.
        """
        check_state(state, origin)
        plain = recipe_values(Recipe(self.recipe.model, self.recipe.model_options))
        for key, ours in recipe_values(self.recipe).items():
            theirs = state["recipe"].get(key, plain[key])  # a key newer than the checkpoint
            if key == "objective_options":  # the path of a file may change
                theirs, ours = ({**(v or {}), "lpips_weights": ""} for v in (theirs, ours))
            if theirs != ours and key not in _MAY_CHANGE:
                raise TrainingError(
                    f"{origin}: its checkpoint has {key} = {theirs!r}, the recipe {ours!r}; resume "
                    "with the settings it began with, or choose another output folder"
                )

        def part(prefix: str) -> dict[str, Tensor]:
            return {
                k.removeprefix(prefix): v.to(self.distributed.device)
                for k, v in tensors.items()
                if k.startswith(prefix)
            }

        try:
            self.model.load_state_dict(part("model."))
            if self.recipe.ema:
                self.average.load_state_dict(part("ema."))
            self.objective.load_state_dict(part("objective."))
            load_optimizer_tensors(self.optimizer, tensors)
            self.scaler.load_state_dict(state["scaler"])
            self.schedule.load_state_dict(state["schedule"])
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
            raise TrainingError(f"{origin}: not a checkpoint of this model: {reason}") from error
        self.stopping.load_state_dict(state["stopping"])
        self.epoch, self.batch, self.step = (state[key] for key in ("epoch", "batch", "step"))
        self.partial, self.history = list(state["partial"]), list(state["history"])
        self.best_checkpoint = state["best_checkpoint"]
        self.seconds, self.training_seconds = state["seconds"], state["training_seconds"]
        self.pictures = state["pictures"]
