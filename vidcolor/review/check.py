"""Review a film beside its original: `review_film`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from ..run.references.shot_list import ShotList
from ..run.settings import Progress, ProgressCallback, Settings
from ..sources import Input
from ..sources.stream_sums import FilmSums, StreamSum, stream_sums
from ..system.text import counted
from ..system.threads import thread_budget
from .colors import View, small_rgb, view
from .detect import Detector, Place, ShotSummary
from .films import Both, FilmPair
from .finding import KINDS, Finding, Review, timecode
from .luma import LumaTally

_LATE = 0.0011  # seconds: Matroska rounds to milliseconds
_SOUND_LATE = 0.05  # seconds by which sound may move against the picture
_SOUND_SHORT = 0.25  # seconds: the coarsest packet of a common codec
# Films of other pictures: correlation of lightness in all of the first frames that show something
_OTHER, _FIRST, _SHOWS = 0.7, 5, 3.0
_POINTS = 512  # of a curve at most


@dataclass(frozen=True)
class Point:
    """Of some frames in a row: when they begin, their mean chroma, and their largest reversal."""

    seconds: float
    chroma: float
    reversal: float


class Curve:
    """Measures over time in at most 512 points: of a longer film each stands for more frames."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._step = 1
        self._pending: list[Point] = []

    def add(self, point: Point) -> None:
        """Take the next frame's."""
        self._pending.append(point)
        if len(self._pending) < self._step:
            return
        self.points.append(_joined(self._pending))
        self._pending = []
        if len(self.points) == _POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points, self._step = [_joined(pair) for pair in pairs], 2 * self._step


def _joined(points: list[Point] | tuple[Point, ...]) -> Point:
    chroma = sum(each.chroma for each in points) / len(points)
    return Point(points[0].seconds, chroma, max(each.reversal for each in points))


class Watcher(Protocol):
    """Sees every frame that both films have, in order.

    Attributes:
        pair: set before the first frame.
    """

    pair: FilmPair | None

    def flag(self, shot: int | None) -> None:
        """There is a finding in a shot."""

    def see(self, place: Place, both: Both) -> None:
        """Take the next frame."""


@dataclass
class FilmReview(Review):
    """A review of a film.

    Attributes:
        shots: in order.
        curve: chroma and flicker over time.
    """

    shots: list[ShotSummary] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)


def review_film(
    item: Input,
    output: Path,
    settings: Settings,
    *,
    listed: ShotList | None = None,
    watcher: Watcher | None = None,
    on_progress: ProgressCallback = lambda progress: None,
) -> FilmReview:
    """Compare a film with its original, and look for what needs a look.

    Args:
        item: the original.
        output: the result.
        settings: of them range, rate, deinterlacing and playlists count, where the result's marks
            do not name them.
        listed: the shots; None to find them.
        watcher: also gets the frames.
        on_progress: called with the number of frames that are done.

    Raises:
        InputError: one of the films cannot be read.
    """
    with thread_budget.use(1):  # small pictures: more threads wait longer than they work
        return _FilmCheck(item, output, settings, listed, watcher, on_progress).run()


