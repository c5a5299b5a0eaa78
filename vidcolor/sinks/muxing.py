"""Build the output container: its options, its video stream, its frames.

`FilmSink` and the trial of `check_container` share this code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.stream import Stream
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from ..color.codes import MATRIX_CODES
from ..frames import PixelFormat, VideoInfo
from ..system.media import MOV_FAMILY, film_stream
from .encoder_table import EncoderSettings, find_encoder
from .encoders import codes_fields, encoder_options
from .streams import Selection, add_copy, copy_stream_labels, file_metadata

# What MP4 and MOV have a place of their own for, by FFmpeg's names.
# fmt: off
_MOV_TAGS = frozenset((
    "title", "artist", "author", "album_artist", "composer", "album", "date", "comment", "genre",
    "copyright", "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network",
    "keywords", "track", "disc", "compilation", "creation_time", "timecode", "location", "make",
    "model",
))
# fmt: on
_MAX_TIMESCALE = 2**31 - 1
# Ticks from decoding to showing a frame from which FFmpeg does not believe an MP4; and frames that
# B-frames put between at most.
_LONGEST_CTTS, _REORDERED = 2**28, 4
_READABLE_IN_PART = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts", ".m2ts", ".mts"}
_FRAGMENT = 2000  # milliseconds of film that are written at once


def is_mov(format_name: str) -> bool:
    return format_name in MOV_FAMILY


def has_timestamps(output: OutputContainer) -> bool:
    """Whether frames have times of their own; AVI and MXF only count frames at one rate."""
    return output.format.name != "avi" and not is_gapless(output.format.name)


def is_gapless(format_name: str) -> bool:
    """Whether frames follow each other without a gap. AVI can leave frames out, MXF cannot."""
    return format_name in ("mxf", "mxf_opatom")


def stores_order(output_format: str) -> bool:
    """Whether packets have a presentation time beside the decoding time. AVI and ASF have only one
    time, so they cannot put B-frames back in order."""
    return output_format not in ("avi", "asf")


def frame_rate(facts: VideoInfo) -> Fraction:
    """Frames a second: a hint for rate control, and the real rate in AVI."""
    rate = facts.average_rate
    if rate is None or rate <= 0:
        return Fraction(25)
    # A damaged header may say one frame in years.
    return max(rate.limit_denominator(100_000), Fraction(1, 100_000))


def video_time_base(output: OutputContainer, facts: VideoInfo) -> Fraction:
    return facts.time_base if has_timestamps(output) else 1 / frame_rate(facts)


def _movie_timescale(units: list[Fraction]) -> int:
    """A clock in which every stream's start is a whole number: edit lists count in it, and in
    milliseconds, FFmpeg's default, sound and picture would be rounded apart."""
    scale = math.lcm(*(unit.denominator for unit in units))
    if scale <= _MAX_TIMESCALE:
        return scale
    largest = max(unit.denominator for unit in units)
    return largest * max(90_000 // largest, 1)


def can_resume(output: Path) -> bool:
    """Whether what is written under this name can be read up to where its writing was cut off."""
    return output.suffix.lower() in _READABLE_IN_PART


def muxer_options(
    format_name: str,
    time_base: Fraction,
    streams: tuple[Stream, ...],
    tags: Iterable[str] = (),
    *,
    recoverable: bool = False,
) -> dict[str, str]:
    """The container's options for integer pts that come back as they were given.

    Args:
        format_name: of a muxer.
        time_base: of the video.
        streams: the copied ones.
        tags: keys of the file's metadata.
        recoverable: write so that little is lost if the writing is cut off; see `can_resume`.
    """
    # A subtitle stream may be silent for an hour: do not hold back the others for it.
    options = {"max_interleave_delta": "1000000"}
    if recoverable:
        options["flush_packets"] = "1"
    if is_mov(format_name):
        units = [time_base, *(each.time_base for each in streams if each.time_base)]
        options["video_track_timescale"] = str(min(time_base.denominator, _MAX_TIMESCALE))
        options["movie_timescale"] = str(_movie_timescale(units))
        # Matrix and range also where the primaries are unspecified: FFV1 has no tags of its own.
        options["movflags"] = "+write_colr"
        if any(key.lower() not in _MOV_TAGS for key in tags):
            options["movflags"] += "+use_metadata_tags"  # keeps tags of any name
        if recoverable:
            # Fragments, which become a regular file at the end. They begin with key frames: else
            # FFmpeg takes the end of the last one for that of the film, and may hide a frame.
            options["movflags"] += "+hybrid_fragmented+delay_moov+frag_keyframe"
            options |= {"use_editlist": "1", "min_frag_duration": str(_FRAGMENT * 1000)}
    elif format_name == "matroska":
        options["default_mode"] = "passthrough"  # the default flags of the input, not its guess
        # MP4's sound begins 21 ms before 0 (the AAC decoder's delay). Matroska holds that as it is;
        # FFmpeg's default would move all streams for it, and the film would lose its pts.
        options["avoid_negative_ts"] = "disabled"
        if recoverable:
            options["cluster_time_limit"] = str(_FRAGMENT)
    elif format_name == "avi":
        # Sound is counted, not timed: a start between two frames must not move the picture.
        options["avoid_negative_ts"] = "disabled"
    return options


def open_output(
    target: str | IO[bytes],
    source: InputContainer,
    selection: Selection,
    facts: VideoInfo,
    *,
    recoverable: bool = False,
) -> OutputContainer:
    """The output container with its metadata, no streams yet; see `muxer_options`.

    Raises:
        ValueError: FFmpeg knows no container with this suffix.
    """
    probe = av.open(target, "w")
    name, time_base = probe.format.name, video_time_base(probe, facts)
    del probe
    tags = file_metadata(source)
    options = muxer_options(name, time_base, selection.streams, tags, recoverable=recoverable)
    output = av.open(target, "w", container_options=options)
    output.metadata.update(tags)
    if facts.first_number is not None and facts.timecode:  # else it is among the copied tags
        output.metadata["timecode"] = facts.timecode
    return output


def add_video(
    output: OutputContainer,
    facts: VideoInfo,
    settings: EncoderSettings,
    format: PixelFormat,
    threads: int = 0,
) -> VideoStream:
    """The encoded stream, its encoder set up but not yet open.

    Raises:
        ValueError: the container does not take the encoder's codec.
        OutputError: the encoder does not open here, or it has no such setting.
    """
    encoder, rate = find_encoder(settings.encoder), frame_rate(facts)
    options = encoder_options(settings, format, facts.width)
    if facts.field_order:
        options["field_order"] = facts.field_order
    if codes_fields(facts, settings.encoder, format):
        # else the two fields are coded as one picture
        options["flags"] = options.get("flags", "") + "+ildct+ilme"
    stream: Any = output.add_stream(
        settings.encoder,
        rate=min(rate, Fraction(encoder.max_rate)) if has_timestamps(output) else rate,
        options=options,
        width=facts.width,
        height=facts.height,
        time_base=video_time_base(output, facts),
    )
    context = stream.codec_context
    context.pix_fmt = format.name
    context.thread_count = threads
    if encoder.thread_type:
        context.thread_type = encoder.thread_type
    if facts.sample_aspect_ratio:
        context.sample_aspect_ratio = facts.sample_aspect_ratio
    tags = format.tags
    context.color_range = 2 if tags.full_range else 1
    context.colorspace = 0 if format.rgb else MATRIX_CODES[tags.matrix]
    context.color_primaries, context.color_trc = tags.primaries, tags.transfer
    far = is_mov(output.format.name) and _REORDERED / (rate * facts.time_base) >= _LONGEST_CTTS
    if not stores_order(output.format.name) or far:
        context.max_b_frames = 0
    if is_mov(output.format.name) and encoder.mov_tag:
        context.codec_tag = encoder.mov_tag
    if facts.display_matrix is not None:
        stream.set_display_matrix(facts.display_matrix)
    assert isinstance(stream, VideoStream)
    return stream


def add_streams(
    output: OutputContainer,
    source: InputContainer,
    selection: Selection,
    facts: VideoInfo,
    settings: EncoderSettings,
    format: PixelFormat,
    threads: int = 0,
) -> tuple[VideoStream, dict[int, Stream]]:
    """Add the video and the copies in the input's order.

    Returns:
        The video stream, and input index to output stream for the copies that have packets.

    Raises:
        ValueError: the container does not take one of them.
    """
    film = film_stream(source)
    targets: dict[int, Stream] = {}
    chosen = {each.index for each in selection.streams}
    video: VideoStream | None = None
    for stream in source.streams:
        if stream.index == film.index:
            video = add_video(output, facts, settings, format, threads)
            copy_stream_labels(stream, video)
        elif stream.index in chosen:
            target = add_copy(output, stream)
            if target is not None:
                targets[stream.index] = target
    assert video is not None
    return video, targets


def drain(video: VideoStream, *, first: bool) -> list[Packet[Any]]:
    """The encoder's last packets.

    Args:
        first: the encoder has returned no packet before. Then the dts are computed here: the
            sorted pts, moved earlier until no dts is after its pts. libx265 takes the dts of films
            of a few frames from uninitialized memory.
    """
    packets = video.encode(None)
    stamps = [packet.pts for packet in packets if packet.pts is not None]
    if first and len(stamps) == len(packets):
        ladder = sorted(stamps)
        delay = max((rung - pts for rung, pts in zip(ladder, stamps, strict=True)), default=0)
        for packet, rung in zip(packets, ladder, strict=True):
            packet.dts = rung - delay
    return packets


class FrameMaker:
    """Makes an encoder's frames; marks them as interlaced if the encoder codes them so."""

    def __init__(self, facts: VideoInfo, encoder: str, format: PixelFormat) -> None:
        self._format = format
        self._graph: Graph | None = None
        if codes_fields(facts, encoder, format):
            # PyAV cannot set these flags of a frame, but a filter can.
            self._graph = Graph()
            self._graph.link_nodes(
                self._graph.add_buffer(
                    width=facts.width,
                    height=facts.height,
                    format=VideoFormat(format.name),
                    time_base=facts.time_base,
                ),
                self._graph.add("setfield", "tff" if facts.field_order == "tt" else "bff"),
                self._graph.add("buffersink"),
            ).configure()

    def make(self, planes: tuple[Tensor, ...], pts: int, time_base: Fraction) -> VideoFrame:
        """A frame from its `(H, W)` planes Y, Cb, Cr or R, G, B."""
        frame = make_frame(planes, self._format)
        if self._graph is not None:
            self._graph.push(frame)
            marked = self._graph.pull()
            assert isinstance(marked, VideoFrame)
            frame = marked
        frame.pts, frame.time_base = pts, time_base
        return frame


def make_frame(planes: tuple[Tensor, ...], format: PixelFormat) -> VideoFrame:
    """One frame from its `(H, W)` planes Y, Cb, Cr or R, G, B, tagged as `format` says."""
    height, width = planes[0].shape
    frame = VideoFrame(width, height, format.name)
    if format.rgb:
        red, green, blue = planes
        planes = (green, blue, red)  # FFmpeg's order of gbrp
    dtype = np.dtype("u1") if format.bit_depth == 8 else np.dtype("<u2")
    for plane, codes in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(plane), dtype=dtype).reshape(plane.height, -1)
        # Lines are padded to `line_size`; a plane of another size fails here.
        rows[:, : plane.width] = codes.numpy()
        rows[:, plane.width :] = 0  # encoders look at it: unset, it would change their choices
    frame.color_range = 2 if format.tags.full_range else 1
    frame.colorspace = 0 if format.rgb else MATRIX_CODES[format.tags.matrix]
    frame.color_primaries, frame.color_trc = format.tags.primaries, format.tags.transfer
    return frame
