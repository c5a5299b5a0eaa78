"""Decode a film: `Decoder` gives every frame of a segment once, with its time, and says what could
not be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from ..frames import Checkpoint, Segment, VideoInfo
from ..system.clock import Clock
from ..system.messages import Listener
from .film_info import open_film, picture_facts
from .fitting import Fitter
from .packets import PacketReader, SequenceSize
from .times import FrameGaps, FrameTimes
from .truncation import ends_early, holes, promised_packets

# Seconds before the start of a segment from where a key frame is looked for, in turn.
_SEEK_MARGINS = (Fraction(0), Fraction(1), Fraction(10), Fraction(60))

# How decoders say that what a frame is made from is not there.
_NO_REFERENCE = re.compile(r"mmco|\brefs?\b|reference|co located POCs|short term", re.IGNORECASE)

_FILE_READER = "AVIOContext"  # by this name FFmpeg's part that reads files speaks

Timed: TypeAlias = tuple[av.VideoFrame, int, int]  # a frame, its pts, its duration


class _DecodeError(Exception):
    """A packet failed while frame threads were on."""


class Decoder:
    """Decodes a film's segment; `run` gives `(frame, pts, duration)` and lines about damage, in
    order.

    A duration is the step to the next frame. What a container says of it is asked for the last
    frame only: MP4 has steps in decoding order, which B-frames make another frame's.

    Args:
        facts: of the film.
        segment: what to decode.
        rate: frames a second of a numbered sequence.
        threads: of the decoder.
        split: end where the picture changes.
        resume: begin behind this checkpoint.

    Attributes:
        changed_at: seconds from the film's first frame where it ended so.
    """

    def __init__(
        self,
        facts: VideoInfo,
        segment: Segment,
        rate: Fraction | None,
        *,
        threads: int,
        split: bool = False,
        resume: Checkpoint | None = None,
    ) -> None:
        self.split, self.resume = split, resume
        self.changed_at: Fraction | None = None
        self.facts, self.segment, self.rate = facts, segment, rate
        self.path: Path = facts.path
        self.threads = threads
        self.start = segment.start  # seconds from the first frame
        if resume is not None:
            self.start = (resume.pts - (facts.first_pts or 0)) * facts.time_base
        self.notes: dict[str, bool] = {}  # line: whether it was taken
        self._keyless = False  # a recording that does not begin with a key frame

    def take_notes(self) -> list[str]:
        """What is to be told along with the frame just given, each line once."""
        new = [line for line, taken in self.notes.items() if not taken]
        self.notes.update(dict.fromkeys(new, True))
        return new

    def _note(self, line: str) -> None:
        self.notes.setdefault(line, False)  # a second pass over the film comes by it again

    @contextmanager
    def _opened(self, threads: int) -> Iterator[tuple[Listener, InputContainer, VideoStream]]:
        with (
            Listener() as listener,
            open_film(
                self.path, rate=self.rate, threads=threads, playlists=self.facts.is_playlist
            ) as (container, stream),
        ):
            yield listener, container, stream

    def first_facts(self) -> VideoInfo:
        """The facts with the picture as it is at the segment's start; unchanged where the segment
        is empty."""
        with self._opened(1) as (listener, container, stream):
            for item in self._timed(container, stream, listener, 1):
                if not isinstance(item, str):
                    aspect = stream.codec_context.sample_aspect_ratio
                    now = picture_facts(
                        item[0],
                        stream.codec_context.name,
                        aspect or self.facts.sample_aspect_ratio,
                        self.facts.average_rate,
                    )
                    now["extras"] = tuple(dict.fromkeys((*self.facts.extras, *now["extras"])))
                    return replace(self.facts, **now)
        return self.facts

    def run(self) -> Iterator[Timed | str]:
        given, told = 0, set()
        try:
            for item in self._pass(self.threads):
                yield item
                if isinstance(item, str):
                    told.add(item)
                else:
                    given += 1
            return
        except _DecodeError:
            pass
        # With frame threads a decoder reports an error some packets late, and PyAV then drops the
        # frames that came with it. So begin anew with one thread, where every error belongs to its
        # packet, and pass over the frames already given. Only damaged films pay for this.
        skip = given
        for item in self._pass(1):
            if isinstance(item, str):
                if item not in told:
                    yield item
            elif skip:
                skip -= 1
            else:
                yield item

    def _pass(self, threads: int) -> Iterator[Timed | str]:
        with self._opened(threads) as (listener, container, stream):
            fitter = Fitter(self.facts, stream.codec_context, self._note)
            if said := listener.take(container.format.name, _FILE_READER):
                yield f"{self.path}: damaged near its beginning ({said[0]})"
            for item in self._timed(container, stream, listener, threads):
                if isinstance(item, str):
                    yield item
                else:
                    frame, pts, duration = item
                    time = (pts - (self.facts.first_pts or 0)) * self.facts.time_base
                    if self.split and fitter.changed(frame):
                        self.changed_at = time
                        return
                    yield fitter.fit(frame, time), pts, duration

    def _timed(
        self, container: InputContainer, stream: VideoStream, listener: Listener, threads: int
    ) -> Iterator[Timed | str]:
        """The segment's frames as they are decoded, and lines about damage."""
        segment = self.segment
        base = self.facts.time_base
        origin = self.facts.first_pts
        low: int | None = None
        high = 0
        clock = Clock(container)
        target = self._seek_target(clock)
        if target is not None:
            container.seek(clock.in_file(target, base), stream=stream)
        times = FrameTimes(self.facts, self._note)
        keyed = target is None
        number = last = 0
        gaps = FrameGaps()
        held: av.VideoFrame | None = None  # until the next one's pts is known
        lines: list[str] = []  # about damage, after it
        start = None
        if self.start and origin is not None:
            start = origin + self.start / base
        start = None if self.facts.guessed_times else start  # those are counted from the beginning
        packets = PacketReader(self.path, container, stream, clock, start)
        for item in self._frames(stream, packets, times, listener, threads):
            if isinstance(item, str):
                # Damage before the segment is none of its business.
                if low is None and self.start:
                    continue
                if held is None:
                    yield item
                else:
                    lines.append(item)
                continue
            # After a seek, frames before the first key frame lack what they depend on.
            keyed = keyed or item.key_frame
            if not keyed:
                continue
            pts = times.pts(item)
            if times.damage:
                lines.append(times.damage)
                times.damage = ""
            if origin is None:
                origin = pts
            number += 1
            time = (pts - origin) * base
            if self.start is not None and time < self.start:
                continue
            if low is None and self.resume is not None:
                low, number = origin, self.resume.frames + 1
            if held is not None:
                gaps.step(high, pts)
                yield held, high, pts - high
                yield from lines
                held, lines = None, []
            if segment.end is not None and time >= segment.end:
                return
            low = pts if low is None else low
            step, high = pts - high, pts
            last = item.duration or 0
            timeless = item.pts is None and item.dts is None  # of a raw stream, which has 1 tick
            if timeless or (item.interlaced_frame and abs(2 * last - step) <= step // 20):
                last = step  # it was that of the second field alone
            held = item
        if held is not None:
            yield held, high, last
            yield from lines
        if low is None or not segment.is_full:
            return
        length = (high - low + (last or round(times.step))) * base
        facts = self.facts
        if clock.has_jumped:  # FFmpeg takes the length from the first and the last time
            facts = replace(facts, duration_seconds=None)
        if self.rate is not None:
            if line := ends_early(facts, number, float(length), is_file=False):
                yield line
            return
        if line := ends_early(facts, number, float(length), is_file=True):
            yield line
            return
        missing = gaps.missing()
        promised = promised_packets(facts, packets.format, stream.index)
        where = ""
        if gaps.first is not None:
            where = f", the first after {float((gaps.first - (origin or 0)) * base):.3f} s"
        if found := holes(self.path, packets.format):
            yield f"{self.path}: {found}{where}"
        elif self.resume is None and promised is not None and packets.count < promised:
            yield f"{self.path}: only {packets.count} of {promised} frames are found{where}"
        elif missing and promised is None and facts.num_frames_from_header is None:
            self._note(f"{self.path}: its rate leaves out {missing} frames{where}")

    def _seek_target(self, clock: Clock) -> int | None:
        """A pts to seek to, from which a key frame shown at or before the segment's start follows.

        Containers seek by decoding time or roughly, so the frame that comes is looked at, and the
        search goes further back where it is shown after the start. None: read from the beginning
        (no start, no times, or a container that cannot seek or whose times may begin anew).
        """
        start, origin = self.start, self.facts.first_pts
        if not start or origin is None or clock.may_jump:
            return None
        base = self.facts.time_base
        with self._opened(1) as (_, container, stream):
            for margin in _SEEK_MARGINS:
                if start - margin <= 0:
                    return None
                target = origin + int((start - margin) / base)
                try:
                    container.seek(clock.in_file(target, base), stream=stream)
                    frames = self._quiet_frames(container, stream, clock)
                    found = next((f.pts for f in frames if f.key_frame), None)
                except av.error.FFmpegError:
                    return None
                if found is not None and origin <= found <= origin + start / base:
                    return target
        return None

    @staticmethod
    def _quiet_frames(
        container: InputContainer, stream: VideoStream, clock: Clock
    ) -> Iterator[av.VideoFrame]:
        for packet in container.demux(stream):
            clock.place(packet)
            try:
                yield from stream.decode(packet)
            except (av.error.InvalidDataError, EOFError):
                continue

    def _frames(
        self,
        stream: VideoStream,
        packets: PacketReader,
        times: FrameTimes,
        listener: Listener,
        threads: int,
    ) -> Iterator[av.VideoFrame | str]:
        """All frames and lines about damage; the decoder is drained at the end.

        Raises:
            _DecodeError: a packet failed, and `threads` is not 1.
        """
        sent = received = groups = 0
        names = packets.format, stream.codec_context.name, _FILE_READER
        size = SequenceSize(stream.codec_context.name)
        paired = self.facts.interlaced and stream.codec_context.name == "h264"
        head: list[tuple[int, bool]] = []  # pts before the first frame, and whether of a key frame
        for packet in packets:
            if isinstance(packet, str):
                listener.take()  # it says the same
                yield packet
                continue
            early: list[av.VideoFrame] = []
            if packet is not None:
                if not received and packet.pts is not None and not packet.is_discard:
                    head.append((packet.pts, packet.is_keyframe))
                if sent == 0 and packets.may_jump and not packet.is_keyframe:
                    self._keyless = True
                    self._note_late()
                if size.changes(packet):
                    early = stream.decode(None)
                    stream.codec_context.flush_buffers()
                times.sent(packet)
            failed = ""
            try:
                frames = early + stream.decode(packet)
            except EOFError:
                return  # flushed before
            except av.error.FFmpegError as error:
                if threads != 1:
                    raise _DecodeError from error
                times.failed()
                failed = f"{self.path}: packet at {packets.when:.3f} s cannot be decoded"
                frames = early
            sent += packet is not None and not packet.is_discard
            if frames and not received and not self.segment.start:
                yield from self._lost_head(frames[0], head)
            received += len(frames)
            # H.264 may have a packet for each field.
            least = -(-sent // 2) if paired else sent
            if packet is None and threads != 1 and received < least:
                # PyAV swallows an error that comes after frames in one call.
                raise _DecodeError
            heard = listener.take(*names)
            groups += packet is not None and packet.is_keyframe
            wrong = bool(failed or heard)
            if wrong and self._begins_late(packets, received, groups, heard):
                failed, heard = "", []
            if heard and threads != 1:
                raise _DecodeError  # the thread that said it is some packets behind
            if failed or heard:
                said = f"damaged at {packets.when:.3f} s ({heard[0]})" if heard else ""
                yield failed or f"{self.path}: {said}"
            for frame in frames:
                if frame.is_corrupt:
                    shown = float((frame.pts or frame.dts or 0) * self.facts.time_base)
                    yield f"{self.path}: frame at {shown:.3f} s is damaged"
                yield frame

    def _begins_late(
        self, packets: PacketReader, received: int, groups: int, heard: list[str]
    ) -> bool:
        """Whether what is wrong is that the film begins within a group of pictures, as recordings
        of broadcasts and films cut without decoding do: the first frames then lack what they are
        made from. A note says so."""
        lost = bool(heard) and all(_NO_REFERENCE.search(line) for line in heard)
        late = (not received and self._keyless) or (groups <= 1 and lost)
        if late:
            self._note_late()
        return late

    def _lost_head(self, first: av.VideoFrame, head: list[tuple[int, bool]]) -> Iterator[str]:
        """A line if a key frame before the first frame came to nothing; a note if only others did,
        because the film begins within their group."""
        lost = [key for pts, key in head if first.pts is not None and pts < first.pts]
        if any(lost):
            yield f"{self.path}: the first {len(lost)} frames cannot be decoded"
        elif lost:
            self._note_late()

    def _note_late(self) -> None:
        self._note(
            f"{self.path}: begins within a group of pictures; frames at its beginning may be "
            "missing or wrong"
        )
