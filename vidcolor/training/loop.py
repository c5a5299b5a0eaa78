"""The training loop: AdamW, warm-up, constant rate, linear cool-down; EMA; resumable."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..color import lab_to_rgb, rgb_to_lab
from ..errors import DivergedError, TrainingError
from ..metrics import psnr
from ..models import create_model
from ..sources.packs import load_pictures, square
from ..weights import Entry, save_weights
from .checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from .data import CropDataset, StepSampler
from .losses import LOSSES
from .recipe import Recipe


@dataclass(frozen=True)
class Progress:
    """One report of the loop: the step, the mean loss since the last report, pictures a second,
    and after a validation the gain in mean PSNR over the grey floor, dB."""

    step: int
    loss: float
    rate: float
    gain: float | None = None


def schedule(step: int, recipe: Recipe) -> float:
    """The factor on the learning rates at `step` (0-based)."""
    decay = max(1, round(recipe.steps * recipe.cooldown))
    return min(1.0, (step + 1) / max(1, recipe.warmup), max(0.0, (recipe.steps - step) / decay))


def _parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict]:
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        key = (name.startswith("encoder."), parameter.ndim >= 2)
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "base_lr": recipe.encoder_lr if encoder else recipe.lr,
            "weight_decay": recipe.weight_decay if decayed else 0.0,
        }
        for (encoder, decayed), parameters in groups.items()
    ]


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for slow, quick in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(quick, 1 - decay)
        else:
            slow.copy_(quick)


@torch.inference_mode()
def validate(model: nn.Module, pictures: Tensor) -> float:
    """Mean PSNR above the grey floor, dB, of R'G'B' `pictures` `(N, 3, S, S)` uint8."""
    model.eval()
    device = next(model.parameters()).device
    gains = []
    for batch in pictures.split(16):
        truth = batch.to(device).float() / 255
        lab = rgb_to_lab(truth)
        ab = F.interpolate(model(lab[:, :1]), size=lab.shape[-2:], mode="bilinear")
        scores = []
        for chroma in (ab, torch.zeros_like(ab)):
            rgb = lab_to_rgb(torch.cat([lab[:, :1], chroma], dim=1))
            scores.append(psnr((rgb * 255).round(), truth * 255))
        gains.append(scores[0] - scores[1])
    return float(torch.cat(gains).mean())


class _Run:
    """What a training carries from step to step, and how it is saved and restored."""

    def __init__(self, recipe: Recipe, folder: Path, device: str, encoder: Path | None) -> None:
        self.recipe, self.checkpoint = recipe, folder / "checkpoint.safetensors"
        self.model, self.average = create_model(recipe.model), create_model(recipe.model)
        if encoder:
            _load_encoder(self.model, encoder)
        self.average.load_state_dict(self.model.state_dict())
        for module in (self.model, self.average):
            module.to(device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(_parameter_groups(self.model, recipe), lr=recipe.lr)
        self.step = 0

    def save(self) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizer)
        state = {"step": self.step, "recipe": dataclasses.asdict(self.recipe)}
        save_checkpoint(self.checkpoint, tensors, state)

    def restore(self) -> None:
        tensors, state = load_checkpoint(self.checkpoint)
        if state["recipe"]["model"] != self.recipe.model:
            raise TrainingError(
                f"{self.checkpoint}: is of the model '{state['recipe']['model']}', not "
                f"'{self.recipe.model}'; choose another output folder"
            )
        for prefix, module in (("model.", self.model), ("ema.", self.average)):
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
        restore_optimizer(self.optimizer, tensors)
        self.step = state["step"]

    def advance(self, lightness: Tensor, target: Tensor) -> float:
        """One optimiser step; returns the loss."""
        recipe, model = self.recipe, self.model
        model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * schedule(self.step, recipe)
        with torch.autocast(lightness.device.type, torch.bfloat16, enabled=recipe.bf16):
            prediction = model(lightness)
        target = F.interpolate(target, size=prediction.shape[-2:], mode="area")
        loss = LOSSES[recipe.loss](prediction.float(), target)
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(
                f"diverged at step {self.step} with lr {recipe.lr:g}: the loss is {value}; "
                f"lower it with --set lr={recipe.lr / 3:.0e}, the last checkpoint is kept"
            )
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.step += 1
        # the average starts short, so that it does not remember the initial weights
        _update_average(self.average, model, min(recipe.ema, self.step / (self.step + 9)))
        return value


