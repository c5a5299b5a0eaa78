"""The sheet of before/after pairs: its size, its pairs, where its frames come from."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.clips import encode, pattern
from tests.helpers.films import FilmSpec, build_film
from tests.helpers.readback import files_in
from vidcolor.color.convert import rgb_to_lab
from vidcolor.errors import InputError, OutputError
from vidcolor.frames import Segment
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.preview import write_preview
from vidcolor.sources import expand

WIDE, GAP = 480, 8  # of a tile and between tiles, pixels


@pytest.fixture(scope="module")
def ramp() -> Colorizer:
    return Colorizer("_ramp", device="cpu", size=64)


def steps(path: Path, levels: list[int], size: tuple[int, int] = (64, 48), **more: Any) -> Path:
    """A film whose frame i is flat gray `levels[i]`, so that a tile tells its frame."""
    width, height = size
    lumas = [np.full((height, width), level, np.uint8) for level in levels]
    return encode(path, "ffv1", "gray", lumas, **more).path


def sheet(
    inputs: list[Path], output: Path, count: int, colorizer: Colorizer, **more: Any
) -> np.ndarray:
    write_preview(
        expand([str(each) for each in inputs], rate=more.get("rate")),
        output, count, colorizer, **more,
    )  # fmt: skip
    with Image.open(output) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def tiles(picture: np.ndarray, heights: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pairs of a sheet of one column."""
    pairs, y = [], GAP
    for height in heights:
        left = picture[y : y + height, GAP : GAP + WIDE]
        right = picture[y : y + height, 2 * GAP + WIDE : 2 * GAP + 2 * WIDE]
        pairs.append((left, right))
        y += height + GAP
    assert y == picture.shape[0]
    assert picture.shape[1] == 2 * WIDE + 3 * GAP
    return pairs


def gray_of(tile: np.ndarray) -> int:
    """The one gray level of a flat tile."""
    assert (tile == tile[0, 0, 0]).all()
    return int(tile[0, 0, 0])


def lab_of(tile: np.ndarray) -> torch.Tensor:
    return rgb_to_lab(torch.tensor(tile[20, 20], dtype=torch.float32).view(3, 1, 1) / 255).view(3)


def test_a_playlist_where_it_is_allowed(tmp_path: Path, ramp: Colorizer) -> None:
    steps(tmp_path / "a.mkv", [100 + n for n in range(12)])
    film = tmp_path / "list.mkv"
    film.write_text("ffconcat version 1.0\nfile a.mkv\n", encoding="utf-8")
    with pytest.raises(InputError, match="--allow-playlists"):
        sheet([film], tmp_path / "s.png", 2, ramp)
    pairs = tiles(sheet([film], tmp_path / "s.png", 2, ramp, playlists=True), [360] * 2)
    assert [gray_of(left) for left, _ in pairs] == [103, 109]


def test_pairs_are_spread_over_the_film(tmp_path: Path, ramp: Colorizer) -> None:
    film = steps(tmp_path / "f.mkv", [100 + n for n in range(12)])
    pairs = tiles(sheet([film], tmp_path / "s.png", 3, ramp), [360] * 3)
    # a film of 12 frames in three parts: their middles are frames 2, 6 and 10
    assert [gray_of(left) for left, _ in pairs] == [102, 106, 110]
    for left, right in pairs:
        before, after = lab_of(left), lab_of(right)
        assert abs(after[0] - before[0]) < 0.4
        assert abs(after[1] - 0.3 * (before[0] - 50)) < 1.5
        assert abs(after[2] - (20 - 0.3 * before[0])) < 1.5
        assert after[1:].abs().max() > 2


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (8, 2, 4), (20, 3, 7)])
def test_the_size_of_the_sheet(
    tmp_path: Path, ramp: Colorizer, count: int, columns: int, rows: int
) -> None:
    film = steps(tmp_path / "f.mkv", [120] * 24, (64, 32))
    picture = sheet([film], tmp_path / "s.png", count, ramp)
    across = columns * (2 * (WIDE + GAP) + GAP)
    assert picture.shape == (rows * (240 + GAP) + GAP, across, 3)
    # every place of the grid is taken, but for those that are left over in the last row
    shown = sum(
        (picture[GAP + r * 248 + 9, GAP + c * (2 * (WIDE + GAP) + GAP) + 9] == 120).all()
        for r in range(rows)
        for c in range(columns)
    )
    assert shown == count


