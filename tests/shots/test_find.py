"""Shots are found, and sharp, typical frames of them chosen."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.shot_folders import RATE, write_gray_codes
from tests.helpers.shots import pan
from tests.motion.test_flow import texture
from vidcolor.shots.find import FoundShot, find_shots
from vidcolor.sources import FilmSource


def still(count: int, seed: int) -> list[np.ndarray]:
    """A shot in which only the grain moves."""
    picture = 40 + texture(96, 128, seed) * 0.6
    noise = np.random.default_rng(seed)
    return [(picture + noise.normal(0, 1, picture.shape)).astype(np.uint8) for _ in range(count)]


def found(path: Path, frames: list[np.ndarray], **options: float) -> list[FoundShot]:
    shots, pts, warnings = find_shots(FilmSource(write_gray_codes(path, frames)), **options)  # type: ignore[arg-type]
    assert not warnings and len(pts) == len(frames) and shots[-1].last == len(frames) - 1
    return shots


def test_each_shot_gets_a_still_in_its_middle(tmp_path: Path) -> None:
    shots = found(tmp_path / "f.mkv", [*still(20, 1), *still(15, 2), *still(25, 3)])
    assert [(shot.first, shot.last) for shot in shots] == [(0, 19), (20, 34), (35, 59)]
    for shot in shots:
        (frame,) = shot.stills
        assert shot.first + 3 <= frame <= shot.last - 3


def test_the_sharpest_frame_is_chosen(tmp_path: Path) -> None:
    frames = [cv2.GaussianBlur(frame, (0, 0), 2) for frame in still(20, 1)]
    frames[13] = still(20, 1)[13]
    (shot,) = found(tmp_path / "f.mkv", frames)
    assert shot.stills == (13,)


def test_a_frame_unlike_the_others_is_not(tmp_path: Path) -> None:
    frames = still(30, 1)
    board = np.kron(np.indices((12, 12)).sum(0) % 2 * 200, np.ones((4, 4)))
    for i in (10, 11):  # something close passes, sharper than all
        frames[i][20:68, 30:78] = board
    (shot,) = found(tmp_path / "f.mkv", frames)
    assert len(shot.stills) == 1 and shot.stills[0] not in (10, 11)


def test_a_view_that_changes_much_gets_more(tmp_path: Path) -> None:
    (shot,) = found(tmp_path / "f.mkv", pan(60, 1, step=4))
    assert 2 <= len(shot.stills) <= 4
    assert max(np.diff(shot.stills)) >= 10


@pytest.mark.parametrize(
    ("options", "counts"),
    [({"per_shot": 3}, [3, 3]), ({"every": 1.0}, [2, 4]), ({"per_shot": 3, "every": 1.0}, [3, 4])],
)
def test_as_many_as_are_asked_for(
    tmp_path: Path, options: dict[str, float], counts: list[int]
) -> None:
    assert RATE == 10
    shots = found(tmp_path / "f.mkv", [*still(20, 1), *still(40, 2)], **options)
    assert [len(shot.stills) for shot in shots] == counts
    for shot in shots:  # one in each part
        length = shot.last - shot.first + 1
        parts = [(f - shot.first) * len(shot.stills) // length for f in shot.stills]
        assert parts == list(range(len(shot.stills)))


def test_black_frames_are_not_chosen_and_long_shots_are_thinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidcolor.shots.find._KEPT", 5)
    black = np.full((96, 128), 2, np.uint8)
    shots = found(tmp_path / "f.mkv", [*[black] * 6, *still(40, 1), *[black] * 6])
    assert shots[0].first == 0
    for shot in shots:
        assert all(6 <= frame < 46 for frame in shot.stills)
