"""`SequenceSink`: color frames in, numbered pictures out (`out/%06d.dpx`).

FFmpeg's picture encoders write each frame into a file of its own. All files lie in a hidden folder
beside their place until the last one is there and checked; then they get their names. What a run
that was killed has left there can be written again, see `replay`.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
import torch
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from torch import Tensor

from ..color.convert import srgb_to_linear
from ..errors import InputError, OutputError
from ..frames import ColorBatch, PixelFormat, VideoInfo
from ..system.dpx import DpxHeader, read_header, with_header
from ..system.files import temporary_path
from ..system.media import open_media
from ..system.sequences import existing_numbers, sequence_file
from .earlier import EarlierFilm, EarlierSequence
from .encoders import encoding
from .files import writing
from .marking import FilmMarking
from .muxing import frame_rate
from .sequence_marks import marked_file, write_sidecar
from .sequence_plan import (
    KINDS,
    SRGB_PRIMARIES,
    SRGB_TRANSFER,
    check_sequence,
    first_number,
    keeps_timecode,
)
from .timecode import move_timecode
from .verify import FilmReport

_MAX_THREADS = 8  # of an encoder; each holds a frame


class SequenceSink:
    """Writes frames as numbered pictures; a context manager like `FilmSink`.

    Pictures of rotated films are upright. EXR files hold linear light in halves, the others sRGB.
    DPX files get the timecode that goes on from the film's, and its number of the frame.

    Args:
        output: the pattern of their names.
        facts: the film the frames are from.
        format: of the planes that will be written, by `plan_sequence`.
        overwrite: replace existing files.
        work: the folder that they lie in until then, which no other process writes to; None for one
            of the sink's own.
        marking: the marks of their origin, None for none.

    Attributes:
        keep: keep that folder if the `with` block ends without `finish`.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(
        self,
        output: Path,
        facts: VideoInfo,
        *,
        format: PixelFormat,
        overwrite: bool = False,
        work: Path | None = None,
        marking: FilmMarking | None = None,
    ) -> None:
        self.keep = False
        self._output, self._facts, self._format = output, facts, format
        self._overwrite, self._marking = overwrite, marking
        self._packet = b"" if marking is None else marking.packet
        self._kind = KINDS[output.suffix.lower()]
        self._rate = frame_rate(facts)
        self._folder = work or temporary_path(output.absolute(), ".part")
        with writing(output):
            self._folder.mkdir(parents=True)
            self._lock = None if work else _held(self._folder)
            for other in output.absolute().parent.glob(f".{glob.escape(output.name)}.*.part"):
                if (lock := _held(other)) is not None:  # of a run that was killed
                    shutil.rmtree(other, ignore_errors=True)
                    lock.close()
        self._encoder: VideoCodecContext | None = None
        self._first = 0  # number of the first file
        self._sizes: list[int] = []  # bytes of the files written so far
        self._safe = 0  # number of them that are on the disk
        self._begin = self._end = Fraction(0)  # seconds
        self._frames = 0
        self._header: DpxHeader | None = None

    def __enter__(self) -> SequenceSink:
        return self

    def __exit__(self, *error: object) -> None:
        if not self.keep:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def write(self, batch: ColorBatch) -> None:
        """Encode a batch's frames.

        Args:
            batch: planes R, G, B `(B, H, W)` of the sink's format.

        Raises:
            OutputError: a file cannot be written.
        """
        source = batch.source
        turns = -(source.rotation // 90)
        for index, (pts, duration) in enumerate(zip(source.pts, source.durations, strict=True)):
            planes = [torch.rot90(plane[index], turns) for plane in batch.planes]
            if self._encoder is None:
                self._encoder = self._make_encoder(planes[0])
            frame = self._frame(planes)
            frame.pts, frame.time_base = self._frames, 1 / self._rate
            self._count(pts, duration)
            self._encode(frame)

    def replay(
        self, film: EarlierFilm | EarlierSequence, frames: Sequence[tuple[int, int]]
    ) -> None:
        """Take over files that an earlier run has written; call it before the first `write`.

        Args:
            film: what that run has left of the sequence.
            frames: pts and duration of each, in order.

        Raises:
            OutputError: it has fewer files, or they cannot be taken over.
        """
        assert isinstance(film, EarlierSequence)
        with writing(self._output):
            for old, (pts, duration) in zip(film.take(len(frames)), frames, strict=True):
                self._count(pts, duration)
                new = self._temporary(len(self._sizes))
                try:
                    os.link(old, new)
                except OSError:  # a file system without links
                    shutil.copyfile(old, new)
                self._sizes.append(new.stat().st_size)

    def checkpoint(self) -> int:
        """Write what the encoder holds, so that it can be replayed.

        Returns:
            The number of bytes that are on the disk.

        Raises:
            OutputError: a file cannot be written.
        """
        self._drain()
        return self.sync()

    def sync(self) -> int:
        """Write the files out to the disk; returns the number of their bytes."""
        with writing(self._output):
            for number in range(self._safe, len(self._sizes)):
                _sync(self._temporary(number), os.O_RDWR)
            if os.name != "nt":  # where a folder is no file
                _sync(self._folder, os.O_RDONLY)
        self._safe = len(self._sizes)
        return sum(self._sizes)

    def _count(self, pts: int, duration: int) -> None:
        """Count a frame; the first one gives the number of the first file."""
        time = (pts - (self._facts.first_pts or 0)) * self._facts.time_base
        if self._frames == 0:
            self._start(time)
        self._end = time + (duration * self._facts.time_base or 1 / self._rate)
        self._frames += 1

    def _start(self, time: Fraction) -> None:
        facts = self._facts
        self._begin, self._first = time, first_number(facts, time)
        if self._kind.codec == "dpx":
            there = facts.first_number is not None
            source = sequence_file(facts.path, facts.first_number or 0) if there else facts.path
            own = read_header(source) or DpxHeader()
            position = own.position if own.position is not None else (facts.first_number or 1)
            timecode = facts.timecode if keeps_timecode("dpx", facts) else ""
            self._header = replace(own, timecode=timecode, position=position)

    def _make_encoder(self, plane: Tensor) -> VideoCodecContext:
        facts = self._facts
        context = av.CodecContext.create(self._kind.codec, "w")
        assert isinstance(context, VideoCodecContext)
        context.height, context.width = plane.shape
        context.pix_fmt = self._format.name
        context.time_base, context.framerate = 1 / self._rate, self._rate
        context.options = dict(self._kind.options)
        context.thread_type = "FRAME"
        context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
        if aspect := facts.sample_aspect_ratio:
            context.sample_aspect_ratio = aspect if facts.rotation % 180 == 0 else 1 / aspect
        return context

    def _frame(self, planes: list[Tensor]) -> av.VideoFrame:
        """A frame from its planes R, G, B `(H, W)`."""
        name, depth = self._format.name, self._format.bit_depth
        codes = torch.stack(planes, dim=-1)
        if name == "gbrpf32le":
            light = srgb_to_linear(codes.float() / ((1 << depth) - 1))
            halves = light.half().float()  # rounded here, because FFmpeg cuts off
            frame = av.VideoFrame.from_ndarray(halves.numpy(), format=name)
        elif name.startswith("gbrp"):
            height, width = planes[0].shape
            frame = av.VideoFrame(width, height, name)
            red, green, blue = (plane.numpy().astype(">u2") for plane in planes)
            for target, values in zip(frame.planes, (green, blue, red), strict=True):
                rows = np.frombuffer(memoryview(target), ">u2").reshape(height, -1)
                rows[:, :width] = values
        else:
            array: Any = codes.numpy().astype(np.uint8 if depth == 8 else np.uint16)
            frame = av.VideoFrame.from_ndarray(array, format=name)
        frame.color_range = 2
        frame.color_primaries, frame.color_trc = SRGB_PRIMARIES, SRGB_TRANSFER
        return frame

    def _drain(self) -> None:
        """Write what the encoder holds; the next frame gets a new one."""
        if self._encoder is not None:
            self._encode(None)
            self._encoder = None

    def _encode(self, frame: av.VideoFrame | None) -> None:
        assert self._encoder is not None
        with encoding(self._facts.path, self._kind.codec):
            packets = self._encoder.encode(frame)
        for packet in packets:
            data, number = bytes(packet), len(self._sizes)
            data = marked_file(data, self._kind.codec, self._packet)
            if self._header is not None:
                data = with_header(data, self._moved(number), float(self._rate))
            with writing(self._output):
                self._temporary(number).write_bytes(data)
            self._sizes.append(len(data))

    def _moved(self, number: int) -> DpxHeader:
        """The header of the file with this number, from 0."""
        assert self._header is not None and self._header.position is not None
        later = number + first_number(self._facts, self._begin) - first_number(self._facts, None)
        return replace(
            self._header,
            timecode=move_timecode(self._header.timecode, later, self._rate),
            position=self._header.position + later,
        )

    def _temporary(self, number: int) -> Path:
        return self._folder / sequence_file(self._output, self._first + number).name

    def finish(self, *, incomplete: bool = False, cut: bool = False) -> FilmReport:
        """Write what is left, check the files and give them their names.

        Args:
            incomplete: the input was damaged: call them `<stem>.incomplete<suffix>`.
            cut: the film goes on, but not in this sequence.

        Raises:
            OutputError: no frame was written, or a file is not what was put into it.
        """
        if self._frames == 0:
            raise OutputError(f"{self._output}: no frame was decoded, so nothing is written")
        self._drain()
        self._check()
        mark, refusal = "incomplete" if incomplete else "", None
        try:
            check_sequence(self._output, self._first, self._frames, overwrite=self._overwrite)
        except OutputError as error:
            mark, refusal = mark or "second", error
        path = self._commit(mark)
        others = len(existing_numbers(path)) - self._frames
        notes = [f"{path}: {others} other files of this name are there"] if others else []
        if self._marking is not None:
            marks = self._marking.complete()
            notes += write_sidecar(path, marks, overwrite=self._overwrite)
        if refusal is not None and not incomplete:
            raise OutputError(
                f"{self._output}: another run or program made it while this run worked; "
                f"this run's files are kept as {path.name}; delete one of the two"
            ) from refusal
        return FilmReport(
            path=path,
            frames=self._frames,
            duration_seconds=float(self._end - self._begin),
            bytes=sum(self._sizes),
            streams_copied=0,
            incomplete=incomplete,
            notes=tuple(notes),
        )

    def _check(self) -> None:
        """See that every file has the size that was written, and that the first and the last show
        a picture."""
        if len(self._sizes) != self._frames:
            raise OutputError(
                f"{self._output}: {self._kind.codec} gave {len(self._sizes)} pictures for "
                f"{self._frames} frames; report it with the film"
            )
        for number, size in enumerate(self._sizes):
            path = self._temporary(number)
            if not path.is_file() or path.stat().st_size != size:
                raise OutputError(
                    f"{sequence_file(self._output, self._first + number)}: another program changed "
                    "the unfinished files while they were written; run it again"
                )
        for number in {0, self._frames - 1}:
            path = self._temporary(number)
            try:
                with open_media(f"file:{path}", format="image2", options=_ONE_FILE) as container:
                    frame = next(container.decode(video=0))
            except (FFmpegError, InputError, StopIteration) as error:
                raise OutputError(f"{path.name}: cannot be read back ({error})") from error
            shape = (self._facts.width, self._facts.height)
            if (frame.width, frame.height) != shape[:: -1 if self._facts.rotation % 180 else 1]:
                raise OutputError(f"{path.name}: is {frame.width}x{frame.height} when read back")

    def _commit(self, mark: str) -> Path:
        """Rename all files and return the pattern of their names; if one cannot be renamed, those
        before it get their old names again. The first comes last, so that a sequence that has its
        first file has all of them, even if the process is killed here."""
        target = self._marked(mark) if mark else self._output
        with ExitStack() as undo, writing(self._output):
            for number in reversed(range(self._frames)):
                old, new = self._temporary(number), sequence_file(target, self._first + number)
                os.replace(old, new)
                undo.callback(_rename_if_possible, new, old)
            undo.pop_all()
        return target

    def _marked(self, mark: str) -> Path:
        number = 1
        while True:
            word = mark if number == 1 else f"{mark}-{number}"
            target = self._output.with_name(f"{self._output.stem}.{word}{self._output.suffix}")
            if self._overwrite or not existing_numbers(target):
                return target
            number += 1


_ONE_FILE = {"pattern_type": "none"}


def _held(folder: Path) -> IO[bytes] | None:
    """Lock a folder of unfinished pictures; None if another run holds it, or where there are no
    locks. The system frees the lock when the process ends, however it does."""
    try:
        import fcntl

        file = (folder / "lock").open("ab")
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _sync(path: Path, flags: int) -> None:
    file = os.open(path, flags)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _rename_if_possible(old: Path, new: Path) -> None:
    with suppress(OSError):
        os.replace(old, new)
