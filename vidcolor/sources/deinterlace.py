"""Make whole frames of fields: `Deinterlacer`, with FFmpeg's `bwdif`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

from av.filter import Graph

from ..frames import VideoInfo
from .filters import NTSC_RATE, carried, chain, numbered, pulled
from .interlace import FieldDetector, Fields
from .telecine import FILM_RATE, SETFIELD, Timed, even_frames, film_frames

_WORDS = {"tt": ", top field first", "bb": ", bottom field first", "": ""}


def deinterlaced(facts: VideoInfo, found: Fields, way: str) -> tuple[VideoInfo, str]:
    """What a film is after its fields were dealt with.

    Args:
        facts: of the film as it is decoded.
        found: by `examine`.
        way: `auto`, `off`, `fields` or `film`.

    Returns:
        The facts of the frames that come out, with a note on what is done; and what a
        `Deinterlacer` is to do, `off`, `frames`, `fields`, `film` or `even`.
    """
    rate = facts.average_rate
    if rate and found.rate and rate > found.rate * Fraction(19, 10):
        # Streams of H.264 fields may count these as frames, and FFmpeg's DV reader counts ticks.
        rate = rate / 2 if rate < found.rate * Fraction(21, 10) else found.rate
        facts = replace(facts, average_rate=rate)
    kind = f"interlaced{_WORDS[found.order]}" if found.combed else "progressive"
    if found.combed and rate:
        kind += f", {_number(rate)} frames and {_number(2 * rate)} fields a second"
    if found.telecined:
        kind = f"telecined film (2:3 pulldown), {kind}"
    notes, doing = [], "frames"
    if way == "off":
        doing = "off"
        if found.combed:
            notes.append(f"is {kind}; it stays so (--deinterlace off)")
            facts = replace(facts, interlaced=True, field_order=found.order)
        return replace(facts, notes=(*facts.notes, *notes), combed=found.combed), doing
    if way == "film":
        near = rate is not None and abs(rate / NTSC_RATE - 1) < Fraction(1, 100)
        if found.uneven:
            facts, doing = _scaled(facts, Fraction(1), FILM_RATE, 4), "even"
            notes.append("is film with repeated fields (soft telecine); its frames are kept at "
                         "24000/1001 a second")  # fmt: skip
        elif near and found.combed:
            assert rate is not None
            facts, doing = _scaled(facts, Fraction(4, 5), rate * Fraction(4, 5), 4), "film"
            notes.append(
                f"is {kind}; its {_number(rate * 4 / 5)} film frames a second are restored"
            )
        elif found.combed:
            notes.append(
                "has no 29.97 frames a second, so --deinterlace film has no pulldown to undo"
            )
    if way == "fields" and found.combed and rate:
        facts, doing = _scaled(facts, Fraction(2), 2 * rate, 2), "fields"
        notes.append(f"is {kind}; each field becomes a frame, {_number(2 * rate)} a second")
    elif doing == "frames" and found.combed:
        more = "film restores its film frames" if found.telecined else "fields keeps all moments"
        notes.append(f"is {kind}; deinterlaced, a frame for each frame (--deinterlace {more})")
    elif doing == "frames" and found.flagged:
        notes.append("is flagged as interlaced, but its frames are progressive; taken as they are")
    progressive = replace(facts, interlaced=False, field_order="")
    return replace(progressive, notes=(*facts.notes, *notes)), doing


def _number(rate: Fraction) -> str:
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")


def _scaled(facts: VideoInfo, times: Fraction, rate: Fraction, ticks: int) -> VideoInfo:
    count = facts.num_frames_from_header
    return replace(
        facts,
        average_rate=rate,
        time_base=facts.time_base / ticks,
        first_pts=None if facts.first_pts is None else facts.first_pts * ticks,
        num_frames_from_header=None if count is None else round(count * times),
    )


class Deinterlacer:
    """Turns a decoder's frames into progressive ones; lines about damage pass through.

    What each frame is, `idet` says of it and its two neighbors: two of three decide, so that a
    progressive scene within an interlaced film keeps its frames, bit for bit.

    Args:
        facts: of the film as it is decoded; its frames have one size and format.
        found: by `examine`.
        doing: as `deinterlaced` says. Times of `fields` come in halves of the film's time base,
            those of `film` in quarters.
    """

    def __init__(self, facts: VideoInfo, found: Fields, doing: str) -> None:
        self._facts, self._doing = facts, doing
        self._watching = doing == "fields" or (doing == "frames" and found.suspect)
        self._order = found.order or "tt"
        self._state = self._order if found.combed else "p"
        self._step = max(round(1 / ((facts.average_rate or 25) * facts.time_base)), 1)
        self._detector: FieldDetector | None = None
        self._count = 0
        self._held: deque[Timed] = deque()  # until their kind is decided
        self._kinds: deque[str] = deque()  # of the last one given, then of those in `_held`
        self._marks: dict[str, Graph] = {}
        self._bwdif: Graph | None = None
        self._inside: deque[tuple[int, int, bool]] = deque()  # pts, duration, interlaced

    @property
    def is_idle(self) -> bool:
        """Whether the frames pass as they are."""
        flagged = self._watching or bool(self._facts.field_order)
        return self._doing == "off" or (self._doing == "frames" and not flagged)

    def run(self, items: Iterable[Timed | str]) -> Iterator[Timed | str]:
        """The frames in order, with times as above."""
        if self._doing == "film":
            yield from film_frames(self._facts, self._order, items)
            return
        if self._doing == "even":
            yield from even_frames(self._facts, items)
            return
        for item in items:
            if isinstance(item, str):
                yield item
            elif self._watching or (self._doing == "frames" and item[0].interlaced_frame):
                self._watching = True
                yield from self._take(item)
            else:
                yield item
        if self._watching:
            yield from self._end()

    def _take(self, item: Timed) -> Iterator[Timed]:
        frame = carried(item[0])
        item = frame, *item[1:]
        if self._detector is None:
            self._detector = FieldDetector(frame)
            self._kinds.append("")
        self._held.append(item)
        self._kinds.extend(kind for kind, _ in self._detector.look(frame))
        while len(self._kinds) > 2:
            yield from self._decided()

    def _end(self) -> Iterator[Timed]:
        if self._detector is None:
            return
        self._kinds.extend(kind for kind, _ in self._detector.look(None))
        while self._held:
            yield from self._decided()
        assert self._bwdif is not None
        self._bwdif.push(None)
        yield from self._ready()

    def _decided(self) -> Iterator[Timed]:
        """Pass the first frame of those held on, marked as what it is."""
        before, own, after = (*self._kinds, "", "", "")[:3]
        if self._kinds:
            self._kinds.popleft()
        votes = [kind for kind in (before, own, after) if kind]
        combed = sum(kind != "p" for kind in votes)
        if 2 * combed > len(votes):
            orders = [kind for kind in votes if kind != "p"]
            # A lone frame of the other order is taken for an error.
            self._state = orders[0] if len(set(orders)) == 1 and len(orders) > 1 else self._order
            self._order = self._state
        elif 2 * combed < len(votes):
            self._state = "p"
        frame, pts, duration = self._held.popleft()
        self._inside.append((pts, duration, self._state != "p"))
        mark = self._marks.get(self._state)
        if mark is None:
            mark = chain(frame, ("setfield", SETFIELD[self._state]))
            self._marks[self._state] = mark
        if self._bwdif is None:
            mode = "send_field" if self._doing == "fields" else "send_frame"
            self._bwdif = chain(frame, ("bwdif", f"mode={mode}:parity=auto:deint=interlaced"))
        mark.push(numbered(frame, self._count))
        self._count += 1
        for marked in pulled(mark):
            self._bwdif.push(marked)
        yield from self._ready()

    def _ready(self) -> Iterator[Timed]:
        assert self._bwdif is not None
        frames = pulled(self._bwdif)
        for frame in frames:
            pts, duration, combed = self._inside.popleft()
            if self._doing != "fields":
                yield frame, pts, duration
                continue
            half = duration or self._step
            yield frame, 2 * pts, half
            yield (next(frames) if combed else frame), 2 * pts + half, half
