"""Timecodes that go on by a number of frames."""

from __future__ import annotations

from fractions import Fraction

import pytest

from vidcolor.sinks.timecode import move_timecode

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("timecode", "frames", "rate", "moved"),
    [
        ("01:00:00:00", 25, Fraction(25), "01:00:01:00"),
        ("10:59:59:24", 1, Fraction(25), "11:00:00:00"),
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),  # past midnight
        ("01:00:00:00", 24 * 3600 * 25 + 3, Fraction(25), "01:00:00:03"),  # a day and more
        ("00:00:59:29", 1, NTSC, "00:01:00:00"),
        ("00:00:59;29", 1, NTSC, "00:01:00;02"),  # two numbers are left out
        ("00:09:59;29", 1, NTSC, "00:10:00;00"),  # but not in the tenth minute
        ("01:00:00;02", 107892, NTSC, "02:00:00;02"),  # an hour of drop-frame
        ("00:00:59;59", 1, Fraction(60000, 1001), "00:01:00;04"),
        ("no timecode", 5, Fraction(25), "no timecode"),
    ],
)
def test_it_goes_on(timecode: str, frames: int, rate: Fraction, moved: str) -> None:
    assert move_timecode(timecode, frames, rate) == moved


def test_every_number_of_a_drop_frame_day_comes_once() -> None:
    seen = {move_timecode("00:00:00;00", frames, NTSC) for frames in range(17982 * 2)}
    assert len(seen) == 17982 * 2
    assert not any(each.startswith(("00:01:00;00", "00:01:00;01")) for each in seen)
