"""Reference pictures: matching, strength, competition, what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.helpers.shots import TIME_BASE, batches, pan
from tests.helpers.tiny_encoder import Tiny, save, scene
from vidcolor.color.convert import lab_to_rgb, rgb_to_lab
from vidcolor.errors import InputError, WeightsError
from vidcolor.frames import LumaBatch
from vidcolor.motion.shots import mark_cuts
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.references.palette import MAX_PLACES, Palette, Reference, places_of
from vidcolor.run.references.references import find_references, read_references


def colorizer(*references: Path | str, **options: Any) -> Colorizer:
    return Colorizer("_tiny", device="cpu", size=96, references=references, **options)


def lab_of(rgb: Tensor) -> tuple[Tensor, Tensor]:
    lab = rgb_to_lab(rgb)
    return lab[:, :1], lab[:, 1:]


def distance(ab: Tensor, truth: Tensor) -> float:
    return float((ab - truth).square().sum(dim=1).sqrt().mean())


# ---------------------------------------------------------------- the pull


def test_the_reference_itself_gets_its_own_colors(tmp_path: Path) -> None:
    rgb = scene(1, hue=0.5)
    lightness, truth = lab_of(rgb)
    plain = distance(colorizer().predict_full_size(lightness), truth)
    path = save(tmp_path / "r.png", rgb)
    full = distance(colorizer(path).predict_full_size(lightness), truth)
    half = distance(colorizer(path, reference_strength=0.5).predict_full_size(lightness), truth)
    assert plain > 15
    assert full < 3
    assert full < half < plain and half == pytest.approx(plain / 2, rel=0.2)


def test_strength_0_is_the_plain_result(tmp_path: Path) -> None:
    path = save(tmp_path / "r.png", scene(1, hue=0.5))
    lightness, _ = lab_of(scene(1, hue=0.5))
    none = colorizer(path, reference_strength=0.0)
    assert torch.equal(none.predict_full_size(lightness), colorizer().predict_full_size(lightness))


def test_a_moved_frame_finds_its_colors_again(tmp_path: Path) -> None:
    large = scene(3, hue=2.0, height=96, width=160)
    path = save(tmp_path / "r.png", large[..., :96])
    lightness, truth = lab_of(large[..., 32:128])  # a third of it was not in the reference
    plain = distance(colorizer().predict_full_size(lightness), truth)
    assert distance(colorizer(path).predict_full_size(lightness), truth) < 0.6 * plain


def test_references_compete_by_likeness(tmp_path: Path) -> None:
    scenes = {"warm": scene(1, hue=0.5), "cold": scene(2, hue=3.6)}
    paths = [save(tmp_path / f"{name}.png", rgb) for name, rgb in scenes.items()]
    both, turned = colorizer(*paths), colorizer(*paths[::-1])
    for rgb in scenes.values():
        lightness, truth = lab_of(rgb)
        ab = both.predict_full_size(lightness)
        assert distance(ab, truth) < 3
        assert torch.allclose(turned.predict_full_size(lightness), ab, atol=0.05)


def palette_of(rgb: Tensor, count: int = 1) -> Palette:
    pixels = (rgb * 255).round().to(torch.uint8)
    opaque = torch.ones_like(pixels[:, :1], dtype=torch.bool)
    with torch.inference_mode():
        reference = Reference(Path("r.png"), pixels, opaque)
        return Palette([places_of(reference, describe, torch.device("cpu"))] * count)


def describe(lightness: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    features = Tiny().features(lightness)
    return Tiny().from_features(features), features


def test_a_place_unlike_all_others_keeps_its_own_color() -> None:
    palette = palette_of(scene(1, hue=0.5, height=48, width=48))
    # 36 places do not span the 48 channels of a stride: the last row is at right angles to all
    away = [torch.linalg.svd(keys.T)[2][-1] for keys in palette.keys.split(48)]
    features = {
        stride: (mean[:, 0] + spread[:, 0] * side).view(1, -1, 1, 1).expand(1, -1, 6, 6)
        for stride, mean, spread, side in zip(
            (8, 16), palette.key.means, palette.key.spreads, away, strict=True
        )
    }
    own = torch.full((1, 2, 12, 12), 7.0)
    assert torch.equal(palette.pull(own, features, [1.0], 1.0), own)
    near = {
        stride: (mean + spread * keys[:, :1]).view(1, -1, 1, 1).expand(1, -1, 6, 6)
        for stride, mean, spread, keys in zip(
            (8, 16), palette.key.means, palette.key.spreads, palette.keys.split(48), strict=True
        )
    }
    pulled = palette.pull(own, near, [1.0], 1.0)
    assert distance(pulled, palette.colors[0].view(1, 2, 1, 1)) < 1


def test_many_places_are_thinned_out_evenly() -> None:
    palette = palette_of(scene(1, hue=0.5, height=512, width=512), count=2)
    assert palette.keys.shape == (96, MAX_PLACES) and palette.colors.shape == (MAX_PLACES, 2)
    assert torch.allclose(palette.keys.norm(dim=0), torch.ones(MAX_PLACES), atol=1e-5)


def test_transparent_places_say_nothing(tmp_path: Path) -> None:
    rgb = scene(1, hue=0.5)
    rgba = np.full((96, 96, 4), 255, np.uint8)
    rgba[..., :3] = (rgb[0].permute(1, 2, 0) * 255).round().numpy()
    rgba[:, 48:, :3] = rgba[:, 48:, 2::-1]  # other colors, which nobody sees
    rgba[:, 48:, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    lightness, truth = lab_of(rgb)
    ab = colorizer(tmp_path / "a.png").predict_full_size(lightness)
    assert distance(ab[..., :40], truth[..., :40]) < 3
    rgba[..., 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: is wholly transparent"):
        colorizer(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(1, 1), (9, 700), (1300, 1100)])
def test_pictures_of_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    Image.new("RGB", (width, height), (200, 90, 60)).save(tmp_path / "r.png")
    ab = colorizer(tmp_path / "r.png").predict_full_size(lab_of(scene(1, hue=0.5))[0])
    assert ab.isfinite().all() and ab.shape == (1, 2, 96, 96)


def test_a_16_bit_picture_and_a_turned_one_give_the_same(tmp_path: Path) -> None:
    import cv2

    rgb = scene(1, hue=0.5, height=96, width=144)
    lightness, truth = lab_of(rgb)
    deep = (rgb[0].permute(1, 2, 0) * 65535).round().numpy().astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    pixels = (rgb[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown upright by a quarter turn clockwise
    Image.fromarray(np.rot90(pixels).copy()).save(tmp_path / "turned.png", exif=exif)
    for name in ("deep.png", "turned.png"):
        assert distance(colorizer(tmp_path / name).predict_full_size(lightness), truth) < 3, name


def test_a_frame_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    model = colorizer(save(tmp_path / "r.png", scene(1, hue=0.5)))
    luma = torch.cat([scene(seed, hue=1.0)[:, 1:2] for seed in range(1, 6)])
    batch = LumaBatch((luma * 255).to(torch.uint8), 8, True, tuple(range(5)), (1,) * 5)
    together = model(batch)
    apart = torch.cat([model(batch[i : i + 1]) for i in range(5)])
    assert torch.allclose(together, apart, atol=1e-3)


def test_one_picture_a_shot(tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    lightness, _ = lab_of(scene(1, hue=0.0))
    for number, tone in enumerate([(20.0, 20.0), (0.0, -25.0), (-20.0, 10.0)]):
        ab = torch.tensor(tone).view(1, 2, 1, 1).expand(1, 2, 96, 96)
        rgb = lab_to_rgb(torch.cat([lightness, ab], dim=1))
        save(tmp_path / "shots" / f"{number}.png", rgb)
    model = colorizer(tmp_path / "shots")
    with torch.inference_mode():
        frames = lightness.expand(5, 1, 96, 96)
        ab = model.network(frames, shots=(0, 0, 1, 2, 7)).mean(dim=(2, 3))
        # however the frames are cut into batches
        again = [model.network(lightness, shots=(s,)).mean(dim=(2, 3)) for s in (2, 0, 1)]
        together = model.network(lightness)
    wanted = torch.tensor([[20.0, 20], [20, 20], [0, -25], [-20, 10], [-20, 10]])
    assert torch.allclose(ab, wanted, atol=2)  # the last one stays
    assert torch.allclose(torch.cat(again), ab[[3, 0, 2]], atol=1e-3)
    assert torch.allclose(together.mean(dim=(2, 3)), wanted[[0, 2, 3]].mean(dim=0), atol=2)
    refs = model.references
    assert refs.unused(3) == refs.unused(4) == ""
    assert refs.unused(1).startswith("1 shot was found for 3 reference pictures; from 1.png on")
    assert colorizer(tmp_path / "shots" / "0.png").references.unused(0) == ""


@pytest.mark.parametrize("size", [1, 3, 7])
def test_shots_are_numbered(size: int) -> None:
    frames = [frame for seed in (1, 2, 3) for frame in pan(10, seed)]
    marked = list(mark_cuts(batches(frames, size), TIME_BASE))
    assert [shot for b in marked for shot in b.shots] == [0] * 10 + [1] * 10 + [2] * 10
    assert all(len(b.shots) == len(b) for b in marked)
    assert [b[1:].shots for b in marked] == [b.shots[1:] for b in marked]


# ---------------------------------------------------------------- what is meant, and what is not


def test_files_and_a_folder(tmp_path: Path) -> None:
    for name in ("p10.png", "p2.png", "P1.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    found, per_shot = find_references([tmp_path])
    assert [path.name for path in found] == ["P1.jpg", "p2.png", "p10.png"] and per_shot
    single = [tmp_path / "p2.png", tmp_path / "P1.jpg"]
    assert find_references(single) == (tuple(single), False)
    assert find_references([]) == ((), False)
    with pytest.raises(InputError, match="stands alone"):
        find_references([tmp_path, tmp_path / "p2.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no picture"):
        find_references([tmp_path / "empty"])


def test_what_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.png: cannot be read"):
        colorizer(tmp_path / "bad.png")
    with pytest.raises(InputError, match=r"none\.png: no such file"):
        colorizer(tmp_path / "none.png")
    good = save(tmp_path / "r.png", scene(1, hue=0.5))
    with pytest.raises(WeightsError, match="'_ramp' has no encoder features"):
        Colorizer("_ramp", device="cpu", references=good)
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="reference_strength must lie between 0 and 1"):
            read_references([good], lambda x: x, strength)
    assert not caplog.text
    Image.new("L", (40, 40), 120).save(tmp_path / "gray.png")
    colorizer(tmp_path / "gray.png")
    assert "gray.png: is nearly gray" in caplog.text