class _FilmCheck:
    """The work of `review_film`."""

    def __init__(
        self,
        item: Input,
        output: Path,
        settings: Settings,
        listed: ShotList | None,
        watcher: Watcher | None,
        on_progress: ProgressCallback,
    ) -> None:
        self.pair = FilmPair(item, output, settings, listed)
        self.review = FilmReview(item.path, output, True)
        self.watcher, self.on_progress = watcher, on_progress
        self.told = 0  # findings that the watcher knows
        if watcher is not None:
            watcher.pair = self.pair
        label = self.pair.made.get("label", "none") != "none"
        source, result = self.pair.source.facts, self.pair.result.facts
        exact = self.pair.made.get("exact_luma") is True
        self.luma = LumaTally(source, result, exact=exact)
        self.detector, self.curve = Detector(label=label, unit=self.luma.unit), Curve()
        self.missing: list[Both] = []  # the first ones
        self.counts = {"missing": 0, "extra": 0, "late": 0}
        self.latest = 0.0
        if label:
            self.review.notes.append("a label is drawn into it; there its lightness is another")

    def run(self) -> FilmReview:
        review, pair = self.review, self.pair
        _note_range(pair, review.notes)
        if not pair.same_size:
            one, two = pair.source.facts, pair.result.facts
            review.findings.append(
                Finding("size", f"its frames are {two.width}x{two.height}, those of the original "
                        f"{one.width}x{one.height}; nothing else was compared")
            )  # fmt: skip
            return review
        damage: list[str] = []
        with closing(pair.frames(damage.append)) as frames:
            if not self._compare(frames):
                return self._other_pictures()
        review.luma = self.luma.total
        review.findings += self._frames() + self._streams() + self.detector.finish()
        for line in damage[:20]:
            if line.startswith(f"{review.output}:"):
                review.findings.insert(0, Finding("unreadable", line))
            else:
                review.notes.append(f"the original is damaged: {line}")
        review.notes += [
            f"{count} more findings of {KINDS[kind]} are not listed"
            for kind, count in self.detector.findings.more.items()
        ]
        review.shots, review.curve = self.detector.shots, self.curve.points
        return review

    def _compare(self, frames: Iterable[Both]) -> bool:
        """Look at all frames; returns False at once if the films show other pictures."""
        review, pair = self.review, self.pair
        total = pair.source.facts.num_frames_from_header
        alike: list[float] = []
        for both in frames:
            gray, color = both.gray, both.color
            if gray is None or color is None:
                self._unpaired(both)
                continue
            if abs(both.late) > _LATE + float(pair.result.facts.time_base):
                self.counts["late"] += 1
                self.latest = max(self.latest, abs(float(both.late)))
            place = Place(float(pair.origin + both.seconds), review.frames, gray.shots[0])
            pictures = self.small(both)
            if len(alike) < _FIRST:
                alike += _likeness(*pictures)
                if len(alike) == _FIRST and max(alike) < _OTHER:
                    return False
            self.detector.luma(place, *self.luma.add(gray, color))
            self._colors(place, view(*pictures), both)
            review.frames += 1
            if review.frames % 25 == 0:
                self.on_progress(Progress(review.source, review.frames, total))
        return True

    def _other_pictures(self) -> FilmReview:
        text = (
            "it shows other pictures than the original, or begins elsewhere; nothing else was "
            "compared: check the names, or give --start, --fps or --deinterlace of its run"
        )
        return FilmReview(
            self.review.source, self.review.output, True, findings=[Finding("frames", text)]
        )

    def _colors(self, place: Place, seen: View, both: Both) -> None:
        assert both.gray is not None
        change = self.detector.colors(place, seen, both.gray.cuts[0])
        self.curve.add(Point(place.seconds, seen.chroma, change.reversal if change else 0.0))
        if self.watcher is not None:
            for finding in self.detector.findings.found[self.told :]:
                self.watcher.flag(finding.shot)
            self.told = len(self.detector.findings.found)
            self.watcher.see(place, both)

    def small(self, both: Both) -> tuple[Tensor, Tensor]:
        """A frame of both in R'G'B', small."""
        assert both.gray is not None and both.color is not None
        bars = both.gray.bars
        gray = small_rgb([both.gray.luma[0, 0].numpy()], self.pair.source.facts, bars)
        return gray, small_rgb(both.color.planes, self.pair.result.facts, bars)

    def _unpaired(self, both: Both) -> None:
        kind = "missing" if both.color is None else "extra"
        if not self.counts[kind]:
            self.missing.append(both)
        self.counts[kind] += 1

    def _frames(self) -> list[Finding]:
        found = []
        for both in self.missing:
            kind = "missing" if both.color is None else "extra"
            what = "missing of the original" if kind == "missing" else "more than the original has"
            seconds = float(self.pair.origin + both.seconds)
            text = f"{counted(self.counts[kind], 'frame')} {what}, the first at {timecode(seconds)}"
            found.append(Finding("frames", text))
        if self.counts["late"]:
            text = f"{counted(self.counts['late'], 'frame')} shown up to {self.latest:.3f} s off"
            found.append(Finding("times", text))
        return found

    def _streams(self) -> list[Finding]:
        pair, notes = self.pair, self.review.notes
        files = self.review.source, self.review.output
        if pair.settings.fps is not None or not all(path.is_file() for path in files):
            notes.append("sound and other streams are not compared: it has times of its own")
            return []
        playlists = pair.settings.allow_playlists
        one, two = (stream_sums(path, playlists=playlists) for path in files)
        whole = pair.settings.segment.is_full
        return [Finding("streams", text) for text in compare_streams(one, two, whole=whole)]


def _likeness(one: Tensor, two: Tensor) -> list[float]:
    """Correlation of two small pictures; nothing where one is blank."""
    planes = [each.mean(dim=1).flatten().numpy() * 255 for each in (one, two)]
    if min(float(each.std()) for each in planes) < _SHOWS:
        return []
    return [float(np.corrcoef(planes[0], planes[1])[0, 1])]


def _note_range(pair: FilmPair, notes: list[str]) -> None:
    segment, settings = pair.settings.segment, pair.settings
    if not segment.is_full:
        begin = timecode(float(segment.start or 0))
        end = "its end" if segment.end is None else timecode(float(segment.end))
        notes.append(f"only {begin} to {end} of the original is compared, which is all it was made "
                     "of; of the sound only that it is there")  # fmt: skip
    if settings.fps is not None:
        notes.append(f"it plays at {float(settings.fps):g} frames a second; frames are compared by "
                     "their number")  # fmt: skip
    notes += [note for note in pair.source.facts.notes if "deinterlaced" in note or "field" in note]
    if pair.made.get("tint_source") == "keep":
        notes.append("the original's tint is in it on purpose (--tint-source keep)")


def compare_streams(one: FilmSums, two: FilmSums, *, whole: bool) -> list[str]:
    """What of a film's other streams a result does not have, a line each.

    Args:
        one, two: of the original and the result.
        whole: the result is of all of the original.
    """
    found = []
    rest = list(two.streams)
    for stream in one.streams:
        other = next((each for each in rest if each.kind == stream.kind), None)
        if other is None:
            found.append(f"the {stream.label} is missing")
            continue
        rest.remove(other)
        if whole:
            found += _differences(stream, other, same=one.format == two.format)
    if whole and two.chapters < one.chapters:
        found.append(f"it has {two.chapters} of {one.chapters} chapters")
    return found


def _differences(one: StreamSum, two: StreamSum, *, same: bool) -> list[str]:
    if one.codec != two.codec and same:
        return [f"the {one.label} is another: {two.label}"]
    if None in (one.start, two.start, one.end, two.end):
        return [] if one.packets == two.packets else [f"the {one.label} is empty"]
    assert one.start is not None and two.start is not None and one.end and two.end
    found = []
    late = two.start - one.start
    if one.kind == "audio" and abs(late) > _SOUND_LATE:
        found.append(f"the {one.label} begins {late:+.3f} s against the picture")
    if same and one.digest != two.digest:
        found.append(f"the {one.label} holds other data")
    elif one.kind == "audio" and abs(two.end - two.start - one.end + one.start) > _SOUND_SHORT:
        length = two.end - two.start
        found.append(f"the {one.label} is {length:.2f} s long, not {one.end - one.start:.2f} s")
    return found
