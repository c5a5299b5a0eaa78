"""Open a film and find out what it is, before the run: `open_film` and `probe_film`."""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from ..errors import InputError
from ..frames import StreamInfo, VideoInfo
from ..system.clock import Clock
from ..system.dpx import read_header
from ..system.media import film_stream, is_playlist, open_media
from ..system.sequences import sequence_file, sequence_numbers
from .color_tags import read_tags
from .graphs import frame_graph
from .luma import (
    COLOR_THRESHOLD,
    chroma_amount,
    is_transparent,
    layout,
    luma_plane,
)
from .truncation import cut_off

# By FFmpeg's names of the data beside a frame.
_EXTRAS = {
    "MASTERING_DISPLAY_METADATA": "the HDR10 mastering display",
    "CONTENT_LIGHT_LEVEL": "the HDR10 content light level",
    "DYNAMIC_HDR_PLUS": "the HDR10+ metadata",
    "DOVI_METADATA": "the Dolby Vision metadata",
    "A53_CC": "the closed captions within the picture",
}
_ALPHA = "the transparency (alpha)"
# FFmpeg's decoders that may attach ICC profiles or EXIF to a frame.
_PICTURE_CODECS = frozenset(("apng", "jpegxl", "libjxl", "mjpeg", "png", "tiff", "webp"))
_COLOR_FRAMES = 8  # examined for color, spread over the first second
_MAX_PROBED = 64  # frames decoded at most while looking


