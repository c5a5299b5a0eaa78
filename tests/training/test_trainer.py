"""The loop: it learns, stops early, resumes bit for bit, and says what went wrong."""

from __future__ import annotations

import dataclasses
import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.helpers.pretend_cuda import CUDA, pretend_cuda
from tests.training.conftest import write_picture
from vidcolor.errors import DivergedError, InputError, RecipeError, TrainingError
from vidcolor.evaluation.sheets import CAPTION, GUTTER, ROW_HEIGHT
from vidcolor.models import create_model
from vidcolor.models.entry import Entry
from vidcolor.models.weights import load_model, save_weights
from vidcolor.training import checkpoint
from vidcolor.training.data.batch import Batch
from vidcolor.training.options import TrainCallbacks, TrainHeader, TrainOptions, TrainProgress
from vidcolor.training.prepare import describe_start
from vidcolor.training.recipe import Recipe, recipe_values
from vidcolor.training.recipe_file import RecipeFile
from vidcolor.training.state import TrainState
from vidcolor.training.trainer import train


def tiny(**changes: Any) -> RecipeFile:
    """Three epochs of a plain CNN with dropout-free, seeded everything."""
    values: dict[str, Any] = {
        "model": "plain_cnn",
        "model_options": {"layers": 2, "kernels": 4},
        "objective": "rgb_mse",
        "split": (0.6, 0.2, 0.2),
        "size": 16,
        "fit": "stretch",
        "flip": True,
        "rotate": 10.0,
        "optimizer": "adam",
        "lr": (1e-2,),
        "batch_size": 4,
        "epochs": 3,
    }
    return RecipeFile("tiny", Recipe(**{**values, **changes}))


