"""`shots.toml`: what may be edited, and the one line for what is wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from vidcolor.color.adjust import ColorAdjustment
from vidcolor.errors import InputError
from vidcolor.run.packed import pack, unpack
from vidcolor.run.references.shot_list import FILM, LIST, FilmFrames, Shot, ShotList, read_shots

FILM_OF_90 = FilmFrames(
    Path("old film.mp4"), 64, 48, Fraction(1, 1000), Fraction(25), "auto", range(500, 4100, 40)
)
SHOTS = """
[[shot]]
number = 1
first = 0
last = 29

[[shot]]
number = 2
first = 30
last = 59
setup = 4

[[shot]]
number = 3
first = 60
last = 89
"""


def read(folder: Path, text: str) -> ShotList:
    (folder / FILM).write_text(FILM_OF_90.to_json(), encoding="utf-8")
    (folder / LIST).write_text(text, encoding="utf-8")
    return read_shots(folder)


def test_frames_are_found_by_their_times(tmp_path: Path) -> None:
    listed = read(tmp_path, SHOTS)
    assert listed.film == FilmFrames(**{**vars(FILM_OF_90), "pts": list(FILM_OF_90.pts)})
    assert listed.locate(500) == (0, 0) and listed.locate(500 + 29 * 40) == (29, 0)
    assert listed.locate(500 + 30 * 40) == (30, 1) == listed.locate(500 + 30 * 40 + 39)
    assert listed.locate(10**9) == (89, 2) and listed.locate(0) == (0, 0)
    assert listed.locate(61, retimed=True) == (61, 2)
    assert listed.film.seconds(25) == 1


def test_irregular_times_are_kept() -> None:
    times = [7, 7, 9, 40, 41, 42, 43, 99, -3]
    assert unpack(pack(times), 9) == times
    assert len(pack(range(0, 10**6, 40))) == 2


@pytest.mark.parametrize(
    ("edit", "bounds"),
    [
        (
            lambda s: s.replace("last = 59", "last = 62").replace("first = 60", "first = 63"),
            [0, 30, 63],
        ),
        (lambda s: s.replace("last = 59", "last = 89").split("[[shot]]\nnumber = 3")[0], [0, 30]),
        (
            lambda s: (
                s.replace("last = 29", "last = 9")
                + "[[shot]]\nnumber = 7\nfirst = 10\nlast = 29\nskip = true"
            ),
            [0, 10, 30, 60],
        ),
    ],
    ids=["nudge", "merge", "split"],
)
def test_editing(tmp_path: Path, edit, bounds: list[int]) -> None:  # type: ignore[no-untyped-def]
    listed = read(tmp_path, edit(SHOTS))
    assert [shot.first for shot in listed.shots] == bounds


def test_a_shot_replaces_what_the_run_sets(tmp_path: Path) -> None:
    text = SHOTS.replace("setup = 4", "saturation = 0.5\ntint = -7\nstrength = 1")
    usual = ColorAdjustment(saturation=2.0, temperature=9.0)
    first, second, _ = read(tmp_path, text).shots
    assert first.adjustment(usual) == usual
    assert second.adjustment(usual) == ColorAdjustment(0.5, 9.0, -7.0)
    assert second.strength == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("last = 29", "last = ", r"shots\.toml: is not TOML: .*line 5"),
        ("last = 29", "last = 28", "shots 1 and 2 leave out frames 29 to 29; change 'last' of 1"),
        ("last = 29", "last = 33", "shots 1 and 2 both hold frames 30 to 33"),
        ("first = 0", "first = 3", "the frames 0 to 89, but first of shot 1 is 3; write first = 0"),
        ("last = 89", "last = 90", "but last of shot 3 is 90; write last = 89"),
        ("setup = 4", "satuation = 1", r"line 7, shot 2: 'satuation' .* did you mean 'saturation'"),
        ("setup = 4", "saturation = 9", "line 7, shot 2: saturation must lie between 0 and 5"),
        ("setup = 4", "model = 3", "line 7, shot 2: model must be text"),
        ("setup = 4", "skip = 'no'", "line 7, shot 2: skip must be True or False"),
        ("first = 30\n", "", "line 7, shot 2: 'first' is missing; add first = NUMBER"),
        ("first = 30", "first = 70", "line 7, shot 2: ends at frame 59, before its first frame 70"),
        ("number = 2", "number = 1", "shot 1 comes twice"),
        ("[[shot]]\nnumber = 2", "[[shots]]\nnumber = 2", "'shots' is unknown"),
    ],
)
def test_a_broken_list_gets_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SHOTS
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path, SHOTS.replace(old, new, 1))
    assert str(tmp_path / LIST) in str(caught.value) and "\n" not in str(caught.value)


def hint(tmp_path: Path, text: str) -> ShotList:
    return read(tmp_path, f"{SHOTS}\n[[hint]]\n{text}\n")


@pytest.mark.parametrize("color", ['"navy"', '"#000080"', "[13, 47.5, -64.7]"])
def test_hints_take_colors_by_name_hex_and_lab(tmp_path: Path, color: str) -> None:
    (found,) = hint(tmp_path, f"frame = 5\npoint = [3, 4]\ncolor = {color}\nsource = 'x'").hints
    assert found.ab == pytest.approx((47.5, -64.7), abs=0.1)
    assert found.box == (3, 4, 4, 5) and found.source == "x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frame = 90\npoint = [1, 2]\ncolor = 'red'", "line 18, hint: 'frame' must be .* 0 to 89"),
        ("frame = 9\ncolor = 'red'", "needs either point"),
        ("frame = 9\npoint = [1]\ncolor = 'red'", "write point"),
        ("frame = 9\nbox = [5, 1, 5, 4]\ncolor = 'red'", "the box is empty"),
        ("frame = 9\npoint = [1, 2]\ncolor = 'rouge'", "color = 'rouge' is no color"),
        ("frame = 9\npoint = [1, 2]\ncolor = [300, 0, 0]", "Lab is"),
        ("frame = 9\npoint = [1, 2]", "color = None is no color"),
    ],
)
def test_a_broken_hint_gets_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        hint(tmp_path, text)


def test_folders_that_are_not_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"film\.json: is missing; make the folder with"):
        read_shots(tmp_path)
    (tmp_path / FILM).write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(InputError, match=r"film\.json: is damaged"):
        read_shots(tmp_path)
    (tmp_path / LIST).write_bytes(b"\xff\xfe")
    (tmp_path / FILM).write_text(FILM_OF_90.to_json(), encoding="utf-8")
    with pytest.raises(InputError, match=r"shots\.toml: is not UTF-8"):
        read_shots(tmp_path)
    with pytest.raises(InputError, match=r"holds no \[\[shot\]\]"):
        read(tmp_path, "")


def test_a_shot_checks_its_values() -> None:
    with pytest.raises(ValueError, match="strength must lie between 0 and 1"):
        Shot(1, 0, 5, strength=1.5)
