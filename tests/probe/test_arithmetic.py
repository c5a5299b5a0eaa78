"""The extrapolation, on samples whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from vidcolor.frames import Segment
from vidcolor.probe.arithmetic import Costs, Sample, busyness, costs, stretches, weights

KEY, OTHER, HEADER = 9000, 1000, 700


def sample(place: float, frames: int = 100, keys: int = 1, **more) -> Sample:
    """2 s of start and 0.05 s a frame; a key frame of 9,000 bytes and others of 1,000."""
    video = keys * KEY + (frames - keys) * OTHER
    values = {
        "seconds": 2 + 0.05 * frames,
        "steady_frames": 40,
        "steady_seconds": 40 * 0.05,
        "keys": keys,
        "key_bytes": keys * KEY,
        "others": frames - keys,
        "other_bytes": (frames - keys) * OTHER,
        "coded_bytes": video,
        "file_bytes": video + 14 * frames + HEADER,
    }
    return Sample(place, frames, **{**values, **more})


def test_a_steady_film() -> None:
    found = costs([sample(0.0), sample(0.5)], 5000, 250)
    assert found.fixed_seconds == pytest.approx(2)
    assert found.seconds(5000) == pytest.approx(2 + 0.05 * 5000)
    # a key frame in 250, and every stretch's own first one is none of them
    wanted = 20 * KEY + 4980 * OTHER + 14 * 5000 + HEADER
    assert found.bytes(5000) == pytest.approx(wanted, rel=0.003)


def test_cuts_bring_key_frames() -> None:
    cutting = [sample(place, keys=5) for place in (0.0, 0.5)]
    found = costs(cutting, 10_000, 250)
    wanted = 10_000 * (0.04 * KEY + 0.96 * OTHER + 14)
    assert found.bytes(10_000) == pytest.approx(wanted, rel=0.03)


def test_a_film_of_key_frames_alone() -> None:
    every = sample(0.0, keys=100)
    found = costs([every, replace(every, place=0.5)], 1000, 1)
    assert found.bytes(1000) == 1000 * (KEY + 14) + HEADER


def test_places_count_by_the_part_of_the_film_nearest_to_them() -> None:
    assert weights([0.0]) == [1.0]
    assert weights([0.0, 0.25, 0.5, 0.75]) == [0.125, 0.25, 0.25, 0.375]
    slow = replace(sample(0.75), steady_seconds=40 * 0.25, other_bytes=99 * 5 * OTHER)
    found = costs([sample(0.0), sample(0.25), slow], 4000, 4000)
    assert found.seconds_a_frame == pytest.approx(0.5 * 0.05 + 0.5 * 0.25)
    assert found.bytes_a_frame == pytest.approx(0.5 * OTHER + 0.5 * 5 * OTHER + 14, rel=0.005)


def test_a_stretch_without_a_steady_part_counts_as_a_whole() -> None:
    short = replace(sample(0.0, frames=10), steady_frames=0, steady_seconds=0.0, seconds=3.0)
    assert short.seconds_a_frame == pytest.approx(0.3) and short.fixed_seconds == 0.0


def test_a_film_measured_whole_costs_what_was_measured() -> None:
    whole = replace(sample(0.0, frames=77, keys=2), whole=True)
    found = costs([whole], 77, 250)
    assert found.seconds(77) == pytest.approx(whole.seconds)
    assert found.bytes(77) == whole.file_bytes


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="no frame"):
        costs([Sample(0.0, 0, 1.0)], 10, 250)


@pytest.mark.parametrize("begin", [None, Fraction(7)])
def test_stretches_lie_within_the_film_and_apart(begin: Fraction | None) -> None:
    rate, length, frames = Fraction(24000, 1001), 90, 2000
    found = stretches(frames, rate, length, 3, begin)
    assert [round(place, 2) for place, _ in found] == [0.25, 0.5, 0.75]
    for place, part in found:
        assert isinstance(part, Segment) and part.start is not None and part.end is not None
        first, last = ((t - (begin or 0)) * rate for t in (part.start, part.end))
        assert first == round(place * frames) - Fraction(1, 2)
        assert last - first == length and length < last <= frames
    ends = [part.end for _, part in found]
    starts = [part.start for _, part in found]
    assert all(e < s for e, s in zip(ends, starts[1:], strict=False) if e and s)


def test_a_short_film_has_room_for_fewer() -> None:
    rate = Fraction(24)
    assert len(stretches(300, rate, 90, 3)) == 2
    assert stretches(120, rate, 90, 3) == []


def test_costs_add_up() -> None:
    found = Costs(0.04, 3.0, 500.0, 1000.0)
    assert found.seconds(100) == 7.0 and found.bytes(100) == 51_000


def test_what_the_stretches_missed_shows_in_the_films_own_frames() -> None:
    calm_then_busy = [100] * 600 + [300] * 400
    at_both = [Sample(0.0, 50, 1.0), Sample(0.8, 50, 1.0)]
    weighed = busyness(at_both, calm_then_busy)  # each stands for what is nearest to it
    assert weighed == pytest.approx(180 / (0.4 * 100 + 0.6 * 300))
    assert busyness([Sample(0.0, 50, 1.0)], calm_then_busy) == 3 / 2
    assert busyness([Sample(0.7, 50, 1.0)], calm_then_busy) == 2 / 3
    assert busyness(at_both, [100] * 1000) == 1
    assert busyness(at_both, [0] * 1000) == busyness(at_both, []) == 1
