"""Evaluation with predictors whose results are known."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vidcolor.color.convert import rgb_to_lab
from vidcolor.errors import InputError
from vidcolor.evaluation import evaluate, evaluate_folders, stills
from vidcolor.evaluation.metrics import NO_LPIPS
from vidcolor.evaluation.picture_sets import square
from vidcolor.evaluation.sheets import (
    CAPTION,
    GUTTER,
    LABEL,
    PictureScore,
    choose_pictures,
    write_score_sheet,
)


class Constant:
    """Predicts the same a*, b* everywhere."""

    def __init__(self, a: float, b: float) -> None:
        self.ab = torch.tensor([a, b])[None, :, None, None]

    def predict_full_size(self, lightness: Tensor) -> Tensor:
        assert float(lightness.min()) >= 0
        assert float(lightness.max()) <= 100
        return self.ab.expand(len(lightness), 2, *lightness.shape[-2:])


class Oracle:
    """Predicts the truth, which it finds by L*."""

    def __init__(self, pictures: list[tuple[str, Tensor]], size: int) -> None:
        self.lab = [rgb_to_lab(square(p, size).float() / 255) for _, p in pictures]

    def predict_full_size(self, lightness: Tensor) -> Tensor:
        return torch.stack(
            [min(self.lab, key=lambda lab: float((lab[:1] - x).abs().sum()))[1:] for x in lightness]
        )


def photograph(seed: int, height: int = 80, width: int = 96) -> Tensor:
    """A smooth color picture, `(3, H, W)` uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 6, generator=generator) * 160 + 48
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0].to(
        torch.uint8
    )


@pytest.fixture(scope="module")
def pictures() -> list[tuple[str, Tensor]]:
    return [(f"{seed}.png", photograph(seed)) for seed in range(11)]