def test_a_turned_film_stands_upright(tmp_path: Path, ramp: Colorizer) -> None:
    film = build_film(tmp_path, FilmSpec(name="in.mp4", rotation=90, audio=()))  # 64x48
    ((left, _),) = tiles(sheet([film], tmp_path / "s.png", 1, ramp), [640])
    # each stored column has one gray, brighter than the one on its left; upright they are rows
    assert np.ptp(left[320, :, 0].astype(int)) < 20
    assert left[300, 240, 0].astype(int) > left[40, 240, 0].astype(int) + 50


def test_one_frame_and_more_pairs_than_frames(tmp_path: Path, ramp: Colorizer) -> None:
    film = steps(tmp_path / "one.mkv", [77])
    pairs = tiles(sheet([film], tmp_path / "s.png", 2, ramp), [360] * 2)
    assert [gray_of(left) for left, _ in pairs] == [77, 77]


def test_a_variable_rate_shows_the_frame_of_the_moment(tmp_path: Path, ramp: Colorizer) -> None:
    pts, levels = (0, 10, 20, 30, 3000), [50, 60, 70, 80, 90]
    film = steps(tmp_path / "v.mkv", levels, pts=pts, time_base=Fraction(1, 1000))
    pairs = tiles(sheet([film], tmp_path / "s.png", 4, ramp), [360] * 4)
    assert {gray_of(left) for left, _ in pairs} <= set(levels)


def test_a_segment(tmp_path: Path, ramp: Colorizer) -> None:
    film = steps(tmp_path / "f.mkv", [100 + n for n in range(24)])
    picture = sheet(
        [film], tmp_path / "s.png", 2, ramp, segment=Segment(Fraction(1), Fraction(3, 2))
    )
    levels = [gray_of(left) for left, _ in tiles(picture, [360] * 2)]
    assert levels == sorted(set(levels)) and all(112 <= level < 118 for level in levels)


def test_films_pictures_and_sequences_share_the_pairs(tmp_path: Path, ramp: Colorizer) -> None:
    film = steps(tmp_path / "f.mkv", [100] * 12)
    Image.new("L", (60, 30), 150).save(tmp_path / "p.png")
    for number in range(4):
        Image.new("L", (60, 60), 200 + number).save(tmp_path / f"scan{number:03d}.png")
    sequence = tmp_path / "scan%03d.png"
    picture = sheet(
        [film, tmp_path / "p.png", sequence], tmp_path / "s.png", 3, ramp, rate=Fraction(4)
    )
    levels = [gray_of(left) for left, _ in tiles(picture, [360, 240, 480])]
    assert levels == [100, 150, 202]
    few = tiles(sheet([film, tmp_path / "p.png"], tmp_path / "t.png", 1, ramp), [240])
    assert gray_of(few[0][0]) == 150


def test_large_pictures(tmp_path: Path, ramp: Colorizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused where they look like a bomb, read with leave, colored when they are shrunk."""
    monkeypatch.setattr("vidcolor.sources.decode.MOST_PIXELS", 1 << 20)
    Image.new("L", (3001, 1499), 150).save(tmp_path / "p.png", compress_level=9)
    with pytest.raises(InputError, match="give --large-pictures"):
        sheet([tmp_path / "p.png"], tmp_path / "s.png", 1, ramp)
    picture = sheet([tmp_path / "p.png"], tmp_path / "s.png", 1, ramp, large_pictures=True)
    ((left, _),) = tiles(picture, [240])
    assert gray_of(left) == 150
    Image.fromarray(pattern(0, 3001, 1499)).save(tmp_path / "q.png")
    small = Image.open(tmp_path / "q.png").resize((480, 240), Image.Resampling.BOX)
    picture = sheet([tmp_path / "q.png"], tmp_path / "t.png", 1, ramp)
    left, _ = tiles(picture, [240])[0]
    assert np.abs(left[..., 0].astype(int) - np.asarray(small)).mean() < 3


def test_refusals(tmp_path: Path, ramp: Colorizer) -> None:
    film = steps(tmp_path / "f.mkv", [100] * 3)
    (tmp_path / "s.png").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"s\.png: already exists"):
        sheet([film], tmp_path / "s.png", 1, ramp)
    assert (tmp_path / "s.png").read_bytes() == b"precious"
    assert sheet([film], tmp_path / "s.png", 1, ramp, overwrite=True).shape[0] == 376
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.png: cannot be read"):
        sheet([tmp_path / "bad.png"], tmp_path / "t.png", 1, ramp)
    with pytest.raises(InputError, match=r"f\.mkv: holds no frame"):
        sheet([film], tmp_path / "t.png", 1, ramp, segment=Segment(start=Fraction(50)))
    assert files_in(tmp_path) == ["bad.png", "f.mkv", "s.png"]
