"""Sizes that are known without decoding: frames, packets, copied streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import AttachmentStream, Discard

from ..sources.film_info import open_film

_WHOLE_BYTES = 256 << 20  # files up to this size are read through; of larger ones, two stretches
_STRETCH_SECONDS = 30.0
_PACKET_BYTES = 12  # what MP4's tables and Matroska's blocks take for a packet, about


@dataclass(frozen=True)
class VideoPacket:
    """One coded frame: its moment in seconds, its size, whether it can be decoded alone."""

    seconds: float
    bytes: int
    key: bool


def video_packets(path: Path) -> list[VideoPacket]:
    """The coded frames of a film in the order in which they are shown.

    Raises:
        InputError: it cannot be opened.
    """
    with open_film(path, threads=1) as (container, stream):
        unit = stream.time_base or Fraction(1)
        found = [
            VideoPacket(
                float((packet.pts if packet.pts is not None else packet.dts or 0) * unit),
                packet.size,
                packet.is_keyframe,
            )
            for packet in container.demux(stream)
            if packet.size
        ]
    return sorted(found, key=lambda packet: packet.seconds)


def count_frames(path: Path, rate: Fraction | None = None) -> int:
    """Frames of a film, by its packets: for a header that does not say.

    The whole file is read and nothing is decoded. Packets that an edit list hides and hidden frames
    of VP8 and VP9 count too, so the number may be a little too large.

    Args:
        path: a film, or with `rate` a numbered sequence.
        rate: frames a second of a numbered sequence.

    Raises:
        InputError: it cannot be opened.
    """
    count = 0
    with open_film(path, rate=rate, threads=1) as (container, stream):
        try:
            for packet in container.demux(stream):
                count += bool(packet.size)
        except av.error.FFmpegError:
            pass  # cut off: the run reads no further either
    return count


def can_seek(path: Path, seconds: float, rate: Fraction | None = None) -> bool:
    """Whether a film's later parts are reached without reading all that is before them.

    Args:
        path: a film, or with `rate` a numbered sequence.
        seconds: a moment to try, from the first frame, above 0.
        rate: frames a second of a numbered sequence.

    Raises:
        InputError: it cannot be opened.
    """
    if rate is not None:
        return False  # FFmpeg decodes a sequence from its first picture on
    with open_film(path, threads=1) as (container, stream):
        unit = stream.time_base
        if stream.start_time is None or not unit:
            return False  # no times to go by
        try:
            container.seek(stream.start_time + int(seconds / unit), stream=stream)
            packet = next((p for p in container.demux(stream) if p.size), None)
        except av.error.FFmpegError:
            return False
        moment = None if packet is None else packet.pts if packet.pts is not None else packet.dts
        # a key frame may lie well before; a container that cannot seek stays at its beginning
        return moment is not None and float((moment - stream.start_time) * unit) > seconds / 4


def copied_bytes(path: Path, indices: Sequence[int], seconds: float | None) -> int:
    """Bytes that streams take when they are copied, their packets' headers included.

    A file of up to 256 MiB is read through, without decoding. Of a larger one, the stream's bit
    rate counts where the header gives it, else two stretches of half a minute.

    Args:
        path: the film.
        indices: of its streams.
        seconds: its length, None for unknown.

    Raises:
        InputError: it cannot be opened.
    """
    if not indices:
        return 0
    with open_film(path, threads=1) as (container, _):
        total = 0
        timed = []
        for index in indices:
            stream = container.streams[index]
            if isinstance(stream, AttachmentStream):
                total += len(stream.data or b"")
            else:
                timed.append(stream)
        if not timed:
            return total
        if path.stat().st_size <= _WHOLE_BYTES or not seconds:
            return total + _demuxed(container, timed, None)[0]
        unknown = []
        for stream in timed:
            rate = _bit_rate(stream)
            if rate is None:
                unknown.append(stream)
            else:
                total += int(rate / 8 * seconds)
        if unknown:
            total += _sampled(container, unknown, seconds)
        return total


def _bit_rate(stream: Any) -> float | None:
    """Bits a second by the header: mkvmerge's statistics, or the codec's own."""
    for key, value in stream.metadata.items():
        if key.split("-")[0] == "BPS" and value.isdigit():
            return float(value)
    context = stream.codec_context
    return float(context.bit_rate) if context is not None and context.bit_rate else None


def _demuxed(
    container: InputContainer, streams: Iterable[Any], seconds: float | None
) -> tuple[int, float]:
    """Bytes of the packets from where the container stands, and the time they span: all of them, or
    those of `seconds`."""
    wanted = {stream.index for stream in streams}
    for each in container.streams:
        each.discard = Discard.default if each.index in wanted else Discard.all
    total, first, last = 0, None, 0.0
    try:
        for packet in container.demux([container.streams[index] for index in wanted]):
            if not packet.size:
                continue
            time = packet.dts if packet.dts is not None else packet.pts
            if time is not None:
                moment = float(time * packet.time_base)
                first = moment if first is None else first
                if seconds is not None and moment - first > seconds:
                    break
                last = max(last, moment)
            total += packet.size + _PACKET_BYTES
    except av.error.FFmpegError:
        pass  # damaged: the run copies no more either
    return total, last - (first or 0.0)


def _sampled(container: InputContainer, streams: Sequence[Any], seconds: float) -> int:
    """Bytes of `seconds` of the streams, by a stretch at the beginning and one in the middle."""
    total, span = _demuxed(container, streams, _STRETCH_SECONDS)
    try:
        container.seek(int(seconds / 2 * av.time_base))
        more, longer = _demuxed(container, streams, _STRETCH_SECONDS)
        total, span = total + more, span + longer
    except av.error.FFmpegError:
        pass
    return int(total / span * seconds) if span > 0 else total
