"""H.264 and back: the picture stays, its finest detail goes, the frames before show through."""

from __future__ import annotations

import numpy as np
import pytest

from vidcolor.training.data.old_film import h264_copy

RAMP = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (64, 1))


@pytest.mark.parametrize("size", [(64, 128), (33, 47), (16, 16)], ids=str)
def test_levels_come_back(size: tuple[int, int]) -> None:
    levels = RAMP[: size[0], : size[1]]
    found = h264_copy([levels, levels], 0)
    assert found.dtype == np.uint8
    assert np.array_equal(found, levels)


def test_quality_is_lost_by_crf() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64)).astype(np.uint8)
    lost = [np.abs(h264_copy([noise], crf).astype(int) - noise).mean() for crf in (5, 25, 45)]
    assert 0 < lost[0] < lost[1] < lost[2]


def test_the_last_frame_is_given_and_those_before_show_through() -> None:
    black, gray = np.zeros((64, 64), np.uint8), np.full((64, 64), 100, np.uint8)
    assert np.array_equal(h264_copy([black, gray], 0), gray)
    first = np.kron(np.random.default_rng(2).integers(0, 256, (16, 16)), np.ones((4, 4)))
    first = first.astype(np.uint8)
    second = np.roll(first, 1, axis=1)
    assert not np.array_equal(h264_copy([first, second], 40), h264_copy([second], 40))
