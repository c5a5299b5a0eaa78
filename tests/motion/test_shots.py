"""Cuts are found to the frame; flicker, flashes, dust, jerks, pans and fades are none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.helpers.shots import HEIGHT, TIME_BASE, WIDTH, batches, pan
from vidcolor.frames import LumaBatch
from vidcolor.motion.flow import Array
from vidcolor.motion.shots import LOOKAHEAD, CutDetector, mark_cuts, thumbnails

BLACK = [np.zeros((HEIGHT, WIDTH), np.uint8)]


def begins(frames: list[Array]) -> list[int]:
    """The frames that shots begin with, by a `CutDetector`."""
    detector = CutDetector()
    marks = [mark for frame in frames for mark in detector.add(frame)] + detector.finish()
    assert len(marks) == len(frames)
    return [i for i, mark in enumerate(marks) if mark]


def scaled(frame: Array, factor: float, offset: float = 0) -> Array:
    return np.clip(frame * factor + offset, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("lengths", [(20, 30, 12), (5, 4, 6), (1, 1), (2, 9), (9, 2), (1,)])
def test_cuts_to_the_frame(lengths: tuple[int, ...]) -> None:
    shots = [pan(length, seed) for seed, length in enumerate(lengths)]
    wanted = [sum(lengths[:i]) for i in range(len(lengths))]
    assert begins([frame for shot in shots for frame in shot]) == wanted


@pytest.mark.parametrize("times", [2, 3, 4])
def test_repeated_frames_hide_no_cut_and_make_none(times: int) -> None:
    frames = [frame for shot in (pan(8, 1, 3), pan(8, 2, 3)) for frame in shot]
    assert begins([frame for frame in frames for _ in range(times)]) == [0, 8 * times]


def test_a_still_does_not_delay_the_film() -> None:
    detector = CutDetector()
    still, other = pan(1, 1)[0], pan(1, 2)[0]
    decided = 0
    for number, frame in enumerate([still] * 60 + [other] * 60, start=1):
        decided += len(detector.add(frame))
        assert number - decided <= LOOKAHEAD
    assert begins([still] * 60 + [other] * 60) == [0, 60]


def test_old_film_is_no_cut() -> None:
    rng = np.random.default_rng(3)
    frames = [
        scaled(frame + rng.normal(0, 6, frame.shape), rng.uniform(0.7, 1.2), rng.uniform(-20, 20))
        for frame in pan(40, 1)
    ]
    for i in range(0, 40, 5):
        frames[i][:, 7 * i % WIDTH : 7 * i % WIDTH + 2] = 255  # a scratch
        frames[i][20:36, 40:60] = 0  # a speck of dirt
    frames[25] = np.roll(frames[25], HEIGHT // 4, axis=0)  # the film slips in the gate
    assert begins(frames) == [0]


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("kind", ["white", "bright", "other"])
def test_a_flash_is_no_cut(kind: str, length: int) -> None:
    frames = pan(40, 1, 1)
    for i in range(20, 20 + length):
        frames[i] = {
            "white": np.full_like(frames[i], 255),
            "bright": scaled(frames[i], 1, 150),
            "other": pan(1, 9)[0],
        }[kind]
    assert begins(frames) == [0]


def test_a_jerk_of_the_camera_is_no_cut() -> None:
    slow = pan(40, 1, 1)
    fast = [np.roll(frame, 9 if i >= 20 else 0, axis=1) for i, frame in enumerate(slow)]
    assert begins(fast) == [0]


def test_a_shot_begins_behind_black() -> None:
    first, second = pan(20, 1), pan(20, 1)  # the same place, so that black alone parts them
    out = [scaled(frame, (19 - i) / 19) for i, frame in enumerate(first)]
    back = [scaled(frame, i / 19) for i, frame in enumerate(second)]
    found = begins(out + BLACK * 5 + back)
    assert len(found) == 2 and 25 <= found[1] <= 28
    assert begins(first + BLACK * 5 + second) == [0, 25]


def test_a_fade_within_a_shot_is_no_cut() -> None:
    light = [1 - 0.7 * np.sin(np.pi * i / 40) for i in range(41)]
    assert begins([scaled(f, g) for f, g in zip(pan(41, 1), light, strict=True)]) == [0]


@pytest.mark.parametrize("size", [1, 3, 4, 7, 50])
def test_batches_are_marked_in_order_and_bounded(size: int) -> None:
    frames = pan(20, 1) + pan(10, 2) + pan(3, 3)
    taken = 0

    def watched() -> Iterator[LumaBatch]:
        nonlocal taken
        for batch in batches(frames, size):
            taken += len(batch)
            yield batch

    marks: list[bool] = []
    for given, wanted in zip(mark_cuts(watched(), TIME_BASE), batches(frames, size), strict=True):
        assert taken - len(marks) <= LOOKAHEAD + 2 * size
        assert torch.equal(given.luma, wanted.luma) and given.pts == wanted.pts
        assert len(given.cuts) == len(given)
        marks += given.cuts
    assert [i for i, mark in enumerate(marks) if mark] == [0, 20, 30]


def test_a_jump_in_time_begins_a_shot() -> None:
    frames, pts = pan(20, 1, 0), [*range(10), *range(60, 70)]
    (batch,) = mark_cuts(batches(frames, 20, pts), TIME_BASE)
    assert [i for i, mark in enumerate(batch.cuts) if mark] == [0, 10]
    slow = [50 * i for i in range(20)]  # two seconds a picture: its pace, not a jump
    (batch,) = mark_cuts(batches(frames, 20, slow), TIME_BASE)
    assert batch.cuts == (True,) + (False,) * 19


def test_an_empty_batch_passes() -> None:
    empty = LumaBatch(torch.empty((0, 1, HEIGHT, WIDTH), dtype=torch.uint8), 8, True, (), ())
    first, last = mark_cuts([*batches(pan(2, 1), 2), empty], TIME_BASE)
    assert first.cuts == (True, False) and last.cuts == ()


def test_thumbnails_undoes_depth_and_range() -> None:
    codes = np.full((300, 400), 16 << 2, np.uint16)
    codes[:, 200:] = 235 << 2
    batch = LumaBatch(torch.from_numpy(codes)[None, None], 10, False, (0,), (1,))
    (gray,) = thumbnails(batch)
    assert gray.shape == (96, 128) and gray.dtype == np.uint8
    assert gray[:, :60].max() == 0 and gray[:, 68:].min() >= 254


def test_a_part_of_a_batch_keeps_its_marks() -> None:
    (batch,) = mark_cuts(batches(pan(4, 1) + pan(4, 2), 8), TIME_BASE)
    assert batch[3:6].cuts == (False, True, False)


def test_black_is_no_shot_of_its_own() -> None:
    one, two = pan(10, 1), pan(10, 2)
    frames = [*BLACK * 8, *one, *BLACK * 8, *two]
    marked = list(mark_cuts(batches(frames, 3), TIME_BASE))
    shots = [shot for batch in marked for shot in batch.shots]
    assert shots[:18] == [0] * 18  # the leader belongs to the first picture
    assert shots[-10:] == [1] * 10
    assert sorted(set(shots)) == [0, 1]
    cuts = [cut for batch in marked for cut in batch.cuts]
    assert cuts[8]
    assert cuts[26]  # the temporal filter restarts all the same


def test_contrast_that_swings_in_the_dark_is_no_cut() -> None:
    swing = 17.5 + 3 * np.sin(np.arange(60) / 4)
    frames = [scaled(frame, gain / 255, 3) for frame, gain in zip(pan(60, 1), swing, strict=True)]
    assert begins(frames) == [0]


def test_wide_and_thin_films_are_marked() -> None:
    frames = [np.tile(shot[:32], (1, 4)) for seed in (1, 2) for shot in pan(8, seed)]
    marks = [cut for batch in mark_cuts(batches(frames, 4), TIME_BASE) for cut in batch.cuts]
    assert [i for i, cut in enumerate(marks) if cut] == [0, 8]
