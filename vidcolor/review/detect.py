"""From measures of frames to findings: bursts, jumps and shots that need a look."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..motion.flow import Array
from .colors import View, find_blobs
from .finding import Finding
from .motion import Change, ChangeMeter

# Measured on results of the shipped models over archive film and color clips that look right:
# means of L* stay below 1.2, places below 1.6, reversals below 1.5 and steps below 2.1 in a*b*.
_LUMA, _LUMA_PLACE = 2.5, 5.0
_REVERSAL, _LONE_REVERSAL, _STEP = 3.0, 8.0, 6.0
_BURST, _BURST_FRAMES = 3, 12  # so many reversals within so many frames
_LATER = 3  # frames for which a jump must last
_LASTING = 0.5  # share of it that must be left then
_GAP = 1.0  # seconds between two parts of one finding
_GRAY = 2.5  # mean chroma of a shot
_BLANK = 0.1  # share of the picture that must be neither black nor white
# A cast: the a*b* that all but so few pixels have at least, along the mean; beside light and dark
# pixels, in which little color fits, and in pictures of some contrast. Of 313 true photographs 17
# have more than 12, 7 more than 16 and 3 more than 18.
_CAST, _CAST_PERCENT, _CAST_L, _CONTRAST = 18.0, 2, (15.0, 92.0), 4.0
_CAST_SHARE = 0.3  # of the picture that must be of such lightness
_BLOB_FRAMES = 3  # in a row
_MOST = 500  # findings of a kind


@dataclass(frozen=True)
class Place:
    """Where a frame is: seconds of the original, number in the result, number of the shot."""

    seconds: float
    frame: int
    shot: int


class Findings:
    """The findings of a film in the order of their discovery, at most 500 of a kind.

    Attributes:
        more: how many there are beside these, by their kind.
    """

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.more: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def add(self, finding: Finding) -> None:
        """Keep a finding, or count it."""
        self._counts[finding.kind] += 1
        if self._counts[finding.kind] <= _MOST:
            self.found.append(finding)
        else:
            self.more[finding.kind] += 1


class Runs:
    """Joins frames with the same fault, not far from one another, into one finding.

    Args:
        kind: of the findings.
        text: makes the finding's text of the largest measure.
        found: takes them.
    """

    def __init__(self, kind: str, text: Callable[[float], str], found: Findings) -> None:
        self._kind, self._text, self._found = kind, text, found
        self._first: Place | None = None
        self._last: Place | None = None
        self._worst = 0.0

    def add(self, place: Place, measure: float) -> None:
        """Take a frame with the fault; they come in order."""
        last = self._last
        far = last is not None and (place.shot != last.shot or place.seconds - last.seconds > _GAP)
        if far:
            self.close()
        self._first = self._first or place
        self._last, self._worst = place, max(self._worst, measure)

    def close(self) -> None:
        """There are no more frames, or none near."""
        first, last = self._first, self._last
        if first is not None and last is not None:
            text = self._text(self._worst)
            if last.frame > first.frame:
                text += f", in {last.frame - first.frame + 1} frames"
            self._found.add(
                Finding(self._kind, text, first.seconds, last.seconds, first.frame, first.shot)
            )
        self._first, self._last, self._worst = None, None, 0.0


class Jumps:
    """Colors that change at once, without a cut, and stay so."""

    def __init__(self, found: Findings) -> None:
        self._found = found
        self._place: Place | None = None
        self._step, self._frames = 0.0, 0
        self._sum: Array = np.zeros(0)

    def add(self, place: Place, change: Change | None) -> None:
        """Take a frame's change; None ends what a cut explains."""
        if change is None:
            self._place = None
            return
        if self._place is not None:
            self._sum = self._sum + np.nan_to_num(change.places)
            self._frames += 1
            if self._frames == _LATER:
                self._decide()
        if self._place is None and change.step > _STEP:
            self._place, self._step, self._frames = place, change.step, 0
            self._sum = change.places

    def _decide(self) -> None:
        left = self._sum[~np.isnan(self._sum[:, 0])]
        place, self._place = self._place, None
        if place is not None and np.hypot(*left.T).mean() > _LASTING * self._step:
            text = f"all colors change by {self._step:.0f} in a*b* at once, without a cut"
            self._found.add(
                Finding("jump", text, place.seconds, place.seconds, place.frame, place.shot)
            )


@dataclass
class ShotSummary:
    """What is known of a shot.

    Attributes:
        first: its first frame.
        last: its last frame so far.
        frames: their number.
        chroma, reversal, cast: sums of the frames' means.
        shown: frames that are not blank.
        toned: frames in which a cast could be seen.
    """

    first: Place
    last: Place
    frames: int = 0
    chroma: float = 0.0
    reversal: float = 0.0
    cast: float = 0.0
    shown: int = 0
    toned: int = 0

    def add(self, place: Place, seen: View, change: Change | None) -> None:
        """Take its next frame."""
        self.last = place
        self.frames += 1
        if change is not None:
            self.reversal = max(self.reversal, change.reversal)
        if seen.shown.mean() < _BLANK:
            return
        self.shown += 1
        self.chroma += seen.chroma
        cast = cast_of(seen)
        if cast is not None:
            self.toned += 1
            self.cast += cast

    @property
    def mean_chroma(self) -> float:
        """Of the frames that are not blank; 0 without any."""
        return self.chroma / max(1, self.shown)

    def judge(self) -> list[tuple[str, str]]:
        """Kind and text of what all of it shows."""
        return judge_colors(
            self.mean_chroma if self.shown else None,
            self.cast / self.toned if 2 * self.toned > self.frames else None,
        )


