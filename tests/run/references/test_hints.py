"""Hints: a color that stays on its thing while that moves through the shot."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.films import read_frames
from tests.helpers.shot_folders import write_folder, write_gray_codes
from tests.motion.test_flow import texture
from vidcolor import EncoderSettings, Settings, colorize
from vidcolor.color.convert import rgb_to_lab
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.references.shot_list import LIST, Shot

HEIGHT, WIDTH, SIDE, COUNT = 192, 256, 56, 24
HINTED = 8


def place(number: int) -> tuple[int, int]:
    """Left and top of the thing in a frame."""
    return 16 + 7 * number, 40 + 3 * number


@pytest.fixture(scope="module")
def codes() -> list[np.ndarray]:
    """A checked board that crosses a textured ground, which moves the other way."""
    ground = 90 + texture(HEIGHT // 2, WIDTH, 3) / 4
    ground = cv2.resize(ground, (2 * WIDTH, HEIGHT)).astype(np.uint8)
    thing = np.kron(np.indices((7, 7)).sum(0) % 2, np.ones((8, 8))) * 90 + 60
    frames = []
    for number in range(COUNT):
        frame = ground[:, 2 * number : 2 * number + WIDTH].copy()
        left, top = place(number)
        frame[top : top + SIDE, left : left + SIDE] = thing
        frames.append(cv2.GaussianBlur(frame, (0, 0), 0.8))
    return frames


def hues(path: Path, numbers: range, offset: tuple[int, int]) -> list[tuple[float, float]]:
    """Hue in degrees and chroma at a place of the thing, or beside it, in each frame."""
    frames = read_frames(path)
    found = []
    for number in numbers:
        rgb = frames[number].to_ndarray(format="rgb24")
        left, top = place(number)
        x, y = left + SIDE // 2 + offset[0], top + SIDE // 2 + offset[1]
        patch = torch.from_numpy(rgb[y - 4 : y + 4, x - 4 : x + 4].copy())
        lab = rgb_to_lab(patch.permute(2, 0, 1)[None].float() / 255).mean(dim=(0, 2, 3))
        a, b = float(lab[1]), float(lab[2])
        found.append((math.degrees(math.atan2(b, a)), math.hypot(a, b)))
    return found


@pytest.mark.parametrize("color", [(60.0, 30.0), (-10.0, -45.0)])
def test_a_hint_follows_its_thing(
    tmp_path: Path, codes: list[np.ndarray], color: tuple[float, float]
) -> None:
    film = write_gray_codes(tmp_path / "film.mkv", codes)
    folder = write_folder(tmp_path / "shots", codes, [Shot(1, 0, COUNT - 1)], stills=())
    left, top = place(HINTED)
    box = [left + 8, top + 8, left + SIDE - 8, top + SIDE - 8]
    with (folder / LIST).open("a") as file:
        file.write(
            f"[[hint]]\nframe = {HINTED}\nbox = {box}\ncolor = [50, {color[0]}, {color[1]}]\n"
        )
    model = Colorizer("fast", device="cpu", shots=folder)
    settings = Settings(encoder=EncoderSettings("ffv1"))
    (report,) = colorize(film, tmp_path / "out.mkv", colorizer=model, settings=settings)
    assert report.status == "done", report.error
    wanted = math.degrees(math.atan2(color[1], color[0]))
    on = hues(tmp_path / "out.mkv", range(COUNT), (0, 0))
    assert max(abs(hue - wanted) for hue, _ in on) < 10, on
    assert min(chroma for _, chroma in on) > 20, on
    beside = hues(tmp_path / "out.mkv", range(18), (SIDE, 0))
    plain = Colorizer("fast", device="cpu")
    colorize(film, tmp_path / "plain.mkv", colorizer=plain, settings=settings)
    before = hues(tmp_path / "plain.mkv", range(18), (SIDE, 0))
    change = [abs(a[1] - b[1]) for a, b in zip(beside, before, strict=True)]
    assert max(change) < 6, change


def test_a_hint_ends_with_its_shot(tmp_path: Path, codes: list[np.ndarray]) -> None:
    film = write_gray_codes(tmp_path / "film.mkv", codes)
    shots = [Shot(1, 0, 9), Shot(2, 10, COUNT - 1)]
    folder = write_folder(tmp_path / "shots", codes, shots, stills=())
    left, top = place(HINTED)
    with (folder / LIST).open("a") as file:
        file.write(
            f'[[hint]]\nframe = {HINTED}\npoint = [{left + 28}, {top + 28}]\ncolor = "crimson"\n'
        )
    results: list[list[np.ndarray]] = []
    for options in ({"shots": folder}, {}):
        path = tmp_path / f"out{len(results)}.mkv"
        model = Colorizer("fast", device="cpu", **options)
        settings = Settings(encoder=EncoderSettings("ffv1"), stabilize=False)
        (report,) = colorize(film, path, colorizer=model, settings=settings)
        assert report.status == "done", report.error
        results.append([frame.to_ndarray() for frame in read_frames(path)])
    same = [np.array_equal(a, b) for a, b in zip(*results, strict=True)]
    assert same == [False] * 10 + [True] * 14


def test_a_hint_outside_of_the_frame(tmp_path: Path, codes: list[np.ndarray]) -> None:
    film = write_gray_codes(tmp_path / "film.mkv", codes)
    folder = write_folder(tmp_path / "shots", codes, [Shot(1, 0, COUNT - 1)], stills=())
    with (folder / LIST).open("a") as file:
        file.write('[[hint]]\nframe = 3\npoint = [300, 20]\ncolor = "red"\n')
    model = Colorizer("fast", device="cpu", shots=folder)
    (report,) = colorize(film, tmp_path / "out.mkv", colorizer=model)
    assert report.status == "failed"
    assert "the hint of frame 3 lies outside of its 256x192 pixels" in report.error
