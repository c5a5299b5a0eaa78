"""Shot boundary detection while streaming: hard cuts, black between shots, jumps in time.

Hard cuts come from PySceneDetect's `AdaptiveDetector`, which gets one small frame at a time, so the
film is decoded once. It compares each change with those around it, so pans and shaking cameras do
not count. For old film this module adds:

* Brightness and contrast are normalized first, against flicker.
* A change that optical flow explains is a jerk of the camera, not a cut.
* A picture that returns within a few frames means a flash or a torn frame, not a cut.
* A frame that repeats the one before it (12 drawings a second in a film of 24) is skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from ..frames import Checkpoint, LumaBatch
from .flow import Array, flow, normalize_contrast, visible, warp

# All values were tuned on real archive film and on synthetic cuts, flashes, flicker and pans.
_WINDOW = 3  # frames before and after a change that it is compared with
_MIN_RATIO = 1.4  # of a cut's change to the mean change around it
_MIN_CHANGE = 14.0  # mean change of a cut, levels of 255; other pictures differ by 20 to 60
_SAME_SHARE = 0.4  # two pictures that match in a larger share show the same scene
_FLOW_TOLERANCE = 0.05, 1.0  # `relative` and `absolute` of `visible`
_MAX_DIFFERENCE = 30.0  # levels by which matching pixels may differ, means of 3x3 pixels
_MAX_REPEAT_CHANGE = 0.3  # mean levels below which a frame repeats the one before
_MAX_REPEATS = 3  # skipped in a row; a longer still picture must not hold back the film
# contrast in levels: below the first a picture counts as blank, from the second on as shown again
_BLANK_CONTRAST, _SHOWN_CONTRAST = 10.0, 16.0
_MIN_BLANK_FRAMES = 3  # in a row that end a shot; fewer are a flash
# Black bars: spread of a row below which it may be part of one, levels; most of a side
_BAR_SPREAD, _BAR_SHARE = 3.0, 0.25
_THUMBNAIL_SIDE = 128  # longer side of the small frames, pixels
_JUMP_SECONDS, _JUMP_STEPS = 1, 4  # a time step longer than both begins a shot

LOOKAHEAD = _WINDOW * (_MAX_REPEATS + 1) + _MAX_REPEATS
"""Maximum number of further frames that `CutDetector` needs to decide on a frame."""


class CutDetector:
    """Finds the first frames of shots in small gray frames, given one by one.

    A frame is decided after at most `LOOKAHEAD` more. Only a few small frames are kept.
    """

    def __init__(self) -> None:
        # here, because the import takes 0.3 s
        from scenedetect import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector

        self._timecode = FrameTimecode
        self._detector = AdaptiveDetector(
            adaptive_threshold=_MIN_RATIO,
            min_scene_len=0,
            window_width=_WINDOW,
            min_content_val=_MIN_CHANGE,
            luma_only=True,
        )
        self._count = 0  # frames added
        self._decided = 0
        self._fed = 0  # frames given to the detector, padding included
        self._pending: deque[int] = deque()  # numbers of fed frames that are not decided
        self._normalized: deque[Array] = deque(maxlen=2 * _WINDOW + 1)  # the last fed frames
        self._starts = {0}  # undecided frames that begin a shot
        self._last: Array | None = None
        self._repeats = self._blank_frames = 0

    def add(self, gray: Array) -> list[bool]:
        """Take the next frame.

        Args:
            gray: `(h, w)` uint8, full range, 16 to a few hundred pixels a side, all of one size.

        Returns:
            For each frame that is now decided, in order, whether a shot begins with it.
        """
        number = self._count
        self._count += 1
        self._detect_blank(gray, number)
        if self._last is not None and self._repeats < _MAX_REPEATS and _repeats(gray, self._last):
            self._repeats += 1
            return []
        self._repeats, normalized = 0, normalize_contrast(gray)
        if self._last is None:  # pad, so that a cut right after the first frame is found
            for _ in range(_WINDOW):
                self._detect(normalized)
        self._last = gray
        self._pending.append(number)
        self._detect(normalized)
        return self._decide()

    @property
    def blank(self) -> bool:
        """Whether the last frame is blank: black, white or another even tone."""
        return self._blank_frames > 0

    def finish(self) -> list[bool]:
        """Return the decisions on the remaining frames."""
        decisions: list[bool] = []
        if self._normalized:
            for _ in range(_WINDOW):
                self._pending.append(self._count)
                self._detect(self._normalized[-1])
                decisions += self._decide()
        return [*decisions, *self._decisions(self._count)]

    def _detect_blank(self, gray: Array, number: int) -> None:
        """Begin a shot where the picture returns after blank frames."""
        dark, bright = np.percentile(gray, (1, 99))
        if bright - dark < (_SHOWN_CONTRAST if self._blank_frames else _BLANK_CONTRAST):
            self._blank_frames += 1
            return
        if self._blank_frames >= _MIN_BLANK_FRAMES:
            self._starts.add(number)
        self._blank_frames = 0

    def _detect(self, normalized: Array) -> None:
        """Feed one frame to the detector and record the cut that it finds."""
        self._normalized.append(normalized)
        frame = np.repeat(normalized[..., None], 3, axis=2)
        cuts = self._detector.process_frame(self._timecode(self._fed, fps=25.0), frame)
        self._fed += 1
        if cuts and not self._reappears():
            self._starts.add(self._pending[0])

    def _reappears(self) -> bool:
        """Whether the change is a jerk or a flash.

        The picture before the change, perhaps moved, appears again within the window after it, or
        the picture after the change already appeared in the window before it. A flash changes the
        picture twice, and neither change is a cut.
        """
        frames = list(self._normalized)
        before, after = frames[: len(frames) - _WINDOW - 1], frames[-_WINDOW - 1 :]
        pairs = [(before[-1], frame) for frame in after]
        pairs += [(frame, after[0]) for frame in before[:-1]]
        return any(_matched_share(old, new) > _SAME_SHARE for old, new in pairs)

    def _decide(self) -> list[bool]:
        """Decide the oldest fed frame, and its repeats, if its window is complete."""
        if len(self._pending) <= _WINDOW:
            return []
        self._pending.popleft()
        return self._decisions(self._pending[0])

    def _decisions(self, end: int) -> list[bool]:
        """Decide the frames up to number `end`, exclusive."""
        decisions = [number in self._starts for number in range(self._decided, end)]
        self._decided = end
        self._starts = {number for number in self._starts if number >= end}
        return decisions


def _matched_share(old: Array, new: Array) -> float:
    """Share of `new`, `(h, w)` uint8, that optical flow finds in `old`, without black bars.

    Frames of different shots stay below 0.3: the flow between them is inconsistent, and the warped
    picture differs.
    """
    import cv2

    back, forth = flow(new, old), flow(old, new)
    difference = warp(old, back).astype(np.float32) - new
    similar = np.abs(cv2.blur(difference, (3, 3))) < _MAX_DIFFERENCE
    found = visible(back, forth, *_FLOW_TOLERANCE) & similar
    return float(found[_lively(old, new, 1), _lively(old, new, 0)].mean())


def _lively(old: Array, new: Array, axis: int) -> slice:
    """Rows (axis 1) or columns without those at both ends that are even in both pictures."""
    spread = np.maximum(old.std(axis), new.std(axis))
    places = np.flatnonzero(spread >= _BAR_SPREAD)
    length = len(spread)
    most = int(length * _BAR_SHARE)
    first, last = (places[0], places[-1]) if len(places) else (0, length - 1)
    return slice(min(int(first), most), max(int(last) + 1, length - most))


def _repeats(gray: Array, other: Array) -> bool:
    import cv2

    return cv2.norm(gray, other, cv2.NORM_L1) < _MAX_REPEAT_CHANGE * gray.size


def thumbnails(batch: LumaBatch) -> list[Array]:
    """Convert a batch's frames for `CutDetector`, without the film's black bars: `(h, w)` uint8,
    longer side 128 at most."""
    import cv2

    top, bottom, left, right = batch.bars
    height, width = batch.luma.shape[-2] - top - bottom, batch.luma.shape[-1] - left - right
    scale = min(1.0, _THUMBNAIL_SIDE / max(height, width, 1))
    # optical flow needs 16 pixels a side
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    low, high = (0, 255) if batch.full_range else (16, 235)
    factor = 255 / (high - low) / (1 << (batch.bit_depth - 8))
    small = []
    planes = batch.luma.cpu().numpy()[:, 0, top : top + height, left : left + width]
    for plane in planes:
        shrunk = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        levels = shrunk.astype(np.float32) * factor - low * 255 / (high - low)
        small.append(np.clip(levels, 0, 255).astype(np.uint8))
    return small


@dataclass(frozen=True)
class Spacing:
    """Seconds of film between two checkpoints.

    Attributes:
        least: the next checkpoint is at the first cut after so many seconds,
        most: or within a shot after so many.
    """

    least: Fraction
    most: Fraction


@dataclass
class _Frame:
    """A frame that is not decided."""

    gray: Array
    pts: int
    jumps: bool = False  # a jump in time leads to it
    blank: bool = False


class CutMarker:
    """Decides for each frame whether a shot begins with it, and sets checkpoints.

    All detection begins anew at a checkpoint, so that nothing after it depends on the frames before
    it.

    Args:
        time_base: unit of the pts, seconds.
        spacing: of checkpoints; None for none.
        resume: the checkpoint before the first frame.

    Attributes:
        decided: for each decided frame, to be taken from the left: whether a shot begins with it,
            the number of its shot, and the shot before it if there is a checkpoint.
    """

    def __init__(
        self, time_base: Fraction, spacing: Spacing | None = None, resume: Checkpoint | None = None
    ) -> None:
        self._time_base, self._spacing = time_base, spacing
        self._pending: deque[_Frame] = deque()
        self._shot = resume.shot if resume else -1  # so that the first picture begins shot 0
        self._checkpoint = False  # there is one before the first frame
        self._first_cut = resume.cut if resume else None  # of the first frame, if it is known
        self.decided: deque[tuple[bool, int, int | None]] = deque()
        self._begin()

    def _begin(self) -> None:
        self._detector = CutDetector()
        self._begun: int | None = None  # pts of the first frame
        self._last: int | None = None
        self._step = 0

    def add(self, gray: Array, pts: int) -> None:
        """Take the next frame, as for `CutDetector.add`."""
        self._pending.append(_Frame(gray, pts))
        self._decide(self._feed(self._pending[-1]))

    def finish(self) -> None:
        """Decide on the remaining frames."""
        while self._pending:
            self._decide(self._detector.finish())

    def _feed(self, frame: _Frame) -> list[bool]:
        before, self._step = self._step, 0 if self._last is None else frame.pts - self._last
        self._last = frame.pts
        if self._begun is None:
            self._begun = frame.pts
        long = self._step * self._time_base > _JUMP_SECONDS
        frame.jumps = long and self._step > _JUMP_STEPS * before > 0
        cuts = self._detector.add(frame.gray)
        frame.blank = self._detector.blank
        return cuts

    def _decide(self, cuts: list[bool]) -> None:
        todo = deque(cuts)
        while todo:
            cut = todo.popleft() or self._pending[0].jumps
            if self._first_cut is not None:
                cut, self._first_cut = self._first_cut, None
            elif self._is_checkpoint(cut):
                self._begin()
                self._first_cut, self._checkpoint = cut, True
                todo = deque(each for frame in self._pending for each in self._feed(frame))
                continue
            before, marked, self._checkpoint = self._shot, self._checkpoint, False
            frame = self._pending.popleft()
            self._shot += cut and not frame.blank  # black between two shots is not a shot
            self.decided.append((cut, max(self._shot, 0), before if marked else None))

    def _is_checkpoint(self, cut: bool) -> bool:
        if self._spacing is None or self._begun is None:
            return False
        elapsed = (self._pending[0].pts - self._begun) * self._time_base
        return elapsed >= (self._spacing.least if cut else self._spacing.most)


def mark_cuts(
    batches: Iterable[LumaBatch],
    time_base: Fraction,
    *,
    spacing: Spacing | None = None,
    resume: Checkpoint | None = None,
) -> Iterator[LumaBatch]:
    """Fill in `cuts` and `shots` of each batch; hold each back until its frames are decided.

    Args:
        batches: one film's frames, in order. Batch sizes do not change the result.
        time_base: unit of the batches' pts, seconds.
        spacing: of checkpoints; a batch with one inside is divided there. None for none.
        resume: the checkpoint that the batches begin with.
    """
    marker = CutMarker(time_base, spacing, resume)
    waiting: deque[LumaBatch] = deque()

    def ready(everything: bool) -> Iterator[LumaBatch]:
        while waiting and (everything or len(marker.decided) >= len(waiting[0])):
            batch = waiting.popleft()
            decided = [marker.decided.popleft() for _ in range(len(batch))]
            cuts, shots, _ = zip(*decided, strict=True) if decided else ((), (), ())
            batch = replace(batch, cuts=cuts, shots=shots)
            yield from divide(batch, {i: d[2] for i, d in enumerate(decided) if d[2] is not None})

    for batch in batches:
        waiting.append(batch)
        for gray, pts in zip(thumbnails(batch), batch.pts, strict=True):
            marker.add(gray, pts)
        yield from ready(everything=False)
    marker.finish()
    yield from ready(everything=True)


def mark_checkpoints(
    batches: Iterable[LumaBatch], time_base: Fraction, spacing: Spacing
) -> Iterator[LumaBatch]:
    """Set checkpoints every `spacing.least` seconds, for films without shots; see `mark_cuts`."""
    begun: int | None = None
    for batch in batches:
        places: dict[int, int] = {}
        for i, pts in enumerate(batch.pts):
            begun = pts if begun is None else begun
            if (pts - begun) * time_base >= spacing.least:
                begun, places[i] = pts, -1
        yield from divide(batch, places)


def divide(batch: LumaBatch, checkpoints: dict[int, int]) -> Iterator[LumaBatch]:
    """Divide a batch at checkpoints, given by their frames and the numbers of the shots before."""
    bounds = sorted({0, *checkpoints, len(batch)})
    if len(bounds) < 2:  # an empty batch
        yield batch
    for begin, end in pairwise(bounds):
        part = batch[begin:end]
        if begin:  # already told
            part = replace(part, damage=(), notes=())
        if begin in checkpoints:
            cut = bool(part.cuts) and part.cuts[0]
            point = Checkpoint(
                part.first_index, part.pts[0], len(batch) - begin, cut, checkpoints[begin]
            )
            part = replace(part, checkpoint=point)
        yield part
