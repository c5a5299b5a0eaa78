"""Copy the input's other streams: choose them, add them to the output, read their packets in the
order of time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Stream

from ..errors import InputError
from ..frames import COPY_ALL, COPY_KINDS, StreamInfo, VideoInfo
from ..system.clock import Clock
from ..system.media import film_stream, is_cover, open_media, other_programs
from ..system.messages import Listener
from .sound import SoundCheck

# What one of FFmpeg's stream kinds is called in `--copy`; cover art is an attached video stream.
COPY_NAMES = {
    "audio": "audio",
    "subtitle": "subtitles",
    "attachment": "attachments",
    "data": "data",
    "video": "attachments",
}

# Written by the muxer itself, or true of the old file only.
_STALE_FILE_TAGS = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration"}
_STALE_STREAM_TAGS = {"encoder", "duration", "bps", "number_of_frames", "number_of_bytes",
                      "vendor_id", "rotate"}  # fmt: skip

_SEEK_MARGIN = 30  # seconds before a segment in which a subtitle that is still shown may begin
_LONGER_SOUND = 1.0  # seconds that sound may go on after the picture without a word
_COVER_SUFFIXES = {"mjpeg": ".jpg", "png": ".png", "bmp": ".bmp", "gif": ".gif", "webp": ".webp"}
_COVER_TYPES = {"mjpeg": "image/jpeg"}


def codec_name(stream: Stream) -> str:
    """FFmpeg's name of a stream's codec (an attachment's file name), `unknown` without one."""
    context: Any = stream.codec_context
    if context is not None:
        return str(context.codec.canonical_name)
    if isinstance(stream, AttachmentStream):
        return stream.name or "unnamed"
    if stream.type == "data":
        return str(stream.name or "unknown")
    return "unknown"


def stream_info(stream: Stream) -> StreamInfo:
    return StreamInfo(stream.index, stream.type, codec_name(stream), stream.language or "")


def open_input(facts: VideoInfo) -> InputContainer:
    """Open the input a second time, to copy its other streams. A numbered sequence (`%05d.png`)
    opens like a film and has none.

    Raises:
        InputError: it cannot be opened.
    """
    path = facts.path
    try:
        form, options = None, {}
        if not path.is_file():  # a sequence may begin at any number; FFmpeg looks at 0 to 4 only
            form, options = "image2", {"start_number_range": str(2**31 - 1)}
        return open_media(f"file:{path}", format=form, options=options, playlists=facts.is_playlist)
    except (OSError, FFmpegError) as error:
        raise InputError(
            f"{path}: cannot be opened to copy its other streams ({error.strerror})"
        ) from error


def without_tags(metadata: dict[str, str], stale: set[str]) -> dict[str, str]:
    return {
        key: value
        for key, value in metadata.items()
        # mkvmerge's statistics name themselves, sometimes with the language: `BPS-eng`.
        if key.lower().split("-")[0] not in stale and not key.startswith("_STATISTICS")
    }


def file_metadata(container: InputContainer) -> dict[str, str]:
    return without_tags(container.metadata, _STALE_FILE_TAGS)


def copy_stream_labels(source: Stream, target: Stream) -> None:
    """Language, title, handler and disposition."""
    target.metadata.update(without_tags(source.metadata, _STALE_STREAM_TAGS))
    target.disposition = source.disposition


@dataclass(frozen=True)
class Selection:
    """The input's streams that are copied, in order, and one line for each that is left out."""

    streams: tuple[Stream, ...]
    chapters: bool
    notes: tuple[str, ...]


def select_streams(container: InputContainer, copy: frozenset[str]) -> Selection:
    """Choose by kind, leaving out what has no meaning for a muxer.

    Raises:
        ValueError: `copy` names an unknown kind.
    """
    if unknown := copy - COPY_ALL:
        raise ValueError(f"copy takes {', '.join(COPY_KINDS)}, not {', '.join(sorted(unknown))}")
    film = film_stream(container)
    chosen, notes = [], []
    in_mov = "mov" in container.format.name.split(",")
    foreign = other_programs(container)
    for stream in container.streams:
        if stream.index == film.index:
            continue
        kind, codec = stream.type, codec_name(stream)
        name = COPY_NAMES.get(kind)
        if stream.index in foreign:
            notes.append(f"stream {stream.index} ({kind}, {codec}) of another program is left out")
            continue
        if kind == "data" and codec == "bin_data" and in_mov and container.chapters():
            continue  # the text track behind the chapters, which the muxer writes anew
        if kind == "data" and "timecode" in stream.metadata and "timecode" in film.metadata:
            continue  # a timecode track; the muxer makes it anew from the picture's tag
        if name is None or (kind in ("data", "audio", "subtitle") and codec == "unknown"):
            notes.append(f"stream {stream.index} ({kind}, codec unknown) is left out")
        elif kind == "video" and not is_cover(stream):
            notes.append(f"stream {stream.index} (a second video, {codec}) is left out")
        elif name in copy:
            chosen.append(stream)
    return Selection(tuple(chosen), "chapters" in copy, tuple(notes))


def sound_lead(selection: Selection, clock: Clock, first: Fraction, rate: Fraction) -> Fraction:
    """Seconds that the sound begins before the first frame, in whole frames.

    A container without times, such as AVI, cannot express it. Its muxer fills it with frames, so
    that nothing of the sound is cut off.

    Args:
        selection: the copied streams.
        clock: of the input.
        first: time of the first frame, seconds.
        rate: frames a second.
    """
    starts = [
        each.start_time * each.time_base + clock.shift
        for each in selection.streams
        if each.type == "audio" and each.start_time is not None and each.time_base
    ]
    return max(round((first - min(starts, default=first)) * rate), 0) / rate


def add_copy(output: OutputContainer, stream: Stream) -> Stream | None:
    """Add the copy of one input stream to the output; None if the header alone holds the stream.

    Raises:
        ValueError: the container does not take this codec.
    """
    if isinstance(stream, AttachmentStream):
        name = stream.name or f"attachment{stream.index}"
        target: Stream = output.add_attachment(
            name, stream.mimetype or "application/octet-stream", stream.data
        )
        target.metadata.update({**stream.metadata, **target.metadata})
        return None
    if is_cover(stream) and output.format.name == "matroska":
        codec = codec_name(stream)
        name = stream.metadata.get("filename", "cover" + _COVER_SUFFIXES.get(codec, ""))
        kind = stream.metadata.get("mimetype", _COVER_TYPES.get(codec, f"image/{codec}"))
        output.add_attachment(name, kind, _cover_bytes(stream))
        return None
    target = output.add_stream_from_template(stream, opaque=True)
    copy_stream_labels(stream, target)
    return target


def _cover_bytes(stream: Stream) -> bytes:
    with av.open(stream.container.name) as container:
        return next(bytes(packet) for packet in container.demux(stream.index) if packet.size)


def cut_chapters(
    chapters: list[Any], start: Fraction | None, end: Fraction | None, shift: Fraction
) -> list[Any]:
    """Chapters clipped to `start` <= time < `end` and moved earlier by `shift`, all in seconds."""
    kept = []
    for chapter in chapters:
        unit = Fraction(chapter["time_base"])
        begin, finish = chapter["start"] * unit, chapter["end"] * unit
        begin = begin if start is None else max(begin, start)
        finish = finish if end is None else min(finish, end)
        if begin < finish:
            moved = {
                "start": round((begin - shift) / unit),
                "end": round((finish - shift) / unit),
            }
            kept.append({**chapter, **moved})
    return kept


@dataclass
class Copied:
    """What has been muxed of one copied stream.

    Attributes:
        facts: of the stream.
        packets: packets that were muxed.
        found: packets that the input has.
        first_seconds, end_seconds: begin of the first packet and end of the last, in seconds.
    """

    facts: StreamInfo
    packets: int = 0
    found: int = 0
    first_seconds: float = 0.0
    end_seconds: float = 0.0


def _counts(packet: Packet[Any], state: Copied) -> bool:
    # MP4 marks the end of a subtitle by a packet of one or two bytes; muxers add their own.
    return not (state.facts.codec == "mov_text" and packet.size <= 2)


class PacketFeed:
    """The copied streams' packets in the order of the file, one read ahead, on the film's clock.

    Args:
        container: the input, opened for this alone.
        clock: of this container.
        targets: input stream index to the output's stream.
        start: packets that begin before it (seconds) are dropped, None keeps all; a subtitle
            still shown then is shortened to begin there.
        shift: seconds to move every packet earlier by.
        hidden: keep the packets that an edit list of the input hides; only a container with an
            edit list of its own hides them again.
        lead_in: of those dropped, keep the last one before compressed sound, which the first that
            is heard is decoded from; not for AVI, where it would delay the sound.
        listener: of the thread that reads: all sound is decoded, to hear whether it is damaged.

    Attributes:
        copied: what has been given of each stream.
        damage: lines about what could not be read.
    """

    def __init__(
        self,
        container: InputContainer,
        clock: Clock,
        targets: dict[int, Stream],
        *,
        start: Fraction | None = None,
        shift: Fraction = Fraction(0),
        hidden: bool = True,
        lead_in: bool = True,
        listener: Listener | None = None,
    ) -> None:
        self._targets, self._clock = targets, clock
        self._checks = {
            index: SoundCheck(stream, listener, late=clock.may_jump)
            for index in targets
            if listener is not None
            and isinstance(stream := container.streams[index], AudioStream)
            and stream.codec_context is not None
        }
        self._start, self._shift = start, shift
        self._hidden, self._lead_in = hidden, lead_in
        self._ends: dict[int, int] = {}
        self.damage: list[str] = []
        self.copied = {index: Copied(stream_info(container.streams[index])) for index in targets}
        streams = [container.streams[index] for index in targets]
        if clock.may_jump:
            streams = streams and list(container.streams)  # a jump of one moves all others
        else:
            for stream in container.streams:
                stream.discard = Discard.default if stream.index in targets else Discard.all
            if start is not None and start > _SEEK_MARGIN:
                # Without an index, reading from the beginning finds the same packets, later.
                with suppress(FFmpegError):
                    container.seek(int((start - clock.shift - _SEEK_MARGIN) * 1_000_000))
        self._packets = self._timed(container.demux(streams)) if streams else iter(())
        self._ahead = next(self._packets, None)

    def until(
        self, seconds: Fraction | None, *, before: Fraction | None = None
    ) -> Iterator[Packet[Any]]:
        """Take the packets whose dts is at or before `seconds` of the input's clock (None: all).

        Args:
            before: packets that begin here or later are dropped.
        """
        while (packet := self._ahead) is not None:
            unit = Fraction(packet.time_base)
            assert packet.dts is not None and packet.pts is not None
            if seconds is not None and packet.dts * unit > seconds:
                return
            self._ahead = next(self._packets, None)
            if before is not None and packet.pts * unit >= before:
                continue
            index = packet.stream_index
            offset = round(self._shift / unit)
            packet.pts -= offset
            packet.dts -= offset
            state = self.copied[index]
            state.packets += _counts(packet, state)
            begin = float(packet.pts * unit)
            end = begin + float((packet.duration or 0) * unit)
            state.first_seconds = min(state.first_seconds, begin) if state.packets > 1 else begin
            state.end_seconds = max(state.end_seconds, end)
            packet.stream = self._targets[index]
            yield packet

    def _timed(self, packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
        """Packets with data, a pts and a dts, none before the start."""
        hidden: dict[int, Packet[Any]] = {}  # the last of each stream
        for packet in self._readable(packets):
            if packet.size == 0:
                continue  # PyAV ends each stream with an empty packet
            self._clock.place(packet)
            if packet.stream_index not in self._targets:
                continue
            index = packet.stream_index
            if check := self._checks.get(index):
                self.damage += check.look(packet, self._clock.stretch(packet))
            elif packet.is_corrupt and not self._clock.may_jump:  # else the source looks at them
                seconds = float((packet.dts or packet.pts or 0) * packet.time_base)
                self.damage.append(f"stream {index} is damaged at {seconds:.3f} s")
            if packet.is_discard and not self._hidden:
                hidden[index] = packet
                continue
            lead = hidden.pop(index, None)
            if lead is not None and self._helps(lead):
                yield from self._stamped(lead)
            yield from self._stamped(packet)

    def _helps(self, lead: Packet[Any]) -> bool:
        state = self.copied[lead.stream_index]
        if state.found or not self._lead_in:
            return False
        return state.facts.kind == "audio" and not state.facts.codec.startswith("pcm")

    def _stamped(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        index = packet.stream_index
        self.copied[index].found += _counts(packet, self.copied[index])
        begin = packet.pts if packet.pts is not None else packet.dts
        if begin is None:
            begin = self._ends.get(index, 0)  # follows the one before, as in raw streams
        packet.pts = begin
        packet.dts = packet.dts if packet.dts is not None else begin
        self._ends[index] = begin + (packet.duration or 0)
        if self._start is not None and not self._reaches_in(packet):
            return
        yield packet

    def _readable(self, packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
        """The packets, up to the place where a damaged file becomes unreadable."""
        try:
            yield from packets
        except FFmpegError as error:
            self.damage.append(f"other streams end early ({error.strerror})")
        for check in self._checks.values():
            self.damage += check.rest()

    def notes(self, end: float | None) -> list[str]:
        """Lines about gaps in the sound, and about sound that goes on after the picture's `end`
        (seconds of the output; None for a picture that may end anywhere)."""
        lines = [line for check in self._checks.values() for line in check.notes]
        ends = [each.end_seconds for each in self.copied.values() if each.facts.kind == "audio"]
        if end is not None and max(ends, default=end) > end + _LONGER_SOUND:
            lines.append(f"the picture ends {max(ends) - end:.3f} s before the sound")
        return lines

    def _reaches_in(self, packet: Packet[Any]) -> bool:
        assert self._start is not None and packet.pts is not None
        unit = Fraction(packet.time_base)
        if packet.pts * unit >= self._start:
            return True
        stream = packet.stream
        if is_cover(stream):
            packet.pts = packet.dts = round(self._start / unit)
            return True
        end = packet.pts + (packet.duration or 0)
        if stream.type != "subtitle" or end * unit <= self._start:
            return False
        packet.pts = packet.dts = -(-self._start // unit)
        packet.duration = max(end - packet.pts, 1)
        return True
