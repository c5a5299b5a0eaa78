"""Weights that are adapted to the stills of a film."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.shot_folders import moving, paint, write_folder, write_gray_film
from vidcolor import Colorizer, colorize
from vidcolor.color.convert import lab_to_rgb, rgb_to_lab
from vidcolor.errors import InputError
from vidcolor.models.weights import load_model, read_entry
from vidcolor.run.references.shot_list import Shot
from vidcolor.training.adapt import adapt
from vidcolor.training.options import AdaptOptions


def make_folder(path: Path, stills: int = 4) -> Path:
    """Shots of two frames, a still of each, `stills` of which are colored."""
    scenes = [moving(2, seed, 0.2 * seed) for seed in range(4)]
    frames = [frame for scene in scenes for frame in scene]
    write_gray_film(path.with_name("film.mkv"), frames)
    shots = [Shot(number=n + 1, first=2 * n, last=2 * n + 1) for n in range(4)]
    write_folder(path, frames, shots, [0, 2, 4, 6])
    for n in range(stills):
        paint(path, 2 * n, frames[2 * n])
    return path


@pytest.mark.slow
def test_the_decoder_learns_the_stills(tmp_path: Path) -> None:
    folder, output = make_folder(tmp_path / "shots"), tmp_path / "film.safetensors"
    colorizer = Colorizer("fast", device="cpu", size=64, shots=folder, precision="fp32")
    made = adapt(colorizer, output, AdaptOptions(steps=15))
    assert made.stills == 4 and made.after < 0.9 * made.before
    before, after = load_model("fast")[0].state_dict(), load_model(file=output)[0].state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("encoder.")} <= same
    assert any(name not in same for name in before)
    entry = read_entry(output)
    assert entry is not None and entry.architecture == "fast" and "4 stills" in entry.recipe
    fitted = Colorizer(weights=output, device="cpu", size=64, shots=folder)
    (report,) = colorize(tmp_path / "film.mkv", tmp_path / "o.mkv", colorizer=fitted)
    assert report.status == "done", report.error
    again = tmp_path / "again.safetensors"
    adapt(colorizer, again, AdaptOptions(steps=15))
    assert again.read_bytes() == output.read_bytes()


@pytest.mark.slow
def test_the_penalty_keeps_the_weights(tmp_path: Path) -> None:
    colorizer = Colorizer("fast", device="cpu", size=64, shots=make_folder(tmp_path / "shots"))
    first = load_model("fast")[0].state_dict()

    def way(penalty: float) -> float:
        path = tmp_path / f"{penalty}.safetensors"
        adapt(colorizer, path, AdaptOptions(steps=10, weight_penalty=penalty))
        found = load_model(file=path)[0].state_dict()
        return sum(float((found[name] - first[name]).square().sum()) for name in first)

    assert way(1000.0) < 0.5 * way(0.0)


def test_weights_that_do_harm_are_not_taken(tmp_path: Path) -> None:
    colorizer = Colorizer("fast", device="cpu", size=64, shots=make_folder(tmp_path / "shots"))
    made = adapt(colorizer, tmp_path / "film.safetensors", AdaptOptions(steps=4, rate=0.1))
    assert made.gain < 0 and not made.changed and made.harmed == (1, 2, 3, 4)
    first = load_model("fast")[0].state_dict()
    after = load_model(file=made.output)[0].state_dict()
    assert all(torch.equal(after[name], first[name]) for name in first)


def test_the_shot_whose_colors_do_not_hold_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "shots", stills=3)
    lab = rgb_to_lab(moving(2, 3, 0.6)[0])
    lab[:, 1], lab[:, 2] = 50, 0
    lab[:, 1, :, 32:] = -50  # nothing in the picture tells red from green
    paint(folder, 6, lab_to_rgb(lab))
    colorizer = Colorizer("fast", device="cpu", size=64, shots=folder, precision="fp32")
    made = adapt(colorizer, tmp_path / "film.safetensors", AdaptOptions(steps=15))
    assert made.changed and made.harmed == (4,) and made.gain > 5


def test_layers_that_see_the_whole_picture_stay(tmp_path: Path) -> None:
    colorizer = Colorizer("fast", device="cpu", size=64, shots=make_folder(tmp_path / "shots"))
    output = tmp_path / "film.safetensors"
    assert adapt(colorizer, output, AdaptOptions(steps=4)).gain > 0
    first, after = load_model("fast")[0].state_dict(), load_model(file=output)[0].state_dict()
    same = {name for name in first if torch.equal(first[name], after[name])}
    assert {name for name in first if "context." in name} <= same
    assert "head.weight" not in same


def test_too_few_stills(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "shots", stills=3)
    colorizer = Colorizer("fast", device="cpu", size=64, shots=folder)
    with pytest.raises(InputError, match="3 stills are colored"):
        adapt(colorizer, tmp_path / "film.safetensors")
    assert not (tmp_path / "film.safetensors").exists()
