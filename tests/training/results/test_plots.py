"""Curves and grid plots: the PNGs are read back."""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vidcolor.errors import OutputError
from vidcolor.training.results.plots import plot_grid, plot_history, plot_runs

GREEN = (44, 160, 44)  # the ring of the best epoch
RED = (214, 39, 40)  # what diverged


def history(epochs: int = 6, **extra: float) -> list[dict[str, Any]]:
    return [
        {
            "epoch": e,
            "train_loss": 0.02 / e,
            "loss": 0.03 / e,
            "psnr": 20 + e / 10,
            "lr": 1e-3,
            "seconds": 2.0,
            **extra,
        }
        for e in range(1, epochs + 1)
    ]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def has(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture - color).max(axis=2) < 8).any())


def drawn(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> np.ndarray:
    plot_history(rows, tmp_path / "curves.png", "S0", **options)
    return pixels(tmp_path / "curves.png")


def test_one_panel_for_each_further_measure(tmp_path: Path) -> None:
    two, three = drawn(tmp_path, history()), drawn(tmp_path, history(margin_error=0.3))
    four = drawn(tmp_path, history(margin_error=0.3, accuracy=0.4))
    assert two.shape[1] == 880  # the loss and the PSNR, 4.4 inches of 100 dots each
    assert three.shape[1] == four.shape[1] == 1320
    assert four.shape[0] > 1.5 * three.shape[0]  # the fourth begins a second row
    assert drawn(tmp_path, history(train_psnr=19.0)).shape == two.shape  # shares PSNR's panel


def test_a_slow_machine_gets_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=10)  # every look at it is ten seconds later
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(tmp_path, history())


def test_runs_over_each_other(tmp_path: Path) -> None:
    lost = [{"epoch": 1, "train_loss": math.nan, "lr": 10.0}]
    runs = {"slow": history(), "fast": history(3), "lost": lost}
    plot_runs(runs, ("loss", "psnr"), tmp_path / "runs.png", "rates")
    both = pixels(tmp_path / "runs.png")
    assert both.shape[1] == 880  # a panel for each measure
    blue, orange = (31, 119, 180), (255, 127, 14)
    assert all(has(half, c) for half in (both[:, :440], both[:, 440:]) for c in (blue, orange))
    plot_runs({"slow": history()}, ("loss", "psnr"), tmp_path / "one.png", "rates")
    assert not has(pixels(tmp_path / "one.png"), orange)


def test_reruns_are_equal_and_other_data_are_not(tmp_path: Path) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    plot_history(history(), one, "S0")
    plot_history(history(), two, "S0")
    assert one.read_bytes() == two.read_bytes()
    with Image.open(one) as picture:
        assert set(picture.info) <= {"dpi"}  # no date, no version
    other = history()
    other[3]["psnr"] = 20.55  # inside the axis, which stays as it is
    plot_history(other, two, "S0")
    changed = np.abs(pixels(one) - pixels(two)).max(axis=2) > 0
    middle = changed.shape[1] // 2
    assert changed[:, middle:].any()  # the panel of the PSNR
    assert not changed[:, : middle - 10].any()  # and not that of the loss


def test_the_best_epoch_is_marked(tmp_path: Path) -> None:
    lowest_last = drawn(tmp_path, history())
    assert has(lowest_last, GREEN)
    assert (drawn(tmp_path, history(), best_epoch=6) == lowest_last).all()
    assert (drawn(tmp_path, history(), best_epoch=2) != lowest_last).any()


def test_changes_of_the_rate_are_lines_or_a_panel(tmp_path: Path) -> None:
    constant, stepped = history(), history()
    for row in stepped[3:]:
        row["lr"] = 1e-4
    plain, lined = drawn(tmp_path, constant), drawn(tmp_path, stepped)
    assert lined.shape == plain.shape
    columns = (np.abs(lined - plain).max(axis=2) > 0).any(axis=0)
    assert 2 <= columns.sum() <= 10  # one thin line in each of two panels
    falling = history(20)
    for row in falling:
        row["lr"] = 1e-3 / row["epoch"]
    assert drawn(tmp_path, falling).shape[1] == 1320  # a third panel


@pytest.mark.parametrize("lost", [math.nan, math.inf, None])
def test_a_diverged_run_says_so(tmp_path: Path, lost: float | None) -> None:
    fine, rows = history(), history()
    rows[5] |= {"train_loss": lost, "loss": lost, "psnr": lost, "lr": 10.0}
    assert not has(drawn(tmp_path, fine), RED)
    assert has(drawn(tmp_path, rows), RED)
    for row in rows:
        row |= {"train_loss": lost, "loss": lost, "psnr": lost}
    nothing = drawn(tmp_path, rows)
    assert has(nothing, RED)
    assert not has(nothing, GREEN)