@contextmanager
def open_film(
    path: Path, *, rate: Fraction | None = None, threads: int = 0, playlists: bool = False
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a film's container and pick its video stream.

    Args:
        path: a film, or with `rate` a numbered sequence such as `frames/%05d.png`.
        rate: frames a second of a numbered sequence.
        threads: of the decoder; 0 lets FFmpeg choose.
        playlists: a playlist may be opened, and the local files that it names.

    Raises:
        InputError: there is no such file, it is empty, a pipe or a playlist, may not be read, is no
            media file, or has no video stream.
    """
    options: dict[str, str] = {}
    form = None
    if rate is not None:
        form = "image2"
        first = sequence_numbers(path)[0]
        options = {"framerate": str(rate), "start_number": str(first), "pattern_type": "sequence"}
    else:
        _check_file(path)
    try:
        container = open_media(f"file:{path}", format=form, options=options, playlists=playlists)
    except av.error.PermissionError as error:
        raise InputError(f"{path}: {_reason(error)}; check the file's permissions") from error
    except av.error.FFmpegError as error:
        cut = rate is None and cut_off(path)
        remedy = "the file is cut off; restore it from a good copy" if cut else "is it a film?"
        raise InputError(f"{path}: cannot be opened ({_reason(error)}); {remedy}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; check the file's permissions") from error
    with container:
        stream = _pick(container, path)
        context = stream.codec_context
        # VP8 keeps invisible frames in packets of their own, which would spoil the count that
        # `Decoder` takes to find out whether frame threads lost something.
        stream.thread_type = "SLICE" if context.name == "vp8" else "AUTO"
        context.thread_count = threads
        if context.name == "exr":  # else its linear light comes as it is
            context.options = {"apply_trc": "iec61966_2_1"}
        try:
            yield container, stream
        finally:
            context.flush_buffers()  # stops the decoder's threads; see `messages.Listener`


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; check the name and permissions") from error
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{path}: is a folder, not a film; give it as an input of its own")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(
            f"{path}: is a pipe or a device, not a regular file, and a film is read several times; "
            "save it to a file first"
        )
    if found.st_size == 0:
        raise InputError(f"{path}: is empty; restore it from a good copy")


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def _pick(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        raise InputError(f"{path}: has no video stream; give a film or a picture")
    stream = film_stream(container)
    if stream.codec_context is None:
        raise InputError(f"{path}: its video codec is unknown to FFmpeg; convert it to FFV1 first")
    return stream


def _rate(stream: VideoStream) -> Fraction | None:
    """Frames a second; of raw streams, which have no times, and of program streams, which have few,
    what the codec's own header says."""
    raw = stream.start_time is None and not stream.duration
    raw = raw or has_few_times(stream)
    rate = (stream.codec_context.framerate if raw else None) or stream.average_rate
    if rate and stream.time_base and rate * stream.time_base == 1:
        rate = stream.guessed_rate or rate  # of DV FFmpeg only knows that a tick may be a frame
    return Fraction(rate) if rate else None


def has_few_times(stream: VideoStream) -> bool:
    """Whether few of the packets have a time, as in the program streams of DVDs. FFmpeg guesses the
    others, wrongly where fields are repeated."""
    name = stream.codec_context.name
    return stream.container.format.name == "mpeg" and name in ("mpeg1video", "mpeg2video")


def probe_film(path: str | Path, *, rate: Fraction | None = None) -> VideoInfo:
    """Find out what a film is from its header and its first frames (about one second).

    Args:
        path: a film, or with `rate` a numbered sequence such as `frames/%05d.png`.
        rate: frames a second of a numbered sequence.

    Raises:
        InputError: it cannot be opened, has no video stream, or no frame of it can be decoded.
    """
    return probe(Path(path), rate)


def probe(path: Path, rate: Fraction | None, playlists: bool = False) -> VideoInfo:
    """As `probe_film`; a playlist may be opened with `playlists`."""
    with open_film(path, rate=rate, playlists=playlists) as (container, stream):
        first: av.VideoFrame | None = None
        amount, looked_at = 0.0, 0
        per_second = float(stream.average_rate or 24)
        stride = max(1, min(_MAX_PROBED, round(per_second)) // _COLOR_FRAMES)
        for index, frame in enumerate(_first_frames(container, stream)):
            try:
                if first is None:
                    first = frame
                    luma_plane(frame)  # an unsupported format raises here, before the run
                if index % stride == 0:
                    amount += chroma_amount(frame)
                    looked_at += 1
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
            if looked_at == _COLOR_FRAMES:
                break
        if first is None:
            raise InputError(
                f"{path}: no frame of its {stream.codec_context.name} video can be decoded; "
                "it is damaged or encrypted"
            )
        numbers = [] if rate is None else sequence_numbers(path)
        try:
            facts = _facts(path, container, stream, first, stream.frames, amount / looked_at)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if not numbers:
            return facts
        header = read_header(sequence_file(path, numbers[0]))
        return replace(
            facts,
            num_frames_from_header=len(numbers),
            first_number=numbers[0],
            timecode=header.timecode if header else "",
        )


def _first_frames(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    seen = 0
    clock = Clock(container)
    try:
        for packet in container.demux():
            clock.place(packet)
            if packet.stream_index != stream.index:
                continue
            try:
                frames = stream.decode(packet)
            except (av.error.FFmpegError, EOFError):
                continue  # the run reports it; here only the frames that decode matter
            for frame in frames:
                yield frame
                seen += 1
            if seen >= _MAX_PROBED:
                return
    except av.error.FFmpegError:
        return


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of the video stream by the header."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "")  # Matroska: the end of the last frame
    if found := re.match(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tag):
        end = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
        start = float((stream.start_time or 0) * (stream.time_base or 0))
        return max(end - start, 0.0) or None
    return container.duration / av.time_base if container.duration else None


def _side_data(frame: av.VideoFrame, codec: str, name: str) -> Any:
    """A frame's side data by FFmpeg's name, or None.

    Decoders of pictures attach ICC profiles and EXIF. PyAV 18 frees the name of a profile twice,
    which crashes the process, and raises ValueError for EXIF. So their side data is not touched.
    """
    return None if codec in _PICTURE_CODECS else frame.side_data.get(name)


def _display_matrix(frame: av.VideoFrame, codec: str, rotation: int) -> tuple[int, ...] | None:
    """The nine integers of the display matrix; of a picture the one that `rotation` stands for."""
    found = _side_data(frame, codec, "DISPLAYMATRIX")
    if found is not None:
        return struct.unpack("=9i", bytes(found)[:36])
    if codec not in _PICTURE_CODECS or not rotation:
        return None
    cosine = {0: 1, 90: 0, 180: -1, 270: 0}[rotation] << 16
    sine = {0: 0, 90: 1, 180: 0, 270: -1}[rotation] << 16
    return cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30


def _field_order(frame: av.VideoFrame) -> str:
    """`tt` or `bb` for an interlaced frame, empty for a progressive one."""
    if not frame.interlaced_frame:
        return ""
    # PyAV does not show which field is first; a filter sees it, and lets only such frames pass.
    graph = frame_graph(frame, ("select", r"eq(interlace_type\,TOPFIRST)"))
    graph.push(frame)
    try:
        graph.pull()
    except (av.error.BlockingIOError, EOFError):
        return "bb"
    return "tt"


def _facts(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    frame: av.VideoFrame,
    count: int,
    chroma: float,
) -> VideoInfo:
    # FFmpeg turns counter-clockwise; a phone's matrix may be off by a rounding error.
    rotation = round(-frame.rotation / 90) * 90 % 360
    picture = picture_facts(
        frame, stream.codec_context.name, stream.sample_aspect_ratio, _rate(stream)
    )
    if (
        stream.metadata.get("ALPHA_MODE", stream.metadata.get("alpha_mode")) == "1"
    ):  # of VP8 and VP9, beside the frames' own data
        picture["extras"] += (_ALPHA,)
    return VideoInfo(
        path=path,
        codec=stream.codec_context.name,
        time_base=Fraction(stream.time_base or Fraction(1, av.time_base)),
        average_rate=_rate(stream),
        num_frames_from_header=count or None,
        duration_seconds=_duration(container, stream),
        has_own_duration=bool(
            stream.duration or "DURATION" in stream.metadata or not container.streams.audio
        ),
        first_pts=frame.pts,
        rotation=rotation,
        display_matrix=_display_matrix(frame, stream.codec_context.name, rotation),
        streams=tuple(
            StreamInfo(
                s.index,
                s.type,
                s.codec_context.name if s.codec_context is not None else "",
                s.metadata.get("language", ""),
            )
            for s in container.streams
        ),
        num_chapters=len(container.chapters()),
        is_color=chroma > COLOR_THRESHOLD,
        is_playlist=is_playlist(container),
        timecode=_timecode(container, stream),
        **picture,
    )


def _timecode(container: InputContainer, stream: VideoStream) -> str:
    """The timecode among the tags: the picture's own, the file's, or a timecode track's."""
    tags = (stream.metadata, container.metadata, *(each.metadata for each in container.streams))
    pairs = (pair for each in tags for pair in each.items())
    return next((value for key, value in pairs if key.lower() == "timecode"), "")


def picture_facts(
    frame: av.VideoFrame, codec: str, aspect: Fraction | None, rate: Fraction | None
) -> dict[str, Any]:
    """The fields of a `VideoInfo` that may change within a film, as they are in one frame.

    Args:
        frame: as decoded.
        codec: FFmpeg's name of its decoder.
        aspect: width over height of its pixels, None for unknown.
        rate: frames a second of the film, None for unknown.
    """
    form = layout(frame.format.name)
    tags, notes = read_tags(frame, form, rate)
    return {
        "width": frame.width,
        "height": frame.height,
        "pix_fmt": frame.format.name,
        "bit_depth": form.bit_depth,
        "subsampling": form.subsampling,
        "has_luma": form.has_luma,
        "tags": tags,
        "notes": notes,
        "sample_aspect_ratio": Fraction(aspect) if aspect else None,
        "interlaced": frame.interlaced_frame,
        "field_order": _field_order(frame),
        "extras": _extras(frame, codec),
    }


def _extras(frame: av.VideoFrame, codec: str) -> tuple[str, ...]:
    """What a frame carries that no output keeps, in plain words."""
    found = [words for name, words in _EXTRAS.items() if _side_data(frame, codec, name) is not None]
    if is_transparent(frame):
        found.append(_ALPHA)
    return tuple(found)
