"""Checkpoints: what is written comes back, and what goes wrong leaves the one before."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from vidcolor.errors import OutputError, TrainingError
from vidcolor.training import checkpoint
from vidcolor.training.checkpoint import (
    CheckpointManager,
    check_state,
    load_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    save_checkpoint,
)


def tensors(value: float) -> dict[str, Tensor]:
    return {"model.weight": torch.full((3, 2), value), "count": torch.tensor(7)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


# ------------------------------------------------------------------------------------ its JSON

STATE: dict[str, Any] = {
    "recipe": {},
    "epoch": 1,
    "batch": 0,
    "step": 10,
    "schedule": {"stage": 0, "waited": 0},
    "scaler": {},
    "stopping": {"best": None, "best_epoch": 0, "waited": 1},
    "partial": [0.0, 0.0],
    "history": [{"loss": math.nan, "epoch": 1}],
    "best_checkpoint": "checkpoint-epoch001-step0000010-loss0.5.safetensors",
    "seconds": 1.5,
    "training_seconds": 1,
    "pictures": 160,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("epoch", value) for value in (-1, 1.5, True, "1", None, 10**30)),
        *(("seconds", value) for value in (math.nan, -1, "x")),
        *(("best_checkpoint", value) for value in ("../x.safetensors", "/x", 5)),
        ("partial", [1]),
        ("partial", ["a", "b"]),
        ("history", {}),
        ("history", [{"loss": "x"}]),
        ("schedule", {"stage": 0}),
        ("schedule", []),
        ("stopping", {"best": "x", "best_epoch": 0, "waited": 1}),
        ("recipe", None),
    ],
)
def test_a_value_of_another_kind_is_named(key: str, value: Any) -> None:
    check_state(STATE, "run")
    with pytest.raises(TrainingError, match=f"run: .*{key} = ") as caught:
        check_state({**STATE, key: value}, "run")
    assert "\n" not in str(caught.value)
    with pytest.raises(TrainingError, match=f"lacks '{key}'"):
        check_state({k: v for k, v in STATE.items() if k != key}, "run")


# ------------------------------------------------------------------------------------ round trip


def test_tensors_and_state_come_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-epoch001-step0000010-loss0.5.safetensors"
    square = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    state: dict[str, Any] = {"epoch": 1, "history": [{"loss": 0.5, "psnr": math.nan}]}
    save_checkpoint(path, {"square": square, "count": torch.tensor(7)}, state)
    found, read = load_checkpoint(path)
    assert torch.equal(found["square"], square) and found["count"] == 7
    assert read["epoch"] == 1 and math.isnan(read["history"][0]["psnr"])
    assert names(tmp_path) == [path.with_suffix(".json").name, path.name]
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["epoch"] == 1


def _sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def _plain_sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def _adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.1)


def _adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW([{"params": [p]} for p in parameters], lr=0.1)


@pytest.mark.parametrize(
    ("make", "held"),
    [
        (_plain_sgd, set()),
        (_sgd, {"momentum_buffer"}),
        (_adam, {"step", "exp_avg", "exp_avg_sq"}),
        (_adamw, {"step", "exp_avg", "exp_avg_sq"}),
    ],
)
def test_a_restored_optimizer_goes_on_bit_for_bit(
    tmp_path: Path, make: Callable[[Any], torch.optim.Optimizer], held: set[str]
) -> None:
    torch.manual_seed(0)
    x, y = torch.rand(4, 3), torch.rand(4, 2)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()

    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    for _ in range(3):
        step(model, optimizer)
    found = optimizer_tensors(optimizer)
    assert {name.split(".")[2] for name in found} == held
    assert {name.split(".")[1] for name in found} == ({"0", "1"} if held else set())
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {**model.state_dict(), **found}, {})

    loaded, _ = load_checkpoint(path)
    second = nn.Linear(3, 2)
    second.load_state_dict({name: loaded[name] for name in ("weight", "bias")})
    other = make(second.parameters())
    load_optimizer_tensors(other, loaded)
    for _ in range(2):
        step(model, optimizer)
        step(second, other)
    assert torch.equal(model.weight, second.weight) and torch.equal(model.bias, second.bias)


@pytest.mark.parametrize("step", [-1.0, 1e30, math.inf, math.nan])
def test_an_impossible_number_of_steps_is_refused(step: float) -> None:
    optimizer = _adam([nn.Parameter(torch.zeros(2))])
    with pytest.raises(ValueError, match="optimizer"):
        load_optimizer_tensors(optimizer, {"optimizer.0.step": torch.tensor(step)})
    with pytest.raises(ValueError, match="optimizer"):
        load_optimizer_tensors(optimizer, {"optimizer.0.exp_avg": torch.zeros(3)})


@pytest.mark.parametrize(
    ("loss", "shown"),
    [(0.0123456789, "0.0123457"), (1e-7, "1e-07"), (123.0, "123"), (math.nan, "none")],
)
def test_the_name_says_epoch_step_and_loss(tmp_path: Path, loss: float, shown: str) -> None:
    checkpoints = CheckpointManager(tmp_path)
    path = checkpoints.save(3, 1200, loss, tensors(1), {"epoch": 3})
    assert path.name == f"checkpoint-epoch003-step0001200-loss{shown}.safetensors"
    assert checkpoints.paths() == [path] and path.is_file() and path.with_suffix(".json").is_file()


# ---------------------------------------------------------------------------------- checkpoints


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = CheckpointManager(tmp_path)
    kept: list[Path] = []
    best = ""
    # the second is the best; a name that is empty means that this one is
    for epoch, loss in enumerate((0.5, 0.1, 0.4, 0.3, 0.2), start=1):
        state = {"epoch": epoch, "best_checkpoint": "" if epoch <= 2 else best}
        kept.append(checkpoints.save(epoch, 10 * epoch, loss, tensors(epoch), state))
        best = kept[1].name if epoch >= 2 else ""
    assert checkpoints.paths() == [kept[4], kept[3], kept[1]]
    assert names(tmp_path) == sorted(
        name for path in checkpoints.paths() for name in (path.name, path.with_suffix(".json").name)
    )
    assert load_checkpoint(kept[1])[1]["best_checkpoint"] == kept[1].name
    found, state = load_checkpoint(kept[4])
    assert state["best_checkpoint"] == kept[1].name and found["model.weight"][0, 0] == 5


def test_an_epochs_end_comes_after_its_last_step(tmp_path: Path) -> None:
    """Saved by the clock at the last step, and again after the validation: the same step."""
    checkpoints = CheckpointManager(tmp_path)
    first = checkpoints.save(9, 1000, 0.5, tensors(0), {})
    clock = checkpoints.save(9, 1100, 0.5, tensors(1), {"best_checkpoint": first.name})
    end = checkpoints.save(10, 1100, 0.7, tensors(2), {"best_checkpoint": first.name})
    assert checkpoints.paths() == [end, clock, first]
    assert checkpoints.load(print)[0]["model.weight"][0, 0] == 2


def test_other_files_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "checkpoint-copy.safetensors"
    other.write_bytes(b"mine")
    checkpoints = CheckpointManager(tmp_path)
    path = checkpoints.save(1, 10, 0.5, tensors(1), {})
    checkpoints.save(2, 20, 0.4, tensors(2), {})
    checkpoints.save(3, 30, 0.3, tensors(3), {})
    assert not path.exists() and other.read_bytes() == b"mine"
    assert other not in checkpoints.paths()


@pytest.mark.parametrize("spoil", [cut, Path.unlink, lambda p: p.write_bytes(b"")])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_damaged_newest_one_falls_back_to_the_one_before(
    tmp_path: Path, spoil: Callable[[Path], Any], suffix: str
) -> None:
    checkpoints = CheckpointManager(tmp_path)
    checkpoints.save(1, 10, 0.5, tensors(1), {"epoch": 1})
    newest = checkpoints.save(2, 20, 0.4, tensors(2), {"epoch": 2})
    spoil(newest.with_suffix(suffix))
    lines: list[str] = []
    found, state = checkpoints.load(lines.append)
    assert state["epoch"] == 1 and found["model.weight"][0, 0] == 1
    if spoil is Path.unlink and suffix == ".safetensors":
        assert lines == []  # it is not there at all
    else:
        (line,) = lines
        assert line.startswith(f"{newest}: not a usable checkpoint: ")
        assert line.endswith("; trying the one before") and "\n" not in line


def test_a_json_of_other_bytes_is_damaged_too(tmp_path: Path) -> None:
    path = CheckpointManager(tmp_path).save(1, 10, 0.5, tensors(1), {})
    path.with_suffix(".json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match="not a usable checkpoint"):
        load_checkpoint(path)


def test_a_training_that_went_back_keeps_what_it_writes(tmp_path: Path) -> None:
    """Two damaged ones are newer than what is written next; they must not push it out."""
    checkpoints = CheckpointManager(tmp_path)
    best = checkpoints.save(1, 10, 0.1, tensors(1), {"epoch": 1})
    for epoch in (2, 3):
        state = {"epoch": epoch, "best_checkpoint": best.name}
        cut(checkpoints.save(epoch, 10 * epoch, 0.5, tensors(epoch), state))
    lines: list[str] = []
    assert checkpoints.load(lines.append)[1]["epoch"] == 1
    assert len(lines) == 2
    written = checkpoints.save(1, 15, 0.1, tensors(9), {"epoch": 1, "best_checkpoint": best.name})
    assert checkpoints.paths() == [written, best]
    assert checkpoints.load(lines.append)[0]["model.weight"][0, 0] == 9
    assert len(lines) == 2


def test_no_usable_checkpoint_is_one_line(tmp_path: Path) -> None:
    checkpoints = CheckpointManager(tmp_path)
    with pytest.raises(TrainingError) as caught:
        checkpoints.load(print)
    assert str(caught.value) == (f"{tmp_path}: no usable checkpoint to resume from: there is none")
    path = checkpoints.save(1, 10, 0.5, tensors(1), {})
    cut(path)
    with pytest.raises(TrainingError) as caught:
        checkpoints.load(lambda line: None)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path}: no usable checkpoint to resume from: {path}: not a usable")
    assert "\n" not in line


# ------------------------------------------------------------------------------------- full disk


def _no_space(tensors: dict[str, Tensor], path: Path) -> None:
    path.write_bytes(b"half of it")
    raise OSError(errno.ENOSPC, "No space left on device")


def _no_space_for_safetensors(tensors: dict[str, Tensor], path: Path) -> None:
    path.write_bytes(b"half of it")
    raise SafetensorError("I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("failing", [_no_space, _no_space_for_safetensors])
def test_a_full_disk_leaves_the_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Callable[..., None]
) -> None:
    checkpoints = CheckpointManager(tmp_path)
    checkpoints.save(1, 10, 0.5, tensors(1), {"epoch": 1})
    before = names(tmp_path)
    monkeypatch.setattr(checkpoint, "save_file", failing)
    with pytest.raises(OutputError) as caught:
        checkpoints.save(2, 20, 0.4, tensors(2), {"epoch": 2})
    line = str(caught.value)
    assert line.startswith(str(tmp_path / "checkpoint-epoch002-step0000020-loss0.4.safetensors"))
    assert "cannot be written" in line and "No space left on device" in line
    assert "free some space" in line and "\n" not in line
    assert names(tmp_path) == before
    lines: list[str] = []
    found, state = checkpoints.load(lines.append)
    assert state["epoch"] == 1 and found["model.weight"][0, 0] == 1 and lines == []


def test_a_disk_that_fills_up_at_the_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = CheckpointManager(tmp_path)
    checkpoints.save(1, 10, 0.5, tensors(1), {"epoch": 1})
    before = names(tmp_path)
    write_text = Path.write_text

    def half(self: Path, text: str, **keys: Any) -> int:
        write_text(self, text[:5], **keys)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OutputError, match="No space left on device"):
        checkpoints.save(2, 20, 0.4, tensors(2), {"epoch": 2})
    assert names(tmp_path) == before
    assert checkpoints.load(print)[1]["epoch"] == 1


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=r"c\.(safetensors|json): cannot be written"):
        save_checkpoint(tmp_path / "file" / "c.safetensors", tensors(1), {})
    save_checkpoint(tmp_path / "new" / "c.safetensors", tensors(1), {})
    assert load_checkpoint(tmp_path / "new" / "c.safetensors")[1] == {}