def test_measures_of_a_nan_prediction_are_not_shown(tmp_path: Path) -> None:
    """A prediction of nan has a 12-margin error of 0, the best there is; it must not be drawn."""
    pictures = []
    for claimed in (0.0, math.nan):
        rows = history(margin_error=0.4)
        rows[5] |= {"loss": math.nan, "margin_error": claimed}
        pictures.append(drawn(tmp_path, rows))
    assert (pictures[0] == pictures[1]).all()


@pytest.mark.parametrize("rows", [[], history(1), history(200), [{"epoch": 1, "lr": 1e-3}]])
def test_any_length_of_history(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert drawn(tmp_path, rows).min() < 100


def test_rows_without_a_validation(tmp_path: Path) -> None:
    rows = history()
    for row in rows[::2]:
        del row["loss"], row["psnr"]
    assert not has(drawn(tmp_path, rows), RED)


def test_signs_of_tex_are_plain_text(tmp_path: Path) -> None:
    plot_history(history(), tmp_path / "a.png", r"costs $5 and $x_{")
    assert (tmp_path / "a.png").is_file()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=r"curves\.png: cannot be written \("):
        plot_history(history(), tmp_path / "file" / "curves.png", "S0")


def runs(**keys: list[Any]) -> list[dict[str, Any]]:
    """Every combination of one or two keys, with a loss that falls from run to run."""
    (first, xs), *rest = keys.items()
    pairs = [{first: x, rest[0][0]: y} for x in xs for y in rest[0][1]] if rest else None
    settings = pairs or [{first: x} for x in xs]
    return [
        {"settings": s, "status": "finished", "loss": 1 / (i + 2)} for i, s in enumerate(settings)
    ]


def grid(tmp_path: Path, rows: list[dict[str, Any]], value: str = "loss") -> np.ndarray:
    plot_grid(rows, tmp_path / "grid.png", "S2", value)
    return pixels(tmp_path / "grid.png")


ORANGE = (255, 127, 14)  # the second line


def test_a_line_for_each_remaining_combination(tmp_path: Path) -> None:
    rates = [1e-4, 1e-2, 1.0]
    two = grid(tmp_path, runs(lr=rates, **{"model_options.layers": [1, 2]}))
    assert has(two, ORANGE)
    assert not has(grid(tmp_path, runs(lr=rates)), ORANGE)


def test_diverged_runs_are_crosses(tmp_path: Path) -> None:
    rows = runs(lr=[0.1, 10])
    assert not has(grid(tmp_path, rows), RED)
    rows[1] |= {"status": "diverged", "loss": None}
    lost = grid(tmp_path, rows)
    assert has(lost, RED)
    rows[0] |= {"status": "diverged", "loss": math.nan}
    assert has(grid(tmp_path, rows), RED)
    assert has(lost, GREEN)  # the run that is left is the best


def test_the_best_run_follows_the_measure(tmp_path: Path) -> None:
    rows = runs(lr=[0.1, 1.0])
    for row in rows:
        row["psnr"] = row["loss"]  # the same numbers, but now the higher one is the best
    low, high = grid(tmp_path, rows), grid(tmp_path, rows, "psnr")
    green = [np.argwhere(np.abs(p - GREEN).max(axis=2) < 8)[:, 1].mean() for p in (low, high)]
    assert abs(green[0] - green[1]) > 40


VARIANTS = [
    {"name": "base", "settings": {}, "loss": 0.3},
    {"name": "tanh", "settings": {"model_options.tanh": True}, "loss": 0.2},
    {"name": "slow", "settings": {"lr": [1e-3, 1e-4]}, "status": "diverged"},
]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        VARIANTS,
        runs(batch_size=[10, 50, 100, 200]),
        runs(activation=["relu", "tanh"]),
        runs(batch_norm=[True, False]),
        runs(lr=[0.1]),
        runs(lr=[[0.1], [0.01]]),
        runs(epochs=[100, 300, 500], lr=[1e-3, 1e-4]),
    ],
    ids=["none", "variants", "study", "words", "truth", "one", "lists", "two keys"],
)
def test_kinds_of_grids(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert grid(tmp_path, rows).shape[:2] == (540, 660)
