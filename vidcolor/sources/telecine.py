"""Film that was telecined: its own frames at its own rate, by FFmpeg's `fieldmatch` and
`decimate`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeAlias

import av
import numpy as np
from av.filter import Graph

from ..frames import VideoInfo
from .filters import NTSC_RATE, chain, luma_frame, numbered, pulled
from .luma import layout, luma_plane

Timed: TypeAlias = tuple[av.VideoFrame, int, int]  # a frame, its pts, its duration

FILM_RATE = Fraction(24000, 1001)
SETFIELD = {"tt": "tff", "bb": "bff", "p": "prog"}


def even_frames(facts: VideoInfo, items: Iterable[Timed | str]) -> Iterator[Timed | str]:
    """Frames of film at 24000/1001 a second, in quarters of the film's time base. Their own times
    are uneven, because they are shown for two or three fields in turn."""
    step = 1 / (FILM_RATE * facts.time_base / 4)
    expected: Fraction | None = None
    for item in items:
        if isinstance(item, str):
            yield item
            continue
        frame, pts, _ = item
        time = Fraction(4 * pts)
        if expected is not None and abs(expected - time) < step:  # else the film jumps there
            time = expected
        yield frame, round(time), round(step)
        expected = time + step


def film_frames(
    facts: VideoInfo, order: str, items: Iterable[Timed | str]
) -> Iterator[Timed | str]:
    """Four frames for every five, in quarters of the film's time base: what 2:3 pulldown was made
    from. A frame that finds no partner is deinterlaced. Of the frames only the luma is kept."""
    inverse: _Inverse | None = None
    times: deque[int] = deque()  # of the frames from number `first` on
    first = given = last = 0
    step = max(round(1 / ((facts.average_rate or NTSC_RATE) * facts.time_base)), 1)
    held: tuple[av.VideoFrame, int] | None = None  # until its end is known

    def timed(frames: Iterator[av.VideoFrame]) -> Iterator[Timed]:
        nonlocal first, given, held
        for frame in frames:
            number, quarters = divmod(5 * given, 4)
            while first < number and len(times) > 1:
                times.popleft()
                first += 1
            following = times[1] if len(times) > 1 else times[0] + step
            pts = 4 * times[0] + quarters * (following - times[0])
            if held is not None:
                yield *held, pts - held[1]
            held = frame, pts
            given += 1

    for item in items:
        if isinstance(item, str):
            yield item
            continue
        frame, pts, duration = item
        inverse = inverse or _Inverse(frame, order)
        times.append(pts)
        last = pts + (duration or step)
        yield from timed(inverse.take(frame))
    if inverse is not None:
        yield from timed(inverse.end())
    if held is not None:
        yield *held, max(4 * last - held[1], 1)


class _Inverse:
    """The filters that undo pulldown."""

    def __init__(self, frame: av.VideoFrame, order: str) -> None:
        self._depth = layout(frame.format.name).bit_depth
        self._field = SETFIELD[order]
        matching = f"order={self._field}:combmatch=full:chroma=0"
        self._match = chain(_packed(frame), ("fieldmatch", matching), ("decimate", "chroma=0"))
        self._marks: dict[str, Graph] = {}
        self._bwdif: Graph | None = None
        self._taken = self._given = 0

    def take(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Frames that are ready when one more has come."""
        self._match.push(numbered(_packed(frame), self._taken))
        self._taken += 1
        yield from self._whole()

    def end(self) -> Iterator[av.VideoFrame]:
        """The rest."""
        self._match.push(None)
        yield from self._whole()
        if self._bwdif is not None:
            self._bwdif.push(None)
            yield from pulled(self._bwdif)

    def _whole(self) -> Iterator[av.VideoFrame]:
        for found in pulled(self._match):
            frame = _unpacked(found, self._depth)
            field = self._field if found.interlaced_frame else "prog"
            if field not in self._marks:
                self._marks[field] = chain(frame, ("setfield", field))
            self._bwdif = self._bwdif or chain(frame, ("bwdif", "send_frame:auto:interlaced"))
            self._marks[field].push(numbered(frame, self._given))
            self._given += 1
            for marked in pulled(self._marks[field]):
                self._bwdif.push(marked)
            yield from pulled(self._bwdif)


def _packed(frame: av.VideoFrame) -> av.VideoFrame:
    """The luma of a frame, its 8 high bits as luma and the others as chroma: `fieldmatch` takes
    8 bits alone, and moves the rows of all planes alike."""
    luma = luma_plane(frame)
    shift = layout(frame.format.name).bit_depth - 8
    packed = av.VideoFrame(frame.width, frame.height, "yuv444p")
    parts = luma >> shift, luma & ((1 << shift) - 1), 0
    for plane, codes in zip(packed.planes, parts, strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
        rows[:, : frame.width] = np.asarray(codes, np.uint8)
    return packed


def _unpacked(frame: av.VideoFrame, depth: int) -> av.VideoFrame:
    high, low = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : frame.width]
        for plane in frame.planes[:2]
    )
    return luma_frame((high.astype(np.uint16) << (depth - 8)) | low, depth)
