"""One clock for all streams of a film: `Clock`.

A recording's times may begin anywhere (a broadcast's at ten hours), begin anew (two recordings
joined), or wrap (MPEG counts 33 bits of 1/90000 s, 26.5 hours). On a film's clock the first stream
begins at 0 and time runs on, as FFmpeg's command line has it when it copies streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

from av.container import InputContainer
from av.format import Flags
from av.packet import Packet

# As FFmpeg's dts_delta_threshold: a longer gap is a new beginning, not a loss.
_LONGEST_GAP = Fraction(10)
# A step back by more than this is a new beginning; less is a muxer's fault.
_LONGEST_STEP_BACK = Fraction(1, 10)
_MICROSECOND = Fraction(1, 1_000_000)
_TIMED = ("video", "audio")  # others are sparse: a gap in them says nothing


@dataclass
class _Place:
    """Where a stream is: seconds of its last packet by the file, and of the end of it."""

    last: Fraction
    end: Fraction
    stretch: int


@dataclass
class _Stretch:
    """A stretch of continuous time: by the file's seconds its first and its latest packet, and what
    is added to them."""

    first: Fraction
    latest: Fraction
    offset: Fraction


class Clock:
    """Moves the times of a film's packets onto one clock that begins at 0 and has no jumps.

    The packets of all streams must pass through `place`, in the order of the file, where the
    container may jump (`may_jump`).

    Attributes:
        may_jump: times may begin anew within the file, so that a moment does not tell a place.

    Args:
        container: the film; it is not read.
    """

    def __init__(self, container: InputContainer) -> None:
        self.may_jump = bool(container.format.flags & cast(int, Flags.ts_discont.value))
        start = _start(container)
        # Elsewhere a time before 0 is the run-up of a decoder, which edit lists or players hide.
        shift = -start if start > 0 or self.may_jump else Fraction(0)
        self._shift = shift
        self._stretches: list[_Stretch] = []
        self._places: dict[int, _Place] = {}

    def place(self, packet: Packet[Any]) -> None:
        """Put a packet's pts and dts onto the clock, in its own time base."""
        time = packet.dts if packet.dts is not None else packet.pts
        if time is None:
            return
        offset = self._offset(packet, time) if self.may_jump else self._shift
        if offset:
            ticks = round(offset / packet.time_base)
            if packet.pts is not None:
                packet.pts += ticks
            if packet.dts is not None:
                packet.dts += ticks

    def _offset(self, packet: Packet[Any], time: int) -> Fraction:
        unit = packet.time_base
        now, length = time * unit, (packet.duration or 0) * unit
        if packet.stream.type not in _TIMED:
            return self._stretches[-1].offset if self._stretches else self._shift
        place = self._places.get(packet.stream_index)
        if place is None:
            if not self._stretches:
                self._stretches.append(_Stretch(now, now, self._shift))
            place = _Place(now, now, len(self._stretches) - 1)
            self._places[packet.stream_index] = place
        elif now < place.last - _LONGEST_STEP_BACK or self._leaps(place, now):
            place.stretch = self._enter(place, now)
        stretch = self._stretches[place.stretch]
        place.last, place.end = now, now + length
        stretch.latest = max(stretch.latest, place.end)
        return stretch.offset

    def _leaps(self, place: _Place, now: Fraction) -> bool:
        """Whether it is time that leaps, and not this stream alone that has a gap."""
        if now <= place.end + _LONGEST_GAP:
            return False
        return now > self._stretches[place.stretch].latest + _LONGEST_GAP

    def _enter(self, place: _Place, now: Fraction) -> int:
        """The stretch that a stream comes into: one that another stream has begun, or a new one,
        which follows this stream without a gap. Files still hold packets from before a jump of some
        streams when others have jumped."""
        for number in range(len(self._stretches) - 1, place.stretch, -1):
            stretch = self._stretches[number]
            if stretch.first - _LONGEST_GAP <= now <= stretch.latest + _LONGEST_GAP:
                return number
        offset = self._stretches[place.stretch].offset + place.end - now
        self._stretches.append(_Stretch(now, now, offset))
        return len(self._stretches) - 1

    def stretch(self, packet: Packet[Any]) -> int:
        """Number of the stretch of continuous time that the stream of a packet is in."""
        place = self._places.get(packet.stream_index)
        return 0 if place is None else place.stretch

    @property
    def has_jumped(self) -> bool:
        """Whether times have begun anew so far."""
        return len(self._stretches) > 1

    @property
    def shift(self) -> Fraction:
        """Seconds that are added to the file's times at its beginning."""
        return self._shift

    def in_file(self, time: int, unit: Fraction) -> int:
        """The file's own pts of one on the clock; only where times do not jump."""
        return time - round(self._shift / unit)


def _start(container: InputContainer) -> Fraction:
    """When the first stream begins by the file's own times, seconds; exact where it can be."""
    if container.start_time is None:
        return Fraction(0)
    rounded = container.start_time * _MICROSECOND
    exact: Sequence[Fraction] = [
        each.start_time * each.time_base
        for each in container.streams
        if each.start_time is not None and each.time_base
    ]
    return min(
        (each for each in exact if abs(each - rounded) <= 2 * _MICROSECOND),
        key=lambda each: abs(each - rounded),
        default=rounded,
    )
