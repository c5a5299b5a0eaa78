"""`vidcolor train` to `vidcolor run` and `vidcolor eval`, as a user types them."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import av
import pytest

from tests.helpers.clips import encode, frames
from tests.helpers.command_line import Vidcolor
from tests.training.conftest import write_picture
from vidcolor.models.weights import load_model, manifest
from vidcolor.training.recipe_file import shipped_recipes

# what makes each recipe tiny; the fully connected net of S4a is a variant and too large for a test
TINY = {
    "best": ("size=64", "batch_size=2", "epoch_size=4", "input_size=64", "model_options.width=64"),
    "fast": ("size=64", "batch_size=2", "epoch_size=4", "input_size=64", "warmup=1"),
    "fine_tune": ("size=64", "batch_size=2", "epoch_size=4", "input_size=64"),
    "S0": ("size=16", "batch_size=4"),
    "S1a": ("size=32", "batch_size=2", "limit=2"),
    "S1b": ("size=32", "batch_size=2", "model_options.width=4"),
    "S2": ("size=16", "test_part=split", "split=[0.6,0.2,0.2]"),
    "S3a": ("size=16", "test_part=split", "split=[0.6,0.2,0.2]", "model_options.filters=4"),
    "S3b": ("size=16", "test_part=split", "split=[0.6,0.2,0.2]", "model_options.filters=4"),
    "S3c": ("size=32", "test_part=split", "split=[0.6,0.2,0.2]", "batch_size=2", "encoder="),
    "S4a": ("repeat_augmented=2",),
    "S4b": ("size=32", "repeat_augmented=2", "batch_size=4"),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(20):
        write_picture(folder / f"{seed:02d}.png", seed, side=40)
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    return encode(path, "ffv1", "gray", frames(2)).path


def test_every_recipe_is_tried_here() -> None:
    assert TINY.keys() == shipped_recipes().keys()


@pytest.mark.usefixtures("alexnet_cache")
@pytest.mark.parametrize("name", TINY)
def test_every_recipe_trains_and_its_weights_run(
    command: Vidcolor, tmp_path: Path, pictures: Path, film: Path, name: str
) -> None:
    changes = [part for change in TINY[name] for part in ("--set", change)]
    output = tmp_path / "out"
    common = ("--data", pictures, "--epochs", "1", "--workers", "0", "--device", "cpu")
    answer = command("train", "--recipe", name.lower(), *common, "-o", output, *changes)
    assert answer.code == 0, answer.err
    assert "finished after 1 epochs" in answer.out and "half chroma" in answer.out
    weights = output / "weights.safetensors"
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert results["recipe"]["name"] == name
    assert results["command"].startswith(f"vidcolor train --recipe {name.lower()} --data")
    assert (output / "estimations_test.npy").exists() == (name == "S2")

    color = tmp_path / "color.mkv"
    answer = command("run", film, "--weights", weights, "--device", "cpu", "-o", color)
    assert answer.code == 0, answer.err
    with av.open(str(color)) as container:
        assert len(list(container.decode(video=0))) == 2


@pytest.mark.parametrize("lpips", [True, False], ids=["with AlexNet", "without"])
def test_a_folder_alone_fine_tunes_fast(
    command: Vidcolor,
    tmp_path: Path,
    pictures: Path,
    film: Path,
    alexnet_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    lpips: bool,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(alexnet_file.parents[2] if lpips else tmp_path))
    output = tmp_path / "out"
    short = ("--epochs", "1", "--set", "epoch_size=8", "--batch-size", "4", "--workers", "0")
    arguments = ("train", "--data", pictures, "--device", "cpu", "-o", output)
    answer = command(*arguments, *short)
    assert answer.code == 0, answer.err
    objective = "ab_perceptual" if lpips else "ab_huber"
    for part in (
        *("recipe:   fine_tune", "model:    fast, 4,9", "start:    the weights fast"),
        *("16 train, 2 validation, 2 test", f"loss:     {objective}", " thread"),
        *("steps:    2 at most (1 epochs) of 4 pictures", "epoch 0, the starting weights:"),
        *("epoch 1/1", " start "),
    ):
        assert part in answer.out, part
    assert ("LPIPS" in answer.out) == (not lpips)
    assert answer.out.index("steps:") < answer.out.index("epoch 0") < answer.out.index("epoch 1/1")

    shipped = manifest()["fast"]
    _, entry = load_model(file=output / "weights.safetensors")
    assert (entry.architecture, entry.recipe) == ("fast", "fine_tune")
    assert (entry.input_size, entry.chroma_gain) == (shipped.input_size, shipped.chroma_gain)
    color = tmp_path / "color.mkv"
    weights = output / "weights.safetensors"
    answer = command("run", film, "--weights", weights, "--device", "cpu", "-o", color)
    assert answer.code == 0, answer.err

    # going on needs nothing but the folder, and keeps what was changed
    answer = command("train", "-o", output, "--resume", "--epochs", "2", "--workers", "0")
    assert answer.code == 0, answer.err
    assert "start:    the checkpoint of epoch 1, step 2" in answer.out and "epoch 2/2" in answer.out
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert results["changed"]["batch_size"] == 4 and results["changed"]["epochs"] == 2
    assert results["recipe"]["objective"] == objective


def test_random_values_are_said(command: Vidcolor, tmp_path: Path, pictures: Path) -> None:
    changes = [part for change in TINY["fast"] for part in ("--set", change)]
    plain = ("--set", "objective=ab_huber", "--set", "objective_options={}", "--epochs", "1")
    answer = command(
        *("train", "--recipe", "fast", "--data", pictures, "-o", tmp_path / "out"),
        *("--workers", "0", "--device", "cpu", *plain, *changes),
    )
    assert answer.code == 0, answer.err
    assert "start:    random values, in the encoder too" in answer.out


def test_measures_of_the_own_picture_are_called_so(
    command: Vidcolor, tmp_path: Path, pictures: Path
) -> None:
    arguments = ("train", "--recipe", "S2", "--data", pictures, "--epochs", "1", "--device", "cpu")
    tiny = [part for change in TINY["S2"] for part in ("--set", change)]
    answer = command(*arguments, "-o", tmp_path / "out", *tiny)
    assert answer.code == 0, answer.err
    assert "over gray (own picture) " in answer.out
    assert "own picture, with its own lightness; at the end of its a*b* under the true L*" in (
        answer.out
    )


def test_a_piped_run_prints_lines_between_epochs(
    command: Vidcolor, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidcolor.cli.training_screen._LINE_SECONDS", 0.0)
    for name in ("_REPORT_SECONDS", "_FORECAST_SECONDS"):
        monkeypatch.setattr(f"vidcolor.training.pace.{name}", 0.0)
    arguments = ("train", "--recipe", "S2", "--data", pictures, "--epochs", "2", "--device", "cpu")
    tiny = [part for change in TINY["S2"] for part in ("--set", change)]
    answer = command(*arguments, "-o", tmp_path / "out", *tiny, "--batch-size", "2")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    (predicted,) = (line for line in lines if line.startswith("predicted: "))
    assert " at most, " in predicted and " GiB of memory (" in predicted
    (line,) = (line for line in lines if line.startswith("epoch 2/2  4 of 12 pictures"))
    assert re.search(r"train loss [\d.e-]+  [\d.]+ images/s  [\d.]+ s left$", line)


def test_cifar10_without_a_recipe_is_s0(command: Vidcolor, tmp_path: Path) -> None:
    picture = tmp_path / "picture.webp"
    with zipfile.ZipFile(tmp_path / "cifar10-00.zip", "w") as pack:
        for number in range(20):
            write_picture(picture, number, side=32)
            part = "test" if number % 4 == 0 else "train"
            pack.write(picture, f"{part}/{'cat' if number % 2 else 'dog'}/{number}.webp")
    output = tmp_path / "out"
    shrink = ("--set", "size=16", "--epochs", "1", "--set", "split=[0.6,0.2,0.2]")
    answer = command("train", "--data", "cifar10", "--data-root", tmp_path, "-o", output, *shrink)
    assert answer.code == 0, answer.err
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert results["recipe"]["name"] == "S0" and results["data"]["train"] == 12

    # going on from the end, with more epochs; where the pictures are and the rest is remembered
    answer = command("train", "--recipe", "S0", "-o", output, "--epochs", "2", "--resume")
    assert answer.code == 0, answer.err
    assert "epoch 2/2" in answer.out and "epoch 1/2" not in answer.out

    measure = ("eval", tmp_path, "--weights", output / "weights.safetensors", "--device", "cpu")
    answer = command(*measure, "--at", "64", "--json")
    assert json.loads(answer.out)["rows"][-1]["name"] == "skip_cnn"


def test_one_command_begins_and_goes_on(command: Vidcolor, tmp_path: Path, pictures: Path) -> None:
    arguments = (
        *("train", "--recipe", "S2", "--set", "size=16", "--set", "test_part=split"),
        *("--set", "split=[0.6,0.2,0.2]", "--data", pictures, "--device", "cpu"),
        *("--cache", tmp_path / "cache", "--threads", "1", "-o", tmp_path / "out"),
        "--resume-or-begin",
    )
    answer = command(*arguments, "--epochs", "1")
    assert answer.code == 0, answer.err
    assert "epoch 1/1" in answer.out
    answer = command(*arguments, "--epochs", "2")
    assert answer.code == 0, answer.err
    assert "epoch 2/2" in answer.out and "epoch 1/2" not in answer.out
    assert len(list((tmp_path / "cache").glob("*.pictures"))) == 3


def test_grid_resumes_and_prints_a_table(command: Vidcolor, tmp_path: Path, pictures: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'model = "plain_cnn"\nobjective = "rgb_mse"\nsize = 16\nfit = "stretch"\nepochs = 1\n'
        'optimizer = "sgd"\nsplit = [0.6, 0.2, 0.2]\n'
        '[grid]\n"model_options.kernels" = [2, 4]\nlr = [0.1, 1e20]\n'
        "[variants.two-epochs]\nepochs = 2\n",
        encoding="utf-8",
    )
    arguments = ("train", "--recipe", recipe, "--data", pictures, "-o", tmp_path / "out", "--grid")
    answer = command(*arguments, "--epochs", "2")
    assert answer.code == 0, answer.err
    assert "kernels=2,lr=0.1" in answer.out
    table = [line for line in answer.out.splitlines() if line.startswith("| ")]
    assert table[0].startswith("| kernels | lr | status |")
    assert any(line.startswith("| 4 | 1e+20 | diverged at lr 1e+20 |") for line in table)
    rows = json.loads((tmp_path / "out" / "grid" / "grid.json").read_text(encoding="utf-8"))
    assert [row["status"] for row in rows] == ["finished", "diverged"] * 2
    assert (tmp_path / "out" / "grid" / "grid.png").stat().st_size > 1000

    weights = tmp_path / "out" / "grid" / "kernels=4,lr=0.1" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    assert command(*arguments, "--epochs", "2").code == 0
    assert weights.stat().st_mtime_ns == before  # done runs are read, not trained again

    answer = command(*arguments[:-1], "--variants", "two-epochs", "--jobs", "2")
    assert answer.code == 0, answer.err
    assert (tmp_path / "out" / "variants" / "two-epochs" / "results.json").exists()
    answer = command(*arguments[:-1], "--variants", "none-such")
    assert answer.code == 2 and "no variant 'none-such'; it has: two-epochs" in answer.err


def test_what_cannot_be_trained_is_one_line(
    command: Vidcolor, tmp_path: Path, pictures: Path
) -> None:
    recipe = tmp_path / "bad.toml"
    recipe.write_text('model = "plain_cnn"\ncolor = 1\n', encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    gray = tmp_path / "gray"
    gray.mkdir()
    for seed in range(6):
        write_picture(gray / f"{seed}.png", seed, gray=True, side=16)
    s2 = ("--recipe", "S2", "--set", "test_part=split", "--set", "split=[0.6,0.2,0.2]")
    at_work = ("names no data", "empty", "near-gray", "resume", "learning rate 1e+20")
    for arguments, message in (
        (("--recipe", recipe, "--data", pictures), "unknown key 'color'"),
        (("--recipe", "S9"), "S9: no such recipe file"),
        (("--recipe", "S1b"), "names no data"),
        ((*s2, "--data", empty), "empty"),
        ((*s2, "--data", gray, "--set", "min_chroma=2"), "near-gray"),
        ((*s2, "--data", pictures, "--resume"), "resume"),
        (
            (*s2, "--data", pictures, "--set", "epochs=many"),
            "--set: recipe key 'epochs' must be",
        ),
        ((*s2, "--data", pictures, "--set", "model_options.depth=3"), "no option 'depth'"),
        ((*s2, "--data", pictures, "--lr", "1e20", "--set", "size=16"), "learning rate 1e+20"),
    ):
        answer = command("train", *arguments, "--device", "cpu", "-o", tmp_path / "out")
        assert answer.code == (1 if message in at_work else 2), message
        (line,) = [x for x in answer.err.splitlines() if x]
        assert line.startswith("error: ") and message in line, line


def test_recipes_are_listed(command: Vidcolor) -> None:
    answer = command("recipes")
    assert answer.code == 0
    for name in TINY:
        assert f" {name} " in answer.out
    assert "--grid: 45" in answer.out
    found = json.loads(command("recipes", "--json").out)
    assert found["S0"]["batch_size"] == 16 and "CIFAR-10" in found["S0"]["title"]
