"""The clock of a film, on recordings that begin late, are joined, wrap or lose a stream."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from tests.helpers.recordings import RATE, record, record_at
from vidcolor.system.clock import Clock
from vidcolor.system.media import open_media


def placed(path: Path) -> dict[str, list[float]]:
    """The pts of each kind of stream on the clock, seconds, in the order of the file."""
    times: dict[str, list[float]] = {"video": [], "audio": []}
    with open_media(f"file:{path}") as container:
        clock = Clock(container)
        for packet in container.demux():
            if packet.size:
                clock.place(packet)
                assert packet.pts is not None
                times[packet.stream.type].append(float(packet.pts * packet.time_base))
    return times


def steps(times: Iterable[float]) -> set[float]:
    ordered = sorted(times)
    return {round(b - a, 3) for a, b in pairwise(ordered)}


@pytest.mark.parametrize("start", [0, 36000, 90000])
def test_a_recording_begins_at_zero(tmp_path: Path, start: int) -> None:
    path = record_at(tmp_path / "late.ts", seconds=1, start=Fraction(start))
    times = placed(path)
    assert min(times["video"] + times["audio"]) == 0
    assert steps(times["video"]) == {round(1 / RATE, 3)}


def test_a_clock_of_33_bits_wraps(tmp_path: Path) -> None:
    wrap = Fraction(2**33, 90000)
    times = placed(record_at(tmp_path / "wrap.ts", seconds=2, start=wrap - 1))
    assert steps(times["video"]) == {round(1 / RATE, 3)}
    assert min(times["video"]) < 0.1 and max(times["video"]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("second", [0, 5000])  # begins anew, and leaps ahead
def test_joined_recordings_go_on_in_step(tmp_path: Path, second: int) -> None:
    path = tmp_path / "joined.ts"
    parts = (
        record_at(tmp_path / "a.ts", seconds=2, start=Fraction(100)),
        record_at(tmp_path / "b.ts", seconds=2, start=Fraction(second)),
    )
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    times = placed(path)
    assert len(times["video"]) == 4 * RATE
    # the stream that jumps first goes on without a gap, the other nearly so
    assert all(0 < step < 0.1 for step in steps(times["video"]))
    # sound and picture both last as long as the two parts, within the length of some packets
    assert times["video"][-1] - times["video"][0] == pytest.approx(4, abs=0.1)
    assert max(times["audio"]) - min(times["audio"]) == pytest.approx(4, abs=0.15)


def test_a_gap_of_one_stream_stays_a_gap(tmp_path: Path) -> None:
    """The picture is away for 20 s while the sound goes on."""
    path = record(
        tmp_path / "gap.ts",
        video=[*range(RATE), *range(21 * RATE, 22 * RATE)],
        seconds=22,
    )
    times = placed(path)
    assert max(steps(times["video"])) == pytest.approx(20, abs=0.1)
    assert max(times["audio"]) == pytest.approx(22, abs=0.2)


def test_times_of_a_file_with_an_index_are_not_touched(tmp_path: Path) -> None:
    path = record(tmp_path / "film.mkv", video=range(RATE), seconds=1)
    with open_media(f"file:{path}") as container:
        clock = Clock(container)
        assert not clock.may_jump and clock.shift == 0
        for packet in container.demux():
            before: Any = (packet.pts, packet.dts)
            clock.place(packet)
            assert (packet.pts, packet.dts) == before


def test_av_reads_what_record_writes(tmp_path: Path) -> None:
    with av.open(str(record(tmp_path / "film.ts", video=range(RATE), seconds=1))) as container:
        assert len(list(container.decode(video=0))) == RATE