def run(
    file: RecipeFile,
    output: Path,
    data: Path,
    callbacks: TrainCallbacks | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Train `file` on the pictures of `data`, with one thread, so that all runs are alike."""
    recipe = dataclasses.replace(file.recipe, data=(str(data),))
    options = TrainOptions(**{"threads": 1, **changes})
    return train(dataclasses.replace(file, recipe=recipe), output, options, callbacks)


def tensors_of(folder: Path, name: str = "weights.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / name)


def newest(folder: Path) -> Path:
    return checkpoint.CheckpointManager(folder).paths()[0]


def same(first: Path, second: Path) -> bool:
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def scripted(monkeypatch: pytest.MonkeyPatch, values: list[float], key: str = "loss") -> None:
    """Validations that measure `values` one after the other."""
    measured = iter(values)
    monkeypatch.setattr(TrainState, "evaluate", lambda *_: {"loss": 1.0, key: next(measured)})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty warm pictures, twelve of them to train on."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(20):
        write_picture(folder / f"{seed:02d}.png", seed, side=24)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    output = tmp_path_factory.mktemp("trained")
    run(tiny(), output, pictures)
    return output


def test_what_a_training_leaves_behind(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text(encoding="utf-8"))
    assert results["status"] == "finished"
    assert results["epochs"] == 3
    assert [row["epoch"] for row in results["history"]] == [1, 2, 3]
    losses = [row["train_loss"] for row in results["history"]]
    assert losses[2] < losses[1] < losses[0]
    best = min(results["history"], key=lambda row: row["loss"])
    assert results["best"] == best and results["best_epoch"] == best["epoch"]
    assert results["data"]["train"] == 12
    assert results["data"]["validation"] == results["data"]["test"] == 4
    assert [row["name"] for row in results["test"]["rows"]][:3] == [
        "gray",
        "mean ab",
        "half chroma",
    ]
    assert results["test_measures"].keys() == {"loss", "psnr", "psnr_over_gray", "margin_error"}
    assert results["parameters"] == 4 * 9 + 4 + 3 * 4 * 9 + 3
    split = json.loads((trained / "split.json").read_text(encoding="utf-8"))
    assert split["seed"] == 0
    sheets = (f"sheets/{name}.png" for name in (f"epoch-00{best['epoch']}", "train", "test"))
    for name in ("summary.md", "curves.png", *sheets):
        assert (trained / name).stat().st_size > 100
    model, entry = load_model(file=trained / "weights.safetensors")
    assert entry.architecture == "plain_cnn"
    assert entry.options == {"layers": 2, "kernels": 4}
    assert entry.input_size == 16
    assert not model.training
    state = json.loads(newest(trained).with_suffix(".json").read_text(encoding="utf-8"))
    assert state["recipe"] == {**recipe_values(tiny().recipe), "data": results["recipe"]["data"]}
    assert state["step"] == 9
    assert f"loss{state['history'][-1]['loss']:.6g}" in newest(trained).name


class Stop(Exception):
    """What a test raises in place of a crash."""


def stopping_at(step: int, error: type[BaseException]) -> Callable[..., None]:
    advance = TrainState.train_step

    def stopped(self: TrainState, *arguments: Any) -> None:
        if self.step == step:
            raise error
        advance(self, *arguments)

    return stopped


RESUMED = {
    "plain": {},
    "ema, momentum, warm-up": {
        "optimizer": "sgd", "momentum": 0.9, "ema": 0.9, "schedule": "linear", "warmup": 3,
        "decay_share": 0.5, "clip_norm": 1.0,
    },
    "dropout, batch norm": {"model": "skip_cnn", "model_options": {}, "precision": "bf16"},
    "calibrated": {"model": "skip_cnn", "model_options": {}, "ema": 0.9, "recalibrate_bn_steps": 2},
    "crops, shares, blind to red": {"fit": "crop", "rotate": 0.0, "min_scale": 0.5,
                                    "old_film_share": 0.3, "ortho": 0.3, "shares": {"": 1.0}},
    "palette": {"model": "pool_cnn", "model_options": {"filters": 4, "colors": 3},
                "objective": "color_classes", "monitor": "accuracy"},
    "plateau": {"schedule": "plateau", "plateau": 1, "lr": (1e-2, 1e-3),
                "weight_decay": (1e-3, 0.0)},
}  # fmt: skip


@pytest.mark.parametrize("changes", RESUMED.values(), ids=RESUMED.keys())
@pytest.mark.parametrize("step", [2, 3])
def test_resumed_equals_uninterrupted(
    tmp_path: Path,
    pictures: Path,
    changes: dict[str, Any],
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped in the middle of an epoch (2) and at the beginning of one (3)."""
    file = tiny(epochs=2, **changes)
    whole = tmp_path / "whole"
    run(file, whole, pictures)
    broken = tmp_path / "broken"
    lines: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(TrainState, "train_step", stopping_at(step, KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(file, broken, pictures, TrainCallbacks(on_notice=lines.append))
    assert lines == [f"stopped in epoch {step // 3 + 1}, at step {step}; continue with --resume"]
    results = json.loads((broken / "results.json").read_text(encoding="utf-8"))
    assert results["status"] == "interrupted"
    torch.rand(7)  # other random numbers in between
    again = run(file, broken, pictures, resume=True)
    assert again["status"] == "finished"
    assert same(newest(whole), newest(broken))
    assert same(whole / "weights.safetensors", broken / "weights.safetensors")
    rows = [json.loads((f / "results.json").read_text())["history"] for f in (whole, broken)]
    for row in (*rows[0], *rows[1]):
        row.pop("seconds")
    assert rows[0] == rows[1]


def test_a_mapped_cache_changes_nothing(tmp_path: Path, pictures: Path, trained: Path) -> None:
    for _ in range(2):  # written, then read
        output = tmp_path / secrets.token_hex(4)
        run(tiny(), output, pictures, cache=tmp_path / "cache")
        assert same(newest(output), newest(trained))
    assert len(list((tmp_path / "cache").glob("*.pictures"))) == 3


def test_each_epoch_writes_figures_by_folder(trained: Path) -> None:
    lines = (trained / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    history = json.loads((trained / "results.json").read_text(encoding="utf-8"))["history"]
    for row, before in zip(rows, history, strict=True):
        assert {key: row[key] for key in before} == pytest.approx(before, rel=1e-5)
        (figures,) = row["folders"].values()
        assert figures["pictures"] == 4
        assert figures["psnr_over_gray"] == pytest.approx(before["psnr_over_gray"], abs=1e-3)
    assert [row["step"] for row in rows] == [3, 6, 9]


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    tmp_path: Path, pictures: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(TrainState, "train_step", stopping_at(7, Stop))
        with pytest.raises(Stop):
            run(tiny(), tmp_path, pictures, save_minutes=1e-9)
    # torn by the crash: the newest is cut, the one before is used
    with newest(tmp_path).open("r+b") as file:
        file.truncate(500)
    lines: list[str] = []
    run(tiny(), tmp_path, pictures, TrainCallbacks(on_notice=lines.append), resume=True)
    assert "not a usable checkpoint" in lines[0]
    assert same(tmp_path / "weights.safetensors", trained / "weights.safetensors")


def test_early_stopping_keeps_the_best_weights(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[dict[str, torch.Tensor]] = []

    def note(row: dict[str, float], best: bool) -> None:
        kept.append(tensors_of(tmp_path))

    values = [0.5, 0.4, 0.45, 0.41, 0.4, 0.1]
    with monkeypatch.context() as patch:
        scripted(patch, [*values, 0.0], "margin_error")
        file = tiny(epochs=20, monitor="margin_error", patience=3)
        results = run(file, tmp_path, pictures, TrainCallbacks(on_epoch=note))
    assert results["status"] == "stopped early"
    assert results["reason"] == "no better margin_error for 3 epochs after epoch 2"
    assert (results["epochs"], results["best_epoch"]) == (5, 2)
    assert all(torch.equal(kept[1][k], v) for k, v in tensors_of(tmp_path).items())
    assert not all(torch.equal(kept[0][k], v) for k, v in kept[1].items())
    # the best one's checkpoint stays beside the newest two
    names = [path.name.split("-")[1] for path in checkpoint.CheckpointManager(tmp_path).paths()]
    assert names[-1] == "epoch002"
    assert len(names) <= 3


def test_a_new_rate_has_its_chance(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [1.0] * 20)
    file = tiny(epochs=20, schedule="plateau", plateau=2, lr=(1e-2, 1e-3, 1e-4), patience=3)
    rows: list[dict[str, float]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidcolor.training.results.collect.Results.measure_test", lambda *_: {})
        run(file, tmp_path, pictures, TrainCallbacks(on_epoch=lambda row, _: rows.append(row)))
    assert [row["lr"] for row in rows] == [1e-2] * 3 + [1e-3] * 2 + [1e-4] * 3


def test_divergence_is_named_and_reported(tmp_path: Path, pictures: Path) -> None:
    file = tiny(optimizer="sgd", lr=(1e12,), epochs=9)
    with pytest.raises(
        DivergedError, match=r"diverged in epoch \d, at step \d+, with learning rate"
    ):
        run(file, tmp_path, pictures)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["status"] == "diverged"
    assert "1e+12" in results["reason"]
    assert results["history"][-1]["train_loss"] is None
    # the sheet shows the predictions of nan: black, between the gray pictures and the true ones
    (path,) = (tmp_path / "sheets").glob("*.png")
    with Image.open(path) as sheet:
        rows = np.asarray(sheet)[CAPTION + GUTTER :]
    columns = [rows[:, GUTTER + k * (ROW_HEIGHT + GUTTER) :][:ROW_HEIGHT, 8:88] for k in range(3)]
    assert columns[0].any() and not columns[1].any() and columns[2].any()


def test_a_full_disk_at_a_checkpoint_loses_nothing(
    tmp_path: Path, pictures: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def sometimes_full(*arguments: Any, **named: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        save_file(*arguments, **named)

    monkeypatch.setattr(checkpoint, "save_file", sometimes_full)
    lines: list[str] = []
    results = run(tiny(), tmp_path, pictures, TrainCallbacks(on_notice=lines.append))
    assert results["status"] == "finished"
    assert len(lines) == 1
    assert "No space left" in lines[0] and "checkpoint-epoch002" in lines[0]
    assert same(tmp_path / "weights.safetensors", trained / "weights.safetensors")
    assert not list(tmp_path.glob("*.tmp"))


def test_progress_and_notices(tmp_path: Path, pictures: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    write_picture(data / "gray.png", 9, gray=True)
    (data / "cut.png").write_bytes((data / "00.png").read_bytes()[:200])
    lines: list[str] = []
    seen: list[TrainProgress] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidcolor.training.pace._REPORT_SECONDS", 0.0)
        callbacks = TrainCallbacks(on_progress=seen.append, on_notice=lines.append)
        run(tiny(epochs=1, min_chroma=2.0), tmp_path / "out", data, callbacks)
    assert lines == [
        "1 near-gray pictures left out",
        "1 unreadable pictures left out: cut.png",
    ]
    assert [p.done for p in seen] == [4, 8, 12]
    assert all(p.rate > 0 and p.total == 12 for p in seen)


def test_what_cannot_be_trained(tmp_path: Path, pictures: Path, trained: Path) -> None:
    with pytest.raises(TrainingError, match="'tiny' names no data"):
        train(tiny(), tmp_path / "a")
    with pytest.raises(InputError, match="nowhere: no such"):
        run(tiny(), tmp_path / "b", tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="holds a training already; continue it with --resume"):
        run(tiny(), trained, pictures)
    with pytest.raises(TrainingError, match=r"'monitor' must .* not 'accuracy'"):
        run(tiny(monitor="accuracy"), tmp_path / "c", pictures)
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    with pytest.raises(TrainingError, match=r"its checkpoint has model_options = .*'kernels': 4"):
        run(tiny(model_options={"layers": 1}), other, pictures, resume=True)
    with pytest.raises(TrainingError, match="resume"):
        run(tiny(), tmp_path / "empty", pictures, resume=True)


def test_gray_pictures_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for seed in range(10):
        write_picture(data / f"{seed}.png", seed, gray=True, side=16)
    with pytest.raises(TrainingError, match=r"data: the pictures are gray \(none of 6"):
        run(tiny(), tmp_path / "out", data)


def test_an_empty_test_part_is_left_out(tmp_path: Path, pictures: Path) -> None:
    results = run(tiny(epochs=1, split=(0.8, 0.2, 0.0)), tmp_path / "out", pictures)
    assert results["status"] == "finished" and results["test"] is None
    with pytest.raises(TrainingError, match="the validation part is empty"):
        run(tiny(epochs=1, split=(1.0, 0.0, 0.0)), tmp_path / "none", pictures)


def test_sizes_that_do_not_fit_are_named_at_once(tmp_path: Path, pictures: Path) -> None:
    for size, model, least in ((20, "skip_cnn", 16), (8, "plain_cnn", 16), (16, "autoencoder", 32)):
        objective = "lab8_mse" if model == "autoencoder" else "rgb_mse"
        file = tiny(size=size, model=model, model_options={}, objective=objective)
        with pytest.raises(
            RecipeError, match=f"'size' must be a multiple .* '{model}', at least {least}, not"
        ):
            run(file, tmp_path / "out", pictures)
    assert not (tmp_path / "out").exists()


def test_estimations_of_the_first_test_pictures(tmp_path: Path, pictures: Path) -> None:
    file = dataclasses.replace(tiny(epochs=1), estimations=3)
    run(file, tmp_path, pictures)
    made = np.load(tmp_path / "estimations_test.npy")
    assert (made.shape, made.dtype) == ((3, 16, 16, 3), np.uint8)
    names = (tmp_path / "test_images.txt").read_text(encoding="utf-8").splitlines()
    split = json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))
    assert names == split["test"][:3]


def test_transfer_and_head_only(tmp_path: Path, pictures: Path, trained: Path) -> None:
    start = load_file(trained / "weights.safetensors")
    init = str(trained / "weights.safetensors")
    run(tiny(epochs=1, lr=(1e-9,), init=init), tmp_path / "transfer", pictures)
    for key, value in tensors_of(tmp_path / "transfer").items():
        assert torch.allclose(value, start[key], atol=1e-6), key
    with pytest.raises(TrainingError, match="this model has no head"):
        run(tiny(freeze="backbone"), tmp_path / "frozen", pictures)


def test_nothing_better_keeps_the_starting_weights(
    tmp_path: Path, pictures: Path, trained: Path
) -> None:
    """Epoch 0 is measured before the first step; its weights stay bit for bit."""
    init = tmp_path / "start.safetensors"
    options = {"layers": 2, "kernels": 4}
    entry = Entry("plain_cnn", input_size=16, options=options, chroma_gain=1.25)
    tensors = tensors_of(trained)
    save_weights(init, tensors, entry, torch.float32)
    rows: list[tuple[dict[str, float], bool]] = []
    file = tiny(epochs=3, lr=(30.0,), init=str(init), patience=2)
    callbacks = TrainCallbacks(on_epoch=lambda row, best: rows.append((row, best)))
    results = run(file, tmp_path / "out", pictures, callbacks)
    first, best = rows[0]
    assert best and first["epoch"] == 0 and "train_loss" not in first and "lr" not in first
    before = json.loads((trained / "results.json").read_text(encoding="utf-8"))["best"]
    assert first["loss"] == pytest.approx(before["loss"], rel=1e-5)
    assert [best for _, best in rows[1:]] == [False, False]
    assert (results["status"], results["best_epoch"], results["epochs"]) == ("stopped early", 0, 2)
    assert "starting weights, which are kept" in results["reason"]
    kept = tensors_of(tmp_path / "out")
    assert all(torch.equal(kept[name], value) for name, value in tensors.items())
    assert load_model(file=tmp_path / "out" / "weights.safetensors")[1].chroma_gain == 1.25
    # the table sets the starting weights beside the new ones: here they are the same
    start, new = results["test"]["rows"][-2:]
    assert start["name"] == "start" and start["psnr"] == new["psnr"]


@pytest.mark.parametrize("fixed", [True, False])
def test_fixed_norms_keep_their_statistics(tmp_path: Path, pictures: Path, fixed: bool) -> None:
    model = {"model": "skip_cnn", "model_options": {}}
    run(tiny(epochs=1, **model), tmp_path / "start", pictures)
    init = str(tmp_path / "start" / "weights.safetensors")
    file = tiny(epochs=1, init=init, lr=(1e-3,), ema=0.5, fixed_norms=fixed, **model)
    run(file, tmp_path / "out", pictures)
    before, after = tensors_of(tmp_path / "start"), load_file(newest(tmp_path / "out"))
    norms = [name for name in before if name.endswith("running_mean")]
    assert norms
    for name in norms:
        assert torch.equal(before[name], after[f"model.{name}"]) == fixed
    moved = [name for name in before if not torch.equal(before[name], after[f"model.{name}"])]
    assert any(name.endswith("weight") for name in moved)


def test_a_better_epoch_replaces_the_starting_weights(
    tmp_path: Path, pictures: Path, trained: Path
) -> None:
    file = tiny(epochs=2, init=str(trained / "weights.safetensors"))
    results = run(file, tmp_path, pictures)
    assert results["best_epoch"] == 2 and results["epochs"] == 2
    rows = results["history"]
    assert rows[2]["loss"] < rows[0]["loss"]
    assert results["test"]["rows"][-2]["psnr"] != results["test"]["rows"][-1]["psnr"]


def test_checkpoints_within_an_epoch_bear_no_epochs_loss(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    save = checkpoint.CheckpointManager.save

    def noted(self: Any, *arguments: Any) -> Path:
        path = save(self, *arguments)
        names.append(path.name)
        return path

    monkeypatch.setattr(checkpoint.CheckpointManager, "save", noted)
    results = run(tiny(epochs=2), tmp_path, pictures, save_minutes=0)
    losses = [row["loss"] for row in results["history"]]
    ends = {f"epoch{e:03d}-step{3 * e:07d}-loss{losses[e - 1]:.6g}" for e in (1, 2)}
    found = {name.removeprefix("checkpoint-").removesuffix(".safetensors") for name in names}
    assert ends <= found
    within = found - ends
    assert within and all(name.endswith("-lossnone") for name in within)
    # so the file with the lowest loss in its name is the best epoch's
    best = json.loads(newest(tmp_path).with_suffix(".json").read_text())["best_checkpoint"]
    assert best.endswith(f"loss{min(losses):.6g}.safetensors")


def test_the_rate_shown_is_the_one_used(tmp_path: Path, pictures: Path) -> None:
    used: list[float] = []
    step = TrainState.train_step

    def noted(self: TrainState, *arguments: Any) -> None:
        step(self, *arguments)
        used.append(self.optimizer.param_groups[0]["lr"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainState, "train_step", noted)
        file = tiny(epochs=2, schedule="linear", warmup=2, decay_share=0.8)
        results = run(file, tmp_path, pictures)
    assert [row["lr"] for row in results["history"]] == [used[2], used[5]]
    assert used[5] < used[2]


def test_the_header_comes_before_the_first_step(tmp_path: Path, pictures: Path) -> None:
    order: list[str] = []
    headers: list[TrainHeader] = []
    step = TrainState.train_step

    def noted(self: TrainState, *arguments: Any) -> None:
        order.append("step")
        step(self, *arguments)

    def began(header: TrainHeader) -> None:
        order.append("header")
        headers.append(header)

    callbacks = TrainCallbacks(
        on_start=began,
        on_validation=lambda epoch: order.append(f"validation {epoch}"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainState, "train_step", noted)
        run(tiny(epochs=1), tmp_path, pictures, callbacks)
    assert order == ["header", "step", "step", "step", "validation 1"]
    (header,) = headers
    assert header.parts == {"train": 12, "validation": 4, "test": 4}
    assert (header.steps, header.epochs, header.batch_size, header.size) == (3, 1, 4, 16)
    assert (header.model, header.parameters, header.start) == ("plain_cnn", 151, "random values")
    assert header.threads == 1 and header.note  # rgb_mse measures the network's own picture
    run(tiny(epochs=2), tmp_path, pictures, callbacks, resume=True)
    assert headers[1].start == "the checkpoint of epoch 1, step 3"


def test_the_first_weights_are_said() -> None:
    fast = Recipe("fast")
    assert "random values, in the encoder too" in describe_start(fast, create_model("fast"))
    named = dataclasses.replace(fast, encoder="mobilenet.safetensors")
    assert "encoder of mobilenet.safetensors" in describe_start(named, create_model("fast"))
    named = dataclasses.replace(fast, init="fast")
    assert describe_start(named, create_model("fast")) == "the weights fast"


def test_crops_by_worker_processes(tmp_path: Path, photographs: Path) -> None:
    """The way of the recipe `fast`: random crops, degraded, with an average of the weights."""
    file = RecipeFile(
        "crops",
        Recipe(
            model="fast", size=32, fit="crop", flip=True, min_scale=0.5, old_film_share=0.5,
            ema=0.9, batch_size=2, epochs=1, epoch_size=4, optimizer="adamw", lr=(1e-3,),
            encoder_lr=3e-4,
            split=(0.6, 0.2, 0.2), monitor="psnr_over_gray", input_size=64, clip_norm=1.0,
        ),
    )  # fmt: skip
    first = run(file, tmp_path / "0", photographs, workers=0)
    run(file, tmp_path / "1", photographs, workers=1)
    assert same(tmp_path / "0" / "weights.safetensors", tmp_path / "1" / "weights.safetensors")
    assert first["test"]["size"] == 64


CROPS = {
    "model": "fast",
    "model_options": {},
    "objective": "ab_perceptual",
    "objective_options": {"lpips": 1.0, "color": 1.0, "teacher": "fast"},
    "size": 64,
    "fit": "crop",
    "rotate": 0.0,
    "old_film_share": 0.5,
    "encoder_lr": 1e-4,
    "clip_norm": 1.0,
    "ema": 0.9,
    "recalibrate_bn_steps": 4,
    "epochs": 1,
}


@pytest.mark.filterwarnings("ignore:.*pin_memory", "ignore:.*CUDA is not available")
@pytest.mark.parametrize("changes", [{}, CROPS], ids=["on the device", "crops"])
def test_a_training_by_what_a_gpu_would_run(
    tmp_path: Path,
    pictures: Path,
    photographs: Path,
    alexnet_cache: None,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    file, data = tiny(**changes), photographs if changes else pictures
    run(file, tmp_path / "cpu", data, workers=0)
    with pretend_cuda(monkeypatch) as device:
        run(file, tmp_path / "gpu", data, workers=0, device=str(CUDA))
    assert device.waits
    wanted, found = tensors_of(tmp_path / "cpu"), tensors_of(tmp_path / "gpu")
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        assert torch.allclose(found[name].float(), values.float(), atol=1e-5), name


def test_calibration_fits_the_norms_of_the_average_to_the_given_pictures(
    tmp_path: Path, pictures: Path
) -> None:
    """The first norm's statistics are those of what it reads, over all batches; nothing else of
    the weights changes, and the model in training keeps its own."""
    file = tiny(model="skip_cnn", model_options={}, ema=0.5, epochs=1)
    seen: list[TrainState] = []
    keep = TrainState.start

    def begin(self: TrainState, *arguments: Any, **more: Any) -> None:
        seen.append(self)
        keep(self, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainState, "start", begin)
        run(file, tmp_path, pictures)
    (trained,) = seen
    before = {k: v.clone() for k, v in trained.average.state_dict().items()}
    own = {k: v.clone() for k, v in trained.model.state_dict().items()}
    norm = next(m for m in trained.average.modules() if isinstance(m, torch.nn.BatchNorm2d))
    inputs: list[torch.Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    batches = [Batch(torch.rand(4, 3, 16, 16), "rgb") for _ in range(2)]
    trained.recalibrate_bn(batches)
    hook.remove()
    assert len(inputs) == 2
    means = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)
    assert norm.momentum == 0.1
    for key, value in trained.average.state_dict().items():
        if "running" not in key and "num_batches" not in key:
            assert torch.equal(value, before[key]), key
    for key, value in trained.model.state_dict().items():
        assert torch.equal(value, own[key]), key
    assert trained.model.training
