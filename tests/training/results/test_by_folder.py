"""A validation's figures by folder: the groups' means, over any number of processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vidcolor.evaluation.metrics import colorfulness
from vidcolor.training.data.batch import Batch
from vidcolor.training.distributed import Distributed
from vidcolor.training.results.by_folder import FolderFigures, group_of, write_figures

NAMES = ["a.zip:x/1.png", "a.zip:y/1.png", "a.zip:x/2.png", "b.zip:x/1.png"]


class Doubled(Distributed):
    """Two processes that have the same sums."""

    def all_sum(self, values: list[float]) -> list[float]:
        return [2 * value for value in values]


def test_groups_are_pack_and_folder() -> None:
    assert [group_of(name) for name in NAMES] == ["a.zip:x", "a.zip:y", "a.zip:x", "b.zip:x"]
    assert (group_of("a.zip:1.png"), group_of("deep/sea/1.png"), group_of("1.png")) == (
        "a.zip",
        "deep/sea",
        "",
    )


def test_means_are_those_of_each_group() -> None:
    torch.manual_seed(0)
    truth, made = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    gains = torch.tensor([1.0, 2.0, 4.0, 8.0])
    figures = FolderFigures(NAMES)
    for first in (0, 3):
        part = slice(first, first + 3)
        figures.add(first, made[part], Batch(truth[part], "rgb"), {"psnr_over_gray": gains[part]})
    found = figures.figures(Distributed(0, 1, torch.device("cpu")))
    assert {name: (f["pictures"], f["psnr_over_gray"]) for name, f in found.items()} == {
        "a.zip:x": (2, 2.5),
        "a.zip:y": (1, 2.0),
        "b.zip:x": (1, 8.0),
    }
    color, true = (colorfulness((rgb * 255).round()) for rgb in (made, truth))
    expected = float(color[[0, 2]].sum() / true[[0, 2]].sum())
    assert found["a.zip:x"]["color"] == pytest.approx(expected, abs=1e-4)
    twice = figures.figures(Doubled(0, 2, torch.device("cpu")))
    assert twice["a.zip:x"] == {**found["a.zip:x"], "pictures": 4}


def test_an_epoch_that_comes_again_takes_its_line(tmp_path: Path) -> None:
    path = tmp_path / "validation.jsonl"
    for epoch, value in ((1, 0.1), (2, 0.2), (3, 0.3), (2, 0.4)):
        write_figures(path, {"epoch": epoch, "gain": value})
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == [{"epoch": 1, "gain": 0.1}, {"epoch": 2, "gain": 0.4}]
