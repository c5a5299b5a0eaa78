"""The loop: it learns, it resumes bit for bit, and it says what it left out."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vidcolor.errors import DivergedError, InputError, TrainingError
from vidcolor.training.checkpoint import load_checkpoint
from vidcolor.training.loop import Progress, schedule, train, validate
from vidcolor.training.recipe import Recipe
from vidcolor.weights import load_model

from .conftest import write_picture


def same_tensors(first: Path, second: Path) -> bool:
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, photographs: Path) -> Path:
    """The folder of an uninterrupted training without workers."""
    output = tmp_path_factory.mktemp("trained")
    train(recipe, [photographs], output, workers=0)
    return output


def test_two_steps_on_one_batch_lower_the_loss(
    tmp_path: Path, recipe: Recipe, photographs: Path
) -> None:
    reports: list[Progress] = []
    short = dataclasses.replace(
        recipe, steps=3, batch_size=6, min_scale=1.0, degrade=0.0, cooldown=0.0, validate_every=1
    )
    train(short, [photographs], tmp_path, workers=0, report=reports.append)
    assert [r.step for r in reports] == [1, 2, 3]
    assert reports[2].loss < reports[1].loss < reports[0].loss
    assert all(r.gain is not None for r in reports)


def test_weights_load_as_ones_own(trained: Path, recipe: Recipe) -> None:
    model, entry = load_model(file=trained / "weights.safetensors")
    assert entry.architecture == "fast"
    assert entry.input_size == recipe.input_size
    _, state = load_checkpoint(trained / "checkpoint.safetensors")
    assert state["step"] == recipe.steps
    assert state["recipe"] == dataclasses.asdict(recipe)
    assert not model.training


def test_workers_change_nothing(
    tmp_path: Path, trained: Path, recipe: Recipe, photographs: Path
) -> None:
    train(recipe, [photographs], tmp_path, workers=1)
    assert same_tensors(tmp_path / "checkpoint.safetensors", trained / "checkpoint.safetensors")


@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_equals_uninterrupted(
    tmp_path: Path, trained: Path, recipe: Recipe, photographs: Path, workers: int
) -> None:
    def stop(progress: Progress) -> None:
        assert progress.step == 2
        raise KeyboardInterrupt

    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train(recipe, [photographs], tmp_path, workers=workers, report=stop, notice=lines.append)
    assert lines == ["stopped at step 2; go on with --resume"]
    assert not (tmp_path / "weights.safetensors").exists()

    reports: list[Progress] = []
    train(recipe, [photographs], tmp_path, workers=workers, resume=True, report=reports.append)
    assert [r.step for r in reports] == [4]
    for name in ("checkpoint.safetensors", "weights.safetensors"):
        assert same_tensors(tmp_path / name, trained / name), name


def test_near_grey_and_unreadable_pictures_are_left_out_and_named(
    tmp_path: Path, recipe: Recipe, photographs: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(photographs, data)
    write_picture(data / "grey.png", 9, grey=True)
    whole = (data / "0.png").read_bytes()
    (data / "cut.png").write_bytes(whole[: len(whole) // 2])
    lines: list[str] = []
    once = dataclasses.replace(recipe, steps=1)
    train(once, [data], tmp_path / "out", workers=0, notice=lines.append)
    assert lines == ["1 near-grey pictures left out", f"1 unreadable: {data / 'cut.png'}"]


def test_data_that_cannot_be_used(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(InputError, match="missing: no such folder or zip"):
        train(recipe, [tmp_path / "missing"], tmp_path / "out")
    data = tmp_path / "data"
    data.mkdir()
    write_picture(data / "grey.png", 9, grey=True)
    with pytest.raises(InputError, match=r"no usable colour picture \(0 unreadable, 1 near-grey\)"):
        train(recipe, [data], tmp_path / "out")
    write_picture(data / "one.png", 1)
    with pytest.raises(TrainingError, match="too few pictures"):
        train(recipe, [data], tmp_path / "out")


def test_checkpoints_that_cannot_be_used(
    tmp_path: Path, trained: Path, recipe: Recipe, photographs: Path
) -> None:
    with pytest.raises(TrainingError, match=r"checkpoint\.safetensors: not a usable checkpoint"):
        train(recipe, [photographs], tmp_path / "empty", resume=True)

    other = tmp_path / "other"
    shutil.copytree(trained, other)
    state = json.loads((other / "checkpoint.json").read_text())
    state["recipe"]["model"] = "another"
    (other / "checkpoint.json").write_text(json.dumps(state))
    with pytest.raises(TrainingError, match="is of the model 'another', not 'fast'"):
        train(recipe, [photographs], other, resume=True)

    cut = tmp_path / "cut"
    shutil.copytree(trained, cut)
    with (cut / "checkpoint.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(TrainingError, match="not a usable checkpoint"):
        train(recipe, [photographs], cut, resume=True)


def test_a_wrong_encoder_is_named(tmp_path: Path, recipe: Recipe, photographs: Path) -> None:
    (tmp_path / "encoder.safetensors").write_bytes(b"no tensors")
    with pytest.raises(TrainingError, match=r"encoder\.safetensors: not an encoder"):
        train(recipe, [photographs], tmp_path, encoder=tmp_path / "encoder.safetensors")


def test_divergence_names_the_step_and_the_rate(
    tmp_path: Path, recipe: Recipe, photographs: Path
) -> None:
    wild = dataclasses.replace(recipe, lr=1e25, encoder_lr=1e25)
    with pytest.raises(DivergedError, match=r"diverged at step \d with lr 1e\+25"):
        train(wild, [photographs], tmp_path, workers=0)
    assert not (tmp_path / "weights.safetensors").exists()


def test_schedule_rises_holds_and_falls(recipe: Recipe) -> None:
    long = dataclasses.replace(recipe, steps=100, warmup=10, cooldown=0.2)
    assert schedule(0, long) == pytest.approx(0.1)
    assert schedule(9, long) == schedule(50, long) == schedule(79, long) == 1
    assert schedule(90, long) == pytest.approx(0.5)
    assert schedule(99, long) == pytest.approx(0.05)


def test_validation_of_a_grey_model_gains_nothing() -> None:
    from vidcolor.models import create_model

    pictures = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert validate(create_model("fast"), pictures) == 0  # its head begins at zero
