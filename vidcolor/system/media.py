"""Open media files for reading, and pick the stream that is colorized."""

from __future__ import annotations

from typing import Any, cast

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

# Bad metadata must not stop a film: old tools wrote it in any encoding. PyAV 19 replaces by itself.
_ANY_TAGS: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)


def open_media(
    name: str, *, format: str | None = None, options: dict[str, str] | None = None
) -> InputContainer:
    """Open a media file or a numbered sequence to read it.

    Args:
        name: as FFmpeg takes it. Write `file:` before a path: otherwise a name such as `a:b.mkv`
            is read as a protocol.
        format: FFmpeg's name of the demuxer; None lets FFmpeg choose.
        options: of the demuxer.

    Raises:
        OSError, av.error.FFmpegError: it cannot be opened.
    """
    return cast(
        InputContainer, av.open(name, "r", format=format, options=options or {}, **_ANY_TAGS)
    )


def is_cover(stream: Stream) -> bool:
    """Whether a video stream is a still picture attached to the file (cover art)."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def film_stream(container: InputContainer) -> VideoStream:
    """The stream that is colorized: the first video, cover art only where there is no other.

    Raises:
        IndexError: there is no video stream.
    """
    videos = list(container.streams.video)
    return next((each for each in videos if not is_cover(each)), videos[0])
