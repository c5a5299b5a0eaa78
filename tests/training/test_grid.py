"""Grids: every combination once, resumed where they stopped, printed as the documents do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import write_picture
from vidcolor.errors import TrainingError
from vidcolor.training import grid
from vidcolor.training.grid import combinations
from vidcolor.training.options import TrainOptions
from vidcolor.training.recipe import Recipe
from vidcolor.training.recipe_file import RecipeFile
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


def test_jobs_follow_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "processors", lambda: 16)
    monkeypatch.setattr(grid, "free_memory", lambda device: 7 << 30)
    assert grid.jobs_that_fit() == 2
    assert grid.jobs_that_fit(5) == 5
    monkeypatch.setattr(grid, "processors", lambda: 1)
    assert grid.jobs_that_fit() == 1
