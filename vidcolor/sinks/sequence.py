"""`SequenceSink`: color frames in, numbered pictures out (`out/%06d.dpx`).

FFmpeg's picture encoders write each frame into a file of its own. All files lie in a hidden folder
beside their place until the last one is there and checked; then they get their names.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from torch import Tensor

from ..color.convert import srgb_to_linear
from ..errors import InputError, OutputError
from ..frames import ColorBatch, ColorTags, PixelFormat, VideoInfo
from ..system.dpx import DpxHeader, read_header, with_header
from ..system.files import temporary_path
from ..system.media import open_media
from ..system.sequences import existing_numbers, is_pattern, sequence_file
from .container import CopyPlan
from .encoder_table import EncoderSettings
from .encoders import encoding
from .files import writing
from .film import FilmReport
from .muxing import frame_rate
from .timecode import move_timecode

_SRGB_PRIMARIES, _SRGB_TRANSFER = 1, 13  # H.273 code points
_MAX_THREADS = 8  # of an encoder; each holds a frame


@dataclass(frozen=True)
class _Kind:
    """How one kind of picture is written: FFmpeg's encoder, its pixel formats by bits of a channel,
    and its options."""

    codec: str
    formats: dict[int, str]
    options: dict[str, str] = field(default_factory=dict)


_TIFF = _Kind("tiff", {8: "rgb24", 16: "rgb48le"}, {"compression_algo": "deflate"})
_KINDS = {
    ".dpx": _Kind("dpx", {8: "rgb24", 10: "gbrp10be", 12: "gbrp12be", 16: "rgb48be"}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".png": _Kind("png", {8: "rgb24", 16: "rgb48be"}),
    ".exr": _Kind("exr", {16: "gbrpf32le"}, {"format": "half", "compression": "zip16"}),
}


_OTHERS = ("", ".bmp", ".jp2", ".jpeg", ".jpg", ".tga", ".webp")  # would be pictures too


def is_sequence(output: Path) -> bool:
    """Whether an output is a numbered sequence: a pattern that ends as pictures do."""
    return is_pattern(output) and output.suffix.lower() in (*_KINDS, *_OTHERS)


def first_number(facts: VideoInfo, start: Fraction | None) -> int:
    """Number of the first picture of a film from `start` seconds on: a sequence keeps the numbers
    of its files, a film begins at 1; a later start moves them along."""
    origin = 1 if facts.first_number is None else facts.first_number
    return origin + round((start or 0) * frame_rate(facts))


def check_sequence(
    output: Path, first: int, count: int | None, *, overwrite: bool, inputs: Sequence[Path] = ()
) -> None:
    """Refuse a numbered sequence some of whose files exist.

    Args:
        output: the pattern.
        first, count: the numbers that will be written; a count of None is open.
        overwrite: existing files may be replaced,
        inputs: but not these.

    Raises:
        OutputError: a file exists, or the folder cannot be read.
    """
    with writing(output):
        taken = existing_numbers(output)
    last = max(taken, default=0) if count is None else first + count - 1
    found = [sequence_file(output, each) for each in sorted(taken) if first <= each <= last]
    originals = {each.resolve() for each in inputs}
    if own := [path for path in found if path.resolve() in originals]:
        raise OutputError(f"{own[0]}: the output is the input itself; choose another name with -o")
    if found and not overwrite:
        raise OutputError(
            f"{found[0]}: already exists; give --overwrite to replace it or --skip-existing"
        )


def plan_sequence(output: Path, facts: VideoInfo, settings: EncoderSettings) -> CopyPlan:
    """What a numbered sequence contains of a film, and what it does not.

    Raises:
        OutputError: pictures of this kind are not written, or not with these settings.
    """
    kind = _KINDS.get(output.suffix.lower())
    if kind is None:
        raise OutputError(
            f"{output}: numbered pictures are written as {', '.join(_KINDS)}; use one of these "
            "suffixes with -o"
        )
    if replace(settings, pix_fmt=None) != EncoderSettings():
        raise OutputError(
            f"{output}: numbered pictures have no --encoder, --crf or --preset; leave them out"
        )
    bits = max(each.bits for each in av.VideoFormat(facts.pix_fmt).components)
    depth = next((depth for depth in kind.formats if depth >= bits), max(kind.formats))
    if settings.pix_fmt is not None:
        chosen = [depth for depth, name in kind.formats.items() if name == settings.pix_fmt]
        if not chosen:
            raise OutputError(
                f"{output}: {output.suffix} takes --pix-fmt {', '.join(kind.formats.values())}"
            )
        depth = chosen[0]
    tags = ColorTags(True, facts.tags.matrix, _SRGB_PRIMARIES, _SRGB_TRANSFER)
    format = PixelFormat(kind.formats[depth], depth, (1, 1), True, tags)
    return CopyPlan(output, format, (), 0, tuple(_lost(facts, kind.codec)))


def _keeps_timecode(codec: str, facts: VideoInfo) -> bool:
    """Whether the timecode goes into the pictures: one that drops frames counts to 30 or to 60, and
    DPX has room for 40 frames a second."""
    base = round(frame_rate(facts))
    drops = facts.timecode[-3:-2] not in ("", ":")
    return codec == "dpx" and base <= 40 and not (drops and base % 30)


def _lost(facts: VideoInfo, codec: str) -> list[str]:
    """One line for each thing that numbered pictures do not keep."""
    kinds = [each.kind for each in facts.streams if each.kind in ("audio", "subtitle")]
    what = [word for word, name in (("sound", "audio"), ("subtitles", "subtitle")) if name in kinds]
    what += ["chapters"] if facts.num_chapters else []
    notes = [f"numbered pictures keep no {' and no '.join(what)}"] if what else []
    if facts.first_number is None:
        rate = f"{frame_rate(facts)} frames a second"
        notes.append(f"numbered pictures keep no times; play them at {rate}")
    if facts.timecode and not _keeps_timecode(codec, facts):
        notes.append(f"the timecode {facts.timecode} is not kept")
    if facts.field_order:
        notes.append("numbered pictures do not say that the frames are interlaced")
    return notes + [f"{each} is not kept" for each in facts.extras]


class SequenceSink:
    """Writes frames as numbered pictures; a context manager like `FilmSink`.

    Pictures of rotated films are upright. EXR files hold linear light in halves, the others sRGB.
    DPX files get the timecode that goes on from the film's, and its number of the frame.

    Args:
        output: the pattern of their names.
        facts: the film the frames are from.
        format: of the planes that will be written, by `plan_sequence`.
        overwrite: replace existing files.

    Raises:
        OutputError: the folder cannot be written.
    """

    keep = False

    def __init__(
        self, output: Path, facts: VideoInfo, *, format: PixelFormat, overwrite: bool = False
    ) -> None:
        self._output, self._facts, self._format = output, facts, format
        self._overwrite = overwrite
        self._kind = _KINDS[output.suffix.lower()]
        self._rate = frame_rate(facts)
        self._folder = temporary_path(output.absolute(), ".part")
        with writing(output):
            self._folder.mkdir(parents=True)
        self._encoder: VideoCodecContext | None = None
        self._first = 0  # number of the first file
        self._sizes: list[int] = []  # bytes of the files written so far
        self._begin = self._end = Fraction(0)  # seconds
        self._frames = 0
        self._header: DpxHeader | None = None

    def __enter__(self) -> SequenceSink:
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

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
            time = (pts - (self._facts.first_pts or 0)) * self._facts.time_base
            if self._encoder is None:
                self._start(planes[0], time)
            self._end = time + (duration * self._facts.time_base or 1 / self._rate)
            frame = self._frame(planes)
            frame.pts, frame.time_base = self._frames, 1 / self._rate
            self._frames += 1
            self._encode(frame)

    def _start(self, plane: Tensor, time: Fraction) -> None:
        facts = self._facts
        self._begin, self._first = time, first_number(facts, time)
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
        self._encoder = context
        if self._kind.codec == "dpx":
            there = facts.first_number is not None
            source = sequence_file(facts.path, facts.first_number or 0) if there else facts.path
            own = read_header(source) or DpxHeader()
            position = own.position if own.position is not None else (facts.first_number or 1)
            timecode = facts.timecode if _keeps_timecode("dpx", facts) else ""
            self._header = replace(own, timecode=timecode, position=position)

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
            array = codes.numpy().astype(np.uint8 if depth == 8 else np.uint16)
            frame = av.VideoFrame.from_ndarray(array, format=name)
        frame.color_range = 2
        frame.color_primaries, frame.color_trc = _SRGB_PRIMARIES, _SRGB_TRANSFER
        return frame

    def _encode(self, frame: av.VideoFrame | None) -> None:
        assert self._encoder is not None
        with encoding(self._facts.path, self._kind.codec):
            packets = self._encoder.encode(frame)
        for packet in packets:
            data, number = bytes(packet), len(self._sizes)
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
        if self._encoder is None:
            raise OutputError(f"{self._output}: no frame was decoded, so nothing is written")
        self._encode(None)
        self._check()
        mark, refusal = "incomplete" if incomplete else "", None
        try:
            check_sequence(self._output, self._first, self._frames, overwrite=self._overwrite)
        except OutputError as error:
            mark, refusal = mark or "second", error
        path = self._commit(mark)
        others = len(existing_numbers(path)) - self._frames
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
            notes=(f"{path}: {others} other files of this name are there",) if others else (),
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
            assert self._encoder is not None
            if (frame.width, frame.height) != (self._encoder.width, self._encoder.height):
                raise OutputError(f"{path.name}: is {frame.width}x{frame.height} when read back")

    def _commit(self, mark: str) -> Path:
        """Rename all files and return the pattern of their names; if one cannot be renamed, those
        before it get their old names again."""
        target = self._marked(mark) if mark else self._output
        done: deque[tuple[Path, Path]] = deque()
        try:
            with writing(self._output):
                for number in range(self._frames):
                    pair = self._temporary(number), sequence_file(target, self._first + number)
                    os.replace(*pair)
                    done.appendleft(pair)
        except BaseException:
            for old, new in done:
                with suppress(OSError):
                    os.replace(new, old)
            raise
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
