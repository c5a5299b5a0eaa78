"""Checkpoints: tensors as safetensors, beside a readable JSON with everything else.

A checkpoint's name has its epoch, step and loss. `CheckpointManager` keeps the best and the newest.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import TrainingError
from ..system.files import read_json, replacing

_NEWEST = 2  # if the newest is damaged, the one before is left
_NAME = re.compile(r"checkpoint-epoch(\d{1,15})-step(\d{1,15})-loss[-+.\w]{1,30}\.safetensors")


def _position(path: Path) -> tuple[int, int]:
    """Step and epoch of a checkpoint by its name; an epoch's end has the step of its last batch."""
    found = _NAME.fullmatch(path.name)
    return (int(found[2]), int(found[1])) if found else (-1, -1)


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write `path` (.safetensors) and `path` with the suffix .json; each replaces atomically.

    Raises:
        OutputError: the disk is full or not writable; nothing is left of the attempt.
    """
    with replacing(path.with_suffix(".json")) as text, replacing(path) as file:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, file)
        text.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Raises:
        TrainingError: a file is missing or cut short.
    """
    try:
        tensors = load_file(path)
        state = read_json(path.with_suffix(".json"))
    # safetensors raises many kinds for a bad header
    except (OSError, SafetensorError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise TrainingError(f"{path}: not a usable checkpoint: {error}") from error
    if not isinstance(state, dict):
        raise TrainingError(f"{path}: not a usable checkpoint: its JSON is not an object")
    return tensors, state


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_measure(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 2**53  # nan compares with nothing


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and all(
        each is None or type(each) in (int, float) for each in value.values()
    )


def _has(value: Any, **tests: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(
        name in value and test(value[name]) for name, test in tests.items()
    )


_TESTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "recipe": (lambda value: isinstance(value, dict), "a table"),
    **dict.fromkeys(("epoch", "batch", "step", "pictures"), (_is_count, "a count")),
    **dict.fromkeys(("seconds", "training_seconds"), (_is_measure, "a number of seconds")),
    "partial": (
        lambda value: (
            isinstance(value, list)
            and len(value) == 2
            and all(type(each) in (int, float) for each in value)
        ),
        "two numbers",
    ),
    "history": (
        lambda value: isinstance(value, list) and all(map(_is_row, value)),
        "a list of tables of numbers",
    ),
    "schedule": (lambda value: _has(value, stage=_is_count, waited=_is_count), "two counts"),
    "scaler": (lambda value: isinstance(value, dict), "a table"),
    "stopping": (
        lambda value: _has(
            value,
            best=lambda best: best is None or type(best) in (int, float),
            best_epoch=_is_count,
            waited=_is_count,
        ),
        "a table of best, best_epoch and waited",
    ),
    "best_checkpoint": (
        lambda value: value == "" or (isinstance(value, str) and bool(_NAME.fullmatch(value))),
        "a checkpoint's name",
    ),
}


def check_state(state: dict[str, Any], origin: str) -> None:
    """Check the JSON of a checkpoint: every key there, each of its kind.

    Raises:
        TrainingError: it is not; the message begins with `origin`.
    """
    for key, (test, wanted) in _TESTS.items():
        if key not in state:
            raise TrainingError(f"{origin}: its checkpoint lacks '{key}'; remove its files")
        if not test(state[key]):
            raise TrainingError(
                f"{origin}: its checkpoint has {key} = {reprlib.repr(state[key])}, not {wanted}; "
                "remove its files"
            )


class CheckpointManager:
    """The checkpoints of one output folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """The checkpoints, newest first."""
        found = (p for p in self.folder.glob("checkpoint-*.safetensors") if _NAME.fullmatch(p.name))
        return sorted(found, key=_position, reverse=True)

    def save(
        self, epoch: int, step: int, loss: float, tensors: dict[str, Tensor], state: dict[str, Any]
    ) -> Path:
        """Write a checkpoint and remove those that are neither new nor the best.

        `state["best_checkpoint"]` names the best one; empty if it is this one.
        """
        shown = f"{loss:.6g}" if math.isfinite(loss) else "none"
        name = f"checkpoint-epoch{epoch:03d}-step{step:07d}-loss{shown}.safetensors"
        state = {**state, "best_checkpoint": state.get("best_checkpoint") or name}
        path = self.folder / name
        save_checkpoint(path, tensors, state)
        before = [p for p in self.paths() if _position(p) < _position(path)]
        kept = {name, state["best_checkpoint"], *(p.name for p in before[: _NEWEST - 1])}
        # those of later steps were damaged, or this training would have gone on from them
        for old in self.paths():
            if old.name not in kept:
                old.unlink()
                old.with_suffix(".json").unlink(missing_ok=True)
        return path

    def load(self, on_notice: Callable[[str], None]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read the newest readable checkpoint; call `on_notice` for those that cannot be read.

        Raises:
            TrainingError: there is none.
        """
        problem = "there is none"
        for path in self.paths():
            try:
                return load_checkpoint(path)
            except TrainingError as error:
                problem = str(error)
                on_notice(f"{error}; trying the one before")
        raise TrainingError(f"{self.folder}: no usable checkpoint to resume from: {problem}")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's per-parameter tensors, named `optimizer.<index>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": value
        for index, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load what `optimizer_tensors` returned; other names in `tensors` are ignored.

    Raises:
        LookupError, ValueError: they are not of this optimizer.
    """
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            shape = () if key == "step" else parameters[int(index)].shape
            if value.shape != shape or (key == "step" and not _is_measure(float(value))):
                raise ValueError(f"{name} is not of this optimizer")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
