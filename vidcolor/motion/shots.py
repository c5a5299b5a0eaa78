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
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ..frames import LumaBatch
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
    """Share of `new`, `(h, w)` uint8, that optical flow finds in `old`.

    Frames of different shots stay below 0.3: the flow between them is inconsistent, and the warped
    picture differs.
    """
    import cv2

    back, forth = flow(new, old), flow(old, new)
    difference = warp(old, back).astype(np.float32) - new
    similar = np.abs(cv2.blur(difference, (3, 3))) < _MAX_DIFFERENCE
    return float((visible(back, forth, *_FLOW_TOLERANCE) & similar).mean())


def _repeats(gray: Array, other: Array) -> bool:
    import cv2

    return cv2.norm(gray, other, cv2.NORM_L1) < _MAX_REPEAT_CHANGE * gray.size


def thumbnails(batch: LumaBatch) -> list[Array]:
    """Convert a batch's frames for `CutDetector`: `(h, w)` uint8, longer side 128 at most."""
    import cv2

    height, width = batch.luma.shape[-2:]
    scale = min(1.0, _THUMBNAIL_SIDE / max(height, width, 1))
    # optical flow needs 16 pixels a side
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    low, high = (0, 255) if batch.full_range else (16, 235)
    factor = 255 / (high - low) / (1 << (batch.bit_depth - 8))
    small = []
    for plane in batch.luma.cpu().numpy()[:, 0]:
        shrunk = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        levels = shrunk.astype(np.float32) * factor - low * 255 / (high - low)
        small.append(np.clip(levels, 0, 255).astype(np.uint8))
    return small


def mark_cuts(batches: Iterable[LumaBatch], time_base: Fraction) -> Iterator[LumaBatch]:
    """Fill in `cuts` and `shots` of each batch; hold each back until its frames are decided.

    Args:
        batches: one film's frames, in order. Batch sizes do not change the result.
        time_base: unit of the batches' pts, seconds.
    """
    detector = CutDetector()
    waiting: deque[LumaBatch] = deque()
    starts: deque[bool] = deque()
    last: int | None = None
    step = 0
    jumps: deque[bool] = deque()
    blank: deque[bool] = deque()
    shot = -1  # so that the first picture begins shot 0

    def ready(everything: bool) -> Iterator[LumaBatch]:
        nonlocal shot
        while waiting and (everything or len(starts) >= len(waiting[0])):
            batch = waiting.popleft()
            cuts = tuple(starts.popleft() | jumps.popleft() for _ in range(len(batch)))
            shots = []
            for cut in cuts:
                is_blank = blank.popleft()
                shot += cut and not is_blank  # black between two shots is not a shot
                shots.append(max(shot, 0))
            yield replace(batch, cuts=cuts, shots=tuple(shots))

    for batch in batches:
        waiting.append(batch)
        for gray, pts in zip(thumbnails(batch), batch.pts, strict=True):
            before, step = step, 0 if last is None else pts - last
            jumps.append(step * time_base > _JUMP_SECONDS and step > _JUMP_STEPS * before > 0)
            last = pts
            starts.extend(detector.add(gray))
            blank.append(detector.blank)
        yield from ready(everything=False)
    starts.extend(detector.finish())
    yield from ready(everything=True)
