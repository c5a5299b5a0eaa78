"""Whether a film is interlaced or telecined: `examine` lets FFmpeg's `idet` look at samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

import av
from av.container import InputContainer
from av.filter import Graph
from av.video.stream import VideoStream

from ..errors import InputError
from ..frames import NO_BARS, Bars, VideoInfo
from ..motion.bars import BarFinder
from .film_info import has_few_times, open_film
from .filters import pulled
from .luma import luma_plane
from .tint import TintFinder

_PLACES, _FRAMES = 5, 24  # samples, evenly over the film, and frames of each
_BAR_STEP = 6  # every so many of them is looked at for bars
_WAIT = 60  # frames decoded at most to find a key frame after a seek
_LEAST, _SHARE = 4, 0.1  # combed frames of a combed film: their number, and of those that move
_ONE_SIDED = 4  # combing has one order; noise that looks like it has both
_REPEATED = 0.12  # frames with a repeated field; 2:3 pulldown repeats a field in 2 of 5 frames
_FIELD_ORDERS = {"tff": "tt", "bff": "bb"}


@dataclass(frozen=True)
class Fields:
    """How a film's frames are made of fields.

    Attributes:
        flagged: a frame among the samples is flagged as interlaced.
        combed: the fields of moving frames are of two moments.
        order: the first field, `tt` for top or `bb` for bottom; empty if neither picture nor flags
            tell.
        telecined: fields are repeated, as 2:3 pulldown does (hard telecine).
        uneven: whole frames are shown for two or three fields in turn (soft telecine).
        guessed_times: these frames have times that FFmpeg guesses, wrongly.
        rate: frames a second by the steps between frames, None for unknown.
        bars: black bars that all frames of the samples have.
        tint: a*, b* of the one hue that all of them have; None for black and white, or color.
    """

    flagged: bool = False
    combed: bool = False
    order: str = ""
    telecined: bool = False
    uneven: bool = False
    guessed_times: bool = False
    rate: Fraction | None = None
    bars: Bars = NO_BARS
    tint: tuple[float, float] | None = None

    @property
    def suspect(self) -> bool:
        """Whether the frames are to be looked at one by one."""
        return self.flagged or self.combed


class FieldDetector:
    """FFmpeg's `idet` for frames of one size and format. It gives its findings a frame late."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._graph = Graph()
        self._graph.link_nodes(
            self._graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base or Fraction(1, av.time_base),
            ),
            self._graph.add("idet"),
            self._graph.add("buffersink"),
        ).configure()

    def look(self, frame: av.VideoFrame | None) -> Iterator[tuple[str, bool]]:
        """Show it the next frame; None ends.

        Yields:
            For each frame that is decided, in order: `tt`, `bb`, `p` for progressive or empty for
            one that does not tell; and whether a field is repeated from the frame before.
        """
        self._graph.push(frame)
        for done in pulled(self._graph):
            found = done.metadata["lavfi.idet.single.current_frame"]
            again = done.metadata["lavfi.idet.repeated.current_frame"] != "neither"
            yield _FIELD_ORDERS.get(found, "p" if found == "progressive" else ""), again


def examine(facts: VideoInfo, rate: Fraction | None = None) -> Fields:
    """Look at samples of a film.

    The picture decides, not the flags: many transfers of film are progressive and flagged as
    interlaced, and captures are interlaced and not flagged.

    Args:
        facts: of the film.
        rate: frames a second of a numbered sequence.

    Raises:
        InputError: it cannot be opened.
    """
    seen: Counter[str] = Counter()
    steps: list[int] = []
    bars, tint = BarFinder(facts.bit_depth, facts.tags.full_range), TintFinder(facts)
    with open_film(facts.path, rate=rate, playlists=facts.is_playlist) as (container, stream):
        guessed = has_few_times(stream)
        for place in range(_PLACES):
            if place and not _seek(container, stream, facts, Fraction(place, _PLACES)):
                break
            _sample(container, stream, seen, steps, bars, tint)
    order = max(_FIELD_ORDERS.values(), key=lambda each: seen[each])
    found, against = seen[order], min(seen[each] for each in _FIELD_ORDERS.values())
    moving = found + against + seen["p"]
    combed = found >= max(_LEAST, _ONE_SIDED * against, _SHARE * moving)
    step = Fraction(median(steps)) * facts.time_base if steps else Fraction(0)
    uneven = not combed and _uneven(steps, facts.time_base)
    return Fields(
        flagged=bool(seen["flagged"]) or facts.interlaced,
        combed=combed or (facts.interlaced and not moving),
        order=order if combed else facts.field_order,
        telecined=combed and seen["repeated"] >= _REPEATED * seen["frames"],
        uneven=uneven,
        guessed_times=uneven and guessed,
        rate=1 / step if step else None,
        bars=bars.found(),
        tint=tint.found() if facts.is_color else None,
    )


def _seek(
    container: InputContainer, stream: VideoStream, facts: VideoInfo, place: Fraction
) -> bool:
    """Go to a part of the film; whether that could be done."""
    length = Fraction(facts.duration_seconds or 0)
    if length * (facts.average_rate or 25) < _PLACES * _FRAMES or facts.first_pts is None:
        return False  # read through, more or less
    target = facts.first_pts + int(place * length / facts.time_base)
    try:
        container.seek(target, stream=stream)
    except av.error.FFmpegError:
        return False
    return True


def _sample(
    container: InputContainer,
    stream: VideoStream,
    seen: Counter[str],
    steps: list[int],
    bars: BarFinder,
    tint: TintFinder,
) -> None:
    detector: FieldDetector | None = None
    last: int | None = None
    form: tuple[object, ...] = ()
    count = waited = 0
    few = has_few_times(stream)
    # What is damaged, or changes to what cannot be read, is told by the run.
    with suppress(av.error.FFmpegError, InputError, ValueError):
        for frame in container.decode(stream):
            waited += 1
            if frame.is_corrupt or not (count or frame.key_frame or waited > _WAIT):
                continue
            now = frame.format.name, frame.width, frame.height
            if detector is None or now != form:
                detector, form = FieldDetector(frame), now
            if count % _BAR_STEP == 0:
                bars.add(luma_plane(frame))
                tint.add(frame)
            count += 1
            seen["frames"] += 1
            seen["flagged"] += frame.interlaced_frame
            if few:
                steps.append(frame.duration or 0)
            elif last is not None and frame.pts is not None and frame.pts > last:
                steps.append(frame.pts - last)
            last = frame.pts
            for kind, again in detector.look(frame):
                seen[kind] += 1
                seen["repeated"] += again
            if count >= _FRAMES:
                return


def _uneven(steps: list[int], unit: Fraction) -> bool:
    """Whether frames are shown for two and for three fields of 30000/1001 frames a second."""
    fields = Counter(round(float(step * unit * 60000 / 1001)) for step in steps)
    return min(fields[2], fields[3]) >= 0.3 * len(steps) > 1
