"""Replace frames of a written film by others that are encoded alike: `index_film` and `join`.

Only packets are copied. What is not replaced stays bit for bit, also the other streams.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from ..errors import OutputError
from ..frames import COPY_ALL, VideoInfo
from ..marks import Marks
from ..system.film_marks import container_xmp
from ..system.media import film_stream
from ..system.xmp import merged_xmp
from .files import writing
from .marking import add_xmp
from .muxing import is_mov, open_output
from .streams import add_copy, select_streams

_SUFFIXES = (".mkv", ".webm", ".mp4", ".m4v", ".mov")  # that give packets back as they are
_SETTINGS = "vidcolor_settings"
_ROUNDING = Fraction(21, 10_000)  # seconds: Matroska rounds both times to milliseconds


@dataclass(frozen=True)
class FilmIndex:
    """The frames of a written film.

    Attributes:
        unit: of the times, seconds.
        stored: pts of each frame, in the order of the file.
        pts: the same, ascending.
        durations: of each frame by its pts; 0 for unknown.
        starts: the numbers of the frames that what comes before can be cut off at: key frames
            which no later packet is shown before.
        header: the encoder's.
    """

    unit: Fraction
    stored: tuple[int, ...]
    pts: tuple[int, ...]
    durations: dict[int, int]
    starts: frozenset[int]
    header: bytes

    def seconds(self, number: int) -> Fraction:
        """When a frame is shown, counted from the first."""
        return (self.pts[number] - self.pts[0]) * self.unit


@dataclass(frozen=True)
class Part:
    """Frames `first` to `last` - 1 of a film, as the film at `path` has them."""

    first: int
    last: int
    path: Path


def index_film(path: Path) -> FilmIndex:
    """Read the times of a film's packets.

    Raises:
        OutputError: its container does not give packets back as they were, or it cannot be read.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"{path}: frames are replaced in {', '.join(_SUFFIXES)} only")
    with writing(path), av.open(str(path)) as container:
        video = film_stream(container)
        found = [
            (packet.pts or 0, packet.is_keyframe, packet.duration or 0)
            for packet in container.demux(video)
            if packet.size
        ]
        unit, header = Fraction(video.time_base or 1), bytes(video.codec_context.extradata or b"")
    stored = tuple(pts for pts, _, _ in found)
    pts = tuple(sorted(stored))
    later = list(accumulate(reversed(stored), min))[::-1]  # the least pts from here on
    starts = {
        number
        for number, (shown, key, _) in enumerate(found)
        if key and shown == later[number] == pts[number]
    }
    durations = {pts: duration for pts, _, duration in found}
    return FilmIndex(unit, stored, pts, durations, frozenset(starts), header)


def join(film: Path, facts: VideoInfo, parts: Sequence[Part], target: Path, marks: Marks) -> None:
    """Write a film with some frames replaced, and compare it with the film.

    Args:
        film: stays as it is.
        facts: of it.
        parts: in order; each begins and ends at one of the film's `starts`.
        target: an empty file to write to, with the film's suffix.
        marks: of the result; its settings replace those of the film.

    Raises:
        OutputError: a part does not fit, or the result is not what it should be.
    """
    index = index_film(film)
    indices = [index_film(part.path) for part in parts]
    for part, own in zip(parts, indices, strict=True):
        _check(film, index, part, own)
    with writing(film), ExitStack() as stack:
        source = stack.enter_context(av.open(str(film)))
        selection = select_streams(source, COPY_ALL)
        output = stack.enter_context(closing(open_output(str(target), source, selection, facts)))
        for key in output.metadata:
            if key.lower() == _SETTINGS:
                output.metadata[key] = marks.settings
        video = film_stream(source)
        chosen = {video.index, *(each.index for each in selection.streams)}
        targets = {s.index: add_copy(output, s) for s in source.streams if s.index in chosen}
        picture: Any = targets[video.index]
        # what templates leave out
        picture.codec_context.framerate = video.average_rate
        if is_mov(output.format.name):
            picture.codec_context.codec_tag = video.codec_context.codec_tag
        output.set_chapters(source.chapters())
        output.start_encoding()
        replacing = _Replaced(index, parts, indices, stack)
        for packet in source.demux([s for s in source.streams if targets.get(s.index)]):
            if not packet.size:
                continue
            at = packet.stream_index
            if at == video.index:
                packet = replacing.take(packet)
            target_stream = targets[at]
            assert target_stream is not None
            packet.stream = target_stream
            output.mux(packet)
    with writing(film):
        if is_mov(output.format.name) and (packet_of_film := container_xmp(film)):
            try:
                packet_of_film = merged_xmp(packet_of_film, marks)
            except ValueError as error:
                raise OutputError(f"{film}: its XMP cannot be changed ({error})") from error
            add_xmp(target, packet_of_film)
        _compare(film, target, index, parts)


