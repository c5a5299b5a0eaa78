"""Open media files for reading, and pick the streams that belong to the film."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from ..errors import InputError
from .messages import audible

# Bad metadata must not stop a film: old tools wrote it in any encoding. PyAV 19 replaces by itself.
_ANY_TAGS: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)
# Demuxers that open what a text names, that read no file, or that draw letters as pictures.
# fmt: off
_PLAYLISTS = frozenset((
    "hls", "applehttp", "concat", "concatf", "dash", "imf", "rtp", "rtsp", "sap", "sdp",
    "webm_dash_manifest",
))
_NO_FILES = frozenset((
    "tty", "bin", "xbin", "adf", "idf", "lavfi", "vapoursynth", "avisynth", "data",
))
# fmt: on
# FFmpeg's names of the muxers of MP4 and MOV files
MOV_FAMILY = frozenset(("mp4", "mov", "ipod", "3gp", "3g2", "psp", "f4v", "ism"))
_FILES, _REFERENCES = "file", "file,crypto,data"  # protocols, none of them over a network


@cache
def _demuxers(playlists: bool) -> str:
    """FFmpeg's names of the demuxers a film may be opened with, comma-separated."""
    refused = _NO_FILES if playlists else _NO_FILES | _PLAYLISTS
    return ",".join(sorted(name for name in av.formats_available if name not in refused))


def open_media(
    name: str,
    *,
    format: str | None = None,
    options: dict[str, str] | None = None,
    playlists: bool = False,
) -> InputContainer:
    """Open a media file or a numbered sequence to read it, and nothing else: no network, no device,
    and no other file.

    Args:
        name: as FFmpeg takes it. Write `file:` before a path: otherwise a name such as `a:b.mkv`
            is read as a protocol.
        format: FFmpeg's name of the demuxer; None lets FFmpeg choose.
        options: of the demuxer.
        playlists: a playlist may be opened, and the local files that it names.

    Raises:
        InputError: it is a playlist, or a text that FFmpeg would draw as a picture.
        OSError, av.error.FFmpegError: it cannot be opened.
    """
    given = dict(options or {})
    given["protocol_whitelist"] = _REFERENCES if playlists else _FILES
    if format is None:
        given["format_whitelist"] = _demuxers(playlists)
    try:
        with audible():  # else the error does not say that it is the list of demuxers
            container = av.open(name, "r", format=format, options=given, **_ANY_TAGS)
    except av.error.FFmpegError as error:
        path = name.removeprefix("file:")
        if not playlists and _is_playlist(Path(path)):
            raise InputError(
                f"{path}: is a playlist, not a film; give the films that it names, or "
                "--allow-playlists to open them through it"
            ) from error
        if "Format not on whitelist" in str(error.log):
            raise InputError(f"{path}: is a text, not a film; give a film or a picture") from error
        raise
    return cast(InputContainer, container)


def _is_playlist(path: Path) -> bool:
    """Whether a file that no demuxer of films takes begins like a playlist."""
    try:
        with path.open("rb") as file:
            head = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return False
    starts = (b"#EXTM3U", b"ffconcat", b"file ", b"v=0", b"[playlist]", b"[Reference]")
    return head.startswith(starts) or b"<MPD" in head or b"<asx" in head.lower()


def is_playlist(container: InputContainer) -> bool:
    """Whether a container was opened through a playlist."""
    return not _PLAYLISTS.isdisjoint(container.format.name.split(","))


def is_cover(stream: Stream) -> bool:
    """Whether a video stream is a still picture attached to the file (cover art)."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def film_stream(container: InputContainer) -> VideoStream:
    """The stream that is colorized: the first video marked as default, else the first; cover art
    only where there is no other.

    Raises:
        IndexError: there is no video stream.
    """
    videos = list(container.streams.video)
    films = [each for each in videos if not is_cover(each)]
    marked = (each for each in films if each.disposition & Disposition.default)
    return next(marked, (films or videos)[0])


def other_programs(container: InputContainer) -> frozenset[int]:
    """Indices of the streams that belong to other programs (TV channels) of a transport stream than
    the one of `film_stream`, and to no program that holds it."""
    if container.format.name != "mpegts":
        return frozenset()
    # PyAV shows no programs; FFmpeg's description of the file does.
    programs: list[set[int]] = []
    with audible(av.logging.INFO):
        description: str = cast(Any, container).dumps_format()
    for line in description.splitlines():
        if re.match(r"\s*Program \d+", line):
            programs.append(set())
        elif line.strip() == "No Program":
            break
        elif programs and (found := re.match(r"\s*Stream #\d+:(\d+)", line)):
            programs[-1].add(int(found[1]))
    film = film_stream(container).index
    own = set().union(*(each for each in programs if film in each))
    return frozenset(set().union(*programs) - own) if own else frozenset()
