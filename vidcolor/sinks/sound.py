"""Hear whether copied sound is whole: `SoundCheck`.

A copy does not decode the sound, so damage in it would go unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.packet import Packet

from ..system.messages import Listener

_JOINT = Fraction(1)  # seconds around a joint of two recordings in which errors are expected
_LEAST_GAP = Fraction(1, 10)  # seconds


class SoundCheck:
    """Decodes a stream's packets, to hear what the decoder says, and looks for gaps between them.

    Args:
        stream: of the input.
        listener: of the thread that reads.
        late: the recording may begin anywhere: errors before the first sound that can be decoded
            are none.

    Attributes:
        notes: one line for the first gap.
    """

    def __init__(self, stream: AudioStream, listener: Listener, *, late: bool) -> None:
        self._context, self._listener = stream.codec_context, listener
        self._context.thread_count = 1  # an error then belongs to its packet
        self._name = f"sound of stream {stream.index}"
        self._begun = not late
        self._stretch, self._joint = 0, -_JOINT
        self._wrong: list[tuple[Fraction, str]] = []  # when, and what was said
        self._end: Fraction | None = None
        self.notes: list[str] = []

    def look(self, packet: Packet[Any], stretch: int) -> Iterator[str]:
        """Lines about damage up to a packet.

        Args:
            packet: the stream's next one, on the film's clock.
            stretch: see `Clock.stretch`.
        """
        time = packet.pts if packet.pts is not None else packet.dts
        now = Fraction(0) if time is None else time * packet.time_base
        if stretch != self._stretch:
            self._stretch, self._joint, self._wrong, self._end = stretch, now, [], None
        self._look_for_gap(packet, now)
        said = self._decode(packet)
        if said and self._begun and now > self._joint + _JOINT:
            self._wrong.append((now, said))
        if self._wrong and now > self._wrong[0][0] + _JOINT:
            yield from self.rest()

    def rest(self) -> Iterator[str]:
        """Lines about what was wrong lately; at the end no joint explains it any more."""
        for moment, said in self._wrong:
            yield f"{self._name} is damaged at {float(moment):.3f} s ({said})"
        self._wrong = []

    def _decode(self, packet: Packet[Any]) -> str:
        """What the decoder says of a packet, empty for nothing."""
        self._listener.take()
        try:
            decoded = self._context.decode(packet)
        except FFmpegError as error:
            said = self._listener.take(self._context.name)
            return said[0] if said else str(error.strerror)
        said = self._listener.take(self._context.name)
        self._begun = self._begun or bool(decoded)
        if packet.is_corrupt and not said:
            return "marked so in the file"
        return said[0] if said else ""

    def _look_for_gap(self, packet: Packet[Any], now: Fraction) -> None:
        length = (packet.duration or 0) * packet.time_base
        if self._end is not None and not self.notes and length:
            gap = now - self._end
            if gap > max(_LEAST_GAP, 2 * length):
                self.notes.append(
                    f"{self._name} is silent from {float(self._end):.3f} s for {float(gap):.3f} s: "
                    "it has no packets there"
                )
        self._end = now + length if length else None
