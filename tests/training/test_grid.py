"""Grids: every combination once, resumed where they stopped, printed as the documents do."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.training.conftest import write_picture
from vidcolor.errors import TrainingError
from vidcolor.training import grid
from vidcolor.training.checkpoint import CheckpointManager
from vidcolor.training.grid import combinations
from vidcolor.training.options import TrainOptions
from vidcolor.training.recipe import Recipe, overridden
from vidcolor.training.recipe_file import RecipeFile, write_recipe
from vidcolor.training.results.tables import pivot_markdown
from vidcolor.training.trainer import train

FILE = RecipeFile(
    "tiny",
    Recipe(
        model="plain_cnn", objective="rgb_mse", size=16, fit="stretch", epochs=1,
        split=(0.6, 0.2, 0.2), optimizer="sgd", lr=(0.1,),
    ),
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> RecipeFile:
    """The tiny recipe with ten pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(10):
        write_picture(folder / f"{seed}.png", seed, side=16)
    return dataclasses.replace(FILE, recipe=dataclasses.replace(FILE.recipe, data=(str(folder),)))


def row(lr: float, epochs: int, value: float, **more: Any) -> dict[str, Any]:
    return {"settings": {"lr": lr, "epochs": epochs}, "status": "finished", "loss": value, **more}


def test_the_documents_table() -> None:
    rows = [row(1e-3, 100, 0.1), row(1e-3, 300, 0.2), row(1e-4, 100, 0.3), row(1e-4, 300, 0.4)]
    rows[3]["status"] = "diverged"
    assert pivot_markdown(rows, "loss") == (
        "\nBest loss:\n\n"
        "| epochs | lr 0.001 | lr 0.0001 |\n| --- | --- | --- |\n"
        "| 100 | 0.1 | 0.3 |\n| 300 | 0.2 | diverged |\n"
    )
    for entry, variant in zip(rows, (1, 2, 2, 1), strict=True):
        entry["settings"]["model_options.variant"] = variant
    text = pivot_markdown(rows, "loss")
    # the last key goes down, and each number of epochs has a table of its own
    assert "epochs 100:\n\n| variant | lr 0.001 | lr 0.0001 |" in text
    assert "| 1 | 0.1 | - |" in text and "| 2 | - | 0.3 |" in text


def test_one_key_and_variants_have_no_such_table() -> None:
    study = [row(1e-3, 1, 0.1), row(1e-4, 1, 0.2)]
    for entry in study:
        del entry["settings"]["epochs"]
    assert pivot_markdown(study, "loss") == ""
    odd = row(1e-3, 2, 0.1)
    odd["settings"] = {"tanh": True}
    assert pivot_markdown([row(1e-3, 1, 0.1), odd], "loss") == ""


