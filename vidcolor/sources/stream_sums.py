"""Sums of a film's other streams, to see whether two films have the same: `stream_sums`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from ..errors import InputError
from ..system.clock import Clock
from ..system.media import film_stream, is_cover, open_media

_EMPTY = 2  # bytes of a packet that only ends a subtitle in MP4


@dataclass
class StreamSum:
    """What a stream holds.

    Attributes:
        kind: `audio`, `subtitle`, `attachment`, `data`, or `cover` for cover art.
        codec: FFmpeg's name; empty for none.
        language: empty if not tagged.
        packets: their number.
        start, end: seconds from the film's first frame; None without packets.
        digest: SHA-256 of all its bytes.
    """

    kind: str
    codec: str
    language: str
    packets: int = 0
    start: float | None = None
    end: float | None = None
    _bytes: Any = field(default_factory=hashlib.sha256, repr=False)

    @property
    def digest(self) -> str:
        found: str = self._bytes.hexdigest()
        return found

    @property
    def label(self) -> str:
        """The stream in plain words."""
        more = ", ".join(filter(None, (self.codec, self.language)))
        return f"{self.kind} stream{f' ({more})' if more else ''}"


@dataclass(frozen=True)
class FilmSums:
    """The other streams of a film, in its order.

    Attributes:
        format: FFmpeg's name of the container.
        chapters: their number.
    """

    format: str
    streams: tuple[StreamSum, ...]
    chapters: int


def stream_sums(path: Path, *, playlists: bool = False) -> FilmSums:
    """Read a film's packets once, without decoding them.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open_media(f"file:{path}", playlists=playlists) as container:
            clock, film = Clock(container), film_stream(container)
            sums = {
                each.index: StreamSum(
                    "cover" if is_cover(each) else each.type or "data",
                    each.codec_context.name if each.codec_context else "",
                    each.language or "",
                )
                for each in container.streams
                if each.index != film.index and (each.type != "video" or is_cover(each))
            }
            first: float | None = None
            for packet in container.demux():
                clock.place(packet)
                if not packet.size or packet.is_discard or packet.pts is None:
                    continue
                start = float(packet.pts * packet.time_base)
                if packet.stream_index == film.index:
                    first = start if first is None else min(first, start)
                own = sums.get(packet.stream_index)
                if own is None or (own.kind == "subtitle" and packet.size <= _EMPTY):
                    continue
                own.packets += 1
                own._bytes.update(memoryview(packet))
                end = start + float((packet.duration or 0) * packet.time_base)
                own.start = start if own.start is None else min(own.start, start)
                own.end = end if own.end is None else max(own.end, end)
            for each in sums.values():
                if each.start is not None and each.end is not None:
                    each.start, each.end = each.start - (first or 0), each.end - (first or 0)
            return FilmSums(container.format.name, tuple(sums.values()), len(container.chapters()))
    except (FFmpegError, OSError, IndexError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: its streams cannot be read ({reason})") from error
