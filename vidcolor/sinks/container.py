"""Check that the output's container can hold the film, before the work starts.

The check writes a few black frames and the first packet of every copied stream into memory with the
real muxer, and reads them back. The container cannot hold what the muxer refuses or loses.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from ..errors import ContainerError, OutputError
from ..frames import COPY_ALL, COPY_KINDS, PixelFormat, StreamInfo, VideoInfo
from ..system.clock import Clock
from ..system.media import film_stream, is_cover
from .encoder_table import ENCODERS, EncoderSettings, find_encoder
from .encoders import choose_pixel_format, format_notes, open_encoder
from .muxing import (
    FrameMaker,
    add_streams,
    drain,
    frame_rate,
    is_gapless,
    open_output,
    video_time_base,
)
from .streams import (
    COPY_NAMES,
    PacketFeed,
    Selection,
    codec_name,
    file_metadata,
    open_input,
    select_streams,
    stream_info,
)
from .verify import keeps_times

# Frame numbers of a trial: enough for B-frames, with a gap that a mere count cannot keep.
_TRIAL = (0, 1, 2, 3, 5)
# A lone packet of one of these is taken for another.
_ALIKE = {"mp1": "mp3", "mp2": "mp3"}
# AVI counts sound in bytes of one rate; AAC's packets differ in size, and readers lose their place.
_UNRELIABLE = {("avi", "aac")}
_READ_AHEAD = 400  # packets of the input looked at for each copied stream's first


@dataclass(frozen=True)
class CopyPlan:
    """What an output contains beside the colorized video.

    Attributes:
        output: the final path.
        format: the pixel format of the video.
        streams: the input's streams that are copied, in order.
        num_chapters: chapters that are copied.
        notes: what is left out or changed, one line each.
    """

    output: Path
    format: PixelFormat
    streams: tuple[StreamInfo, ...]
    num_chapters: int
    notes: tuple[str, ...] = ()


class _Memory(io.BytesIO):
    """A file in memory whose name tells FFmpeg the format."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


@dataclass(frozen=True)
class _Trial:
    """The result of a trial.

    Attributes:
        refusal: why nothing could be written, or None.
        lost: what was not read back.
        notes: what was not read back either, but is no reason to take another container.
    """

    refusal: str | None = None
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)


def label(stream: StreamInfo) -> str:
    """A stream in plain words."""
    kind = "cover art" if stream.kind == "video" else stream.kind
    language = f", {stream.language}" if stream.language else ""
    return f"stream {stream.index} ({kind}, {stream.codec}{language})"


