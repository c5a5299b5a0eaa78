"""Colored stills: which are found, where they lie, and for which frames they count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.shot_folders import (
    chroma_of,
    distance,
    gray_of,
    lightness_of,
    moving,
    paint,
    read_picture,
    write_folder,
)
from tests.helpers.tiny_encoder import scene
from vidcolor.color.convert import lab_to_rgb
from vidcolor.errors import InputError
from vidcolor.frames import LumaBatch
from vidcolor.models.weights import load_model, save_weights
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.references.shot_list import GRAYS, LIST, Shot
from vidcolor.run.references.stills import frame_of

TWO = (Shot(1, 0, 9), Shot(2, 10, 19))


def colorizer(folder: Path, **options: object) -> Colorizer:
    return Colorizer("_tiny", device="cpu", size=96, shots=folder, **options)


def color(model: Colorizer, frames: Sequence[Tensor], numbers: Sequence[int]) -> Tensor:
    """a*b* of frames by their numbers."""
    assert model.shots is not None
    luma = torch.from_numpy(np.stack([gray_of(frames[i]) for i in numbers]))[:, None]
    shots = tuple(model.shots.index(i) for i in numbers)
    times = tuple(numbers)
    return model(LumaBatch(luma, 8, True, times, times, shots=shots, numbers=times))


def toned(rgb: Tensor, ab: tuple[float, float]) -> Tensor:
    """A picture of one color, with its own lightness."""
    tone = torch.tensor(ab).view(1, 2, 1, 1).expand(-1, -1, *rgb.shape[-2:])
    return lab_to_rgb(torch.cat([lightness_of(rgb), tone], dim=1))


def mean(ab: Tensor) -> list[float]:
    return [round(v, 1) for v in ab.mean(dim=(2, 3)).flatten().tolist()]


def test_a_still_colors_its_shot_and_no_other(tmp_path: Path) -> None:
    frames = moving(10, 1, hue=0.5) + moving(10, 2, hue=3.0)
    write_folder(tmp_path, frames, TWO, stills=(3, 14))
    plain = color(colorizer(tmp_path), frames, (3, 14))
    paint(tmp_path, 3, frames[3])
    ab = color(colorizer(tmp_path), frames, (3, 14))
    assert (
        distance(ab[:1], chroma_of(frames[3])) < 4 < 15 < distance(plain[:1], chroma_of(frames[3]))
    )
    assert torch.equal(ab[1:], plain[1:])  # its still is gray, so it is not one


def test_between_two_stills_time_decides(tmp_path: Path) -> None:
    frames = moving(1, 1, hue=0.5) * 20
    write_folder(tmp_path, frames, [Shot(1, 0, 19)], stills=(4, 14))
    paint(tmp_path, 4, toned(frames[4], (20.0, 10.0)))
    paint(tmp_path, 14, toned(frames[14], (-20.0, 10.0)))
    ab = color(colorizer(tmp_path), frames, (0, 4, 9, 14, 19)).mean(dim=(2, 3))
    wanted = torch.tensor([[20.0, 10], [19.2, 10], [0, 10], [-19.2, 10], [-20, 10]])
    assert torch.allclose(ab, wanted, atol=2)
    steps = color(colorizer(tmp_path), frames, tuple(range(20))).mean(dim=(2, 3))[:, 0].diff()
    assert steps.max() < 0.1 and steps.min() > -6  # no jump at a still


def test_likeness_decides_where_time_does_not(tmp_path: Path) -> None:
    one, two = moving(1, 1, hue=0.5), moving(1, 2, hue=3.6)
    frames = one * 10 + two * 10  # the view changes within the shot
    write_folder(tmp_path, frames, [Shot(1, 0, 19)], stills=(0, 19))
    paint(tmp_path, 0, frames[0])
    paint(tmp_path, 19, frames[19])
    ab = color(colorizer(tmp_path), frames, (9, 10))
    assert distance(ab[:1], chroma_of(frames[9])) < 4
    assert distance(ab[1:], chroma_of(frames[10])) < 4


@pytest.mark.parametrize("setup", [5, None])
def test_shots_of_one_setup_lend_stills(tmp_path: Path, setup: int | None) -> None:
    frames = moving(1, 1, hue=0.5) * 20
    write_folder(
        tmp_path, frames, [Shot(1, 0, 9, setup=setup), Shot(2, 10, 19, setup=setup)], stills=(3, 12)
    )
    paint(tmp_path, 3, frames[3])
    lent = distance(color(colorizer(tmp_path), frames, (15,)), chroma_of(frames[15]))
    assert lent < 4 if setup else lent > 15
    paint(tmp_path, 12, toned(frames[12], (-15.0, -15.0)))  # its own still counts more
    own = mean(color(colorizer(tmp_path), frames, (15,)))
    assert own == pytest.approx([-15, -15], abs=3)


def test_a_shot_has_settings_of_its_own(tmp_path: Path) -> None:
    frames = moving(1, 1, hue=0.5) * 40
    shots = [
        Shot(1, 0, 9),
        Shot(2, 10, 19, saturation=0.5),
        Shot(3, 20, 29, skip=True),
        Shot(4, 30, 39, strength=0.0),
    ]
    write_folder(tmp_path, frames, shots, stills=(3, 13, 23, 33))
    text = (tmp_path / LIST).read_text()
    for shot, line in ((2, "saturation = 0.5"), (3, "skip = true"), (4, "strength = 0")):
        text = text.replace(f"number = {shot}\n", f"number = {shot}\n{line}\n")
    (tmp_path / LIST).write_text(text)
    for frame in (3, 13, 23, 33):
        paint(tmp_path, frame, toned(frames[0], (20.0, -10.0)))
    found = color(colorizer(tmp_path), frames, (5, 15, 25, 35))
    values = found.mean(dim=(2, 3)).tolist()
    assert values[0] == pytest.approx([20, -10], abs=1)
    assert values[1] == pytest.approx([10, -5], abs=0.5)
    assert not found[2].any()
    assert values[3] == pytest.approx([3, -2], abs=0.01)  # the model's own
    halved = color(colorizer(tmp_path, reference_strength=0.5), frames, (5,))
    assert mean(halved) == pytest.approx([11.5, -6], abs=1)


def test_another_model_for_a_shot(tmp_path: Path) -> None:
    frames = moving(1, 1, hue=0.5) * 20
    write_folder(tmp_path, frames, TWO, stills=(3,))
    text = (tmp_path / LIST).read_text().replace("number = 2\n", 'number = 2\nmodel = "fast"\n')
    (tmp_path / LIST).write_text(text)
    with pytest.raises(
        Exception, match="the model 'fast' cannot color single shots beside '_tiny'"
    ):
        colorizer(tmp_path)
    mixed = Colorizer("fast", device="cpu", size=96, precision="fp32", shots=tmp_path)
    assert not mixed.others  # the run's own


def test_each_shot_gets_its_model(tmp_path: Path) -> None:
    frames = moving(1, 1, hue=0.5) * 20
    write_folder(tmp_path, frames, TWO, stills=(3,))
    alone = {}
    for name in ("fast", "best"):
        model = Colorizer(name, device="cpu", size=96, precision="fp32", shots=tmp_path)
        alone[name] = color(model, frames, (5, 15))
    text = (tmp_path / LIST).read_text().replace("number = 2\n", 'number = 2\nmodel = "best"\n')
    (tmp_path / LIST).write_text(text)
    mixed = Colorizer("fast", device="cpu", size=96, precision="fp32", shots=tmp_path)
    ab = color(mixed, frames, (5, 15, 6))
    assert torch.allclose(ab[0], alone["fast"][0], atol=0.01)
    assert torch.allclose(ab[1], alone["best"][1], atol=0.01)
    assert torch.allclose(ab[2], ab[0], atol=0.01)
    assert not torch.allclose(alone["fast"], alone["best"], atol=1)
    assert mixed.gmacs > Colorizer("fast", device="cpu", size=96).gmacs


def test_a_shot_can_keep_the_shipped_weights(tmp_path: Path) -> None:
    frames = moving(1, 1, hue=0.5) * 20
    write_folder(tmp_path, frames, TWO, stills=(3,))
    network, entry = load_model("fast")
    weights = network.state_dict()
    weights["head.weight"] *= 0.5
    own = tmp_path / "own.safetensors"
    save_weights(own, weights, replace(entry, file="", sha256=""), torch.float32)

    def colors(**changes: object) -> Tensor:
        model = Colorizer(None, device="cpu", size=96, precision="fp32", shots=tmp_path, **changes)
        return color(model, frames, (5, 15))

    shipped, others = colors(model="fast"), colors(weights=str(own))
    text = (tmp_path / LIST).read_text().replace("number = 2\n", 'number = 2\nmodel = "fast"\n')
    (tmp_path / LIST).write_text(text)
    mixed = colors(weights=str(own))
    assert torch.allclose(mixed[0], others[0], atol=0.01)
    assert torch.allclose(mixed[1], shipped[1], atol=0.01)
    assert not torch.allclose(shipped, others, atol=0.5)


def test_a_moved_and_darker_still_gives_nearly_the_same_colors(tmp_path: Path) -> None:
    frames = moving(10, 1, hue=0.5)
    write_folder(tmp_path, frames, [Shot(1, 0, 9)], stills=(3,))
    path = paint(tmp_path, 3, frames[3])
    good = color(colorizer(tmp_path), frames, (3, 5))
    pixels = read_picture(path).astype(np.float32) * 0.8
    matrix = np.array([[1.04, 0, 4], [0, 1.04, -3]])
    moved = cv2.warpAffine(pixels, matrix, (96, 96), borderMode=cv2.BORDER_REPLICATE)
    cv2.imwrite(str(path), cv2.resize(moved, (192, 192)))
    again = color(colorizer(tmp_path), frames, (3, 5))
    assert distance(again, good) < 2.5
    (tmp_path / GRAYS / "shot_0001_000003.png").unlink()  # no frame to lay it on
    assert distance(color(colorizer(tmp_path), frames, (3, 5)), good) > 2 * distance(again, good)


def test_names_of_stills(tmp_path: Path) -> None:
    assert frame_of(Path("shot_0012_000340.png")) == 340
    assert frame_of(Path("shot_0012_000340 copy.JPG")) == 340
    assert frame_of(Path("shot_12_1234567_v2.tif")) == 1234567
    for name in ("shot_0012.png", "sheet.png", "shot_0012_000340.txt", ".shot_0001_000002.png"):
        assert frame_of(Path(name)) is None
    frames = moving(1, 1, hue=0.5) * 20
    write_folder(tmp_path, frames, TWO, stills=(3,))
    first = paint(tmp_path, 3, frames[3])
    assert len(colorizer(tmp_path).references.pictures) == 1
    # a gray one beside it is no rival, a second in color is
    cv2.imwrite(str(tmp_path / "shot_0001_000003 gray.png"), gray_of(frames[3]))
    assert len(colorizer(tmp_path).references.pictures) == 1
    first.with_name("shot_0001_000003 b.png").write_bytes(first.read_bytes())
    with pytest.raises(InputError, match="is a colored still of the same frame; keep one"):
        colorizer(tmp_path)
    (tmp_path / "shot_0001_000003 b.png").rename(tmp_path / "shot_0001_000020.png")
    with pytest.raises(InputError, match="the film has no frame 20, its last is 19"):
        colorizer(tmp_path)


def test_shots_and_references_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        Colorizer("_tiny", device="cpu", shots=tmp_path, references="a.png")


def test_a_still_of_another_scene_changes_the_digest(tmp_path: Path) -> None:
    frames = moving(1, 1, hue=0.5) * 20
    write_folder(tmp_path, frames, TWO, stills=(3,))
    digests = [colorizer(tmp_path).references.digest()]
    path = paint(tmp_path, 3, frames[3])
    digests.append(colorizer(tmp_path).references.digest())
    path.rename(path.with_name("shot_0001_000013.png"))
    digests.append(colorizer(tmp_path).references.digest())
    path.with_name("shot_0001_000013.png").unlink()
    cv2.imwrite(str(path), (scene(1, 0.9)[0].permute(1, 2, 0) * 255).numpy())
    digests.append(colorizer(tmp_path).references.digest())
    digests.append(colorizer(tmp_path, reference_gray="keep").references.digest())
    assert len(set(digests)) == 5
    assert colorizer(tmp_path).references.digest() == digests[3]
