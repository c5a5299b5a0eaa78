"""Where shots begin: hard cuts, black between two shots, jumps in time; found while streaming.

Hard cuts come from PySceneDetect's `AdaptiveDetector`, fed one small frame at a time, so that the
film is decoded once. It compares each change with those around it, which a pan or a shaking camera
cannot fool. Old film needs three things more, which are here: brightness and contrast are levelled
first (flicker), a change that a flow explains is a jerk and no cut, a picture that returns within a
few frames is a flash or a torn frame and no cut either, and a frame that repeats the one before (12
drawings a second in a film of 24) is no change to compare with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ..frames import LumaBatch
from .flow import flow, level, visible, warp

# All of these were chosen on real archive film and on synthetic cuts, flashes, flicker and pans.
_WINDOW = 3  # frames before and after a change that it is compared with
_RATIO = 1.4  # of a cut's change to the mean change around it, at least
_LEAST = 14.0  # levels of 255 that a cut changes on average; other pictures differ by 20 to 60
_SEEN = 0.4  # share of a picture found in another, from which they show the same
_SLACK = 0.05, 1.0  # of `motion.visible`
_ALIKE = 30.0  # levels by which what is found may differ, means of 3x3 pixels
_REPEAT = 0.3  # mean levels below which a frame repeats the one before
_MOST_REPEATS = 3  # in a row that are passed over; a longer still must not hold back the film
# levels between dark and bright below which there is no picture, and from which there is one again
_FLAT, _SHOWN = 10.0, 16.0
_FLAT_FRAMES = 3  # of no picture in a row that end a shot; fewer are a flash
_SIDE = 128  # the longer side of the small frames, pixels
_JUMP_SECONDS, _JUMP_STEPS = 1, 4  # a step in time longer than both is a jump

LOOKAHEAD = _WINDOW * (_MOST_REPEATS + 1) + _MOST_REPEATS
"""Frames, at most, by which the answer about a frame waits for those that follow."""


class CutFinder:
    """Finds the first frames of shots in small grey frames given one by one.

    A frame is decided when at most `LOOKAHEAD` more have come. Nothing but a few small frames is
    kept.
    """

    def __init__(self) -> None:
        # here, because the import takes 0.3 s
        from scenedetect import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector

        self._timecode = FrameTimecode
        self._detector = AdaptiveDetector(
            adaptive_threshold=_RATIO,
            min_scene_len=0,
            window_width=_WINDOW,
            min_content_val=_LEAST,
            luma_only=True,
        )
        self._count = 0  # frames given
        self._decided = 0
        self._fed = 0  # frames the detector was given, those before the film included
        self._numbers: deque[int] = deque()  # of the fed frames not yet decided
        self._levelled: deque[np.ndarray] = deque(maxlen=2 * _WINDOW + 1)  # the last that were fed
        self._begins = {0}  # frames not yet decided that begin a shot
        self._last: np.ndarray | None = None
        self._repeats = self._flat = 0

    def feed(self, grey: np.ndarray) -> list[bool]:
        """Take the next frame.

        Args:
            grey: `(h, w)` uint8, full range, 16 to a few hundred pixels a side, all of one size.

        Returns:
            For each frame that is now decided, in order, whether a shot begins with it.
        """
        number = self._count
        self._count += 1
        self._watch_the_light(grey, number)
        if self._last is not None and self._repeats < _MOST_REPEATS and _same(grey, self._last):
            self._repeats += 1
            return []
        self._repeats, levelled = 0, level(grey)
        if self._last is None:  # so that a cut right after the first frame has frames before it
            for _ in range(_WINDOW):
                self._detect(levelled)
        self._last = grey
        self._numbers.append(number)
        self._detect(levelled)
        return self._decide()

    @property
    def blank(self) -> bool:
        """Whether the last frame given shows nothing: black, white or another even tone."""
        return self._flat > 0

    def finish(self) -> list[bool]:
        """The answers for the frames that are left."""
        answers: list[bool] = []
        if self._levelled:
            for _ in range(_WINDOW):
                self._numbers.append(self._count)
                self._detect(self._levelled[-1])
                answers += self._decide()
        return [*answers, *self._answers(self._count)]

    def _watch_the_light(self, grey: np.ndarray, number: int) -> None:
        """A shot begins where the picture comes back after black, or any even tone."""
        dark, bright = np.percentile(grey, (1, 99))
        if bright - dark < (_SHOWN if self._flat else _FLAT):
            self._flat += 1
            return
        if self._flat >= _FLAT_FRAMES:
            self._begins.add(number)
        self._flat = 0

    def _detect(self, levelled: np.ndarray) -> None:
        self._levelled.append(levelled)
        frame = np.repeat(levelled[..., None], 3, axis=2)
        found = self._detector.process_frame(self._timecode(self._fed, fps=25.0), frame)
        self._fed += 1
        if found and not self._found_again():
            self._begins.add(self._numbers[0])

    def _found_again(self) -> bool:
        """Whether the picture before the change is there behind it, though moved, at once or soon;
        or the one behind it soon before: a flash has two edges, and neither is a cut."""
        frames = list(self._levelled)
        before, after = frames[: len(frames) - _WINDOW - 1], frames[-_WINDOW - 1 :]
        pairs = [(before[-1], frame) for frame in after]
        pairs += [(frame, after[0]) for frame in before[:-1]]
        return any(_share_found(old, new) > _SEEN for old, new in pairs)

    def _decide(self) -> list[bool]:
        """The oldest fed frame has all its window, and so has what repeats it."""
        if len(self._numbers) <= _WINDOW:
            return []
        self._numbers.popleft()
        return self._answers(self._numbers[0])

    def _answers(self, end: int) -> list[bool]:
        answers = [number in self._begins for number in range(self._decided, end)]
        self._decided = end
        self._begins = {number for number in self._begins if number >= end}
        return answers


def _share_found(old: np.ndarray, new: np.ndarray) -> float:
    """Share of `new`, `(h, w)` uint8, that a flow finds in `old`. Other shots stay below 0.3, since
    a flow between them is torn and what it brings looks different."""
    import cv2

    back, forth = flow(new, old), flow(old, new)
    difference = warp(old, back).astype(np.float32) - new
    alike = np.abs(cv2.blur(difference, (3, 3))) < _ALIKE
    return float((visible(back, forth, *_SLACK) & alike).mean())


def _same(grey: np.ndarray, other: np.ndarray) -> bool:
    import cv2

    return cv2.norm(grey, other, cv2.NORM_L1) < _REPEAT * grey.size


def small_grey(batch: LumaBatch) -> list[np.ndarray]:
    """A batch's frames as a `CutFinder` takes them: `(h, w)` uint8, the longer side `_SIDE`."""
    import cv2

    height, width = batch.luma.shape[-2:]
    scale = min(1.0, _SIDE / max(height, width, 1))
    # a flow needs 16 pixels
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    low, high = (0, 255) if batch.full_range else (16, 235)
    gain = 255 / (high - low) / (1 << (batch.bit_depth - 8))
    small = []
    for plane in batch.luma.cpu().numpy()[:, 0]:
        shrunk = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        codes = shrunk.astype(np.float32) * gain - low * 255 / (high - low)
        small.append(np.clip(codes, 0, 255).astype(np.uint8))
    return small


