"""Read a written film back and compare it with what was put into it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from ..system.media import is_cover
from .muxing import is_mov, stores_order
from .streams import Copied

# Containers that give back the packets they were given; others cut sound into their own.
_PACKET_EXACT = {"matroska", "webm", "mp4", "mov", "ipod"}
_ZEROS = 512  # bytes at the end of a packet
_ROUNDING = 0.0021  # seconds: Matroska rounds both ends to milliseconds
_SOUND_SLACK = 0.25  # seconds: the coarsest packet of a common codec, and a container's rounding


@dataclass(frozen=True)
class Expected:
    """What was written.

    Attributes:
        width, height: of the picture.
        frames: packets of the video stream.
        span_seconds: from the first frame's pts to the last's.
        end_seconds: end of the last frame from the first frame's pts.
        longest_seconds: of one frame: the slack for `end_seconds`. How long the last frame lasts
            is written down by few containers: MP4 has steps in decoding order, where B-frames make
            it another frame's, and Matroska has the average.
        copied: the copied streams with packets, in the output's order.
        complete: the copied streams must have all of the input's packets; no segment was chosen.
        attachments: streams without packets (fonts, cover art in Matroska).
        format_name: the muxer's name.
    """

    width: int
    height: int
    frames: int
    span_seconds: float
    end_seconds: float
    longest_seconds: float
    copied: tuple[Copied, ...]
    attachments: int
    format_name: str
    complete: bool = True


@dataclass(frozen=True)
class FilmReport:
    """What a finished film is.

    Attributes:
        path: where it is; `<stem>.incomplete<suffix>` if `incomplete`.
        frames: video frames in it.
        duration_seconds: from the first frame's pts to the end of the last.
        bytes: size of the file.
        streams_copied: streams beside the video.
        incomplete: the input was damaged, so the film is not all there.
        damage: lines about the copied streams, if they are damaged.
        notes: lines about the copied streams that are no damage.
    """

    path: Path
    frames: int
    duration_seconds: float
    bytes: int
    streams_copied: int
    incomplete: bool = False
    damage: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Seen:
    packets: int = 0
    first: float | None = None
    last: float = 0.0
    end: float = 0.0  # of the packet that begins last
    zeroed: bool = False  # a packet has been wiped
    hidden: int = 0  # packets that players are told not to show


def find_faults(path: Path, expected: Expected) -> list[str]:
    """Demux a written film to its end and decode its first frame.

    Returns:
        One line for each difference from `expected`; empty if it is as it should be.
    """
    try:
        return _find(path, expected)
    except (FFmpegError, StopIteration) as error:
        return [f"it cannot be read back ({error})"]


def _find(path: Path, expected: Expected) -> list[str]:
    faults = []
    seen: dict[int, _Seen] = defaultdict(_Seen)
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size == 0:
                continue
            entry = seen[packet.stream_index]
            if packet.stream.type == "video" and not entry.zeroed:
                entry.zeroed = _is_zeroed(bytes(packet))
            if packet.stream.type == "subtitle" and is_mov(expected.format_name):
                entry.packets += packet.size > 2  # not the empty ones that end a subtitle
            else:
                entry.packets += 1
                entry.hidden += packet.is_discard
            start = _moment(packet, expected.format_name)
            if start is not None:
                if entry.first is None or start >= entry.last:
                    entry.last = start
                    entry.end = start + float((packet.duration or 0) * packet.time_base)
                entry.first = start if entry.first is None else min(entry.first, start)
        video = next(each for each in container.streams.video if not is_cover(each))
        faults += _film_faults(seen[video.index], expected)
        faults += _copy_faults(container.streams, video, seen, expected)
    with av.open(str(path)) as container:
        video = next(each for each in container.streams.video if not is_cover(each))
        frame = next(container.decode(video))
        if (frame.width, frame.height) != (expected.width, expected.height):
            faults.append(f"a frame is {frame.width}x{frame.height}")
    return faults


def _is_zeroed(data: bytes) -> bool:
    """Whether a video packet is nothing but zeros from some point on, as where another program cut
    the file while it was written; no encoder makes such."""
    if not any(data[:16]):
        return True
    return len(data) > 2 * _ZEROS and not any(data[-_ZEROS:])


def _moment(packet: Packet[Any], format_name: str) -> float | None:
    """Seconds at which a packet is shown. Where the container stores only one time, a pts is a
    reader's guess."""
    time = packet.pts if packet.pts is not None and stores_order(format_name) else packet.dts
    return None if time is None else float(time * packet.time_base)


def keeps_times(
    container: InputContainer, video: Stream, times: Sequence[Fraction], format_name: str
) -> bool:
    """Whether a film's frames have these times (seconds, ascending), apart from a common shift."""
    moments = [_moment(packet, format_name) for packet in container.demux(video) if packet.size]
    found = sorted(moment for moment in moments if moment is not None)
    return len(found) == len(times) and all(
        abs((seconds - found[0]) - float(wanted - times[0])) <= _ROUNDING
        for seconds, wanted in zip(found, times, strict=True)
    )


def _film_faults(film: _Seen, expected: Expected) -> list[str]:
    faults = []
    if film.zeroed:
        faults.append("another program has cut it while it was written")
    if film.packets != expected.frames:
        faults.append(f"{film.packets} frames instead of {expected.frames}")
    if film.hidden:
        faults.append(f"{film.hidden} frames would not be shown")
    first = film.first or 0.0
    if abs(film.last - first - expected.span_seconds) > _ROUNDING:
        faults.append(f"the last frame is at {film.last - first:.3f} s instead of "
                      f"{expected.span_seconds:.3f} s")  # fmt: skip
    if abs(film.end - first - expected.end_seconds) > expected.longest_seconds + _ROUNDING:
        faults.append(f"{film.end - first:.3f} s long instead of {expected.end_seconds:.3f} s")
    return faults


def _copy_faults(
    streams: av.container.streams.StreamContainer,
    video: Stream,
    seen: dict[int, _Seen],
    expected: Expected,
) -> list[str]:
    faults = []
    rest: dict[str, list[Stream]] = defaultdict(list)
    for stream in streams:
        if stream.index != video.index:
            rest["video" if is_cover(stream) else stream.type].append(stream)
    unmatched = len(rest["attachment"]) + len(rest["video"])
    for copied in expected.copied:
        kind, name = copied.facts.kind, f"{copied.facts.kind} stream {copied.facts.index}"
        if not rest[kind]:
            faults.append(f"{name} is missing")
            continue
        entry = seen[rest[kind].pop(0).index]
        if expected.complete and copied.packets < copied.found:
            faults.append(f"{name} has {copied.packets} of the input's {copied.found} packets")
            continue
        unmatched -= kind == "video"
        exact = expected.format_name in _PACKET_EXACT and not copied.facts.codec.startswith("pcm")
        if kind in ("audio", "subtitle") and exact and entry.packets != copied.packets:
            faults.append(f"{name} has {entry.packets} packets instead of {copied.packets}")
        elif (
            kind == "audio"
            and copied.packets
            and abs(
                (entry.end - (entry.first or 0.0)) - (copied.end_seconds - copied.first_seconds)
            )
            > _SOUND_SLACK
        ):
            faults.append(f"{name} is {entry.end - (entry.first or 0.0):.3f} s long")
    if unmatched < expected.attachments:
        faults.append(f"{expected.attachments - unmatched} attachments are missing")
    return faults
