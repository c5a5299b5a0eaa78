"""What is wrong with stills is found before hours of work."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.command_line import Vidcolor
from tests.helpers.shot_folders import chroma_of, lightness_of, paint, read_picture, write_folder
from tests.helpers.tiny_encoder import scene
from vidcolor.color.convert import lab_to_rgb
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.references.shot_list import LIST, Shot, read_shots
from vidcolor.shots.check import Finding, check_shots

SHOTS = [Shot(1, 0, 9, setup=1), Shot(2, 10, 19, setup=2), Shot(3, 20, 29, setup=1)]


@pytest.fixture(scope="module")
def frames() -> list[Tensor]:
    one, two = (_large(seed, hue) for seed, hue in ((1, 0.5), (2, 3.0)))
    return [one] * 10 + [two] * 10 + [one] * 10


def _large(seed: int, hue: float) -> Tensor:
    """A scene of coarse texture, as a picture of things has it."""
    rgb = scene(seed, hue, 96, 128)
    return torch.nn.functional.interpolate(rgb, (192, 256), mode="bilinear")


@pytest.fixture
def folder(tmp_path: Path, frames: list[Tensor]) -> Path:
    """All stills in color, as the film has them."""
    write_folder(tmp_path / "shots", frames, SHOTS, stills=(4, 14, 24))
    for number in (4, 14, 24):
        paint(tmp_path / "shots", number, frames[number])
    return tmp_path / "shots"


def check(folder: Path) -> list[Finding]:
    return check_shots(read_shots(folder), Colorizer("fast", device="cpu", precision="fp32"))


def kinds(folder: Path) -> list[tuple[str, int]]:
    return [(each.kind, each.shot) for each in check(folder)]


def test_good_stills(folder: Path) -> None:
    assert check(folder) == []


def test_a_shot_needs_a_still_of_its_setup(folder: Path, frames: list[Tensor]) -> None:
    for number in (14, 24):
        gray = lightness_of(frames[number])
        paint(folder, number, lab_to_rgb(torch.cat([gray, torch.zeros_like(gray)] * 2, 1)[:, :3]))
    paint(
        folder,
        14,
        lab_to_rgb(torch.cat([lightness_of(frames[14]), torch.zeros(1, 2, 192, 256)], 1)),
    )
    paint(
        folder,
        24,
        lab_to_rgb(torch.cat([lightness_of(frames[24]), torch.zeros(1, 2, 192, 256)], 1)),
    )
    (found,) = check(folder)
    assert (found.kind, found.shot, found.still) == ("missing", 2, "")
    assert "color shot_0001_000014.png" in found.text
    text = (folder / LIST).read_text()
    (folder / LIST).write_text(text.replace("number = 2\n", "number = 2\nskip = true\n"))
    assert check(folder) == []


def test_a_shifted_still(folder: Path) -> None:
    (path,) = folder.glob("*_000014.png")
    matrix = np.array([[1.02, 0, 3], [0, 1.02, 0]])
    moved = cv2.warpAffine(read_picture(path), matrix, (256, 192), borderMode=cv2.BORDER_REPLICATE)
    cv2.imwrite(str(path), moved)
    (found,) = check(folder)
    assert (found.kind, found.shot, found.still) == ("shifted", 2, path.name)
    # the right edge: 2 % of 256 and 3, and 4 down
    assert "by up to 9 pixels" in found.text


def test_a_redrawn_still(folder: Path) -> None:
    (path,) = folder.glob("*_000014.png")
    pixels = read_picture(path)
    cv2.imwrite(str(path), (pixels * 0.7).astype(np.uint8))  # darker is not redrawn
    assert check(folder) == []
    pixels[60:150, 60:150] = 255 - pixels[60:150, 60:150]
    cv2.imwrite(str(path), pixels)
    assert ("redrawn", 2) in kinds(folder)


def test_a_still_that_is_gray_in_parts(folder: Path, frames: list[Tensor]) -> None:
    mask = torch.rand(8, 8, generator=torch.Generator().manual_seed(2)) > 0.3
    mask = mask.repeat_interleave(24, 0).repeat_interleave(32, 1)
    lab = torch.cat([lightness_of(frames[14]), chroma_of(frames[14]) * mask], dim=1)
    paint(folder, 14, lab_to_rgb(lab))
    (found,) = check(folder)
    assert (found.kind, found.shot) == ("gray", 2)


def test_stills_that_disagree(folder: Path, frames: list[Tensor]) -> None:
    lab = torch.cat([lightness_of(frames[24]), chroma_of(frames[24]) * -1], dim=1)
    paint(folder, 24, lab_to_rgb(lab))
    (found,) = check(folder)
    assert (found.kind, found.shot) == ("disagreeing", 3)
    assert "disagrees with shot_0001_000004.png" in found.text


def test_the_command(folder: Path, command: Vidcolor) -> None:
    answer = command("check", folder, "--device", "cpu")
    assert answer.code == 0 and "3 shots, nothing to correct" in answer.out
    (path,) = folder.glob("*_000014.png")
    path.unlink()
    answer = command("check", folder, "--device", "cpu")
    assert answer.code == 1 and answer.out.startswith("shot 2 (frames 10 to 19): no still")
    answer = command("check", folder, "--device", "cpu", "--json")
    assert answer.code == 1
    (found,) = json.loads(answer.out)["findings"]
    assert (found["kind"], found["shot"], found["still"]) == ("missing", 2, "")
    (folder / LIST).write_text("[[shot]\n")
    answer = command("check", folder, "--device", "cpu")
    assert answer.code == 1 and "shots.toml: is not TOML" in answer.err
    answer = command("check", folder / "none", "--device", "cpu")
    assert answer.code == 1 and "is no folder of shots" in answer.err
