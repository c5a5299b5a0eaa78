"""A training keeps its memory, but not that of reading the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vidcolor.training import trainer as loop
from vidcolor.training.options import TrainOptions
from vidcolor.training.prepare import open_dataset
from vidcolor.training.recipe_file import find_recipe, load_recipe
from vidcolor.training.trainer import train


def test_training_on_the_cpu_keeps_memory_once_the_pictures_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photographs: Path
) -> None:
    order = []

    def noted(*arguments: Any) -> Any:
        order.append("read")
        return open_dataset(*arguments)

    monkeypatch.setattr(loop, "open_dataset", noted)
    monkeypatch.setattr(loop, "retain_freed_memory", lambda: order.append("keep"))
    monkeypatch.setattr(loop.Trainer, "train", lambda self: {})
    changes = {"data": str(photographs), "size": 16, "split": [0.6, 0.2, 0.2]}
    train(load_recipe(find_recipe("S0"), changes), tmp_path / "out", TrainOptions())
    assert order == ["read", "keep"]
