"""Temporal filter of the predicted chroma: a motion-compensated recursive mean.

A network that sees one frame at a time flickers. This filter averages each frame's chroma with the
chroma of the frames before it, warped along the optical flow: a running mean from the start of a
shot, with limited memory. The network's own value is used instead

* where the flow between two frames is inconsistent,
* where the warped picture differs from the present one,
* where warped chroma and network disagree in another way than around that place.

So nothing trails behind moving things. There, the mean difference between history and network in
the neighborhood is added to the network's value, so that a changed prediction does not show first
at the places where something has moved.

A mean over many frames hardly needs each of them. While the flow explains nearly all of a picture,
the network sees every third frame, and the frames between take the warped chroma.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..system.devices import processors
from .flow import Array, Preset, flow, normalize_contrast, squared_norm, visible, warp
from .stabilizer_state import ChromaState, StabilizerState, Tracking

# Tuned on two color clips and three synthetic motions (figures: train/LOG.md).
MEMORY = 40  # frames that the network has seen
_PRESET: Preset = "medium"  # at half the model's size 2 ms slower than "fast", and better
_TOLERANCE = 20.0  # levels of difference at which trust in the warped picture falls to 1/e
_MAX_GRAIN = 16.0  # levels of difference that are attributed to the film's grain, at most
_PATCH = 5  # pixels over which that difference is averaged
_FLOW_TOLERANCE = 0.01, 1.0  # `relative` and `absolute` of `visible`
_MAX_REPEAT_CHANGE = 1.0  # mean levels of the most changed block below which a frame is a repeat
_BLOCK = 8  # side of such a block, pixels
_LAB_OFFSET = 16.0  # of CIE 15:2018, 8.2.1: L* + 16 = 116 f(Y)
_MAX_RESIDUAL = 10.0  # local residual (Lab units) at which trust in the history falls to 1/e
_REACH = 8  # the local mean reaches 1/8 of the frame's shorter side in each direction
_REGULARIZER = 0.02  # of the local mean: it counts little where fewer pixels nearby are trusted
# History counts not at all, or fully, at these mean trusts: cuts reach 0.08, shaky cameras 0.68.
_NO_TRUST, _FULL_TRUST = 0.3, 0.5
CARRIED = 2  # frames in a row that the network need not see
_MIN_INFERRED = 4  # frames at the start of a shot that it sees
_MIN_TRUST, _MAX_NEW_SHARE = 0.5, 0.01  # pixels below this trust are new; their maximum share
_NEW_WINDOW, _MAX_NEW_IN_WINDOW = 5, 0.75  # a larger share of new pixels in a window is an object
_BORDER = 2  # pixels at the border of the flow where new pixels do not count
_MAX_THREADS = 8


@dataclass(frozen=True)
class _FlowInput:
    """A frame for the flow, `(h, w)` uint8: gray, and gray with normalized contrast."""

    gray: Array
    normalized: Array


# The flow to the frame before, `(h, w, 2)`, and its trust, `(h, w)` in [0, 1].
_Flow = tuple[Array, Array]


@dataclass(frozen=True)
class Motion:
    """Motion of a frame since the last frame before it that was not a repeat.

    Attributes:
        repeats: the frame repeats that one.
        needs_inference: the network has to see the frame. Otherwise its chroma is propagated from
            the frame before: for a repeat, and where the flow explains nearly all of the picture.
        move: the flow and its trust, 0 and 1 for a repeat; None for the first frame of a shot.
        lightness: the frame's L*, `(h, w)` float32, at the model's size.
    """

    repeats: bool
    needs_inference: bool
    move: _Flow | None
    lightness: Array


class Stabilizer:
    """The chroma filter of one film; takes its frames in order, batch by batch.

        motions = stabilizer.track(lightness, cuts)
        needed = [i for i, motion in enumerate(motions) if motion.needs_inference]
        ab = stabilizer.stabilize(motions, network(lightness[needed]) if needed else None)

    `track` may run batches ahead of `stabilize`, in another thread; the network may take the
    batches in any order. Results do not depend on the sizes of the batches, which may differ
    between `track` and `stabilize`.

    Args:
        memory: maximum number of predictions in the mean, at least 1.
        carried: maximum number of frames in a row that the network does not see. With 0 it sees
            all frames except repeats; with a memory of 1 the filter then changes nothing.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(self, memory: int = MEMORY, carried: int = CARRIED) -> None:
        if memory < 1 or carried < 0:
            raise ValueError(
                f"memory must be at least 1 frame and carried not negative, not {memory}, {carried}"
            )
        self.memory, self.carried = memory, carried
        # State of `track`: the last frame that was not a repeat, the number of frames of its shot
        # that the network has to see, and the number of frames since the last of these.
        self._last: _FlowInput | None = None
        self._inferred = self._since_inferred = 0
        self._state: ChromaState | None = None  # of `stabilize`

    @property
    def tracking(self) -> Tracking:
        """State of `track` before the next frame."""
        gray = None if self._last is None else self._last.gray
        return Tracking(gray, self._inferred, self._since_inferred)

    @property
    def chroma(self) -> ChromaState | None:
        """State of `stabilize` before the next frame."""
        return self._state

    def restore(self, state: StabilizerState) -> None:
        """Go on from `state`, which was another stabilizer's."""
        gray = state.tracking.gray
        self._last = None if gray is None else _FlowInput(gray, normalize_contrast(gray))
        self._inferred = state.tracking.inferred
        self._since_inferred = state.tracking.since_inferred
        self._state = state.chroma

    def track(self, lightness: Tensor, cuts: Sequence[bool] = ()) -> list[Motion]:
        """Estimate the flow from frame to frame, and choose the frames that the network has to see.

        Call it once for each frame of the film. If it fails, the state is as before.

        Args:
            lightness: `(B, 1, h, w)` L* in [0, 100], at the model's size.
            cuts: for each frame whether a shot begins with it; empty for no cuts.

        Raises:
            ValueError: the number of `cuts` is neither 0 nor B.
        """
        if cuts and len(cuts) != len(lightness):
            raise ValueError(f"{len(cuts)} marks of cuts for {len(lightness)} frames")
        frames, last = _flow_inputs(lightness), self._last
        previous: list[_FlowInput | None] = []
        for i, frame in enumerate(frames):
            if (cuts and cuts[i]) or (last is not None and last.gray.shape != frame.gray.shape):
                last = None
            if last is not None and _repeats(frame.gray, last.gray):
                previous.append(frame)  # marks a repeat: no motion
                continue
            previous.append(last)
            last = frame
        pool = _pool(os.getpid())
        moves = list((pool.map if pool else map)(_flow_to_previous, frames, previous))
        light = lightness[:, 0].float().cpu().numpy()
        self._last = last  # last, so that a failed call can be repeated
        return [
            Motion(before is frame, self._needs_inference(before is frame, move), move, here)
            for frame, before, move, here in zip(frames, previous, moves, light, strict=True)
        ]

    def _needs_inference(self, repeats: bool, move: _Flow | None) -> bool:
        """Whether the network has to see the next frame."""
        if repeats and not self._since_inferred:
            return False
        if move is None:
            self._inferred = 0
        needed = (
            repeats  # of a frame that the network has not seen; it may stand for long
            or move is None
            or self._since_inferred >= self.carried
            or not _can_propagate(self._inferred, move[1])
        )
        self._since_inferred = 0 if needed else self._since_inferred + 1
        self._inferred += needed
        return needed

    def stabilize(self, motions: Sequence[Motion], ab: Tensor | None) -> Tensor:
        """Filter the chroma of the next frames; call it once for each frame, in order.

        If it fails, the state is as before, and the frames can be given again.

        Args:
            motions: results of `track` for these frames.
            ab: `(n, 2, h', w')` a*b* of the n frames that need inference, at the network's own
                size, on any device; None if n is 0.

        Returns:
            `(B, 2, h', w')` float32 stabilized chroma, on the CPU.

        Raises:
            ValueError: the number of frames in `ab` is not that of frames that need inference.
        """
        wanted = sum(motion.needs_inference for motion in motions)
        given = 0 if ab is None else len(ab)
        if wanted != given:
            raise ValueError(f"chroma of {given} frames, but {wanted} need inference")
        last = self._state
        size = ab.shape[-2:] if ab is not None else last.ab.shape[:2] if last is not None else ()
        lightness = torch.from_numpy(np.stack([motion.lightness for motion in motions]))[:, None]
        light = F.interpolate(lightness, size=size, mode="area")[:, 0].numpy()
        predictions: Iterator[Array] = iter(
            () if ab is None else ab.float().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        )
        out = []
        for here, motion in zip(light, motions, strict=True):
            new = next(predictions) if motion.needs_inference else None
            if last is None or motion.move is None:
                assert new is not None
                last = ChromaState(here, new, np.ones(size, np.float32))
            elif new is not None or not motion.repeats:  # a repeated frame keeps its chroma
                history = _warp_history(last, here, motion.move)
                chroma = history.propagated if new is None else self._mean(history, new)
                last = ChromaState(here, *chroma)
            out.append(last.ab)
        stabilized = torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)
        self._state = last  # last, so that a failed call can be repeated
        return stabilized

    def _mean(self, history: _History, new: Array) -> tuple[Array, Array]:
        """Running mean of the chroma including the prediction `new`, and its weight."""
        ab, weight, trust = history.ab, history.weight, history.trust
        difference = ab - new
        bias, _ = _local_means(difference, weight, trust)
        residual = squared_norm(difference - bias)
        trust = trust * np.exp(-residual / _MAX_RESIDUAL**2)
        bias, local_weight = _local_means(difference, weight, trust)
        trust = trust[..., None]
        ab = trust * ab + (1 - trust) * (new + bias)
        weight = np.minimum(trust * weight + (1 - trust) * local_weight, self.memory - 1)
        return (weight * ab + new) / (weight + 1), weight[..., 0] + 1


