"""results.json, the summaries and RESULTS.md."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch

from train.scripts.rows import rows_markdown
from vidcolor.errors import OutputError, TrainingError
from vidcolor.training.objectives import OBJECTIVES
from vidcolor.training.objectives.base import higher_is_better
from vidcolor.training.results.report import (
    diverged_epoch,
    our_figure,
    read_results,
    summary_markdown,
    write_results,
)
from vidcolor.training.results.tables import cell, duration, grid_markdown


def eval_row(name: str, psnr: float, margin_error: float) -> dict[str, Any]:
    return {
        "name": name,
        "psnr": psnr,
        "psnr_pooled": psnr - 1,
        "psnr_over_gray": psnr - 20,
        "ssim": 0.9,
        "lpips": None,
        "colorfulness": 0.5,
        "margin_error": margin_error,
    }


def make_results(**changes: Any) -> dict[str, Any]:
    rows = [
        eval_row("gray", 20.0, 0.41),
        eval_row("mean ab", 21.0, 0.39),
        eval_row("half chroma", 26.0, 0.2),
        eval_row("truth", 100.0, 0.0),
        eval_row("plain_cnn", 22.5, 0.25),
    ]
    return {
        "recipe": {"title": "S2: plain CNN", "document": "002.txt", "model": "plain_cnn"},
        "command": "vidcolor train --recipe S2 -o runs/S2",
        "status": "stopped early",
        "reason": "no better margin_error in 5 epochs",
        "device": "2 CPU cores",
        "versions": {"torch": "2.11.0", "python": "3.11.2"},
        "wall_seconds": 3700.0,
        "images_per_second": 1234.4,
        "epochs": 2,
        "best_epoch": 1,
        "monitor": "margin_error",
        "best": {
            "epoch": 1,
            "train_loss": 0.00832,
            "loss": 0.0084,
            "margin_error": 0.229,
            "lr": 0.1,
        },
        "history": [
            {"epoch": 1, "train_loss": 0.00832, "loss": 0.0084, "margin_error": 0.229, "lr": 0.1},
            {"epoch": 2, "train_loss": 0.00812, "loss": 0.0085, "margin_error": 0.23, "lr": 0.1},
        ],
        "data": {
            "sources": ["cifar10"],
            "train": 48_000,
            "validation": 6_000,
            "test": 6_000,
            "near_gray": 12,
            "unreadable": ["a|b.jpg"],
        },
        "parameters": 24_115,
        "gmacs": 0.0985,
        "test": {
            "rows": rows,
            "num_pictures": 6_000,
            "near_gray": 0,
            "unreadable": [],
            "size": 64,
            "notes": ["6000 pictures, center-cropped"],
        },
        "test_measures": {"psnr": 22.75, "margin_error": 0.2314},
        "reported": {
            "validation_margin_error": 0.2290477,
            "train_loss": 0.008325,
            "psnr": [20, 25],
            "parameters": 170_000,
            "epochs": 35,
            "memory": "207 MB",
        },
        **changes,
    }


def test_json_round_trip(tmp_path: Path) -> None:
    results = make_results(
        gmacs=np.float32(0.1),
        wall_seconds=torch.tensor(1.23456789),
        folder=PurePosixPath("runs/S2"),
        sizes=(1, 2),
    )
    results["test_measures"]["ssim_a"] = math.nan
    write_results(tmp_path, results)
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    read = read_results(tmp_path / "results.json")
    assert list(read) == sorted(results)
    assert "NaN" not in text
    assert (read["gmacs"], read["wall_seconds"]) == (0.1, 1.23457)
    assert (read["folder"], read["sizes"]) == ("runs/S2", [1, 2])
    assert read["test_measures"]["ssim_a"] is None
    assert read["status"] == "stopped early"  # a nan beside the losses is no divergence
    assert read["history"] == results["history"]
    assert read["data"] == results["data"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.json", "summary.md"]


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_nan_is_null_and_diverged(tmp_path: Path, lost: float) -> None:
    results = make_results(status="finished")
    results["history"][1] |= {"train_loss": lost, "loss": lost}
    write_results(tmp_path, results)
    read = read_results(tmp_path / "results.json")
    assert read["status"] == "diverged"
    assert read["history"][1]["loss"] is None
    assert results["status"] == "finished"  # the caller's dict is its own
    assert "**diverged**" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_first_diverged_epoch() -> None:
    history: list[dict[str, Any]] = [{"epoch": 4, "train_loss": 1.0}, {"epoch": 5, "loss": 0.5}]
    assert diverged_epoch([]) is None
    assert diverged_epoch(history) is None
    assert diverged_epoch([*history, {"epoch": 6, "train_loss": None}]) == 6
    assert diverged_epoch([*history, {"epoch": 6, "loss": math.inf}]) == 6
    assert diverged_epoch([*history, {"epoch": 6, "loss": 1.0, "psnr": math.nan}]) is None


def test_values_that_json_lacks_are_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"results key 'data\.sources\[0\]': a set cannot"):
        write_results(tmp_path, {"data": {"sources": [{1}]}})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(tmp_path, make_results(device="old"))

    def full(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"results\.json: cannot be written \(No space left"):
        write_results(tmp_path, make_results(device="new"))
    assert read_results(tmp_path / "results.json")["device"] == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.json", "summary.md"]


@pytest.mark.parametrize("text", ["{", "[1]", None])
def test_unreadable_results_are_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"results\.json: not .*run the training again"):
        read_results(path)


def test_summary(tmp_path: Path) -> None:
    (tmp_path / "sheets").mkdir()
    for name in ("curves.png", "sheets/epoch-1.png"):
        (tmp_path / name).write_bytes(b"")
    write_results(tmp_path, make_results())
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    for line in (
        "# S2: plain CNN",
        "Status: **stopped early**: no better margin_error in 5 epochs",
        "| document | 002.txt |",
        "| model | plain_cnn, 24,115 parameters, 0.0985 GMACs a picture |",
        "| data | cifar10: 48,000 train, 6,000 validation, 6,000 test; "
        "left out: 12 near-gray, 1 unreadable |",
        "| device | 2 CPU cores |",
        "| versions | python 3.11.2, torch 2.11.0 |",
        "| wall time | 1 h 2 min, 1,234 images/s |",
        "| epochs run | 2 |",
        "| best epoch | 1 |",
        "vidcolor train --recipe S2 -o runs/S2",
        "| gray | 20.000 | +0.000 | 19.000 | 0.9000 | 0.500 | 0.4100 |",
        "| mean ab | 21.000 | +1.000 | 20.000 | 0.9000 | 0.500 | 0.3900 |",
        "| half chroma | 26.000 | +6.000 | 25.000 | 0.9000 | 0.500 | 0.2000 |",
        "| truth | 100.000 | +80.000 | 99.000 | 0.9000 | 0.500 | 0.0000 |",
        "| plain_cnn | 22.500 | +2.500 | 21.500 | 0.9000 | 0.500 | 0.2500 |",
        "- 6000 pictures, center-cropped",
        "## Validation, epoch 1",
        "| loss | 0.0084 |",
        "| train_loss | 0.00832 |",
        "| validation_margin_error | 0.229 | 0.229 (validation) |",
        "| train_loss | 0.008325 | 0.00832 (train) |",
        "| psnr | 20 to 25 | 22.75 (test) |",
        "| parameters | 170,000 | 24,115 |",
        "| epochs | 35 | 2 |",
        "| memory | 207 MB | - |",
        "![curves](curves.png)",
        "- [sheets/epoch-1.png](sheets/epoch-1.png)",
        "- `a|b.jpg`",
    ):
        assert line in text.splitlines(), line
    assert "LPIPS" not in text  # nobody measured it
    assert "| lr |" not in text  # the row of the best epoch has more than measures


def test_summary_links_only_what_there_is(tmp_path: Path) -> None:
    write_results(tmp_path, make_results())
    assert "curves.png" not in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_summary_of_a_run_cut_short() -> None:
    text = summary_markdown({"status": "interrupted", "history": [], "test": None}, [])
    assert text == "# Training\n\nStatus: **interrupted**\n"


def test_our_figure_beside_the_documents() -> None:
    results = make_results()
    assert our_figure(results, "margin_error") == (0.2314, "test")
    assert our_figure(results, "test_margin_error") == (0.2314, "test")
    assert our_figure(results, "validation_margin_error") == (0.229, "validation")
    assert our_figure(results, "ssim") == (0.9, "test")  # from the table's row of the model
    assert our_figure(results, "loss") == (0.0084, "validation")
    assert our_figure(results, "train_loss") == (0.00832, "train")
    assert our_figure(results, "wall_seconds") == (3700.0, "")
    assert our_figure({}, "psnr") == (None, "")
    assert our_figure({"test": None, "best": None, "history": None}, "test_psnr") == (None, "test")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.21, "4.2 s"),
        (59.99, "1 min 0 s"),
        (185.4, "3 min 5 s"),
        (3599.6, "1 h 0 min"),
        (4320, "1 h 12 min"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_cells() -> None:
    assert (cell(0.000123456), cell(2.0)) == ("0.0001235", "2")
    assert (cell(12345.6), cell(12345), cell(True)) == ("12,346", "12,345", "True")
    assert (cell(None), cell(math.nan), cell("a*\n|b")) == ("-", "-", "a\\* \\|b")


def test_directions_agree_with_the_recipes_monitors() -> None:
    measures = {name for objective in OBJECTIVES.values() for name in objective.measure_names}
    assert {m for m in measures if not higher_is_better(m)} == {
        *("margin_error", "mse_a", "mse_b", "lpips", "colorfulness", "true_colorfulness")
    }
    assert not higher_is_better("loss")
    assert higher_is_better("psnr_a")
    assert not higher_is_better("mse_b")


def grid_rows() -> list[dict[str, Any]]:
    def row(layers: int, lr: float, loss: float, error: float, **changes: Any) -> dict[str, Any]:
        settings = {"model_options.layers": layers, "model_options.kernels": 8, "lr": lr}
        values = {"status": "finished", "epochs": 35, "train_loss": loss / 2, "loss": loss}
        return {"settings": settings, **values, "margin_error": error, "seconds": 12.34, **changes}

    return [
        row(1, 0.1, 0.02, 0.25),
        row(2, 0.1, 0.01, 0.24, status="stopped early"),
        row(2, 10, math.nan, 0.0, status="diverged", epochs=6),
    ]


def test_grid_table() -> None:
    text = grid_markdown(grid_rows(), "margin_error")
    head, _, first, second, third = text.splitlines()
    assert head == (
        "| layers | lr | status | epochs run | train loss | validation loss | margin error "
        "| seconds |"
    )
    assert first == "| 1 | 0.1 | finished | 35 | 0.01 | 0.02 | 0.25 | 12.3 |"
    assert second == (
        "| **2** | **0.1** | **stopped early** | **35** | **0.005** | **0.01** | **0.24** "
        "| **12.3** |"
    )
    # the error of a prediction of nan would be 0; it is no figure, and not the best run
    assert third == "| 2 | 10 | diverged at lr 10 | 6 | - | - | - | 12.3 |"


def test_variants_go_by_their_names() -> None:
    rows = [
        {"name": "base", "settings": {}, "status": "finished", "loss": 0.3},
        {"name": "tanh", "settings": {"model_options.tanh": True}, "status": "finished", "loss": 1},
        {"name": "fast", "settings": {"lr": 10.0}, "status": "diverged", "lr": 0.1},
    ]
    lines = grid_markdown(rows).splitlines()
    assert lines[0].startswith("| run | status |")
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| **base**", "| tanh", "| fast"]
    assert "diverged at lr 10 |" in lines[4]  # its own rate, not the recipe's


def test_grid_tables_best_row_and_further_measures() -> None:
    rows = [
        {"settings": {"batch_size": b}, "status": "finished", "loss": 1.0 / b, "accuracy": 1.0 / b}
        for b in (10, 50)
    ]
    assert "| **50** |" in grid_markdown(rows)
    assert "| **10** |" in grid_markdown(rows, "accuracy")
    assert "| accuracy |" in grid_markdown(rows)
    assert "**" not in grid_markdown(rows, "psnr")
    assert "psnr" not in grid_markdown(rows)
    assert "| 0.001 |" in grid_markdown([{"settings": {"lr": [0.001]}, "status": "finished"}])
    diverged = {"settings": {"batch_size": 9}, "status": "diverged", "lr": 10.0}
    assert "| diverged at lr 10 |" in grid_markdown([*rows, diverged])


def test_results_table(tmp_path: Path) -> None:
    write_results(tmp_path / "S2", make_results())
    (tmp_path / "S1a").mkdir()
    (tmp_path / "S1a" / "recipe.toml").write_text(
        'model = "eccv16"\n[about]\ntitle = "eccv16 | small"\nreported = {psnr = 23.0}\n',
        encoding="utf-8",
    )
    write_results(tmp_path / "extra", {"status": "diverged", "epochs": 6})
    text = rows_markdown(tmp_path)
    lines = text.splitlines()
    rows = {
        line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")
    }
    assert list(rows)[2:] == [
        *("S0", "S1a", "S1b", "[S2](S2/summary.md)", "S3a", "S3b", "S3c", "S4a", "S4b"),
        "[extra](extra/summary.md)",
    ]
    widths = {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}
    assert widths == {13}
    assert "| not run |" in rows["S0"]
    assert "| eccv16 \\| small | not run |" in rows["S1a"]
    assert "| psnr 23 | not run |" in rows["S1a"]
    assert "| 6, diverged |" in rows["[extra](extra/summary.md)"]
    ours = rows["[S2](S2/summary.md)"]
    assert "| plain CNN | cifar10: 48,000 train, 6,000 validation, 6,000 test; left out" in ours
    assert "| 2 CPU cores | 1 h 2 min | 2 |" in ours
    assert (
        "| epochs 35<br>memory 207 MB<br>parameters 170,000<br>psnr 20 to 25<br>"
        "train loss 0.008325<br>validation margin error 0.229 |" in ours
    )
    assert (
        "| epochs 2<br>memory -<br>parameters 24,115<br>psnr 22.75 (test)<br>"
        "train loss 0.00832<br>validation margin error 0.229 |" in ours
    )
    assert ours.endswith("| 20.00 / 0.410 | 21.00 / 0.390 | 26.00 / 0.200 | 22.50 / 0.250 |")
    assert (
        "- S2: stopped early (no better margin_error in 5 epochs); weights of epoch 1, chosen by "
        "margin_error; 6,000 test pictures at 64x64." in lines
    )


def test_results_that_are_missing_or_cannot_be_read(tmp_path: Path) -> None:
    assert rows_markdown(tmp_path).count("not run") == 18  # nine rows, data and figures
    (tmp_path / "S0").mkdir()
    (tmp_path / "S0" / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"S0/results\.json: not readable"):
        rows_markdown(tmp_path)
