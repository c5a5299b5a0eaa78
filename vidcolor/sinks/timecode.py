"""SMPTE timecodes of a film that begins later than its original."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from fractions import Fraction

_TIMECODE = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})([:;.,])(\d{2,3})")


def move_timecode(timecode: str, frames: int, rate: Fraction) -> str:
    """A timecode that many frames later, past midnight at 0 again; unchanged if it is none.

    Drop-frame timecodes, written with a semicolon or a point, leave out numbers so as to keep step
    with the clock at 30000/1001 and 60000/1001 frames a second. Source: SMPTE ST 12-1, 5.2.2.

    Args:
        timecode: `01:00:00:00`.
        frames: to go on by.
        rate: frames a second.
    """
    found = _TIMECODE.fullmatch(timecode.strip())
    base = round(rate)
    if found is None or base < 1:
        return timecode
    hours, minutes, seconds, number = (int(found[i]) for i in (1, 2, 3, 5))
    drops = base // 15 if found[4] in ";.," and base % 30 == 0 else 0  # a minute but each tenth
    minutes += hours * 60
    count = (minutes * 60 + seconds) * base + number - drops * (minutes - minutes // 10)
    in_ten = base * 600 - drops * 9
    count = (count + frames) % (in_ten * 144)
    tens, rest = divmod(count, in_ten)
    count += drops * 9 * tens
    if rest > drops:
        count += drops * ((rest - drops) // (base * 60 - drops))
    rest, number = divmod(count, base)
    rest, seconds = divmod(rest, 60)
    hours, minutes = divmod(rest, 60)
    width = len(found[5])
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{found[4]}{number:0{width}d}"


def move_timecodes(tags: MutableMapping[str, str], frames: int, rate: Fraction) -> None:
    """Move the timecode among a file's or a stream's tags."""
    for key in list(tags):
        if key.lower() == "timecode":
            tags[key] = move_timecode(tags[key], frames, rate)