@pytest.fixture(autouse=True)
def no_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def save(path: Path, picture: Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = cv2.cvtColor(picture.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(path.suffix, bgr)[1].tobytes())
    return path


def test_rows_and_baselines(pictures: list[tuple[str, Tensor]]) -> None:
    seen: list[tuple[int, int | None]] = []
    table = evaluate(
        Constant(0, 0), pictures, size=64, name="none", progress=lambda d, t: seen.append((d, t))
    )
    rows = {row.name: row for row in table.rows}
    assert list(rows) == ["gray", "mean ab", "half chroma", "truth", "none"]
    assert table.num_pictures == 11

    gray, truth = rows["gray"], rows["truth"]
    assert gray.psnr_over_gray == 0
    assert gray.colorfulness == pytest.approx(0, abs=0.05)
    assert (truth.psnr, truth.ssim, truth.colorfulness) == pytest.approx((100, 1, 1))
    assert truth.margin_error == 0
    assert rows["half chroma"].psnr_over_gray > 3
    assert 0.4 < rows["half chroma"].colorfulness < 0.6
    assert rows["mean ab"].psnr_pooled >= gray.psnr_pooled
    # a model without color equals the gray baseline
    assert rows["none"].psnr == pytest.approx(gray.psnr)
    assert rows["none"].margin_error == pytest.approx(gray.margin_error)
    assert seen[:2] == [(1, None), (2, None)]
    assert seen[-2:] == [(8, 11), (11, 11)]


def test_the_truth_as_prediction_is_nearly_exact(pictures: list[tuple[str, Tensor]]) -> None:
    model = evaluate(Oracle(pictures, 64), pictures, size=64).rows[-1]
    assert model.psnr > 50
    assert model.colorfulness == pytest.approx(1, abs=0.01)
    assert model.margin_error == 0


def test_impossible_colors_are_limited_not_clipped(pictures: list[tuple[str, Tensor]]) -> None:
    table = evaluate(Constant(300, -400), pictures, size=64)
    assert 0 < table.rows[-1].psnr < table.rows[0].psnr
    assert table.rows[-1].ssim < 1


def test_without_alexnet_a_note_says_so(pictures: list[tuple[str, Tensor]]) -> None:
    table = evaluate(Constant(0, 0), pictures[:1], size=64)
    assert all(row.lpips is None for row in table.rows)
    assert NO_LPIPS in table.notes
    assert any("64x64" in note for note in table.notes)


def test_lpips_column(
    tmp_path: Path, pictures: list[tuple[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fake:
        def features(self, images: Tensor) -> list[Tensor]:
            return [images.mean(dim=(2, 3))]

        def distance(self, prediction: list[Tensor], target: list[Tensor]) -> Tensor:
            return (prediction[0] - target[0]).abs().sum(dim=1)

    monkeypatch.setattr(stills, "load_lpips", lambda weights: Fake())
    table = evaluate(Constant(0, 0), pictures, size=64, lpips_weights=tmp_path / "any")
    values = [row.lpips for row in table.rows]
    assert values[3] == 0
    assert values[0] == values[4]
    assert values[0] is not None
    assert values[0] > 1
    assert NO_LPIPS not in table.notes


def test_near_gray_pictures_are_dropped_and_counted(pictures: list[tuple[str, Tensor]]) -> None:
    gray = torch.full((3, 70, 70), 100, dtype=torch.uint8)
    with_gray = evaluate(Constant(5, 5), [*pictures[:2], ("gray", gray)], size=64)
    without = evaluate(Constant(5, 5), pictures[:2], size=64)
    assert with_gray.near_gray == 1
    assert with_gray.num_pictures == 2
    assert with_gray.rows == without.rows
    with pytest.raises(InputError, match="1 near-gray"):
        evaluate(Constant(0, 0), [("gray", gray)], size=64)


def test_table_as_json(pictures: list[tuple[str, Tensor]]) -> None:
    table = evaluate(Constant(0, 0), pictures[:1], size=64, unreadable=["bad.png"])
    values = json.loads(json.dumps(table.to_dict()))
    assert values["unreadable"] == ["bad.png"]
    assert values["size"] == 64
    assert values["rows"][0]["name"] == "gray"
    assert set(values["rows"][0]) >= {
        "psnr",
        "psnr_pooled",
        "psnr_over_gray",
        "lpips",
        "margin_error",
    }


def test_size_too_small_for_ssim() -> None:
    with pytest.raises(ValueError, match="at least 11"):
        evaluate(Constant(0, 0), [], size=10)


def test_no_lpips_of_small_pictures(tmp_path: Path, pictures: list[tuple[str, Tensor]]) -> None:
    table = evaluate(Constant(0, 0), pictures[:2], size=32, lpips_weights=tmp_path / "unread")
    assert table.rows[0].lpips is None
    assert "no LPIPS below 64x64" in table.notes


def test_folder_and_zip_give_the_same(tmp_path: Path, pictures: list[tuple[str, Tensor]]) -> None:
    folder = tmp_path / "dossier é"
    files = [save(folder / "sub" / name, picture) for name, picture in pictures[:3]]
    (folder / "empty.png").write_bytes(b"")
    archive_path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive_path, "w") as archive:
        for file in files:
            archive.write(file, f"photos/{file.name}")
    from_folder = evaluate_folders(Constant(3, 3), [folder], size=64)
    from_zip = evaluate_folders(Constant(3, 3), [archive_path], size=64)
    assert from_folder.rows == from_zip.rows
    assert from_folder.unreadable == (str(folder / "empty.png"),)


# ---------------------------------------------------------------- the contact sheet


def score(psnr: float, lpips: float | None) -> PictureScore:
    return PictureScore("a.png", psnr, psnr - 20, 1.0, lpips, 0.0)


@pytest.mark.parametrize(
    ("count", "each", "kinds"),
    [
        (1, 4, {"best": [0]}),
        (2, 4, {"best": [0], "worst": [1]}),
        (3, 4, {"best": [0], "median": [1], "worst": [2]}),
        (9, 2, {"best": [0, 1], "median": [3, 4], "worst": [7, 8]}),
        (9, 4, {"best": [0, 1, 2], "median": [3, 4, 5], "worst": [6, 7, 8]}),
    ],
)
def test_best_median_and_worst(count: int, each: int, kinds: dict[str, list[int]]) -> None:
    expected = {index: kind for kind, indices in kinds.items() for index in indices}
    by_lpips = [score(20, i / 10) for i in range(count)]
    assert choose_pictures(by_lpips, each) == expected
    by_psnr = [score(40 - i, None) for i in range(count)]
    assert choose_pictures(by_psnr, each) == expected
    backwards = choose_pictures(by_psnr[::-1], each)
    assert backwards == {count - 1 - index: kind for index, kind in expected.items()}
    assert list(backwards) == [count - 1 - index for index in expected]  # from best to worst


def test_the_sheet_shows_what_was_measured(
    tmp_path: Path, pictures: list[tuple[str, Tensor]]
) -> None:
    path = tmp_path / "sheet.png"
    table = evaluate(Constant(0, 0), pictures, size=64, sheet=path, each=1)
    chosen = choose_pictures(table.pictures, 1)
    assert len(chosen) == 3
    with Image.open(path) as picture:
        sheet = np.asarray(picture)
    step_x, step_y = 128 + GUTTER, 128 + GUTTER + LABEL  # enlarged twice
    assert sheet.shape == (CAPTION + GUTTER + 3 * step_y, GUTTER + 3 * step_x, 3)
    for row, place in enumerate(chosen):
        tiles = [
            sheet[CAPTION + GUTTER + row * step_y :, GUTTER + column * step_x :][:128:2, :128:2]
            for column in range(3)
        ]
        truth = square(pictures[place][1], 64).permute(1, 2, 0).numpy()
        assert np.array_equal(tiles[2], truth)
        assert np.array_equal(tiles[0], tiles[1])  # this model adds no color
        assert np.ptp(tiles[0].astype(int), axis=2).max() <= 1
    with pytest.raises(ValueError, match="each must be at least 1"):
        evaluate(Constant(0, 0), pictures, size=64, each=0)


def test_sheets_of_long_names_and_without_lpips(tmp_path: Path) -> None:
    """Labels are drawn below their rows, and truncated to the sheet."""
    picture = torch.full((2, 3, 96, 96), 255.0)
    long = PictureScore("x" * 90 + "/1.png", 19.0, -1.0, 1.0, None, 0.0)
    chosen = [("best", score(25.04, 0.1234)), ("worst", long)]
    write_score_sheet(tmp_path / "a.png", chosen, picture, picture, picture)
    with Image.open(tmp_path / "a.png") as image:
        sheet = np.asarray(image)
    for row in range(2):
        label = sheet[CAPTION + GUTTER + row * (96 + GUTTER + LABEL) + 96 :][:LABEL]
        assert label.min() < 100
        assert label[:, -GUTTER:].min() == 255


# Prints the growth from the 24th to the last of 96 pictures, in MiB.
_GROWTH = """
import torch
from vidcolor.evaluation.stills import evaluate
from vidcolor.system.memory import resident_bytes

class Predictor:
    def predict_full_size(self, lightness):
        return torch.cat([lightness, -lightness], dim=1) / 8

held = {}

def note(done, total):
    if total:
        held[done] = resident_bytes()

noise = torch.Generator().manual_seed(1)
pictures = (
    (str(n), torch.randint(256, (3, 256, 256), generator=noise, dtype=torch.uint8))
    for n in range(96)
)
evaluate(Predictor(), pictures, progress=note)
print((held[96] - held[24]) >> 20)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pictures() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _GROWTH], capture_output=True, text=True, check=False
    )
    assert int(done.stdout) < 150, done.stderr  # tensors that were kept made it 816