def _black(facts: VideoInfo, format: PixelFormat) -> tuple[torch.Tensor, ...]:
    dtype = torch.uint8 if format.bit_depth == 8 else torch.int32
    height, width = facts.height, facts.width
    across, down = format.subsampling
    small = (-(-height // down), -(-width // across))
    middle = 0 if format.rgb else 1 << (format.bit_depth - 1)
    chroma = torch.full(small, middle, dtype=dtype)
    return torch.zeros(height, width, dtype=dtype), chroma, chroma


def _try(
    suffix: str,
    source: InputContainer,
    selection: Selection,
    facts: VideoInfo,
    settings: EncoderSettings,
    format: PixelFormat,
) -> _Trial:
    memory = _Memory(f"trial{suffix}")
    try:
        output = open_output(memory, source, selection, facts)
        if output.format.name == "image2":
            return _Trial(f"{suffix} is a picture format, not a film's")
        with output:
            video, targets = add_streams(output, source, selection, facts, settings, format, 1)
            output.set_chapters(source.chapters() if selection.chapters else [])
            try:
                open_encoder(video, settings.encoder)
                output.start_encoding()
            except FFmpegError as error:
                if not video.codec_context.is_open:
                    raise OutputError(
                        f"{facts.path}: {settings.encoder} did not start with {format.name}, "
                        f"{facts.width}x{facts.height}, preset {settings.preset or 'default'} "
                        f"({error.strerror}); check --preset, --crf and --pix-fmt"
                    ) from error
                raise
            for packet in _first_packets(facts, targets):
                output.mux(packet)
            maker, black = FrameMaker(facts, settings.encoder, format), _black(facts, format)
            unit = video_time_base(output, facts)
            step = max(round(1 / frame_rate(facts) / unit), 1)
            packets = []
            numbers = tuple(range(5)) if is_gapless(output.format.name) else _TRIAL
            for number in numbers:
                packets += video.encode(maker.make(black, number * step, unit))
            output.mux(packets + drain(video, first=not packets))
            times = [number * step * unit for number in numbers]
    except FFmpegError as error:
        return _Trial(refusal=error.strerror)
    except ValueError as error:
        return _Trial(refusal=str(error))
    name = output.format.name
    # So short a transport stream looks like something else; the others are known by their bytes.
    reader = "mpegts" if name == "mpegts" else None
    try:
        with av.open(io.BytesIO(memory.getvalue()), "r", format=reader) as written:
            if not written.streams.video:
                return _Trial(refusal="it cannot be read back")
            lost = [*_lost(written, name, selection.streams, facts, format)]
            notes = [*_lost_notes(written, source, facts)]
        with av.open(io.BytesIO(memory.getvalue()), "r", format=reader) as written:
            if not keeps_times(written, film_stream(written), times, name):
                lost.append("the times of the frames")
    except FFmpegError:
        return _Trial(refusal="it cannot be read back")
    return _Trial(lost=tuple(lost), notes=tuple(notes))


def _first_packets(facts: VideoInfo, targets: dict[int, Stream]) -> Iterable[av.Packet[Any]]:
    """The first packet of each copied stream, moved to time 0 so that the muxer need not wait."""
    if not targets:
        return
    waiting = set(targets)
    with open_input(facts) as source:
        for number, packet in enumerate(PacketFeed(source, Clock(source), targets).until(None)):
            index = next(key for key, value in targets.items() if value is packet.stream)
            if index in waiting:
                waiting.remove(index)
                packet.pts = packet.dts = 0
                yield packet
            if not waiting or number >= _READ_AHEAD:
                return


def _family(stream: Stream) -> str:
    name = codec_name(stream)
    return _ALIKE.get(name, name)


def _lost_notes(written: InputContainer, source: InputContainer, facts: VideoInfo) -> Iterable[str]:
    timecode = facts.timecode or film_stream(source).metadata.get("timecode")
    tags: list[dict[str, str]] = [written.metadata, *(each.metadata for each in written.streams)]
    kept = {value for each in tags for key, value in each.items() if key.lower() == "timecode"}
    if timecode and timecode not in kept:
        yield f"the timecode {timecode}"
    found = {value for each in tags for value in each.values()}
    lost = [
        key
        for key, value in file_metadata(source).items()
        if key.lower() not in written.metadata and value not in found and value.strip()
    ]
    if lost:
        yield f"the tags {', '.join(sorted(lost))}"


def _lost(
    written: InputContainer,
    muxer: str,
    streams: tuple[Stream, ...],
    facts: VideoInfo,
    format: PixelFormat,
) -> Iterable[str]:
    """What cannot be read back from a trial."""
    found = Counter((each.type, _family(each)) for each in written.streams)
    for stream in streams:
        key = (stream.type, _family(stream))
        if (muxer, key[1]) in _UNRELIABLE:
            yield label(stream_info(stream))
            continue
        if stream.type == "attachment":
            key = next((each for each in found if each[0] == "attachment"), key)
        if found[key] == 0:
            yield label(stream_info(stream))
        found[key] -= 1
    pictures = list(written.streams.video)
    video = next((each for each in pictures if not is_cover(each)), pictures[0])
    frame = next(written.decode(video), None)
    if frame is None:
        yield "the picture"
        return
    # 16:15 comes back as 1067:1000 where only a display size is stored.
    ratio, wanted = video.sample_aspect_ratio or 1, facts.sample_aspect_ratio or 1
    if abs(float(ratio) / float(wanted) - 1) > 0.005:
        yield f"the pixel aspect ratio {wanted}"
    if -frame.rotation % 360 != facts.rotation:
        yield f"the rotation by {facts.rotation} degrees"
    if format.tags.full_range and not format.rgb and frame.color_range != 2:
        yield "the full range of the luma"


def check_container(
    output: Path,
    facts: VideoInfo,
    settings: EncoderSettings,
    copy: frozenset[str] = COPY_ALL,
    *,
    format: PixelFormat | None = None,
) -> CopyPlan:
    """Try the output's container with the film's streams. Nothing is written to disk.

    Data streams that no container takes are left out with a note. It is an error if this container
    loses a property (pixel aspect ratio, rotation, full range) that another one keeps; if none
    keeps it, it is a note.

    Args:
        copy: kinds among `COPY_KINDS`.
        format: of the video, `choose_pixel_format(facts, settings)` by default.

    Raises:
        ContainerError: it cannot hold a stream; the message names the stream and a container that
            can.
        InputError: the input cannot be opened.
        OutputError: the encoder or its settings cannot be used.
    """
    if format is None:
        format = choose_pixel_format(facts, settings)
    suffix = output.suffix or "(none)"
    containers = find_encoder(settings.encoder).containers
    with open_input(facts) as source:
        selection = select_streams(source, copy)
        notes = [*selection.notes, *format_notes(facts, settings, format)]
        notes += [f"{each} is not kept" for each in facts.extras]
        for stream in selection.streams:
            if stream.type == "data":
                alone = replace(selection, streams=(stream,))
                if not any(
                    _fits(_try(each, source, alone, facts, settings, format), stream)
                    for each in (suffix, *containers)
                ):
                    notes.append(f"{label(stream_info(stream))} fits no container, is left out")
                    rest = tuple(each for each in selection.streams if each is not stream)
                    selection = replace(selection, streams=rest)
        trial = _try(suffix, source, selection, facts, settings, format)
        if trial.refusal is not None or trial.lost:
            offered = [each for each in containers if each != suffix]
            trials = {
                each: _try(each, source, selection, facts, settings, format) for each in offered
            }
            better = next((each for each in offered if trials[each] == _Trial()), None)
            culprits = _culprits(suffix, source, selection, facts, settings, format, trial)
            properties = [each for each in trial.lost if not each.startswith(("stream", "cover"))]
            if culprits or trial.refusal is not None or better is not None:
                encoder = _other_encoder(suffix, source, selection, facts, settings)
                raise ContainerError(
                    _message(output, trial, culprits, properties, better, encoder, copy, settings)
                )
            notes += [f"{suffix} does not keep {each}" for each in properties]
        notes += [f"{suffix} does not keep {each}" for each in trial.notes]
        chapters = len(source.chapters()) if selection.chapters else 0
        streams = tuple(stream_info(each) for each in selection.streams)
    return CopyPlan(output, format, streams, chapters, tuple(notes))


def _other_encoder(
    suffix: str,
    source: InputContainer,
    selection: Selection,
    facts: VideoInfo,
    settings: EncoderSettings,
) -> str | None:
    """An encoder with whose film the container holds all streams, at its own settings."""
    for name, encoder in ENCODERS.items():
        if suffix not in encoder.containers or encoder.needs or name == settings.encoder:
            continue
        other = EncoderSettings(name)
        with suppress(OutputError):  # this build of FFmpeg lacks it
            format = choose_pixel_format(facts, other)
            if _try(suffix, source, selection, facts, other, format) == _Trial():
                return name
    return None


def _fits(trial: _Trial, stream: Stream) -> bool:
    return trial.refusal is None and label(stream_info(stream)) not in trial.lost


def _culprits(
    suffix: str,
    source: InputContainer,
    selection: Selection,
    facts: VideoInfo,
    settings: EncoderSettings,
    format: PixelFormat,
    trial: _Trial,
) -> list[StreamInfo]:
    """The copied streams that do not fit, each tried alone; none if the video itself is refused."""
    nothing = replace(selection, streams=())
    bare = _try(suffix, source, nothing, facts, settings, format)
    if trial.refusal is not None and bare.refusal is not None:
        return []
    return [
        stream_info(stream)
        for stream in selection.streams
        if not _fits(
            _try(suffix, source, replace(selection, streams=(stream,)), facts, settings, format),
            stream,
        )
    ]


def _message(
    output: Path,
    trial: _Trial,
    culprits: list[StreamInfo],
    properties: list[str],
    better: str | None,
    encoder: str | None,
    copy: frozenset[str],
    settings: EncoderSettings,
) -> str:
    suffix = output.suffix or "a name without a suffix"
    other = f"use -o {output.with_suffix(better)}" if better else ""
    if culprits:
        what = f"{suffix} cannot hold {', '.join(label(each) for each in culprits)}"
        leave = without_kinds(culprits, copy)
        remedy = f"{other} or {leave}" if other else leave
    elif trial.refusal is not None:
        what = f"{suffix} cannot hold a film by {settings.encoder} ({trial.refusal})"
        encoders = f"--encoder {encoder}" if encoder else "another --encoder"
        remedy = f"{other or 'use -o ' + str(output.with_suffix('.mkv'))} or {encoders}"
    else:
        what = f"{suffix} does not keep {', '.join(properties)}"
        remedy = other
    return f"{output}: {what}; {remedy}"


def without_kinds(streams: list[StreamInfo], copy: frozenset[str]) -> str:
    """How to leave streams out, as a remedy."""
    kinds = {COPY_NAMES[each.kind] for each in streams}
    kept = [kind for kind in COPY_KINDS if kind in copy - kinds]
    return f"leave it out with --copy {','.join(kept) or 'none'}"