def test_a_grid_goes_on_where_it_stopped(
    tmp_path: Path, file: RecipeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = combinations({"lr": [0.1, 0.01], "model_options.kernels": [2, 4]})
    trained: list[str] = []

    def train_or_stop(item: RecipeFile, output: Path, *more: Any) -> dict[str, Any]:
        if len(trained) == 2 and not monkeypatched[0]:
            raise KeyboardInterrupt
        trained.append(output.name)
        return train(item, output, *more)

    monkeypatched = [False]
    monkeypatch.setattr(grid, "train", train_or_stop)
    with pytest.raises(KeyboardInterrupt):
        grid.run_grid(file, runs, tmp_path / "out", TrainOptions(), title="t")
    half = json.loads((tmp_path / "out" / "grid.json").read_text(encoding="utf-8"))
    assert [r["name"] for r in half] == list(runs)[:2]
    monkeypatched[0] = True
    rows = grid.run_grid(file, runs, tmp_path / "out", TrainOptions(), title="t")
    assert trained == list(runs)  # each of them once
    assert [r["name"] for r in rows] == list(runs)
    text = (tmp_path / "out" / "grid.md").read_text(encoding="utf-8")
    assert "| kernels | lr 0.1 | lr 0.01 |" in text


def test_failed_runs_are_named(tmp_path: Path, file: RecipeFile) -> None:
    lines: list[str] = []
    runs: dict[str, dict[str, Any]] = {"good": {"lr": 0.1}, "bad": {"size": 8}}
    rows = grid.run_grid(
        file, runs, tmp_path / "out", TrainOptions(), title="t", on_notice=lines.append
    )
    assert [r["name"] for r in rows] == ["good"]
    assert len(lines) == 1 and lines[0].startswith("bad: recipe key 'size'")
    with pytest.raises(TrainingError, match="none of the 1 runs succeeded"):
        grid.run_grid(file, {"bad": runs["bad"]}, tmp_path / "none", TrainOptions(), title="t")


def test_the_command_line_counts_more_than_a_runs_own_keys(
    tmp_path: Path, file: RecipeFile
) -> None:
    given = {"epochs": 1, "model_options.kernels": 2, "lr": 0.05}
    recipe = dataclasses.replace(file.recipe, epochs=1, model_options={"kernels": 2}, lr=(0.05,))
    changed = dataclasses.replace(file, recipe=recipe, changed=given)
    runs = {"long": {"epochs": 3, "model_options.kernels": 4, "flip": True}}
    (row,) = grid.run_grid(changed, runs, tmp_path / "variants", TrainOptions(), title="t")
    results = json.loads((tmp_path / "variants" / "long" / "results.json").read_text())
    assert row["epochs"] == results["epochs"] == 1
    trained = results["recipe"]
    assert trained["model_options"] == {"kernels": 2} and trained["flip"] is True
    assert results["changed"] == given

    runs = combinations({"lr": [0.1, 0.01], "model_options.kernels": [2, 4], "flip": [True]}, given)
    assert list(runs) == ["lr=0.05,kernels=2,flip=True"]  # one value is left of each given key
    grid.run_grid(changed, runs, tmp_path / "grid", TrainOptions(), title="t")
    assert trained["lr"] == [0.05]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9 on Windows")
def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path, file: RecipeFile) -> None:
    """They write a checkpoint, from which the same command goes on, and end."""
    recipe = tmp_path / "mine.toml"
    write_recipe(dataclasses.replace(file, recipe=overridden(file.recipe, ENDLESS, "")), recipe)
    with recipe.open("a", encoding="utf-8") as text:
        text.write("[grid]\nlr = [0.1, 0.01]\n")
    output = tmp_path / "out"
    arguments = ("train", "--recipe", str(recipe), "--grid", "--jobs", "2", "-o", str(output))
    parent = subprocess.Popen(
        [sys.executable, "-m", "vidcolor", *arguments, "--save-minutes", "60"],
        stdout=subprocess.DEVNULL,
    )
    folders = [output / "grid" / f"lr={lr}" for lr in ("0.1", "0.01")]
    try:
        _wait_for(lambda: all((f / "weights.safetensors").exists() for f in folders), 120)
        workers = [
            each
            for each in psutil.Process(parent.pid).children(recursive=True)
            if "multiprocessing.spawn" in " ".join(each.cmdline())
        ]
        assert len(workers) == 2
    finally:
        parent.kill()
        parent.wait()
    began = {folder: CheckpointManager(folder).paths()[0] for folder in folders}
    _, alive = psutil.wait_procs(workers, timeout=60)
    for each in alive:
        each.kill()
    assert not alive
    for folder, before in began.items():
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        assert results["status"] == "interrupted"
        assert CheckpointManager(folder).paths()[0].name >= before.name


ENDLESS = {"epochs": 100_000, "patience": 0}


def _wait_for(is_true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_jobs_follow_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "processors", lambda: 16)
    monkeypatch.setattr(grid, "free_memory", lambda device: 7 << 30)
    assert grid.jobs_that_fit() == 2
    assert grid.jobs_that_fit(5) == 5
    monkeypatch.setattr(grid, "processors", lambda: 1)
    assert grid.jobs_that_fit() == 1
