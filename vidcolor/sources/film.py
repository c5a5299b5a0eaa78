"""Read a film frame by frame: `FilmSource`. Every frame once, in order, with its own time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import torch
from av.container import InputContainer
from av.video.stream import VideoStream

from ..color.codes import Codes
from ..errors import InputError
from ..frames import WHOLE, LumaBatch, Segment, VideoInfo
from .film_info import is_full_range, open_film, probe
from .luma import COLOR_THRESHOLD, chroma_amount, layout, luma_plane
from .truncation import ends_early

# Seconds before the start of a segment from where a key frame is looked for, in turn.
_SEEK_MARGINS = (Fraction(0), Fraction(1), Fraction(10), Fraction(60))
_MAX_THREADS = 16
_COLOR_EVERY = 25  # batches; a look for colour costs as much as decoding a frame


_Timed: TypeAlias = tuple[av.VideoFrame, int, int]  # a frame, its pts, its duration


@dataclass
class _Pending:
    """The frames of the batch in the making."""

    luma: list[Codes] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_color: bool = False


class FilmSource:
    """The luma of a film's frames, in order, in batches.

    Opening a source reads the header and the first frames. The object can be pickled; the film is
    opened again in the process that iterates.

    Attributes:
        path: the film, or the pattern of a numbered sequence.
        rate: frames a second of a numbered sequence, None for a film.
        segment: the stretch to read; its times count from the first frame.
        facts: see `VideoInfo`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        segment: Segment = WHOLE,
        rate: Fraction | None = None,
        threads: int = 0,
    ) -> None:
        """Probe a film.

        Args:
            path: a film, or with `rate` a numbered sequence such as `frames/%05d.png`.
            segment: frames with `start` <= time < `end` are read, no others.
            rate: frames a second of a numbered sequence.
            threads: of the decoder; 0 for as many as the processors allow.

        Raises:
            InputError: it cannot be opened, or no frame of it can be decoded.
        """
        self.path = Path(path)
        self.rate = rate
        self.segment = segment
        self.threads = threads
        found = probe(self.path, rate)
        self.facts: VideoInfo = found.facts
        self._first_pts = found.first_pts
        self._own_duration = found.own_duration

    def batches(self, batch_size: int) -> Generator[LumaBatch, None, None]:
        """The film in batches, in order; the last may be smaller.

        `luma` is `(B, 1, H, W)`, uint8 or uint16; pts and durations are in `facts.time_base`. What
        could not be read is told once, in `damage` of the batch that follows it; after a full last
        batch in that of an empty one (B = 0).

        Raises:
            InputError: size or pixel format change within the film.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        threads = self.threads or min(_MAX_THREADS, os.cpu_count() or 1)
        pending, count = _Pending(), 0
        decoder = _Decoder(self, threads)
        for item in decoder.run():
            if isinstance(item, str):
                pending.damage.append(item)
                continue
            pending.notes += decoder.take_notes()
            frame, pts, duration = item
            if not pending.luma and count // batch_size % _COLOR_EVERY == 0:
                pending.is_color = chroma_amount(frame) > COLOR_THRESHOLD
            pending.luma.append(luma_plane(frame))
            pending.pts.append(pts)
            pending.durations.append(duration)
            count += 1
            if count % batch_size == 0:
                yield self._batch(pending, count - batch_size)
                pending = _Pending()
        if pending.luma or pending.damage:
            yield self._batch(pending, count - len(pending.luma))

    def _batch(self, pending: _Pending, first_index: int) -> LumaBatch:
        facts = self.facts
        shape = (len(pending.luma), 1, facts.height, facts.width)
        luma = torch.empty(shape, dtype=torch.uint8 if facts.bit_depth == 8 else torch.uint16)
        into = luma.numpy()
        for i, plane in enumerate(pending.luma):
            into[i, 0] = plane
        return LumaBatch(
            luma=luma,
            bit_depth=facts.bit_depth,
            full_range=facts.tags.full_range,
            pts=tuple(pending.pts),
            durations=tuple(pending.durations),
            first_index=first_index,
            rotation=facts.rotation,
            is_color=pending.is_color,
            damage=tuple(pending.damage),
            notes=tuple(pending.notes),
        )


class _DecodeError(Exception):
    """A packet failed while frame threads were on."""


class _Clock:
    """Gives every frame a pts, greater than the one before."""

    def __init__(self, source: FilmSource, note: Callable[[str], None]) -> None:
        facts = source.facts
        rate = facts.average_rate or Fraction(25)
        self.step = 1 / (rate * facts.time_base)  # ticks a frame
        self.dts: deque[int] = deque()  # of packets whose frames are still to come
        self.untimed = source._first_pts is None
        self.last: int | None = None
        self.path, self.note, self.repaired = source.path, note, False
        self.exact = Fraction(0)

    def sent(self, packet: av.Packet[Any]) -> None:
        if self.untimed and packet.size and packet.dts is not None:
            self.dts.append(packet.dts)

    def failed(self) -> None:
        if self.dts:
            self.dts.pop()

    def pts(self, frame: av.VideoFrame) -> int:
        pts = frame.pts
        if pts is None and self.dts:
            # AVI carries decoding times only. Frames leave in the order of their presentation, so
            # the n-th frame out is shown at the n-th decoding time (plus a constant).
            pts = self.dts.popleft()
        if pts is None:
            # Raw streams have no times at all: count, with the exact step, so as not to drift.
            self.exact = Fraction(0) if self.last is None else self.exact + self.step
            pts = round(self.exact)
        else:
            self.exact = Fraction(pts)
        if self.last is not None and pts <= self.last:
            if not self.repaired:
                self.repaired = True
                seconds = float(pts * (frame.time_base or 0))
                self.note(
                    f"{self.path}: times do not increase at {seconds:.3f} s; "
                    "repaired there and after"
                )
            pts = self.last + 1
        self.last = pts
        return pts


class _Decoder:
    """Decodes a source's segment; `run` gives `(frame, pts, duration)` and lines about damage, in
    order.

    A duration is the step to the next frame. What a container says of it is asked for the last
    frame only: MP4 has steps in decoding order, which B-frames make another frame's.
    """

    def __init__(self, source: FilmSource, threads: int) -> None:
        self.source, self.facts, self.path = source, source.facts, source.path
        self.threads = threads
        self.notes: dict[str, bool] = {}  # line: whether it was taken

    def take_notes(self) -> list[str]:
        """What is to be told along with the frame just given, each line once."""
        new = [line for line, taken in self.notes.items() if not taken]
        self.notes.update(dict.fromkeys(new, True))
        return new

    def _note(self, line: str) -> None:
        self.notes.setdefault(line, False)  # a second pass over the film comes by it again

    def run(self) -> Iterator[_Timed | str]:
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

    def _pass(self, threads: int) -> Iterator[_Timed | str]:
        segment = self.source.segment
        base = self.facts.time_base
        origin = self.source._first_pts
        low: int | None = None
        high = 0
        target = self._seek_target()
        with open_film(self.path, rate=self.source.rate, threads=threads) as (container, stream):
            if target is not None:
                container.seek(target, stream=stream)
            clock = _Clock(self.source, self._note)
            keyed = target is None
            number = last = 0
            held: av.VideoFrame | None = None  # until the next one's pts is known
            lines: list[str] = []  # about damage, after it
            for item in self._frames(container, stream, clock, threads):
                if isinstance(item, str):
                    # Damage before the segment is none of its business.
                    if low is None and segment.start:
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
                pts = clock.pts(item)
                if origin is None:
                    origin = pts
                self._check(item, number)
                number += 1
                time = (pts - origin) * base
                if segment.start is not None and time < segment.start:
                    continue
                if held is not None:
                    yield held, high, pts - high
                    yield from lines
                    held, lines = None, []
                if segment.end is not None and time >= segment.end:
                    return
                low = pts if low is None else low
                high = pts
                last = item.duration or 0
                held = item
            if held is not None:
                yield held, high, last
                yield from lines
            if low is None or not segment.is_full:
                return
            length = (high - low + (last or round(clock.step))) * base
            is_file, timed = self.source.rate is None, self.source._own_duration
            if line := ends_early(
                self.facts, number, float(length), is_file=is_file, own_duration=timed
            ):
                yield line

    def _seek_target(self) -> int | None:
        """A pts to seek to, from which a key frame shown at or before the segment's start follows.

        Containers seek by decoding time or roughly, so the frame that comes is looked at, and the
        search goes further back where it is shown after the start. None: decode from the beginning
        (no start, no times, or a container that cannot seek).
        """
        start, origin = self.source.segment.start, self.source._first_pts
        if not start or origin is None:
            return None
        with open_film(self.path, rate=self.source.rate, threads=1) as (container, stream):
            for margin in _SEEK_MARGINS:
                if start - margin <= 0:
                    return None
                target = origin + int((start - margin) / self.facts.time_base)
                try:
                    container.seek(target, stream=stream)
                    frames = self._quiet_frames(container, stream)
                    found = next((f.pts for f in frames if f.key_frame), None)
                except av.error.FFmpegError:
                    return None
                if found is not None and origin <= found <= origin + start / self.facts.time_base:
                    return target
        return None

    @staticmethod
    def _quiet_frames(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        for packet in container.demux(stream):
            try:
                yield from stream.decode(packet)
            except (av.error.InvalidDataError, EOFError):
                continue

    def _frames(
        self, container: InputContainer, stream: VideoStream, clock: _Clock, threads: int
    ) -> Iterator[av.VideoFrame | str]:
        """All frames and lines about damage; the decoder is drained at the end.

        Raises:
            _DecodeError: a packet failed, and `threads` is not 1.
        """
        sent = received = 0
        when = 0.0
        packets = iter(container.demux(stream))
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                yield f"{self.path}: cannot be read past {when:.3f} s ({error.strerror})"
                packet = None  # no more can be read; drain what the decoder holds
            time = None if packet is None else packet.pts if packet.pts is not None else packet.dts
            if time is not None:
                when = float(time * self.facts.time_base)
            if packet is not None:
                clock.sent(packet)
            flush = packet is None or packet.size == 0
            try:
                frames = stream.decode(None if flush else packet)
            except EOFError:
                return  # flushed before
            except av.error.FFmpegError as error:
                if threads != 1:
                    raise _DecodeError from error
                clock.failed()
                yield f"{self.path}: packet at {when:.3f} s cannot be decoded"
                frames = []
            sent += packet is not None and not flush and not packet.is_discard
            received += len(frames)
            if flush and threads != 1 and received < sent:
                # PyAV swallows an error that comes after frames in one call.
                raise _DecodeError
            for frame in frames:
                if frame.is_corrupt:
                    shown = float((frame.pts or frame.dts or 0) * self.facts.time_base)
                    yield f"{self.path}: frame at {shown:.3f} s is damaged"
                yield frame
            if flush:
                return

    def _check(self, frame: av.VideoFrame, number: int) -> None:
        facts = self.facts
        name, size = frame.format.name, (frame.width, frame.height)
        full = is_full_range(frame, layout(name))
        known = (facts.pix_fmt, (facts.width, facts.height), facts.tags.full_range)
        if (name, size, full) == known:
            return
        span = ("limited", "full")
        raise InputError(
            f"{self.path}: frame {number} is {size[0]}x{size[1]} {name} {span[full]} range, after "
            f"{facts.width}x{facts.height} {facts.pix_fmt} {span[facts.tags.full_range]} range; "
            "cut the film there with --start and --end"
        )