def _check(film: Path, index: FilmIndex, part: Part, own: FilmIndex) -> None:
    if own.header != index.header:
        raise OutputError(
            f"{film}: was encoded with other settings, so that new frames cannot be put into it; "
            "give its --encoder, --crf, --preset and --pix-fmt"
        )
    if len(own.pts) != part.last - part.first:
        raise OutputError(
            f"{film}: {len(own.pts)} frames were colored for {part.last - part.first}; check that "
            "--source is its original"
        )
    begin = index.seconds(part.first)
    for number in range(len(own.pts)):
        if abs(index.seconds(part.first + number) - begin - own.seconds(number)) > _ROUNDING:
            raise OutputError(
                f"{film}: frame {part.first + number} has another time than in the original; check "
                "that --source is its original"
            )


class _Replaced:
    """Gives the packets of the new frames in place of the old, one by one."""

    def __init__(
        self,
        index: FilmIndex,
        parts: Sequence[Part],
        indices: Sequence[FilmIndex],
        stack: ExitStack,
    ) -> None:
        self._index, self._number = index, 0
        self._stores_dts = parts[0].path.suffix.lower() not in (".mkv", ".webm")
        self._packets: dict[int, Any] = {}  # by the number of a packet in the file
        stored = list(index.stored)
        for part, own in zip(parts, indices, strict=True):
            shown = dict(zip(own.pts, index.pts[part.first : part.last], strict=True))
            stored[part.first : part.last] = [shown[pts] for pts in own.stored]
            container = stack.enter_context(av.open(str(part.path)))
            packets = (p for p in container.demux(film_stream(container)) if p.size)
            self._packets |= dict.fromkeys(range(part.first, part.last), packets)
        delay = max((a - b for a, b in zip(index.pts, stored, strict=True)), default=0)
        self._stored, self._delay = stored, delay

    def take(self, packet: Packet[Any]) -> Packet[Any]:
        """The packet itself, or the one that replaces it."""
        number, dts = self._number, packet.dts
        self._number += 1
        if dts is None or not self._stores_dts:
            dts = self._index.pts[number] - self._delay
        found = packet
        if number in self._packets:
            found = next(self._packets[number])
            found.pts, found.time_base = self._stored[number], packet.time_base
            found.duration = self._index.durations[found.pts]
        found.dts = min(dts, self._stored[number])
        return found


def _digests(path: Path, index: FilmIndex, parts: Sequence[Part]) -> dict[int, list[str]]:
    """Of each stream the digest of its packets that are not replaced, and their count; of the
    picture also the times of all."""
    sums: dict[int, Any] = defaultdict(hashlib.sha256)
    counts: dict[int, int] = defaultdict(int)
    times = []
    with av.open(str(path)) as container:
        picture = film_stream(container).index
        for packet in container.demux():
            if not packet.size:
                continue
            at, number = packet.stream_index, counts[packet.stream_index]
            counts[at] += 1
            if at == picture:
                times.append(packet.pts or 0)
                if any(part.first <= number < part.last for part in parts):
                    continue
            sums[at].update(f"{packet.pts} ".encode() + bytes(packet))
    found = {at: [sums[at].hexdigest(), str(count)] for at, count in counts.items()}
    found[picture].append(str(sorted(times) == list(index.pts)))
    return found


def _compare(film: Path, target: Path, index: FilmIndex, parts: Sequence[Part]) -> None:
    wanted, found = (_digests(path, index, parts) for path in (film, target))
    wrong = [at for at in wanted if wanted[at] != found.get(at)]
    if wrong or index_film(target).header != index.header:
        raise OutputError(
            f"{film}: stream {wrong[0] if wrong else 0} would not stay as it is, so nothing is "
            "changed; color the whole film again with 'vidcolor run'"
        )