@dataclass(frozen=True)
class _History:
    """The chroma of the frame before, warped to the present frame.

    Attributes:
        ab: `(h', w', 2)`.
        weight: `(h', w', 1)` number of predictions that `ab` is the mean of.
        trust: `(h', w')` in [0, 1].
    """

    ab: Array
    weight: Array
    trust: Array

    @property
    def propagated(self) -> tuple[Array, Array]:
        """Chroma and weight of a frame that the network does not see.

        New pixels take the warped chroma with weight 0, so the next prediction replaces it.
        """
        return self.ab, (self.trust[..., None] * self.weight)[..., 0]


@cache
def _pool(process: int) -> ThreadPoolExecutor | None:
    """Threads for the flows of a batch, on half of the processors; None if that is one.

    The pool is kept, because each new thread allocates working memory for its flows. It is keyed by
    the process number, because the threads do not survive a fork.
    """
    count = min(_MAX_THREADS, processors() // 2)
    return ThreadPoolExecutor(count, thread_name_prefix="flow") if count > 1 else None


def _flow_inputs(lightness: Tensor) -> list[_FlowInput]:
    """Convert L* `(B, 1, h, w)` for the flow, at half the size."""
    height, width = lightness.shape[-2:]
    # Flow needs 16 pixels a side, and no detail above half the model's size.
    size = (max(16, height // 2), max(16, width // 2))
    gray = F.interpolate(lightness, size=size, mode="bilinear", antialias=True)
    codes = (gray * 2.55).round().clamp(0, 255).to(torch.uint8)[:, 0].cpu().numpy()
    return [_FlowInput(frame, normalize_contrast(frame)) for frame in codes]


def _can_propagate(inferred: int, trust: Array) -> bool:
    """Whether a frame's chroma can be propagated from the frame before, without the network.

    It can inside a shot, where few pixels are new and no window is full of new pixels.

    Args:
        inferred: number of the shot's frames that the network sees up to here.
        trust: `(h, w)` of the flow.
    """
    import cv2

    # without the border, where the smallest flow leads out of the picture
    new = (trust[_BORDER:-_BORDER, _BORDER:-_BORDER] < _MIN_TRUST).astype(np.float32)
    if inferred < _MIN_INFERRED or float(new.mean()) >= _MAX_NEW_SHARE:
        return False
    return float(cv2.blur(new, (_NEW_WINDOW, _NEW_WINDOW)).max()) < _MAX_NEW_IN_WINDOW


def _warp_history(last: ChromaState, lightness: Array, move: _Flow) -> _History:
    """Warp the last frame's chroma to the present frame, whose L* is `lightness`, `(h', w')`."""
    import cv2

    size = lightness.shape[::-1]
    vectors, trust = (cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in move)
    scale = np.array([new / old for new, old in zip(size, move[1].shape[::-1], strict=True)])
    # If nearly nothing matches, as in a dissolve or a blur, the rest matches by chance.
    reliability = (trust.mean() - _NO_TRUST) / (_FULL_TRUST - _NO_TRUST)
    trust = trust * np.float32(np.clip(reliability, 0, 1))
    planes = np.dstack([last.ab, last.lightness, last.weight])
    planes = warp(planes, vectors * scale.astype(np.float32))
    ab, light, weight = np.split(planes, (2, 3), axis=2)
    # A change of the light by one factor scales a* and b* with L* + 16, because both are
    # differences of cube roots (CIE 15:2018, 8.2.1).
    before = float((trust * (light[..., 0] + _LAB_OFFSET)).sum())
    now = float((trust * (lightness + _LAB_OFFSET)).sum())
    ab = ab * np.float32(np.clip(now / max(before, 1e-3), 0.25, 4.0))
    return _History(ab, weight, trust)


def _local_means(difference: Array, weight: Array, trust: Array) -> tuple[Array, Array]:
    """Means of the history's difference from the prediction, and of its weight, around each pixel.

    They extend the history to pixels that it does not cover. If the network changes its prediction
    of a wall, the part of the wall that appears from behind a moving hand must not show the new
    color while the rest still has the old one. So it gets the prediction plus the mean difference
    between history and prediction nearby.

    Args:
        difference: `(h', w', 2)` history minus prediction.
        weight: `(h', w', 1)`.
        trust: `(h', w')` weights of the means.

    Returns:
        `(h', w', 2)` and `(h', w', 1)`.
    """
    import cv2

    size = 2 * (min(trust.shape) // _REACH) + 1
    sums = np.dstack([difference * trust[..., None], weight * trust[..., None], trust])
    for _ in range(2):
        sums = cv2.blur(sums, (size, size))
    means = sums[..., :3] / (sums[..., 3:] + _REGULARIZER)
    return means[..., :2], means[..., 2:]


def _repeats(gray: Array, other: Array) -> bool:
    """Whether two frames are equal up to noise, in every block: one frame shown twice."""
    import cv2

    change = cv2.absdiff(gray, other)
    size = (max(1, gray.shape[1] // _BLOCK), max(1, gray.shape[0] // _BLOCK))
    blocks = cv2.resize(change.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return bool(blocks.max() < _MAX_REPEAT_CHANGE)


def _flow_to_previous(frame: _FlowInput, previous: _FlowInput | None) -> _Flow | None:
    """Flow from a frame to the previous one, and its trust.

    Args:
        frame: the frame.
        previous: the frame before; the frame itself for a repeat, which gives flow 0 and trust 1;
            None for the first frame of a shot, which gives None.
    """
    import cv2

    if previous is None:
        return None
    if previous is frame:
        shape = frame.gray.shape
        return np.zeros((*shape, 2), np.float32), np.ones(shape, np.float32)
    now, then = frame.normalized, previous.normalized
    back, forth = flow(now, then, _PRESET), flow(then, now, _PRESET)
    difference = cv2.blur(cv2.absdiff(warp(then, back), now).astype(np.float32), (_PATCH, _PATCH))
    grain = min(_MAX_GRAIN, float(np.median(difference[::4, ::4])))
    excess = np.maximum(difference - grain, 0)
    trust = np.exp(-np.square(excess / _TOLERANCE)) * visible(back, forth, *_FLOW_TOLERANCE)
    return back, trust.astype(np.float32)
