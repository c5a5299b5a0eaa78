"""CDC and warp error on clips whose values can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.motion.test_flow import texture
from vidcolor.evaluation.video_metrics import (
    BackwardFlow,
    ColorConsistency,
    TruthFlow,
    WarpError,
    histograms,
    jensen_shannon,
)
from vidcolor.motion.flow import Array


def plain_cdc(frames: list[Array]) -> float:
    """CDC by its definition, pair by pair and level by level, without shared computations."""
    per_distance = []
    for distance in (1, 2, 4):
        values = []
        for i in range(len(frames) - distance):
            for channel in range(3):
                p, q = (
                    [np.count_nonzero(frames[k][channel] == level) for level in range(256)]
                    for k in (i, i + distance)
                )
                size = frames[0][channel].size
                value = 0.0
                for a, b in zip(p, q, strict=True):
                    for one in (a, b):
                        if one:
                            value += one / size * math.log(2 * one / (a + b)) / 2
                values.append(value)
        per_distance.append(sum(values) / len(values))
    return sum(per_distance) / 3


def cdc(frames: list[Array]) -> float:
    measure = ColorConsistency()
    for frame in frames:
        measure.add(frame)
    return measure.value


def plain(red: int, green: int, blue: int) -> Array:
    return np.broadcast_to(np.array([red, green, blue], np.uint8)[:, None, None], (3, 6, 8)).copy()


# ---------------------------------------------------------------- CDC


def test_histograms_are_shares_by_channel() -> None:
    frame = plain(0, 7, 255)
    frame[1, :3] = 9
    shares = histograms(frame)
    assert shares.shape == (3, 256)
    assert (shares[0, 0], shares[1, 7], shares[1, 9], shares[2, 255]) == (1, 0.5, 0.5, 1)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_divergence_by_hand() -> None:
    one, other, even = np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0.5, 0.5, 0])
    assert jensen_shannon(one, one) == 0
    assert jensen_shannon(one, other) == pytest.approx(math.log(2))
    # KL((1, 0), (3/4, 1/4)) = ln 4/3; KL((1/2, 1/2), (3/4, 1/4)) = (ln 2/3 + ln 2) / 2
    expected = (math.log(4 / 3) + (math.log(2 / 3) + math.log(2)) / 2) / 2
    assert jensen_shannon(one, even) == pytest.approx(expected)
    assert jensen_shannon(even, one) == pytest.approx(expected)
    assert jensen_shannon(np.stack([one, one]), np.stack([other, one])).shape == (2,)


def test_a_still_clip_has_no_divergence() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (3, 9, 7), dtype=np.uint8)
    assert cdc([frame] * 7) == 0


def test_alternating_colors_by_hand() -> None:
    # red changes in every frame: ln 2 at t = 1 and 0 at t = 2 and 4; green and blue never do
    frames = [plain(200 * (i % 2), 10, 20) for i in range(8)]
    assert cdc(frames) == pytest.approx(math.log(2) / 3 / 3)
    # all channels change: three times as much
    frames = [plain(*[200 * (i % 2)] * 3) for i in range(8)]
    assert cdc(frames) == pytest.approx(math.log(2) / 3)


def test_one_change_counts_by_its_pairs() -> None:
    # the color changes once, between frames 2 and 3 of 6: 1 of 5 pairs at t = 1, 2 of 4 at t = 2,
    # 2 of 2 at t = 4
    frames = [plain(*[10 if i < 3 else 90] * 3) for i in range(6)]
    assert cdc(frames) == pytest.approx(math.log(2) * (1 / 5 + 2 / 4 + 1) / 3)


def test_noise_against_the_plain_formula() -> None:
    generator = np.random.default_rng(1)
    frames = [
        generator.integers(20 * i, 120 + 20 * i, (3, 12, 10)).astype(np.uint8) for i in range(6)
    ]
    assert cdc(frames) == pytest.approx(plain_cdc(frames), rel=1e-9)
    assert cdc(frames) > 0.05


def test_too_few_frames_for_a_distance_of_four() -> None:
    with pytest.raises(ValueError, match="at least 5 frames"):
        cdc([plain(1, 2, 3)] * 4)
    assert cdc([plain(1, 2, 3)] * 5) == 0


# ---------------------------------------------------------------- warp error

STILL = BackwardFlow(np.zeros((6, 8, 2), np.float32), np.ones((6, 8), bool))


def flat(a: float, b: float) -> Array:
    return np.broadcast_to(np.array([a, b], np.float32), (6, 8, 2)).copy()


def test_a_change_of_color_by_hand() -> None:
    measure = WarpError()
    assert math.isnan(measure.value)
    for ab, motion in ((flat(0, 0), None), (flat(3, 4), STILL), (flat(3, 4), STILL)):
        measure.add(ab, motion)
    assert measure.value == pytest.approx((25 + 0) / 2)


def test_a_pair_left_out_still_updates_the_previous_frame() -> None:
    measure = WarpError()
    for ab, motion in ((flat(0, 0), None), (flat(90, 0), None), (flat(91, 0), STILL)):
        measure.add(ab, motion)
    assert measure.value == pytest.approx(1)


def test_only_visible_pixels_count() -> None:
    visible = np.zeros((6, 8), bool)
    visible[0] = True
    present = flat(0, 0)
    present[0, :, 0], present[1:, :, 1] = 2, 50
    measure = WarpError()
    measure.add(flat(0, 0), None)
    measure.add(present, BackwardFlow(STILL.to_previous, visible))
    assert measure.value == pytest.approx(4)


def test_colors_that_move_with_the_flow_have_no_error() -> None:
    """A ramp of color that moves two pixels a frame: exact where it is followed, and 2^2 where
    the flow is taken to be none."""
    x = np.arange(8, dtype=np.float32)
    first = np.stack([np.broadcast_to(x, (6, 8)), np.zeros((6, 8))], axis=2).astype(np.float32)
    second = first - np.array([2, 0], np.float32)
    along = STILL.to_previous - np.array([2, 0], np.float32)  # what is at x was at x - 2
    visible = np.zeros((6, 8), bool)
    visible[:, 2:] = True
    for flow, expected in ((along, 0), (STILL.to_previous, 4)):
        measure = WarpError()
        measure.add(first, None)
        measure.add(second, BackwardFlow(flow, visible))
        assert measure.value == pytest.approx(expected, abs=1e-4)


# ---------------------------------------------------------------- the truth's motion


def test_motion_is_back_to_the_frame_before() -> None:
    wide = texture(96, 140, 3)
    motion = TruthFlow()
    assert motion.add(wide[:, 8:136]) is None
    found = motion.add(wide[:, 5:133])  # what was at x is at x + 3
    assert found is not None
    inner = found.to_previous[16:-16, 16:-16]
    np.testing.assert_allclose(np.median(inner[..., 0]), -3, atol=0.2)
    np.testing.assert_allclose(np.median(inner[..., 1]), 0, atol=0.2)
    assert found.visible[16:-16, 16:-16].mean() > 0.95
    assert not found.visible[:, 0].any()  # new in this frame
    assert motion.visible_share == pytest.approx(found.visible.mean())


def test_cuts_and_duplicates_are_left_out_and_counted() -> None:
    one, two = texture(64, 64, 4), texture(64, 64, 5)
    motion = TruthFlow()
    frames = [(one, True), (one.copy(), False), (two, True), (np.roll(two, 1, axis=1), False)]
    found = [motion.add(luma, cut) is not None for luma, cut in frames]
    assert found == [False, False, False, True]
    assert (motion.pairs, motion.cuts, motion.duplicates, motion.unmatched) == (1, 1, 1, 0)


def test_a_cut_between_identical_frames_is_a_cut() -> None:
    motion = TruthFlow()
    for cut in (False, True):
        motion.add(texture(32, 32, 6), cut)
    assert (motion.cuts, motion.duplicates) == (1, 0)
    assert math.isnan(motion.visible_share)


def test_nothing_visible_is_no_pair() -> None:
    """All of the picture is a narrow strip that moves out of the frame."""
    strip = texture(16, 200, 7)
    motion = TruthFlow()
    assert motion.add(np.ascontiguousarray(strip[:, :16])) is None
    assert motion.add(np.ascontiguousarray(strip[:, 100:116])) is None
    assert (motion.pairs, motion.unmatched) == (0, 1)
