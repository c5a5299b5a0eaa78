"""What a training begins or goes on with: recipe, folder, and what depends on the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vidcolor.errors import RecipeError, TrainingError
from vidcolor.models import create_model
from vidcolor.models.entry import Entry
from vidcolor.models.weights import manifest, save_weights
from vidcolor.system import devices
from vidcolor.training import start
from vidcolor.training.recipe import Recipe
from vidcolor.training.recipe_file import find_recipe, load_recipe, write_recipe
from vidcolor.training.start import choose_recipe, default_recipe, settle

CPU = torch.device("cpu")


def chosen(
    name: str | None = None, output: Path | None = None, *, resume: bool = False, **changes: Any
) -> tuple[str, Recipe, Path, list[str]]:
    file, folder, lines = choose_recipe(name, output, changes, resume=resume)
    return file.name, file.recipe, folder, lines


def begin(folder: Path, name: str, **changes: Any) -> None:
    """What a training leaves in its folder before its first step."""
    write_recipe(load_recipe(find_recipe(name), changes), folder / "recipe.toml")


def test_own_pictures_fine_tune_and_cifar10_begins_from_nothing() -> None:
    assert default_recipe(()) == default_recipe(("cifar10",)) == "S0"
    assert default_recipe(("photos", "more.zip")) == "fine_tune"
    name, recipe, folder, _ = chosen(data=("photos",))
    assert (name, recipe.model, recipe.init, folder) == (
        *("fine_tune", "fast", "fast"),
        Path("runs/fine_tune"),
    )
    assert chosen("S1b", data=("photos",))[0] == "S1b"


def test_lpips_is_in_the_loss_where_alexnet_is(
    alexnet_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(data=("photos",))[1].objective == "ab_perceptual"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    _, recipe, _, (line,) = chosen(data=("photos",), lr=1e-5)
    assert recipe.objective == "ab_huber" and recipe.lr == (1e-5,)
    assert recipe.objective_options == {"color": 1.0} and "LPIPS" in line
    given: dict[str, Any] = {"objective_options.lpips_weights": "alexnet.pth"}
    _, recipe, _, lines = chosen(data=("photos",), **given)
    assert recipe.objective == "ab_perceptual" and not lines
    _, recipe, _, lines = chosen(data=("photos",), objective="ab_mse", objective_options={})
    assert recipe.objective == "ab_mse" and not lines


@pytest.mark.parametrize("name", ["S2", None])
def test_a_resumed_training_has_the_settings_of_its_start(tmp_path: Path, name: str | None) -> None:
    """Also with --recipe: the recipe's own values are not those that it began with."""
    begun: dict[str, Any] = {
        "data_root": "elsewhere",
        "validation": ["apart"],
        "lr": 0.25,
        "epochs": 7,
    }
    begin(tmp_path, "S2", **begun)
    file, folder, lines = choose_recipe(name, tmp_path, {"epochs": 9}, resume=True)
    assert folder == tmp_path and not lines
    recipe = file.recipe
    assert (recipe.data_root, recipe.validation) == ("elsewhere", ("apart",))
    assert (recipe.lr, recipe.epochs) == ((0.25,), 9)
    assert file.changed == {**begun, "epochs": 9}
    # without --resume the recipe's own count
    assert chosen("S2", tmp_path)[1].lr == load_recipe(find_recipe("S2")).recipe.lr


def test_another_recipes_folder_is_refused(tmp_path: Path) -> None:
    begin(tmp_path, "S2")
    with pytest.raises(RecipeError, match="holds a training of the recipe 'S2', not 'S0'"):
        chosen("S0", tmp_path, resume=True)


def test_a_recipe_that_was_edited_meanwhile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('model = "plain_cnn"\nepochs = 3\n', encoding="utf-8")
    file, _, _ = choose_recipe(str(path), None, {}, resume=False)
    write_recipe(file, tmp_path / "out" / "recipe.toml")
    path.write_text('model = "plain_cnn"\nepochs = 5\nflip = true\n', encoding="utf-8")
    _, recipe, _, (line,) = chosen(str(path), tmp_path / "out", resume=True)
    assert recipe.epochs == 3 and "another flip, epochs now" in line
    assert chosen(str(path), tmp_path / "out", resume=True, epochs=5, flip=True)[3] == []


def test_size_and_gain_are_those_of_the_starting_weights(tmp_path: Path) -> None:
    crops: dict[str, Any] = {"model": "fast", "fit": "crop", "size": 64}
    entry = manifest()["fast"]
    settled = settle(Recipe(init="fast", **crops), CPU)
    assert (settled.input_size, settled.chroma_gain) == (entry.input_size, entry.chroma_gain)
    assert settle(settled, CPU) == settled
    own = settle(Recipe(init="fast", input_size=96, chroma_gain=1.5, **crops), CPU)
    assert (own.input_size, own.chroma_gain) == (96, 1.5)

    file = tmp_path / "w.safetensors"
    given = Entry("plain_cnn", input_size=32, chroma_gain=1.25)
    save_weights(file, create_model("plain_cnn").state_dict(), given, torch.float32)
    settled = settle(Recipe("plain_cnn", init=str(file), size=48), CPU)
    assert (settled.input_size, settled.chroma_gain) == (0, 1.25)  # whole pictures: their own size
    with pytest.raises(TrainingError, match="no such weights file"):
        settle(Recipe("plain_cnn", init=str(tmp_path / "none.safetensors")), CPU)


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, wanted in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(start, "has_bf16", lambda has=has: has)
        assert settle(Recipe("plain_cnn", precision="auto"), CPU).precision == wanted
    assert settle(Recipe("plain_cnn"), CPU).precision == "fp32"
    with pytest.raises(RecipeError, match="fp16 needs a GPU"):
        settle(Recipe("plain_cnn", precision="fp16"), CPU)
    assert isinstance(devices.has_bf16(), bool)