def judge_colors(chroma: float | None, cast: float | None) -> list[tuple[str, str]]:
    """Kind and text of what is wrong with the colors of a shot or a picture.

    Args:
        chroma: its mean chroma, None for blank ones.
        cast: see `cast_of`.
    """
    if chroma is not None and chroma < _GRAY:
        return [("gray", f"hardly any color, mean chroma {chroma:.1f}; give it a reference or "
                 "a colored still")]  # fmt: skip
    if cast is not None and cast > _CAST:
        return [("cast", f"one tint of {cast:.0f} in a*b* or more lies over everything; correct it "
                 "with --temperature and --tint, or give a reference")]  # fmt: skip
    return []


def cast_of(seen: View) -> float | None:
    """The length in a*b*, along the mean color, that all but 2 % of the pixels have; None where a
    cast could not be told from a color."""
    low, high = _CAST_L
    toned = (seen.lightness > low) & (seen.lightness < high)
    if toned.mean() < _CAST_SHARE or seen.lightness[toned].std() < _CONTRAST:
        return None
    ab = seen.ab[toned]
    mean = ab.mean(axis=0)
    along = ab @ (mean / max(float(np.hypot(*mean)), 1e-6))
    return float(np.percentile(along, _CAST_PERCENT))


class Detector:
    """Takes the measures of a film's frames in order; keeps a few frames of them.

    Args:
        label: a label is drawn into the result, so that places differ in lightness.
        unit: of differences in lightness.

    Attributes:
        shots: of the film so far.
        findings: what was found.
    """

    def __init__(self, *, label: bool, unit: str = "L*") -> None:
        self.findings = found = Findings()
        self.shots: list[ShotSummary] = []
        self._label = label
        self._meter, self._jumps = ChangeMeter(), Jumps(found)
        self._luma = Runs("luma", f"differs by up to {{:.1f}} in {unit}".format, found)
        self._flicker = Runs("flicker", "colors go back and forth by {:.0f} in a*b*".format, found)
        self._blobs = Runs("blob", _blob_text, found)
        self._reversals: deque[tuple[Place, float]] = deque()
        self._before: Place | None = None
        self._blobbed: deque[tuple[Place, float]] = deque()

    def luma(self, place: Place, mean: float, largest: float) -> None:
        """Take a frame's difference in lightness, of all of it and of a place."""
        if mean > _LUMA or (largest > _LUMA_PLACE and not self._label):
            self._luma.add(place, max(mean, largest))

    def colors(self, place: Place, seen: View, cut: bool) -> Change | None:
        """Take a frame's colors.

        Returns:
            How they changed from the frame before.
        """
        begins = not self.shots or place.shot != self.shots[-1].first.shot
        change = self._meter.add(seen, cut or begins)  # its first frame may be missing
        if begins:
            self._end_shot()
            self.shots.append(ShotSummary(place, place))
        self.shots[-1].add(place, seen, change)
        self._jumps.add(place, change)
        if change is not None and self._before is not None and change.reversal > _REVERSAL:
            self._reversal(self._before, change.reversal)  # what was taken back began there
        self._before = place
        blobs = find_blobs(seen)
        if blobs:
            self._blobbed.append((place, max(each.share for each in blobs)))
        else:
            self._blobbed.clear()
        if len(self._blobbed) >= _BLOB_FRAMES:
            for each in self._blobbed:
                self._blobs.add(*each)
            self._blobbed.clear()
            self._blobbed.extend([(place, max(each.share for each in blobs))] * (_BLOB_FRAMES - 1))
        return change

    def _reversal(self, place: Place, length: float) -> None:
        recent = self._reversals
        recent.append((place, length))
        while place.frame - recent[0][0].frame >= _BURST_FRAMES or recent[0][0].shot != place.shot:
            recent.popleft()
        if len(recent) >= _BURST or length > _LONE_REVERSAL:
            for each in recent:
                self._flicker.add(*each)
            recent.clear()
            recent.extend([(place, length)] * (_BURST - 1))

    def _end_shot(self) -> None:
        self._blobbed.clear()
        if self.shots:
            shot = self.shots[-1]
            for kind, text in shot.judge():
                first, last = shot.first, shot.last
                self.findings.add(
                    Finding(kind, text, first.seconds, last.seconds, first.frame, first.shot)
                )

    def finish(self) -> list[Finding]:
        """All findings, in the order of time."""
        self._end_shot()
        for runs in (self._luma, self._flicker, self._blobs):
            runs.close()
        return sorted(self.findings.found, key=lambda each: (each.start or 0.0, each.kind))


def _blob_text(share: float) -> str:
    return (
        f"a patch of another color that belongs to nothing in the picture, {share:.1%} of it; "
        "correct it with a still or a hint"
    )
