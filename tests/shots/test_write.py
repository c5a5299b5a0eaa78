"""A folder of shots, and the round trip through it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.clips import encode, frames
from tests.helpers.command_line import Vidcolor
from tests.helpers.films import read_frames
from tests.helpers.shot_folders import gray_of, moving, paint, read_picture, write_gray_film
from vidcolor.color.convert import rgb_to_lab
from vidcolor.errors import OutputError
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.references.shot_list import GRAYS, LIST, read_shots
from vidcolor.shots.write import write_shots
from vidcolor.sources import FilmSource

SMALL = ("--model", "_tiny", "--size", "96", "--device", "cpu")


@pytest.fixture(scope="module")
def truth() -> list[Tensor]:
    """Three shots, the last one from the place of the first."""
    first, second = moving(3, 1, hue=0.5, step=1), moving(3, 2, hue=3.0, step=1)
    return [*first * 4, *second * 4, *first[::-1] * 4]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, truth: list[Tensor]) -> Path:
    return write_gray_film(tmp_path_factory.mktemp("shots") / "film.mkv", truth)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_folder(tmp_path: Path, film: Path, truth: list[Tensor], command: Vidcolor) -> None:
    folder = tmp_path / "shots"
    answer = command("shots", film, "-o", folder, *SMALL)
    assert answer.code == 0, answer.err
    assert "3 shots, " in answer.out and "color " in answer.out
    listed = read_shots(folder)
    assert [(shot.first, shot.last) for shot in listed.shots] == [(0, 11), (12, 23), (24, 35)]
    stills = sorted(path for path in folder.glob("shot_*.png"))
    assert len(stills) == 3
    for i, path in enumerate(stills, 1):
        number = int(path.stem[-6:])
        assert path.stem[5:9] == f"{i:04d}" and listed.index(number) == i - 1
        pixels = read_picture(path)
        assert pixels.dtype == np.uint8 and np.array_equal(pixels, gray_of(truth[number]))
    assert names(folder / GRAYS) == {path.name for path in stills}
    rest = {"film.json", "shots.csv", "shots.edl", "shots.otio", LIST, "sheet.png", GRAYS}
    assert names(folder) == rest | {path.name for path in stills}
    sheet = read_picture(folder / "sheet.png")
    assert sheet.shape[1] > 3 * 96 and sheet.std() > 20


def test_deep_films_give_deep_stills(tmp_path: Path) -> None:
    clip = encode(tmp_path / "deep.mkv", "ffv1", "gray10le", frames(8, depth=10))
    model = Colorizer("_ramp", device="cpu")  # without features, so without set-ups
    written = write_shots(FilmSource(clip.path), tmp_path / "shots", model)
    assert written.setups is None
    assert all(shot.setup is None for shot in read_shots(tmp_path / "shots").shots)
    (path, *_) = sorted((tmp_path / "shots").glob("shot_*.png"))
    pixels = read_picture(path)
    assert pixels.dtype == np.uint16
    codes = clip.luma[int(path.stem[-6:])].astype(float)
    wanted = codes * 65535 / 1023
    assert np.abs(pixels - wanted).max() <= 1


def test_setups_and_json(tmp_path: Path, film: Path, command: Vidcolor) -> None:
    answer = command("shots", film, "-o", tmp_path / "s", "--device", "cpu", "--json", "-q")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["shots"], found["stills"], found["setups"]) == (3, 3, 2)
    assert [shot.setup for shot in read_shots(tmp_path / "s").shots] == [1, 2, 1]
    assert [name[:9] for name in found["alone"]] == ["shot_0001", "shot_0002"]


def test_nothing_of_the_users_is_overwritten(
    tmp_path: Path, film: Path, truth: list[Tensor]
) -> None:
    folder, model = tmp_path / "shots", Colorizer("_tiny", device="cpu", size=96)
    write_shots(FilmSource(film), folder, model)
    (still, *_) = sorted(folder.glob("shot_*.png"))
    number = int(still.stem[-6:])
    colored = paint(folder, number, truth[number]).read_bytes()
    (folder / LIST).write_text("my edits")
    with pytest.raises(OutputError, match=r"holds a shots\.toml already"):
        write_shots(FilmSource(film), folder, model)
    assert (folder / LIST).read_text() == "my edits"
    written = write_shots(FilmSource(film), folder, model, per_shot=2, overwrite=True)
    assert (written.kept, written.stills) == (1, 6)
    assert still.read_bytes() == colored
    assert len(read_shots(folder).shots) == 3


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_round_trip(
    tmp_path: Path, film: Path, truth: list[Tensor], command: Vidcolor, suffix: str
) -> None:
    folder = tmp_path / "shots"
    assert command("shots", film, "-o", folder, *SMALL).code == 0
    for path in list(folder.glob("shot_*.png")):
        number = int(path.stem[-6:])
        paint(folder, number, truth[number], suffix)
    errors: list[list[float]] = []
    for options in ((), ("--shots", folder)):
        out = tmp_path / f"out{len(errors)}.mkv"
        answer = command("run", film, "-o", out, *SMALL, "--encoder", "ffv1", *options)
        assert answer.code == 0, answer.err
        found = [frame.to_ndarray(format="rgb24") for frame in read_frames(out)]
        assert len(found) == len(truth)
        errors.append([_error(rgb, true) for rgb, true in zip(found, truth, strict=True)])
    assert max(errors[1]) < 0.5 * min(errors[0]), errors
    if suffix == ".png":  # a part of the film, whose frames have the same numbers
        out = tmp_path / "part.mkv"
        part = ("--start", "1.2", "--end", "2.4", "--encoder", "ffv1", "--shots", folder)
        answer = command("run", film, "-o", out, *SMALL, *part)
        assert answer.code == 0, answer.err
        found = [frame.to_ndarray(format="rgb24") for frame in read_frames(out)]
        assert len(found) == 12
        again = [_error(a, b) for a, b in zip(found, truth[12:24], strict=True)]
        assert again == pytest.approx(errors[1][12:24], abs=0.5)
        answer = command("run", film, "--preview", 2, "-o", tmp_path / "p.png", *SMALL, *part[-2:])
        assert answer.code == 0, answer.err
        sheet = read_picture(tmp_path / "p.png")
        assert np.ptp(sheet.astype(int), axis=2).max() > 40


def _error(pixels: np.ndarray, rgb: Tensor) -> float:
    """Root mean square error of a*b*."""
    shown = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    difference = rgb_to_lab(shown)[:, 1:] - rgb_to_lab(rgb)[:, 1:]
    return math.sqrt(float(difference.square().sum(dim=1).mean()))


def test_what_shots_do_not_belong_to(
    tmp_path: Path, film: Path, truth: list[Tensor], command: Vidcolor
) -> None:
    folder = tmp_path / "shots"
    assert command("shots", film, "-o", folder, *SMALL).code == 0
    other = encode(tmp_path / "other.mkv", "ffv1", "gray", frames(8)).path
    answer = command("run", other, "-o", tmp_path / "o.mkv", "--shots", folder, *SMALL)
    assert answer.code == 1 and not (tmp_path / "o.mkv").exists()
    assert "its frames are 64x48, but" in answer.err and "with 96x96" in answer.err
    still = next(folder.glob("shot_*.png"))
    for inputs in ((film, other), (still,)):
        answer = command("run", *inputs, "-o", tmp_path / "o", "--shots", folder, *SMALL)
        assert answer.code == 2 and "--shots belongs to one film" in answer.err
    answer = command("shots", still, "-o", tmp_path / "s")
    assert answer.code == 1 and "is not one film" in answer.err
    (folder / LIST).write_text("[[shot]]\nnumber = 1\n")
    answer = command("run", film, "-o", tmp_path / "o.mkv", "--shots", folder, *SMALL)
    assert answer.code == 1 and "line 1, shot 1: 'first' is missing" in answer.err