def _load_encoder(model: nn.Module, path: Path) -> None:
    try:
        model.encoder.load_imagenet(load_file(path))  # type: ignore[union-attr,operator]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: not an encoder for this model: {error}") from error
    except AttributeError as error:
        raise TrainingError(f"{path}: this model has no encoder to start; leave it out") from error


def train(
    recipe: Recipe,
    data: list[Path],
    output: Path,
    *,
    validation: list[Path] | None = None,
    encoder: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 1,
    save_minutes: float = 5.0,
    report: Callable[[Progress], None] = lambda progress: None,
    notice: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train `recipe` on the pictures of `data` and return the path of the averaged weights.

    Args:
        recipe: the settings.
        data: folders or zips of colour pictures.
        output: folder for `checkpoint.safetensors/.json` and `weights.safetensors`.
        validation: folders or zips of pictures to validate on; without it, one picture in 64 of
            `data` is held out.
        encoder: ImageNet encoder (safetensors) to start from.
        resume: go on from the checkpoint in `output`.
        device: where to train.
        workers: processes that cut the crops.
        save_minutes: time between checkpoints; Ctrl-C saves one too.
        report: called every 50 steps and after each validation.
        notice: called with a line about pictures that were left out.

    Raises:
        InputError, TrainingError: the data, the encoder or the checkpoint cannot be used.
        DivergedError: the loss became nan or infinite; the last checkpoint is kept.
    """
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    loaded = load_pictures(data, recipe.min_chroma)
    pictures = loaded.pictures
    if loaded.near_grey:
        notice(f"{loaded.near_grey} near-grey pictures left out")
    if loaded.unreadable:
        notice(f"{len(loaded.unreadable)} unreadable: {', '.join(loaded.unreadable[:5])}")
    if validation:
        held_out = load_pictures(validation, recipe.min_chroma).pictures
    else:
        held_out, pictures = pictures[::64], [p for i, p in enumerate(pictures) if i % 64]
    if not pictures:
        raise TrainingError("too few pictures: none is left beside the held-out ones")
    tests = torch.stack(
        [square(torch.from_numpy(p).permute(2, 0, 1), recipe.input_size) for p in held_out[:256]]
    )
    run = _Run(recipe, output, device, encoder)
    if resume:
        run.restore()
    dataset = CropDataset(pictures, recipe.crop, recipe.min_scale, recipe.degrade, recipe.seed)
    sampler = StepSampler(len(dataset), recipe.batch_size, recipe.seed, run.step)
    loader = iter(DataLoader(dataset, batch_sampler=sampler, num_workers=workers))
    losses: list[float] = []
    began = saved = time.monotonic()
    try:
        while run.step < recipe.steps:
            lightness, target = next(loader)
            lightness = lightness.to(device, memory_format=torch.channels_last)
            losses.append(run.advance(lightness, target.to(device)))
            gain = None
            if run.step % recipe.validate_every == 0 or run.step == recipe.steps:
                gain = validate(run.average, tests)
            if run.step % 50 == 0 or gain is not None:
                rate = len(losses) * recipe.batch_size / (time.monotonic() - began)
                report(Progress(run.step, sum(losses) / len(losses), rate, gain))
                losses, began = [], time.monotonic()
            if time.monotonic() - saved > 60 * save_minutes:
                run.save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        run.save()
        notice(f"stopped at step {run.step}; go on with --resume")
        raise
    run.save()
    weights = output / "weights.safetensors"
    entry = Entry(
        recipe.model,
        input_size=recipe.input_size,
        parameters=sum(p.numel() for p in run.model.parameters()),
    )
    save_weights(weights, run.average, entry, torch.float32)
    return weights
