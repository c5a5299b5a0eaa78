"""Recipes: each mistake is named by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vidcolor.errors import TrainingError
from vidcolor.training.recipe import Recipe, load_recipe, make_recipe, parse_value

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "r.toml: the key 'model' is missing"),
        ({"model": "fast", "lrr": 1.0}, "r.toml: unknown key 'lrr'; known: model, loss"),
        ({"model": "fast", "steps": 1.5}, "r.toml: key 'steps' must be a int, not 1.5"),
        ({"model": "fast", "steps": True}, "r.toml: key 'steps' must be a int, not True"),
        ({"model": "fast", "bf16": 1}, "r.toml: key 'bf16' must be a bool, not 1"),
        ({"model": "fast", "lr": "high"}, "r.toml: key 'lr' must be a float, not 'high'"),
        ({"model": "none"}, "recipe key 'model': no architecture is called 'none'"),
        ({"model": "fast", "loss": "l7"}, "recipe key 'loss': 'l7' is not one of"),
        ({"model": "fast", "crop": 0}, "recipe key 'crop': must be at least 1"),
        ({"model": "fast", "ema": 1.5}, "recipe key 'ema': must lie between 0 and 1"),
        ({"model": "fast", "degrade": -0.1}, "recipe key 'degrade': must lie between 0 and 1"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        make_recipe(values, "r.toml")
    assert str(caught.value).startswith(message)


def test_whole_numbers_stand_for_floats() -> None:
    recipe = make_recipe({"model": "fast", "lr": 1}, "r.toml")
    assert recipe == Recipe(model="fast", lr=1.0)
    assert type(recipe.lr) is float


def test_file_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('model = "fast"\nsteps = 7\n', encoding="utf-8")
    assert load_recipe(path).steps == 7
    assert load_recipe(path, {"steps": 9}).steps == 9


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none\.toml: no such recipe"):
        load_recipe(tmp_path / "none.toml")
    path = tmp_path / "broken.toml"
    path.write_text("model = ", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"broken\.toml: not a TOML file"):
        load_recipe(path)


def test_values_typed_on_the_command_line() -> None:
    assert parse_value("3e-4") == 3e-4
    assert parse_value("true") is True
    assert parse_value("12") == 12
    assert parse_value("huber") == "huber"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "train").glob("*/recipe.toml")), ids=lambda p: p.parent.name
)
def test_committed_recipes_load(path: Path) -> None:
    assert load_recipe(path).steps > 0
