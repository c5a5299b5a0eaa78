"""`FilmSink`: color frames in, a film out, with all the streams of the film it was made from.

Frames keep their integer pts in the film's time base. MP4 and MOV store them as they are (a time
base n/d comes back as 1/d with pts times n, the same moments exactly); Matroska rounds every
moment to its millisecond; AVI only counts frames, so it takes constant rates alone.
"""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import PictureType
from av.video.stream import VideoStream
from torch import Tensor

from ..errors import OutputError
from ..frames import COPY_ALL, WHOLE, ColorBatch, PixelFormat, Segment, VideoInfo
from ..system.clock import Clock
from ..system.messages import Listener
from .container import CopyPlan, check_container
from .copying import CopyMuxer
from .earlier import EarlierFilm, EarlierSequence
from .encoder_table import EncoderSettings
from .encoders import encoding, open_encoder
from .files import PendingFile, check_output, writing
from .marking import FilmMarking
from .muxing import (
    FrameMaker,
    add_streams,
    add_video,
    drain,
    frame_rate,
    has_timestamps,
    is_mov,
    open_output,
    video_time_base,
)
from .stamps import Stamps
from .streams import (
    PacketFeed,
    Selection,
    cut_chapters,
    open_input,
    select_streams,
    sound_lead,
)
from .timecode import move_timecodes
from .verify import Expected, FilmReport, find_faults


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
        work: path of the temporary file, for a film with checkpoints; None for a new path.
        marking: the marks of its origin, None for none.

    Attributes:
        keep: keep the temporary file if the `with` block ends without `finish`.

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
        work: Path | None = None,
        marking: FilmMarking | None = None,
    ) -> None:
        self.keep = False
        self._facts, self._settings, self._format = facts, settings, format
        self._segment, self._copy, self._threads, self._marking = segment, copy, threads, marking
        check_output(output, facts.path, overwrite=overwrite)
        self._plan = plan or check_container(output, facts, settings, copy, format=format)
        self._file = PendingFile(output, facts.path, overwrite=overwrite, path=work)
        self._recoverable = work is not None
        self._resources = ExitStack()
        self._input: InputContainer | None = None
        self._output: OutputContainer | None = None
        self._video: VideoStream | None = None
        self._encoder: VideoStream | None = None  # `_video`, or one like it for each part
        self._feed: PacketFeed | None = None
        self._shift = Fraction(0)  # seconds taken off every moment
        self._timed = True  # the container has moments, not just counts
        self._stamps: Stamps | None = None
        self._maker = FrameMaker(facts, settings.encoder, format)
        self._copies: CopyMuxer | None = None
        self._last_video_dts: int | None = None
        self._emitted = False  # a packet has come out of the encoder
        self._without_packets = 0

    def __enter__(self) -> FilmSink:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._close()
        except (OSError, FFmpegError):
            pass  # a full disk fails again here
        finally:
            if not self.keep:
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
                self._encode(planes, pts, duration, key=bool(source.cuts) and source.cuts[index])

    def replay(
        self, film: EarlierFilm | EarlierSequence, frames: Sequence[tuple[int, int]]
    ) -> None:
        """Copy frames that an earlier run has written; call it before the first `write`.

        Args:
            film: what that run has left.
            frames: pts and duration of each frame from one checkpoint to the next; call it once for
                each such part, in order.

        Raises:
            OutputError: the film has fewer frames, or this one cannot be written.
        """
        assert isinstance(film, EarlierFilm)
        with writing(self._file.output):
            if self._video is None:
                self._start(frames[0][0])
            assert self._output is not None and self._stamps is not None
            stamps = [self._stamps.stamp(pts, duration) for pts, duration in frames]
            for packet in film.packets(stamps, video_time_base(self._output, self._facts)):
                self._mux(packet)

    def checkpoint(self) -> int:
        """End what was written so far so that it can be replayed; the next frame begins a new group
        of pictures with a new encoder.

        Returns:
            The number of bytes of the temporary file that are on the disk.

        Raises:
            OutputError: the file cannot be written.
        """
        with writing(self._file.output):
            for packet in self._drained():
                self._mux(packet)
            self._encoder, self._emitted = None, False
            gc.collect()  # PyAV's streams are freed by it alone; the next encoder needs as much
            return self.sync()

    def sync(self) -> int:
        """Write what the muxer has given out to the disk; returns the number of bytes."""
        with writing(self._file.output), self._file.path.open("rb") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size

    def _drained(self) -> list[Packet[Any]]:
        if self._encoder is None:  # all frames were replayed
            return []
        with encoding(self._facts.path, self._settings.encoder):
            return drain(self._encoder, first=not self._emitted)

    def _make_encoder(self) -> VideoStream:
        """An encoder like that of the output's own stream."""
        assert self._output is not None and self._video is not None
        other = av.open(io.BytesIO(), "w", format=self._output.format.name)
        video = add_video(other, self._facts, self._settings, self._format, self._threads)
        open_encoder(video, self._settings.encoder)
        if video.codec_context.extradata != self._video.codec_context.extradata:
            raise OutputError(
                f"{self._file.output}: {self._settings.encoder} cannot be resumed; give --no-resume"
            )
        return video

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
        stamps = self._stamps
        if stamps is None or not (self._output and self._feed and self._copies):
            raise OutputError(f"{self._file.output}: no frame was decoded, so nothing is written")
        unit, end = self._facts.time_base, stamps.finish()
        with writing(self._file.output):
            for packet in self._drained():
                self._mux(packet)
            before = end if cut or self._segment.end is not None else None
            for packet in self._feed.until(None, before=before):
                self._copies.mux(packet)
            format_name = self._output.format.name
            self._close()
        self._file.check()
        lost = [] if self._marking is None else self._marking.finish(self._file)
        # AVI begins at 0: its first frame is shown from there on.
        first = stamps.first_pts * unit if self._timed else self._shift
        expected = Expected(
            width=self._facts.width,
            height=self._facts.height,
            frames=stamps.frames,
            span_seconds=float(stamps.last_pts * unit - first),
            end_seconds=float(end - first),
            longest_seconds=float(max(stamps.longest, stamps.last_duration) * unit),
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
        notes = self._feed.notes(float(end - self._shift) if expected.complete else None) + lost
        incomplete = incomplete or bool(self._feed.damage)
        path = self._file.commit("incomplete" if incomplete else "")
        return FilmReport(
            path=path,
            frames=stamps.frames,
            duration_seconds=float(end - stamps.first_pts * unit),
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
        self._output = output = open_output(
            str(self._file.path), self._input, selection, facts, recoverable=self._recoverable
        )
        clock = Clock(self._input)
        start = None
        self._timed = has_timestamps(output)
        if segment.start is not None:
            start = self._shift = first
        elif not self._timed:
            self._shift = first - sound_lead(selection, clock, first, frame_rate(facts))
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
        if self._marking is not None:
            self._marking.begin(output, facts.path)
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
        # The own encoder of the stream would keep its frames until the end.
        self._encoder = None if self._recoverable else video
        self._copies = CopyMuxer(output, self._file.output, self._copy)
        self._stamps = Stamps(
            facts,
            self._file.output,
            output.format.name,
            time_base=video_time_base(output, facts),
            shift=self._shift,
            timed=self._timed,
        )

    def _encode(
        self, planes: tuple[Tensor, ...], pts: int, duration: int, *, key: bool = False
    ) -> None:
        assert self._output and self._stamps
        if self._encoder is None:
            self._encoder = self._make_encoder()
        stamp = self._stamps.stamp(pts, duration)
        frame = self._maker.make(planes, stamp, video_time_base(self._output, self._facts))
        if key:  # so that single shots can be replaced
            frame.pict_type = PictureType.I
        with encoding(self._facts.path, self._settings.encoder):
            packets = self._encoder.encode(frame)
        for packet in packets:
            self._emitted = True
            self._mux(packet)

    def _mux(self, packet: Packet[Any]) -> None:
        """Mux a video packet after the copied packets that come before it."""
        assert self._output and self._feed and self._stamps and self._copies
        if packet.pts is not None:
            packet.duration = self._stamps.take_duration(packet.pts) or packet.duration
        if packet.dts is not None:
            if self._last_video_dts is not None:  # of another encoder
                packet.dts = max(packet.dts, self._last_video_dts + 1)
            self._last_video_dts = packet.dts
            moment = packet.dts * packet.time_base + self._shift
            for other in self._feed.until(moment):
                self._copies.mux(other)
        packet.stream = self._video
        self._copies.mux_film(packet)

    def _close(self) -> None:
        self._resources.close()
        if self._input is not None:
            self._input.close()
            self._input = None
        if self._output is not None:
            output, self._output = self._output, None
            output.close()
