"""The packets of a film's video, in the order of the file, on the film's clock: `PacketReader`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from ..system.clock import Clock

_Packet: TypeAlias = "Packet[Any]"
_MAX_HELD = 2000  # packets since a key frame, before which the decoder is better begun
_JOINT = Fraction(1)  # seconds around a joint in which sound counts as joined too
_UNTIL_JOINT = 3  # packets from a marked one to the joint: parsers mark the one before the last too
# MPEG-1 and 2: how the header of a sequence begins. Width and height follow, 12 bits each
# (ISO/IEC 13818-2, 6.2.2.1).
_MPEG, _SEQUENCE = ("mpeg1video", "mpeg2video"), b"\x00\x00\x01\xb3"


class PacketReader:
    """Iterates over the video's packets, None at the end, and lines about damage.

    A packet that the demuxer marks as damaged makes a line, but where two recordings were joined:
    there it marks the last whole packet of the first one.

    Attributes:
        format: FFmpeg's name of the demuxer.
        may_jump: see `Clock`.
        when: seconds on the clock of the packet given last.
        count: packets given so far.

    Args:
        path: named in the lines.
        container, stream: the opened film.
        clock: of this container.
        start: pts from which frames are wanted. Where the container cannot seek to it, because its
            times may begin anew, packets before the last key frame before it are passed over.
    """

    def __init__(
        self,
        path: Path,
        container: InputContainer,
        stream: VideoStream,
        clock: Clock,
        start: Fraction | None,
    ) -> None:
        self.format: str = container.format.name
        self.may_jump = clock.may_jump
        self.when = 0.0
        self.count = 0
        self._path, self._container, self._stream = path, container, stream
        self._clock = clock
        self._start = start if clock.may_jump else None
        self._before: _Packet | None = None  # of the video
        self._stretch = 0  # of it
        self._marked: Fraction | None = None  # when the video was marked, not explained yet
        self._since = 0  # packets of the video since then
        self._marked_sounds: list[tuple[Fraction, int]] = []  # when, and the stream
        self._joints: list[Fraction] = []

    def __iter__(self) -> Iterator[_Packet | str | None]:
        held: list[_Packet | str] = []
        holding = self._start is not None and self._start > 0
        for item in self._all():
            if not holding or self._start is None:
                yield item
                continue
            if item is not None and not isinstance(item, str):
                shown = item.pts if item.pts is not None else item.dts
                if item.is_keyframe and shown is not None and shown <= self._start:
                    held = []  # it can be decoded from here
                holding = shown is None or shown <= self._start
            holding = holding and item is not None and len(held) < _MAX_HELD
            if holding and item is not None:
                held.append(item)
                continue
            for each in held:
                self._see(each)
                yield each
            self._see(item)
            held = []
            yield item

    def _see(self, item: _Packet | str | None) -> None:
        if isinstance(item, Packet):
            time = item.pts if item.pts is not None else item.dts
            if time is not None:
                self.when = float(time * item.time_base)

    def _all(self) -> Iterator[_Packet | str | None]:
        # A jump of one stream moves all others, so all have to be looked at.
        streams = list(self._container.streams) if self._clock.may_jump else [self._stream]
        packets = self._container.demux(streams)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                yield f"{self._path}: cannot be read past {self.when:.3f} s ({error.strerror})"
                packet = None  # no more can be read; drain what the decoder holds
            if packet is None:
                break
            if packet.size == 0:
                continue  # PyAV ends every stream with one
            self._clock.place(packet)
            yield from self._damage(packet)
            if packet.stream_index == self._stream.index:
                self.count += 1
                self._see(packet)
                yield packet
        yield from self._unexplained()
        yield None

    def _damage(self, packet: _Packet) -> Iterator[str]:
        """Lines about packets up to this one that are damaged."""
        time = packet.dts if packet.dts is not None else packet.pts
        now = Fraction(0) if time is None else time * packet.time_base
        if packet.stream_index == self._stream.index:
            yield from self._video_damage(packet, now)
        elif packet.is_corrupt:
            self._marked_sounds.append((now, packet.stream_index))
        if self._marked_sounds and now > self._marked_sounds[0][0] + 2 * _JOINT:
            yield from self._sound_damage()

    def _video_damage(self, packet: _Packet, now: Fraction) -> Iterator[str]:
        stretch = self._clock.stretch(packet)
        if self._marked is not None:
            self._since += 1
            follows = self._before is not None and _follows(self._before, packet)
            if stretch != self._stretch or (packet.is_keyframe and follows):
                self._joints.append(now)
                self._marked = None
            elif self._since >= _UNTIL_JOINT or not follows:
                yield self._line("picture", self._marked)
                self._marked = None
        if packet.is_corrupt and self._marked is None:
            self._marked, self._since = now, 0
        self._before, self._stretch = packet, stretch

    def _sound_damage(self) -> Iterator[str]:
        for moment, index in self._marked_sounds:
            if not any(abs(moment - joint) <= _JOINT for joint in self._joints):
                yield self._line(f"stream {index}", moment)
        self._marked_sounds = []

    def _unexplained(self) -> Iterator[str]:
        if self._marked is not None:
            yield self._line("picture", self._marked)
        yield from self._sound_damage()

    def _line(self, what: str, moment: Fraction) -> str:
        return f"{self._path}: {what} is damaged at {float(moment):.3f} s"


def _follows(before: _Packet, after: _Packet) -> bool:
    """Whether no time is missing between two packets of a stream."""
    if before.dts is None or after.dts is None or not before.duration:
        return False
    return bool(0 <= after.dts - before.dts <= before.duration * 3 // 2)


class SequenceSize:
    """Sees where an MPEG-1 or MPEG-2 film changes its size: the decoder forgets the frame that it
    still holds then, unless it is drained before.

    Args:
        codec: FFmpeg's name of the decoder.
    """

    def __init__(self, codec: str) -> None:
        self._applies = codec in _MPEG
        self._size = b""

    def changes(self, packet: _Packet) -> bool:
        """Whether the size changes with this packet."""
        if not self._applies or not packet.is_keyframe:
            return False
        data = bytes(packet)
        at = data.find(_SEQUENCE)
        if at < 0:
            return False
        before, self._size = self._size, data[at + 4 : at + 7]
        return before not in (b"", self._size)