def mark_cuts(batches: Iterable[LumaBatch], time_base: Fraction) -> Iterator[LumaBatch]:
    """The same batches with `cuts` and `shots` filled in, each held back until it is decided.

    Args:
        batches: of one film, in order; of any sizes, which change no answer.
        time_base: unit of their pts, seconds.
    """
    finder = CutFinder()
    waiting: deque[LumaBatch] = deque()
    marks: deque[bool] = deque()
    last: int | None = None
    step = 0
    jumps: deque[bool] = deque()
    blank: deque[bool] = deque()
    shot = -1  # so that the first picture begins shot 0

    def ready(everything: bool) -> Iterator[LumaBatch]:
        nonlocal shot
        while waiting and (everything or len(marks) >= len(waiting[0])):
            batch = waiting.popleft()
            cuts = tuple(marks.popleft() | jumps.popleft() for _ in range(len(batch)))
            shots = []
            for cut in cuts:
                nothing = blank.popleft()
                shot += cut and not nothing  # black between two pictures is no shot
                shots.append(max(shot, 0))
            yield replace(batch, cuts=cuts, shots=tuple(shots))

    for batch in batches:
        waiting.append(batch)
        for grey, pts in zip(small_grey(batch), batch.pts, strict=True):
            before, step = step, 0 if last is None else pts - last
            jumps.append(step * time_base > _JUMP_SECONDS and step > _JUMP_STEPS * before > 0)
            last = pts
            marks.extend(finder.feed(grey))
            blank.append(finder.blank)
        yield from ready(everything=False)
    marks.extend(finder.finish())
    yield from ready(everything=True)
