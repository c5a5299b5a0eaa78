"""The tables of train/RESULTS.md: read from the runs, put into their places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train.scripts.tables import Runs, grid_of_epochs, measured_table, put_tables, s2_grid


def write_run(folder: Path, losses: list[float], status: str = "finished", **test: float) -> None:
    history = [
        {"epoch": e, "loss": loss, "margin_error": loss, "lr": 1e-3}
        for e, loss in enumerate(losses, start=1)
    ]
    results: dict[str, Any] = {
        "status": status,
        "history": history,
        "best": min(history, key=lambda row: float(row["loss"])),
        "epochs": len(losses),
        "wall_seconds": 90.0,
        "test_measures": test,
        "recipe": {
            "epochs": 5,
            "size": 128,
            "repeat_augmented": 10,
            "precision": "fp32",
            "classes": ["masks"],
            "lr": [1e-3],
        },
        "data": {"sources": ["a"], "train": 64, "validation": 32, "test": 32},
    }
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))


def test_a_grid_of_epochs_is_read_from_the_longest_run(tmp_path: Path) -> None:
    write_run(tmp_path / "S4a/grid/variant=1,lr=0.001,epochs=5", [5.0, 4.0, 3.0, 2.0, 1.0])
    stopped = tmp_path / "S4a/grid/variant=1,lr=0.0001,epochs=5"
    write_run(stopped, [9.0], status="interrupted")
    figures = {1: ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (0.7, 0.8, 0.9))}
    text = grid_of_epochs(Runs([tmp_path]), "S4a", "variant", figures, "loss", ".3g")
    # the document's 100, 300 and 500 epochs are the run's epochs 1, 3 and 5
    assert "| 100 | 0.1 / 5 | 0.2 / - | 0.3 / - |" in text
    assert "| 300 | 0.4 / 3 | 0.5 / - | 0.6 / - |" in text
    assert "| 500 | 0.7 / 1 | 0.8 / - | 0.9 / - |" in text
    assert "64 pictures (masks), enlarged 10 times" in text and "1 min 30 s" in text


def test_a_later_folder_counts_more(tmp_path: Path) -> None:
    for folder, error in (("small", 0.5), ("large", 0.25)):
        write_run(tmp_path / folder / "S4a-connected", [1.0], mse_a=error)
    runs = Runs([tmp_path / "small", tmp_path / "large"])
    text = measured_table(runs, {"Fully connected": ("S4a-connected", (0.1,))}, ("mse_a",))
    assert "| Fully connected | 0.1 / 0.25 | 0.001 | 1 |" in text


def test_the_grid_of_s2_is_that_of_the_whole_shard_once_it_was_run(tmp_path: Path) -> None:
    write_run(tmp_path / "S2/grid/layers=1,kernels=4,lr=0.1", [0.5])
    rows = s2_grid(Runs([tmp_path])).splitlines()
    assert [row for row in rows if " 0.5 " in row and row.startswith("| 1 | 4 |")]
    write_run(tmp_path / "S2-large/grid/layers=1,kernels=2,lr=0.1", [0.25])
    write_run(tmp_path / "S2-large/grid/layers=2,kernels=8,lr=10.0", [9.0], status="diverged")
    rows = s2_grid(Runs([tmp_path])).splitlines()
    # one layer is the same network for every number of kernels
    assert [row for row in rows if row.startswith("| 1 |")] == [
        f"| 1 | {kernels} | - | - | - | 0.25 | - |" for kernels in (2, 4, 8)
    ]
    assert "| 2 | 8 | - | - | - | - | diverged |" in rows
    assert "2 runs, together 3 min" in rows[-1]


def test_tables_are_put_between_their_marks_alone() -> None:
    page = "a\n<!-- table: x -->\nold\n<!-- end -->\nb\n<!-- table: y -->\nkept\n<!-- end -->\n"
    made = put_tables(page, {"x": "new"})
    assert made == page.replace("old", "\nnew\n")
    assert put_tables(made, {"x": "new"}) == made
    with pytest.raises(SystemExit, match="no place for the table z"):
        put_tables(page, {"z": "new"})
