"""`FilmSink`: color frames in, a film out, with all the streams of the film it was made from.

Frames keep their integer pts in the film's time base. MP4 and MOV store them as they are (a time
base n/d comes back as 1/d with pts times n, the same moments exactly); Matroska rounds every
moment to its millisecond; AVI only counts frames, so it takes constant rates alone.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.format import Flags
from av.packet import Packet
from av.video.stream import VideoStream
from torch import Tensor

from ..errors import OutputError
from ..frames import COPY_ALL, WHOLE, ColorBatch, PixelFormat, Segment, VideoInfo
from ..system.clock import Clock
from ..system.messages import Listener
from .container import CopyPlan, check_container, label, without_kinds
from .encoder_table import EncoderSettings
from .encoders import encoding, open_encoder
from .files import PendingFile, check_output, is_system_error, writing
from .muxing import (
    FrameMaker,
    add_streams,
    drain,
    frame_rate,
    has_timestamps,
    is_gapless,
    is_mov,
    open_output,
    video_time_base,
)
from .streams import (
    PacketFeed,
    Selection,
    cut_chapters,
    open_input,
    select_streams,
    stream_info,
)
from .timecode import move_timecodes
from .verify import Expected, find_faults


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


class FilmSink:
    """Encodes frames and copies the other streams into a film; a context manager.

    The film is written under a temporary name; `finish` verifies and renames it. If the `with`
    block ends without `finish`, by an exception or not, the temporary file is removed.

    Args:
        output: the final path; its suffix names the container.
        facts: the film the frames are from.
        settings: encoder and quality.
        format: of the planes that will be written.
        segment: the stretch that will be written. With a start, its first frame becomes moment 0
            and everything else is cut and moved alike.
        copy: kinds of other streams to copy, among `COPY_KINDS`.
        overwrite: replace an existing output.
        threads: of the encoder, 0 for its own choice.
        plan: what `check_container` gave for the same arguments, to save its time.

    Raises:
        ContainerError: the container cannot hold a stream.
        InputError: the input cannot be opened again.
        OutputError: the output exists, is the input, or cannot be written.
    """

    def __init__(
        self,
        output: Path,
        facts: VideoInfo,
        settings: EncoderSettings,
        *,
        format: PixelFormat,
        segment: Segment = WHOLE,
        copy: frozenset[str] = COPY_ALL,
        overwrite: bool = False,
        threads: int = 0,
        plan: CopyPlan | None = None,
    ) -> None:
        self._facts, self._settings, self._format = facts, settings, format
        self._segment, self._copy, self._threads = segment, copy, threads
        check_output(output, facts.path, overwrite=overwrite)
        self._plan = plan or check_container(output, facts, settings, copy, format=format)
        self._file = PendingFile(output, facts.path, overwrite=overwrite)
        self._resources = ExitStack()
        self._input: InputContainer | None = None
        self._output: OutputContainer | None = None
        self._video: VideoStream | None = None
        self._feed: PacketFeed | None = None
        self._shift = Fraction(0)  # seconds taken off every moment
        self._timed = True  # the container has moments, not just counts
        # Of frames inside the encoder, by their pts there, in the encoder's time base.
        self._durations: dict[int, int] = {}
        self._first_pts = self._last_pts = self._last_duration = 0  # in the film's time base
        self._last_own = 0  # the last pts in the encoder's
        self._maker = FrameMaker(facts, settings.encoder, format)
        self._longest = 0  # step between two frames, in the film's time base
        self._frames = 0
        self._last_dts: dict[int, int] = {}  # of copied streams, in the output
        self._emitted = False  # a packet has come out of the encoder
        self._without_packets = 0

    @property
    def plan(self) -> CopyPlan:
        """What is copied and what is not."""
        return self._plan

    def __enter__(self) -> FilmSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._close()
        except (OSError, FFmpegError):
            pass  # a full disk fails again here; the file is removed anyway
        finally:
            self._file.discard()

    def write(self, batch: ColorBatch) -> None:
        """Encode a batch's frames.

        Args:
            batch: planes `(B, H, W)` of the sink's format; `batch.source` gives pts and durations
                in the film's time base.

        Raises:
            OutputError: the file cannot be written, or AVI is asked for a variable frame rate.
        """
        source = batch.source
        with writing(self._file.output):
            for index, (pts, duration) in enumerate(zip(source.pts, source.durations, strict=True)):
                if self._video is None:
                    self._start(pts)
                planes: tuple[Tensor, ...] = tuple(plane[index] for plane in batch.planes)
                self._encode(planes, pts, duration)

    def finish(self, *, incomplete: bool = False, cut: bool = False) -> FilmReport:
        """Drain the encoder, copy what is left, check the file and give it its name.

        Args:
            incomplete: the input was damaged: name the film `<stem>.incomplete<suffix>`. It is
                also called so if the copied streams could not be read to their end.
            cut: the film goes on, but not in this file: end the copied streams with the picture.

        Raises:
            OutputError: no frame was written, the disk is full, or the file is not what was put
                into it. In that last case it is kept as `<stem>.unverified<suffix>`.
        """
        if self._video is None or self._output is None or self._feed is None:
            raise OutputError(f"{self._file.output}: no frame was decoded, so nothing is written")
        unit = self._facts.time_base
        if self._last_duration <= 0:
            self._last_duration = max(round(1 / frame_rate(self._facts) / unit), 1)
            own = video_time_base(self._output, self._facts)
            self._durations[self._last_own] = round(self._last_duration * unit / own)
        end = (self._last_pts + self._last_duration) * unit
        with writing(self._file.output):
            with encoding(self._facts.path, self._settings.encoder):
                last = drain(self._video, first=not self._emitted)
            for packet in last:
                self._mux(packet)
            before = end if cut or self._segment.end is not None else None
            for packet in self._feed.until(None, before=before):
                self._mux_copy(packet)
            format_name = self._output.format.name
            self._close()
        self._file.check()
        # AVI begins at 0: its first frame is shown from there on.
        first = self._first_pts * unit if self._timed else self._shift
        expected = Expected(
            width=self._facts.width,
            height=self._facts.height,
            frames=self._frames,
            span_seconds=float(self._last_pts * unit - first),
            end_seconds=float(end - first),
            longest_seconds=float(max(self._longest, self._last_duration) * unit),
            copied=tuple(self._feed.copied.values()),
            attachments=self._without_packets,
            format_name=format_name,
            complete=self._segment.is_full and not cut,
        )
        if faults := find_faults(self._file.path, expected):
            kept = self._file.commit("unverified")
            raise OutputError(
                f"{self._file.output}: the written film is not right: {'; '.join(faults)}; "
                f"it is kept as {kept.name}; try -o {self._file.output.with_suffix('.mkv')}"
            )
        notes = self._feed.notes(float(end - self._shift) if expected.complete else None)
        incomplete = incomplete or bool(self._feed.damage)
        path = self._file.commit("incomplete" if incomplete else "")
        return FilmReport(
            path=path,
            frames=self._frames,
            duration_seconds=float(end - self._first_pts * unit),
            bytes=path.stat().st_size,
            streams_copied=len(self._plan.streams),
            incomplete=incomplete,
            damage=tuple(f"{self._facts.path}: {line}" for line in self._feed.damage),
            notes=tuple(f"{self._facts.path}: {line}" for line in notes),
        )

    def _start(self, pts: int) -> None:
        """Open both containers, now that the first frame's moment is known."""
        facts, segment = self._facts, self._segment
        self._input = open_input(facts)
        chosen = {each.index for each in self._plan.streams}
        found = select_streams(self._input, self._copy)
        selection = Selection(
            tuple(each for each in found.streams if each.index in chosen), found.chapters, ()
        )
        first = pts * facts.time_base
        self._first_pts = pts
        self._output = output = open_output(str(self._file.path), self._input, selection, facts)
        clock = Clock(self._input)
        start = None
        self._timed = has_timestamps(output)
        if segment.start is not None:
            start = self._shift = first
        elif not self._timed:
            self._shift = first - self._lead(first, selection, clock)
        try:
            video, targets = add_streams(
                output, self._input, selection, facts, self._settings, self._format, self._threads
            )
        except ValueError as error:
            raise OutputError(f"{self._file.output}: {error}; try another container") from error
        if segment.start is not None:
            later = round((pts - (facts.first_pts or 0)) * facts.time_base * frame_rate(facts))
            for tags in (output.metadata, *(each.metadata for each in output.streams)):
                move_timecodes(tags, later, frame_rate(facts))
        chapters = self._input.chapters() if selection.chapters else []
        # By the file's own times, which the clock has moved.
        last = None if segment.end is None else first + segment.end - (segment.start or 0)
        chapters = cut_chapters(
            chapters,
            None if segment.is_full else first - clock.shift,
            None if last is None else last - clock.shift,
            self._shift - clock.shift,
        )
        output.set_chapters(chapters)
        open_encoder(video, self._settings.encoder)
        output.start_encoding()
        hidden = is_mov(output.format.name)
        self._feed = PacketFeed(
            self._input,
            clock,
            targets,
            start=start,
            shift=self._shift,
            hidden=hidden,
            lead_in=self._timed,
            listener=self._resources.enter_context(Listener()),
        )
        self._without_packets = len(selection.streams) - len(targets)
        self._video = video

    def _lead(self, first: Fraction, selection: Selection, clock: Clock) -> Fraction:
        """Seconds that the sound begins before the first frame, in whole frames: what AVI cannot
        express is made of frames, so that nothing of the sound is cut off. The muxer fills them.
        """
        starts = [
            each.start_time * each.time_base + clock.shift
            for each in selection.streams
            if each.type == "audio" and each.start_time is not None and each.time_base
        ]
        rate = frame_rate(self._facts)
        return max(round((first - min(starts, default=first)) * rate), 0) / rate

    def _encode(self, planes: tuple[Tensor, ...], pts: int, duration: int) -> None:
        assert self._video is not None and self._output is not None
        unit, own = self._facts.time_base, video_time_base(self._output, self._facts)
        moved = (pts * unit - self._shift) / own
        if not self._timed:
            self._check_constant(moved)
        frame = self._maker.make(planes, round(moved), own)
        assert frame.pts is not None
        # The muxer needs durations: the last frame's is the only end a film has. Encoders lose
        # them, so they wait here; one not given is the step to the next frame, once that is known.
        if self._last_own in self._durations and self._last_duration <= 0:
            self._durations[self._last_own] = frame.pts - self._last_own
        self._durations[frame.pts] = round(duration * unit / own)
        if self._frames:
            self._longest = max(self._longest, pts - self._last_pts)
        self._last_own, self._last_pts, self._last_duration = frame.pts, pts, duration
        self._frames += 1
        with encoding(self._facts.path, self._settings.encoder):
            packets = self._video.encode(frame)
        for packet in packets:
            self._emitted = True
            self._mux(packet)

    def _check_constant(self, moved: Fraction) -> None:
        """AVI only counts frames: a moment must be a whole number of them, and a new one; in MXF
        the very next one."""
        assert self._output is not None
        step, gapless = round(moved), is_gapless(self._output.format.name)
        after = step == self._last_own + 1 if gapless else step > self._last_own
        if abs(moved - step) <= Fraction(1, 4) and (not self._frames or after):
            return
        raise OutputError(
            f"{self._file.output}: {self._file.output.suffix} holds a constant frame rate only, "
            f"and frame {self._frames} is not on it; "
            f"use -o {self._file.output.with_suffix('.mkv')}"
        )

    def _mux(self, packet: Packet[Any]) -> None:
        """Mux a video packet after the copied packets that come before it."""
        assert self._output is not None and self._feed is not None
        if packet.pts is not None:
            packet.duration = self._durations.pop(packet.pts, 0) or packet.duration
        if packet.dts is not None:
            moment = packet.dts * packet.time_base + self._shift
            for other in self._feed.until(moment):
                self._mux_copy(other)
        self._output.mux(packet)

    def _mux_copy(self, packet: Packet[Any]) -> None:
        """Mux a copied packet. Muxers refuse a decoding time that is not after the last one, as
        DVDs and damaged films have them; it is made later by the least step, as FFmpeg does."""
        assert self._output is not None
        target = packet.stream
        unit, before = target.time_base, self._last_dts.get(target.index)
        assert packet.pts is not None and packet.dts is not None and unit is not None
        ticks = Fraction(packet.time_base) / unit
        packet.pts, packet.dts = _nearest(packet.pts * ticks), _nearest(packet.dts * ticks)
        packet.duration = _nearest((packet.duration or 0) * ticks)
        packet.time_base = unit
        if before is not None:
            strict = not self._output.format.flags & cast(int, Flags.ts_nonstrict.value)
            packet.dts = max(packet.dts, before + strict)
            packet.pts = max(packet.pts, packet.dts)
        self._last_dts[target.index] = packet.dts
        try:
            self._output.mux(packet)
        except FFmpegError as error:
            if is_system_error(error):
                raise
            output, info = self._file.output, stream_info(target)
            other = f"use -o {output.with_suffix('.mkv')} or "
            raise OutputError(
                f"{output}: {output.suffix} refuses {label(info)} at "
                f"{float(packet.dts * unit):.3f} s ({error.strerror}); "
                f"{other if output.suffix != '.mkv' else ''}{without_kinds([info], self._copy)}"
            ) from error

    def _close(self) -> None:
        self._resources.close()
        if self._input is not None:
            self._input.close()
            self._input = None
        if self._output is not None:
            output, self._output = self._output, None
            output.close()


def _nearest(time: Fraction) -> int:
    return (2 * time.numerator + time.denominator) // (2 * time.denominator)
