"""The probe of a training: batch sizes that are measured, that do not fit, that are reckoned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.helpers.command_line import Vidcolor
from vidcolor.training import probe
from vidcolor.training.data.batch import Batch
from vidcolor.training.probe import (
    Stepper,
    TrainingReport,
    TrainingRow,
    kept_bytes,
    largest_by_memory,
    plot_training,
    probe_training,
)
from vidcolor.training.recipe import find_recipe, load_recipe

CPU = torch.device("cpu")
S0 = load_recipe(find_recipe("S0"), {"size": 16})


@pytest.fixture(autouse=True)
def _memory_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The allocator's setting would outlast the test."""
    monkeypatch.setattr(probe, "retain_freed_memory", lambda: True)


def test_a_recipe_is_measured() -> None:
    report = probe_training(S0, CPU, [4, 2], least=0.0)
    assert (report.recipe, report.model, report.size) == ("S0", "skip_cnn", 16)
    assert [row.batch for row in report.rows] == [2, 4] and report.asked == S0.recipe.batch_size
    for row in report.rows:
        assert row.images_per_second is not None and row.images_per_second > 0
        assert row.taken_bytes is not None and row.taken_bytes > 50 << 20
    assert report.fastest in (2, 4) and report.largest > 64
    assert 0 < report.trained == report.parameters
    values = json.loads(json.dumps(report.to_dict()))
    assert values["rows"][0]["batch"] == 2 and values["fastest"] == report.fastest


def test_by_default_the_asked_sizes_are_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stepper, "row", lambda self, n, least: TrainingRow(n, float(n), 1))
    sizes = [row.batch for row in probe_training(S0, CPU).rows]
    assert {32, 48, 64, S0.recipe.batch_size} <= set(sizes) and sizes == sorted(sizes)


@pytest.mark.parametrize("name", ["S1b", "S2", "S3c"])
def test_steps_of_other_recipes(name: str) -> None:
    """Pretrained values and a palette are not wanted; a frozen backbone stays frozen."""
    stepper = Stepper(load_recipe(find_recipe(name), {"size": 32}).recipe, CPU)
    before = {
        k: v.clone() for k, v in stepper.state.model.named_parameters() if not v.requires_grad
    }
    assert stepper.row(2, 0.0).images_per_second is not None
    assert bool(before) == (name == "S3c")
    after = dict(stepper.state.model.named_parameters())
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_a_batch_that_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    stepper = Stepper(S0.recipe, CPU)
    advance = stepper.state.train_step

    def cramped(batch: Batch, weight: float) -> None:
        if len(batch) > 3:
            raise torch.OutOfMemoryError("injected")
        advance(batch, weight)

    monkeypatch.setattr(stepper.state, "train_step", cramped)
    assert stepper.row(4, 0.0) == TrainingRow(4)
    assert not stepper.fits(4) and stepper.fits(3)
    assert stepper.row(3, 0.0).images_per_second is not None


def test_on_a_cpu_nothing_is_tried_that_memory_may_not_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a_picture, always = kept_bytes(S0.recipe)
    assert a_picture > 16 * 16 * 64 * 4 and always > 4 * 4 * 70_000
    free = 2 * (always + 10 * a_picture) + 8
    assert largest_by_memory(S0.recipe, free) == 10
    assert largest_by_memory(S0.recipe, 0) == 0
    monkeypatch.setattr(probe, "free_memory", lambda device: free)
    report = probe_training(S0, CPU, [2, 64], least=0.0)
    assert report.rows[1] == TrainingRow(64) and report.largest == 10
    assert report.rows[0].images_per_second is not None and report.fastest == 2


def test_the_plot(tmp_path: Path) -> None:
    rows = (TrainingRow(8, 10.0, 1 << 30), TrainingRow(16, 12.0, 2 << 30), TrainingRow(32))
    report = TrainingReport("cpu", {}, "S0", "m", "fp32", 64, 9, 9, 16, rows, 20)
    plot_training(report, tmp_path / "t.png")
    with Image.open(tmp_path / "t.png") as image:
        assert image.size == (1040, 360)


def test_the_command(command: Vidcolor, tmp_path: Path) -> None:
    quick = ("probe", "--train", "S0", "--device", "cpu", "--size", "32", "--batches", "2,3")
    answer = command(*quick, "--json", "--plot", tmp_path / "p.png")
    assert answer.code == 0
    assert [row["batch"] for row in json.loads(answer.out)["rows"]] == [2, 3]
    assert (tmp_path / "p.png").is_file()
    table = command(*quick)
    assert table.code == 0 and "S0: skip_cnn, 32x32" in table.out
    assert "largest that fits" in table.out
    for wrong in (("film.mkv",), ("--model", "fast"), ("--size", "64"), ("--batches", "x")):
        assert command(*quick, *wrong).code == 2
    assert command("probe", "--train", "S99").code == 2
