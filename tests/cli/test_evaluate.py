"""`vidcolor eval` as it is typed: tables, JSON, sheets, exit codes."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.test_stills import photograph, save
from tests.helpers.color_clips import pan, write_clip
from tests.helpers.command_line import Vidcolor
from vidcolor.evaluation.color_film import ColorFilmSource
from vidcolor.evaluation.metrics import psnr
from vidcolor.evaluation.picture_sets import square
from vidcolor.evaluation.sheets import CAPTION, GUTTER, LABEL

RAMP = ("--model", "_ramp", "--device", "cpu", "--size", "64")


@pytest.fixture(autouse=True)
def no_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "pan [1].mkv", pan(8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(7):
        save(tmp_path / "photos" / f"{seed}.png", photograph(seed))
    return tmp_path / "photos"


# ---------------------------------------------------------------- pictures by folder


def test_pictures_of_several_folders_have_a_table_of_their_own(
    command: Vidcolor, tmp_path: Path, folder: Path
) -> None:
    assert "folder" not in command("eval", folder, *RAMP, "--at", "64").out
    for seed in range(3):
        save(folder / "sea" / f"{seed}.png", photograph(seed + 20))
    answer = command("eval", folder, *RAMP, "--at", "64")
    assert answer.code == 0, answer.err
    for name, pictures in (("photos", 7), ("sea", 3)):
        assert re.search(rf"{name} .* {pictures} .* \d\d\.\d\d .* [+-]\d\.\d{{3}} ", answer.out)
    table = json.loads(command("eval", folder, *RAMP, "--at", "64", "--json").out)
    rows, whole = table["folders"], table["rows"][-1]
    assert [(row["name"], row["num_pictures"]) for row in rows] == [("photos", 7), ("sea", 3)]
    for key in ("psnr", "psnr_over_gray", "margin_error"):
        mean = sum(row[key] * row["num_pictures"] for row in rows) / 10
        assert mean == pytest.approx(whole[key])
    assert rows[0]["lpips"] is rows[0]["gray_lpips"] is None
    assert rows[0]["psnr"] - rows[0]["gray_psnr"] == pytest.approx(rows[0]["psnr_over_gray"])


# ---------------------------------------------------------------- pages for people


def test_ten_pictures_side_by_side(
    command: Vidcolor, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("eval", folder, *RAMP, "--at", "96", "--compare", "4")
    assert command(*arguments).code == 0
    with Image.open("comparison.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    row, column = 96 + GUTTER + LABEL, 96 + GUTTER
    assert pixels.shape[:2] == (CAPTION + GUTTER + 4 * row, GUTTER + 3 * column)
    for number, seed in enumerate((0, 2, 4, 6)):  # spread over the seven
        y = CAPTION + GUTTER + number * row
        gray, colored, original = (
            pixels[y : y + 96, GUTTER + k * column : GUTTER + k * column + 96] for k in range(3)
        )
        assert (gray.max(axis=2) - gray.min(axis=2)).max() <= 1
        assert (colored != gray).any() and (colored != original).any()
        truth = square(photograph(seed), 96)
        assert (original == truth.permute(1, 2, 0).numpy()).all()
    answer = command(*arguments)
    assert answer.code == 2 and "comparison.png: already exists" in answer.err
    assert command(*arguments, "--overwrite").code == 0


def test_a_page_to_judge_by(command: Vidcolor, tmp_path: Path, folder: Path) -> None:
    page = tmp_path / "judge.html"
    answer = command("eval", folder, *RAMP, "--at", "64", "--judge", page)
    assert answer.code == 0, answer.err
    text = page.read_text(encoding="utf-8")
    (data,) = re.findall(r"^const pictures = (.*);$", text, re.MULTILINE)
    pictures = json.loads(data)
    assert sorted(p["name"] for p in pictures) == [f"{seed}.png" for seed in range(7)]
    assert [p["name"] for p in pictures] != sorted(p["name"] for p in pictures)
    assert sum(p["real"] for p in pictures) in (3, 4)
    for shown in pictures:
        url = shown["source"].removeprefix("data:image/png;base64,")
        with Image.open(io.BytesIO(base64.b64decode(url))) as png:
            pixels = np.asarray(png)
        seed = int(shown["name"].removesuffix(".png"))
        truth = square(photograph(seed), 64)
        assert (pixels == truth.permute(1, 2, 0).numpy()).all() == shown["real"]
    assert "src=" not in text and "http" not in text  # nothing is fetched
    answer = command("eval", folder, *RAMP, "--judge", tmp_path / "page.png")
    assert answer.code == 2 and "--judge must be HTML" in answer.err


# ---------------------------------------------------------------- clips


def test_a_table_for_each_clip_and_the_mean(
    command: Vidcolor, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = command("eval", "--video", clip, *RAMP)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{clip}\n")
    for column in ("PSNR", "over gray", "color", "CDC", "of truth's", "warp error"):
        assert column in answer.out
    assert re.search(
        r"truth +100\.00 +\+\d\d\.\d\d +1\.000 +0\.\d{6} +1\.00 +\d\.\d{3} ", answer.out
    )
    assert re.search(r"gray +\d\d\.\d\d +\+0\.00 +0\.000 ", answer.out)
    assert "_ramp, per frame" in answer.out
    assert "_ramp, stabilized" in answer.out
    assert "8 frames, 96x64; warp error on 7 pairs" in answer.out
    assert "mean over 1" not in answer.out
    other = write_clip(tmp_path / "b.mkv", pan(6, seed=2))
    answer = command("eval", "--video", clip, other, *RAMP, "--limit", "5")
    assert "mean over 2 clips" in answer.out
    assert answer.out.count("5 frames, 96x64") == 2


def test_json_of_clips(command: Vidcolor, clip: Path) -> None:
    options = ("--start", "0.1", "--end", "0.7", "--at", "80", "--json")
    answer = command("eval", "--video", clip, *RAMP, *options)
    (measured,) = json.loads(answer.out)["clips"]
    assert (measured["num_frames"], measured["width"]) == (6, 80)
    assert [row["name"] for row in measured["rows"]] == [
        "truth",
        "gray",
        "_ramp, per frame",
        "_ramp, stabilized",
    ]
    assert set(measured["rows"][2]) == {
        "name", "psnr", "psnr_over_gray", "colorfulness", "cdc", "cdc_ratio", "warp_error",
        "warp_ratio",
    }  # fmt: skip


def test_the_rows_are_what_a_run_writes(command: Vidcolor, clip: Path, tmp_path: Path) -> None:
    (measured,) = json.loads(command("eval", "--video", clip, *RAMP, "--json").out)["clips"]
    truth = torch.cat([b.rgb for b in ColorFilmSource(clip, long_side=512).batches(8)])
    lossless = ("--encoder", "ffv1", "--pix-fmt", "gbrp10le")
    for row, flag in ((2, "--no-stabilize"), (3, "--stabilize")):
        output = tmp_path / f"{row}.mkv"
        assert command("run", clip, "-o", output, *RAMP, *lossless, flag).code == 0
        with av.open(str(output)) as film:
            pictures = [frame.to_ndarray(format="gbrp10le") for frame in film.decode(video=0)]
        levels = np.round(np.stack(pictures).astype(np.float64) * (255 / 1023))
        written = torch.from_numpy(levels).permute(0, 3, 1, 2)
        found = float(psnr(written, truth).mean())
        assert measured["rows"][row]["psnr"] == pytest.approx(found, abs=0.02)


def test_clips_that_fail(command: Vidcolor, clip: Path, tmp_path: Path) -> None:
    gray = write_clip(tmp_path / "gray.mkv", [np.full((64, 96, 3), 90, np.uint8)] * 6)
    answer = command("eval", "--video", gray, *RAMP)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == (
        f"error: {gray}: holds no color to measure on (mean Lab chroma 0.0, under 2); "
        "give a color clip\n"
    )
    bad = tmp_path / "bad.mkv"
    bad.write_bytes(b"no film at all")
    answer = command("eval", "--video", bad, *RAMP)
    assert answer.code == 1
    assert answer.err.startswith(f"error: {bad}: cannot be opened")
    assert len(answer.err.splitlines()) == 1
    answer = command("eval", "--video", bad, clip, *RAMP)  # the other is measured
    assert answer.code == 1
    assert "_ramp, per frame" in answer.out
    assert answer.err.startswith(f"error: {bad}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--video", "--sheet", "a.png"), "--sheet is for pictures; leave out --video"),
        (("--video", "--per-picture"), "--per-picture is for pictures; leave out --video"),
        (("--per-picture",), "--per-picture needs --json"),
        (("--limit", "9"), "--limit is for clips; add --video"),
        (("--start", "0"), "--start is for clips; add --video"),
        (("--video", "--start", "2", "--end", "1"), "--end must be later than the start"),
        (("--video", "--limit", "4"), "--limit"),
        (("--sheet", "a.jpg"), "--sheet must be a PNG file; use a.png"),
    ],
)
def test_what_does_not_go_together(
    command: Vidcolor, clip: Path, arguments: tuple[str, ...], message: str
) -> None:
    answer = command("eval", clip, *arguments, *RAMP)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err


# ---------------------------------------------------------------- pictures


def test_a_sheet_and_every_picture(command: Vidcolor, folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    options = ("--at", "64", "--json")
    answer = command("eval", folder, *RAMP, *options, "--sheet", sheet, "--per-picture")
    assert (answer.code, answer.err) == (0, "")
    values = json.loads(answer.out)
    assert [Path(p["name"]).name for p in values["pictures"]] == [f"{i}.png" for i in range(7)]
    assert set(values["pictures"][0]) == {
        "name",
        "psnr",
        "psnr_over_gray",
        "ssim",
        "lpips",
        "margin_error",
    }
    mean = np.mean([p["psnr"] for p in values["pictures"]])
    assert mean == pytest.approx(values["rows"][-1]["psnr"])
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"
        assert picture.height > 6 * 96  # two of each kind
    again = command("eval", folder, *RAMP, *options, "--sheet", sheet)
    assert (again.code, again.out) == (2, "")
    assert again.err == f"error: {sheet}: already exists; give --overwrite to replace it\n"
    last = command("eval", folder, *RAMP, *options, "--sheet", sheet, "-y", "--sheet-each", "1")
    assert last.code == 0
    assert "pictures" not in json.loads(last.out)
    with Image.open(sheet) as picture:
        assert picture.height < 4 * 128


def test_a_sheet_that_cannot_be_written(command: Vidcolor, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    answer = command("eval", folder, *RAMP, "--at", "64", "--sheet", tmp_path / "file" / "a.png")
    assert answer.code == 2
    assert "cannot be written" in answer.err
