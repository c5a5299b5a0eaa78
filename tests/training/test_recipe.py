"""Recipes: each mistake is named by its key, and the shipped ones say what their documents set."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from vidcolor.errors import RecipeError, TrainingError
from vidcolor.models import create_model
from vidcolor.training.data.dataset import split_names
from vidcolor.training.grid import combinations
from vidcolor.training.objectives import create_objective
from vidcolor.training.recipe import Recipe, make_recipe, overridden, recipe_values
from vidcolor.training.recipe_file import (
    find_recipe,
    load_recipe,
    parse_value,
    shipped_recipes,
    write_recipe,
)

NAMES = ["S0", "S1a", "S1b", "S2", "S3a", "S3b", "S3c", "S4a", "S4b", "best", "fast", "fine_tune"]
HEAVY = ("mean_chroma_fc",)  # 172 million parameters


def shipped(name: str) -> Recipe:
    return load_recipe(find_recipe(name)).recipe


def write(folder: Path, text: str) -> Path:
    path = folder / "r.toml"
    path.write_text(text, encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"epochs": 1.5}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"flip": 1}, "flip"),
        ({"lr": "high"}, "lr"),
        ({"lr": [1e-3, "x"]}, "lr"),
        ({"lr": [[1.0]]}, "lr"),
        ({"milestones": 1.5}, "milestones"),
        ({"classes": 3}, "classes"),
        ({"model_options": 3}, "model_options"),
        ({"model_options": {"depth": 3}}, "model_options"),
        ({"model": 3}, "model"),
        ({"model": "none"}, "model"),
        ({"objective": "l7"}, "objective"),
        ({"monitor": "accuracy"}, "monitor"),
        ({"optimizer": "x"}, "optimizer"),
        ({"schedule": "x"}, "schedule"),
        ({"precision": "x"}, "precision"),
        ({"fit": "x"}, "fit"),
        ({"test_part": "x"}, "test_part"),
        ({"freeze": "x"}, "freeze"),
        ({"size": 0}, "size"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"repeat_augmented": 0}, "repeat_augmented"),
        ({"seed": -1}, "seed"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"weight_decay": math.nan}, "weight_decay"),
        ({"rotate": math.inf}, "rotate"),
        ({"rotate": 181}, "rotate"),
        ({"split": [math.nan] * 3}, "split"),
        ({"ema": 1.5}, "ema"),
        ({"momentum": 1.0}, "momentum"),
        ({"min_scale": 1.5}, "min_scale"),
        ({"min_scale": 0}, "min_scale"),
        ({"split": [0.8, 0.2]}, "split"),
        ({"split": [0.8, 0.1, 0.2]}, "split"),
        ({"lr": []}, "lr"),
        ({"lr": 0.0, "encoder_lr": 1.0}, "lr"),
        ({"lr": [1.0, 0.1]}, "lr"),
        ({"lr": [1.0, 0.1], "schedule": "linear"}, "lr"),
        ({"lr": [1.0, 0.1], "schedule": "step"}, "milestones"),
        ({"schedule": "step", "milestones": [3]}, "milestones"),
        ({"schedule": "plateau", "milestones": [3]}, "milestones"),
        ({"schedule": "plateau", "lr": [1, 1, 1], "weight_decay": [0, 0]}, "weight_decay"),
        ({"old_film_share": 0.5}, "old_film_share"),
        ({"ortho": 0.5}, "ortho"),
        ({"shares": {"faces": 0.5}}, "shares"),
        ({"fit": "crop", "shares": {"faces": "half"}}, "shares"),
        ({"fit": "crop", "shares": {"faces": 0}}, "shares"),
        ({"fit": "crop", "shares": {"faces": 0.6, "seas": 0.6}}, "shares"),
        ({"fit": "crop", "rotate": 5}, "rotate"),
        ({"fit": "crop", "repeat_augmented": 2}, "repeat_augmented"),
        # hostile values
        ({"lr": 10**400}, "lr"),
        ({"epochs": 10**5000}, "epochs"),
        ({"objective_options": {"knee": math.nan}}, "objective_options"),
        ({"model_options": {"layers": 10**5000}}, "model_options"),
        ({"data": "x" * 100_000, "size": 0}, "size"),
        ({"fit": "x\n" * 100_000}, "fit"),
        ({"model": "x" * 100_000}, "model"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe({"model": "plain_cnn", **values}, "r.toml")
    line = str(caught.value)
    assert line.startswith(f"r.toml: recipe key '{key}' ")
    assert "\n" not in line and len(line) < 1000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "r.toml: the key 'model' is missing"),
        ({"model": "fast", "lrr": 1.0}, "r.toml: unknown key 'lrr'; known: model, model_options"),
        ({"model": "fast", "cooldown": 0.5}, "r.toml: unknown key 'cooldown'; known: model"),
        ({"model": "fast", "x\ny" * 9999: 1}, "r.toml: unknown key 'x\\ny"),
        ({"model": "fast", "ortho": 0.5}, "r.toml"),
        ({"model": "fast", "fit": "crop", "ortho": 2}, "r.toml"),
        ({"model": "fast", "shares": {"a": 0.5}}, "r.toml"),
        ({"model": "fast", "fit": "crop", "shares": {"a": "half"}}, "r.toml"),
        ({"model": "fast", "fit": "crop", "shares": {"a": 0.6, "b": 0.5}}, "r.toml"),
    ],
)
def test_keys_are_known(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe(values, "r.toml")
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about = 3", "key 'about' must be a table, not 3"),
        ("[about]\nauthor = 'x'", "unknown key 'about.author'; known: name, title, document"),
        ("[about]\ntitle = 3", "key 'about.title' must be text, not 3"),
        ("[about]\nreported = 'x'", "key 'about.reported' must be a table, not 'x'"),
        ("grid = 3", "key 'grid' must be a table, not 3"),
        ("[grid]\nlr = 0.1", "key 'grid.lr' must be a list of values"),
        ("[grid]\nlr = []", "key 'grid.lr' must be a list of values"),
        ("[grid]\nlrr = [0.1]", "grid: unknown key 'lrr'; known: model"),
        ("[grid]\n'options.layers' = [1]", "grid: unknown key 'options.layers'"),
        ("[grid]\nlr = [0.1, 'x']", "grid: recipe key 'lr' must be a number, not 'x'"),
        ("[variants]\nmine = 3", "key 'variants.mine' must be a table, not 3"),
        ("[variants.mine]\nlrr = 0.1", "variant 'mine': unknown key 'lrr'; known: model"),
        (
            "[variants.mine]\nflip = 1",
            "variant 'mine': recipe key 'flip' must be true or false, not 1",
        ),
    ],
)
def test_mistakes_of_the_tables_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, f'model = "plain_cnn"\n{text}\n')
    with pytest.raises(TrainingError) as caught:
        load_recipe(path)
    line = str(caught.value)
    assert line.startswith(str(path)) and message in line and "\n" not in line


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none\.toml: no such recipe"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(TrainingError, match=r"r\.toml: not a TOML file"):
        load_recipe(write(tmp_path, "model = "))
    (tmp_path / "r.toml").write_bytes(b'model = "\xff"')
    with pytest.raises(TrainingError, match=r"r\.toml: not a TOML file"):
        load_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    "text",
    [
        f"lr = {'[' * 50_000}1{']' * 50_000}",
        f"epochs = {'9' * 5000}",
        f"lr = {'9' * 5000}.5",
        "epochs = 1e400",
        "lr = nan",
        "lr = [0.1, inf]",
        "[model_options]\nlayers = -inf",
        "shares = 'faces'",
        "grid = { lr = [nan] }",
        "variants = { a = { epochs = 99999999999999999999 } }",
        "about = { estimations = 1e9 }",
        "split = 1979-05-27",
    ],
)
def test_hostile_files_are_one_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f'model = "plain_cnn"\n{text}\n')
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line and len(line) < 1000


@pytest.mark.parametrize("text", ["[" * 50_000 + "]" * 50_000, "9" * 5000, "nan", "[1, nan]"])
def test_hostile_values_of_the_command_line_are_one_line(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        overridden(Recipe(model="plain_cnn"), {"epochs": parse_value(text)}, "--set")
    line = str(caught.value)
    assert line.startswith("--set: recipe key 'epochs' ") and "\n" not in line
    assert len(line) < 1000


# ------------------------------------------------------------------------- values and overrides


def test_numbers_are_widened_and_single_values_become_lists() -> None:
    recipe = make_recipe({"model": "fast", "lr": 1, "rotate": 5, "classes": "cat"}, "r.toml")
    assert recipe == Recipe(model="fast", lr=(1.0,), rotate=5.0, classes=("cat",))
    assert type(recipe.lr[0]) is type(recipe.rotate) is float


def test_file_and_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, 'model = "plain_cnn"\nepochs = 7\nmodel_options = { layers = 2 }\n')
    assert load_recipe(path).recipe.epochs == 7
    assert load_recipe(path).name == "r"
    changed = load_recipe(path, {"epochs": 9, "model_options.kernels": 4}).recipe
    assert changed.epochs == 9
    assert changed.model_options == {"layers": 2, "kernels": 4}
    whole = load_recipe(path, {"model_options": {"kernels": 4}}).recipe
    assert whole.model_options == {"kernels": 4}


def test_dotted_overrides_reach_into_tables_alone() -> None:
    recipe = Recipe(model="plain_cnn", model_options={"layers": 2})
    changed = overridden(recipe, {"model_options.layers": 4, "objective_options.knee": 5.0}, "set")
    assert changed.model_options == {"layers": 4} and changed.objective_options == {"knee": 5.0}
    assert recipe.model_options == {"layers": 2}  # the first stays as it was
    with pytest.raises(TrainingError, match=r"set: unknown key 'lr\.first'"):
        overridden(recipe, {"lr.first": 1.0}, "set")
    with pytest.raises(TrainingError, match="set: unknown key 'speed'; known: model"):
        overridden(recipe, {"speed": 1}, "set")


def test_values_typed_on_the_command_line() -> None:
    assert parse_value("3e-4") == 3e-4
    assert parse_value("true") is True
    assert parse_value("12") == 12
    assert parse_value("[1e-2, 1e-3]") == [1e-2, 1e-3]
    assert parse_value("huber") == "huber"
    assert parse_value("") == ""


@pytest.mark.parametrize("name", NAMES)
def test_plain_values_give_the_recipe_back(name: str) -> None:
    recipe = shipped(name)
    values = recipe_values(recipe)
    assert not any(isinstance(value, tuple) for value in values.values())
    assert make_recipe(values, "again") == recipe


# ------------------------------------------------------------------------------- finding recipes


def test_recipes_are_found_by_name_and_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(shipped_recipes()) == NAMES
    for name in ("S1a", "s1a", "S1A"):
        assert find_recipe(name) == shipped_recipes()["S1a"]
    assert load_recipe(find_recipe("s1a")).name == "S1a"
    path = write(tmp_path, 'model = "fast"')
    assert find_recipe(str(path)) == path
    monkeypatch.chdir(tmp_path)
    for wrong in ("S9", ".", "S9/recipe.toml"):
        with pytest.raises(TrainingError) as caught:
            find_recipe(wrong)
        assert str(caught.value) == (
            f"{wrong}: no such recipe file, and none of the recipes {', '.join(NAMES)}"
        )


def test_a_recipe_in_a_folder_bears_the_folders_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "recipe.toml").write_text('model = "fast"', encoding="utf-8")
    assert load_recipe(folder / "recipe.toml").name == "mine"
    monkeypatch.chdir(folder)
    assert load_recipe(Path("recipe.toml")).name == "mine"


# ---------------------------------------------------------------------------------------- grids


def test_combinations_have_unique_readable_names() -> None:
    runs = combinations({"model_options.layers": [1, 2], "lr": [0.1, 1e-4], "flip": [True]})
    assert runs == {
        "layers=1,lr=0.1,flip=True": {"model_options.layers": 1, "lr": 0.1, "flip": True},
        "layers=1,lr=0.0001,flip=True": {"model_options.layers": 1, "lr": 1e-4, "flip": True},
        "layers=2,lr=0.1,flip=True": {"model_options.layers": 2, "lr": 0.1, "flip": True},
        "layers=2,lr=0.0001,flip=True": {"model_options.layers": 2, "lr": 1e-4, "flip": True},
    }
    # as folder names they stay apart even where the keys' last parts are the same
    same = combinations({"model_options.temperature": [1, 2], "objective_options.temperature": [1]})
    assert list(same) == ["temperature=1,temperature=1", "temperature=2,temperature=1"]


GRIDS = {
    "S2": {
        "model_options.layers": [1, 2, 4],
        "model_options.kernels": [2, 4, 8],
        "lr": [0.0001, 0.001, 0.01, 0.1, 10.0],
    },
    "S3b": {"batch_size": [10, 50, 100, 200]},
    "S4a": {
        "model_options.variant": [1, 2, 3],
        "lr": [0.001, 0.0001, 0.00001],
        "epochs": [100, 300, 500],
    },
    "S4b": {
        "model_options.activation": ["relu", "sigmoid", "tanh"],
        "lr": [0.001, 0.0001, 0.00001],
        "epochs": [100, 300, 500],
    },
}


@pytest.mark.parametrize(("name", "runs"), [("S2", 45), ("S3b", 4), ("S4a", 27), ("S4b", 27)])
def test_grids_of_the_documents(name: str, runs: int) -> None:
    file = load_recipe(find_recipe(name))
    assert file.grid == GRIDS[name]
    combined = combinations(file.grid)
    assert len(combined) == runs
    recipes = [overridden(file.recipe, changes, run) for run, changes in combined.items()]
    assert all(one != other for i, one in enumerate(recipes) for other in recipes[:i])
    # they become folders
    assert all(re.fullmatch(r"[a-z_]+=[\w.-]+(,[a-z_]+=[\w.-]+)*", run) for run in combined)


def test_other_recipes_have_no_grid() -> None:
    grids = {name for name, path in shipped_recipes().items() if load_recipe(path).grid}
    assert grids == set(GRIDS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("alexnet_cache")
def test_every_shipped_configuration_fits_its_model_and_objective(name: str) -> None:
    file = load_recipe(find_recipe(name))
    assert file.name == name and file.title and file.document
    settings = {
        "itself": file.recipe,
        **{k: overridden(file.recipe, v, k) for k, v in file.variants.items()},
        **{k: overridden(file.recipe, v, k) for k, v in combinations(file.grid).items()},
    }
    if not file.grid:
        del settings[""]  # the empty grid's one combination
    seen = []
    for recipe in settings.values():
        key = (recipe.model, recipe.model_options, recipe.objective, recipe.objective_options)
        if key not in seen and recipe.model not in HEAVY:
            seen.append(key)
            create_objective(
                recipe.objective,
                create_model(recipe.model, **recipe.model_options),
                recipe.objective_options,
            )


# ------------------------------------------------------- what the documents set, pinned by hand


def test_s0() -> None:
    r = shipped("S0")
    assert (r.model, r.model_options, r.objective) == ("skip_cnn", {"dropout": 0.3}, "rgb_mse")
    assert (r.data, r.limit, r.repeat_augmented, r.min_chroma, r.epoch_size) == (
        ("cifar10",),
        0,
        1,
        0.0,
        0,
    )
    assert r.test_part == "split"  # all 60,000 are cut, CIFAR's own test part too
    assert r.split == (0.8, 0.1, 0.1)
    parts = split_names([str(i) for i in range(60_000)], (0.8, 0.1, 0.1), r.seed)
    assert [len(part) for part in parts] == [48_000, 6_000, 6_000]
    assert (r.size, r.fit) == (64, "stretch")
    assert r.flip and r.rotate > 0 and r.min_scale == 1  # flips and rotations, no crops
    assert (r.optimizer, r.lr, r.weight_decay) == ("adam", (0.001,), (0.0001,))
    assert r.schedule == "constant"
    assert (r.batch_size, r.epochs, r.monitor, r.patience) == (16, 30, "loss", 5)


@pytest.mark.parametrize(("name", "model"), [("S1a", "eccv16"), ("S1b", "cunet")])
def test_s1(name: str, model: str) -> None:
    r = shipped(name)
    assert (r.model, r.size, r.batch_size, r.optimizer) == (model, 256, 32, "adam")
    assert r.schedule == "plateau"
    assert r.lr == (0.001, 0.0002, 0.0001)
    assert (r.weight_decay[0], r.weight_decay[-1]) == (0.0001, 0.00001)
    assert r.epochs == 300 and r.monitor == "loss"
    file = load_recipe(find_recipe(name))
    tenth = overridden(r, file.variants["cut-to-a-tenth"], name)
    assert tenth.lr[0] == 0.01
    assert all(a / b == pytest.approx(10) for a, b in zip(tenth.lr, tenth.lr[1:], strict=False))


def test_s1a_as_classification() -> None:
    file = load_recipe(find_recipe("S1a"))
    r = overridden(file.recipe, file.variants["gamut-bins"], "S1a")
    assert r.objective == "gamut_bins" and r.model_options == {"temperature": 0.38}


def test_s2() -> None:
    file = load_recipe(find_recipe("S2"))
    r = file.recipe
    assert (r.model, r.model_options) == ("plain_cnn", {"layers": 2, "kernels": 16})
    assert (r.objective, r.limit) == ("rgb_mse", 5001)
    assert (r.optimizer, r.momentum, r.lr, r.weight_decay) == ("sgd", 0.0, (0.1,), (0.0,))
    assert (r.batch_size, r.epochs, r.patience, r.monitor) == (16, 100, 5, "margin_error")
    assert (r.flip, r.rotate, r.min_scale, r.repeat_augmented) == (False, 0.0, 1.0, 1)
    assert file.reported["validation_margin_error"] == 0.2290
    assert file.reported["validation_loss"] == 0.008407
    assert file.reported["train_loss"] == 0.008325
    assert file.estimations == 100
    changed = {k: overridden(r, v, k) for k, v in file.variants.items()}
    found = {k: (v.model_options, v.weight_decay) for k, v in changed.items()}
    eight, four = {"layers": 2, "kernels": 8}, {"layers": 4, "kernels": 4}
    normed = {**eight, "batch_norm": True}
    decays, rates = (0.1, 0.01, 0.001, 0.0001), (0.2, 0.3, 0.4, 0.5)
    assert found == {
        "eight-kernels": (eight, (0.0,)),
        "batch-norm": (normed, (0.0,)),
        **{f"batch-norm-lr-{rate}": (normed, (0.0,)) for rate in rates},
        **{f"batch-norm-decay-{decay}": (normed, (decay,)) for decay in decays},
        "tanh": ({**eight, "tanh": True}, (0.0,)),
        "sixteen-kernels": ({"layers": 2, "kernels": 16}, (0.0,)),
        **{f"four-layers-decay-{decay}": (four, (decay,)) for decay in decays},
    }
    assert [changed[f"batch-norm-lr-{rate}"].lr for rate in rates] == [(rate,) for rate in rates]


@pytest.mark.parametrize(
    ("name", "model", "loss", "accuracy"),
    [("S3a", "pool_cnn", 1.598, 0.409), ("S3b", "pool_unet", 1.383, 0.485)],
)
def test_s3a_and_s3b(name: str, model: str, loss: float, accuracy: float) -> None:
    file = load_recipe(find_recipe(name))
    r = file.recipe
    assert (r.model, r.model_options["colors"], r.objective) == (model, 24, "color_classes")
    assert (r.size, r.batch_size, r.epochs, r.patience) == (32, 100, 25, 0)
    assert file.reported == {"validation_loss": loss, "validation_accuracy": accuracy}
    # "exactly same parameters": the two differ in the model alone
    assert overridden(r, {"model": "pool_cnn"}, name) == shipped("S3a")


def test_s3c() -> None:
    file = load_recipe(find_recipe("S3c"))
    r = file.recipe
    assert (r.model, r.objective, r.freeze) == ("deeplabv3", "color_classes", "backbone")
    assert r.encoder == "torchvision" and r.model_options == {"colors": 24}
    assert overridden(r, file.variants["whole-net"], "S3c").freeze == ""


@pytest.mark.parametrize("name", ["S4a", "S4b"])
def test_s4(name: str) -> None:
    file = load_recipe(find_recipe(name))
    r = file.recipe
    assert r.split == (0.8, 0.1, 0.1) and r.test_part == "split"
    assert (r.size, r.repeat_augmented, r.flip) == (128, 10, True) and r.min_scale < 1
    assert (r.optimizer, r.weight_decay, r.epochs, r.patience) == ("adam", (0.00001,), 500, 0)
    transfer = overridden(r, file.variants["transfer"], name)
    assert (transfer.lr, transfer.epochs) == ((0.001,), 1000)


def test_s4a() -> None:
    file = load_recipe(find_recipe("S4a"))
    r = file.recipe
    assert (r.model, r.objective, r.lr) == ("mean_chroma_cnn", "mean_chroma", (0.00001,))
    assert r.model_options == {"variant": 2, "activation": "relu"} and r.monitor == "loss"
    assert file.reported["test_mse_a"] == 6.2262e-05 and file.reported["test_mse_b"] == 0.000172
    connected = overridden(r, file.variants["fully-connected"], "S4a")
    assert (connected.model, connected.lr, connected.epochs) == ("mean_chroma_fc", (1e-5,), 100)
    tanh = overridden(r, file.variants["tanh"], "S4a")
    assert tanh.model_options == {"variant": 2, "activation": "tanh"}


def test_s4b() -> None:
    file = load_recipe(find_recipe("S4b"))
    r = file.recipe
    assert (r.model, r.objective, r.lr) == ("autoencoder", "lab8_mse", (0.001,))
    assert r.model_options == {"activation": "tanh"} and r.monitor.startswith("psnr")
    assert (file.reported["test_psnr_a"], file.reported["test_psnr_b"]) == (36.5217, 34.1997)
    assert (file.reported["test_mse_a"], file.reported["test_mse_b"]) == (0.000222, 0.000380)


def test_written_recipes_load_again(tmp_path: Path) -> None:
    for name, path in shipped_recipes().items():
        file = load_recipe(path, {"epochs": 7, "data": ["a b.zip", "ü"]})
        write_recipe(file, tmp_path / name / "recipe.toml")
        again = load_recipe(tmp_path / name / "recipe.toml")
        assert again.recipe == file.recipe
        assert (again.name, again.title, again.reported) == (name, file.title, file.reported)
        assert again.changed == file.changed == {"epochs": 7, "data": ["a b.zip", "ü"]}


def test_values_as_people_type_them() -> None:
    assert parse_value("True") is True and parse_value("false") is False
    assert parse_value("[cat, dog]") == ["cat", "dog"]
    assert parse_value("[1e-3, 1e-4]") == [1e-3, 1e-4]
    assert parse_value("horse") == "horse"
