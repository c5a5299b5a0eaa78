"""Colour that stays put in time: a motion-compensated recursive filter of the predicted chroma.

A network that sees one frame at a time changes its mind from frame to frame. Here each frame's
chroma is averaged with that of the frames before it, moved to where things stand now: a running
mean from the start of a shot, with a limited memory. The network's own value stands where the flow
between two frames cannot be trusted, where the moved picture does not look like the present one,
and where the moved colour disagrees with the network otherwise than around it, so that nothing
trails behind what moves. It is shifted there by as much as history and network differ nearby, so
that a change of the network's mind does not show first where something has moved.

Since a mean over many frames hardly needs each of them, the network looks at every third frame
while the flow explains nearly all of a picture, and those between take on the moved chroma.
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
from .flow import flow, level, squared_length, visible, warp

# Chosen on two colour clips and three synthetic moves (train/LOG.md has the figures).
MEMORY = 40  # frames that the network has seen
_PRESET = "medium"  # of the flow; at half the model's size dearer than "fast" by 2 ms, and better
_TOLERANCE = 20.0  # levels by which the moved picture may differ; the weight falls to 1/e there
_GRAIN = 16.0  # levels of difference, at most, that are put down to the film's grain
_PATCH = 5  # pixels over which that difference is averaged
_SLACK = 0.01, 1.0  # of `motion.visible`
_SAME = 1.0  # mean levels of 255 in the most changed block below which a frame is a repeat
_BLOCK = 8  # pixels of such a block
_DARK = 16.0  # of CIE 15:2018, 8.2.1: L* + 16 = 116 f(Y)
_ODD = 10.0  # by how much history may differ from the network otherwise than nearby; as above
_REACH = 8  # a place learns from those within this part of the frame's shorter side
_THIN = 0.02  # share of trusted places nearby below which they count little
# Mean trust with no history, and with all of it: cuts reach 0.08, shaking cameras keep 0.68.
_LITTLE, _ENOUGH = 0.3, 0.5
CARRIED = 2  # frames in a row that the network need not see
_SETTLED = 4  # frames at the beginning of a shot that it sees
_TRUSTED, _NEW_SHARE = 0.5, 0.01  # at most this share of a frame may be trusted less
_THING, _NEW_THING = 5, 0.75  # in no square of so many pixels may so large a share be
_EDGE = 2  # pixels of the flow's size, as those of a thing
_MOST_WORKERS = 8


@dataclass(frozen=True)
class _Picture:
    """A frame as the flow sees it: `(h, w)` uint8 grey, and the same without flicker."""

    grey: np.ndarray
    levelled: np.ndarray


# The flow to the frame before, `(h, w, 2)`, and how far it can be trusted, `(h, w)` in [0, 1].
_Flow = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Motion:
    """How a frame has moved since the one before it that was no repeat.

    Attributes:
        repeats: nothing has changed since that one.
        needs_inference: the frame needs the network. Where a flow explains nearly all of a picture,
            its chroma is carried on from the frame before instead, and so is that of a repeat.
        move: the flow, of length 0 for a repeat; None where there is nothing before, as behind a
            cut.
        lightness: the frame's L*, `(h, w)` float32, at the model's size.
    """

    repeats: bool
    needs_inference: bool
    move: _Flow | None
    lightness: np.ndarray


@dataclass(frozen=True)
class _State:
    """What is kept of the last frame that was no repeat.

    Attributes:
        lightness: `(h', w')` float32 L*, at the chroma's size.
        ab: `(h', w', 2)` float32, stabilised.
        weight: `(h', w')` float32, how many frames that the network has seen speak for `ab`.
    """

    lightness: np.ndarray
    ab: np.ndarray
    weight: np.ndarray


class Stabilizer:
    """The chroma filter of one film: frames in, in order, batch by batch.

        motions = stabilizer.track(lightness, cuts)
        needed = [i for i, motion in enumerate(motions) if motion.needs_inference]
        ab = stabilizer.stabilize(motions, network(lightness[needed]) if needed else None)

    `track` may be batches ahead of `stabilize`, in another thread, and the network may take the
    batches in any order. Results do not depend on how the frames are cut into batches, and
    `stabilize` may get other batches than `track`.

    Args:
        memory: frames seen by the network that the mean reaches back, at least 1.
        carried: frames in a row, at most, that the network need not see; 0 shows it all but
            repeats, and with a memory of 1 nothing is changed then.
    """

    def __init__(self, memory: int = MEMORY, carried: int = CARRIED) -> None:
        if memory < 1 or carried < 0:
            raise ValueError(
                f"memory must be at least 1 frame and carried not negative, not {memory}, {carried}"
            )
        self.memory, self.carried = memory, carried
        # of `track`: the last frame that was no repeat, how many frames of its shot need the
        # network, and how many in a row since then do not
        self._last: _Picture | None = None
        self._inferred = self._carried = 0
        self._state: _State | None = None  # of `stabilize`

    def track(self, lightness: Tensor, cuts: Sequence[bool] = ()) -> list[Motion]:
        """Find the flow from frame to frame, and which frames need the network; every frame of the
        film once, in order.

        Args:
            lightness: `(B, 1, h, w)` L* in [0, 100], at the model's size.
            cuts: for each frame whether a shot begins with it; empty for nowhere.

        Raises:
            ValueError: `cuts` is neither empty nor one for each frame.
        """
        if cuts and len(cuts) != len(lightness):
            raise ValueError(f"{len(cuts)} marks of cuts for {len(lightness)} frames")
        pictures, last = _pictures(lightness), self._last
        befores: list[_Picture | None] = []
        for i, picture in enumerate(pictures):
            if (cuts and cuts[i]) or (last is not None and last.grey.shape != picture.grey.shape):
                last = None
            if last is not None and _repeats(picture.grey, last.grey):
                befores.append(picture)  # goes on from itself
                continue
            befores.append(last)
            last = picture
        pool = _pool()
        moves = list((pool.map if pool else map)(_move, pictures, befores))
        self._last = last
        light = lightness[:, 0].float().cpu().numpy()
        return [
            Motion(before is picture, self._needs_inference(before is picture, move), move, here)
            for picture, before, move, here in zip(pictures, befores, moves, light, strict=True)
        ]

    def _needs_inference(self, repeats: bool, move: _Flow | None) -> bool:
        """Whether the next frame needs the network."""
        if repeats and not self._carried:
            return False
        if move is None:
            self._inferred = 0
        needed = (
            repeats  # of a carried frame, and that may stand for long
            or move is None
            or self._carried >= self.carried
            or not _can_be_carried(self._inferred, move[1])
        )
        self._carried = 0 if needed else self._carried + 1
        self._inferred += needed
        return needed

    def stabilize(self, motions: Sequence[Motion], ab: Tensor | None) -> Tensor:
        """The stabilized chroma of the next frames; every frame once, in order. If the call fails,
        it can be made again.

        Args:
            motions: what `track` has found of these frames.
            ab: `(n, 2, h', w')` a*b* of the n of them that need inference, at the network's own
                size, on any device; None where there are none.

        Returns:
            `(B, 2, h', w')` float32 on the CPU.

        Raises:
            ValueError: `ab` is not of as many frames as need inference.
        """
        wanted = sum(motion.needs_inference for motion in motions)
        given = 0 if ab is None else len(ab)
        if wanted != given:
            raise ValueError(f"chroma of {given} frames, but {wanted} need inference")
        last = self._state
        size = ab.shape[-2:] if ab is not None else last.ab.shape[:2] if last is not None else ()
        lightness = torch.from_numpy(np.stack([motion.lightness for motion in motions]))[:, None]
        light = F.interpolate(lightness, size=size, mode="area")[:, 0].numpy()
        seen: Iterator[np.ndarray] = iter(
            () if ab is None else ab.float().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        )
        out = []
        for here, motion in zip(light, motions, strict=True):
            new = next(seen) if motion.needs_inference else None
            if last is None or motion.move is None:
                assert new is not None
                last = _State(here, new, np.ones(size, np.float32))
            elif new is not None or not motion.repeats:  # of a repeat, what was said stays said
                history = _moved(last, here, motion.move)
                last = _State(here, *(history.carried if new is None else self._mean(history, new)))
            out.append(last.ab)
        stabilized = torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)
        self._state = last  # at the end: what failed before can be done again
        return stabilized

    def _mean(self, history: _History, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The running mean of the chroma, and its weight: with the network's `new` value."""
        ab, weight, trust = history.ab, history.weight, history.trust
        residual = ab - new
        bias, _ = _spread(residual, weight, trust)
        odd = squared_length(residual - bias)
        trust = trust * np.exp(-odd / _ODD**2)
        bias, support = _spread(residual, weight, trust)
        known = trust[..., None]
        ab = known * ab + (1 - known) * (new + bias)
        most = self.memory - 1
        seen = np.minimum(known * weight + (1 - known) * support, most)
        return (seen * ab + new) / (seen + 1), seen[..., 0] + 1


@dataclass(frozen=True)
class _History:
    """The chroma of the frame before where things stand now: `(h', w', 2)`; how many frames speak
    for it, `(h', w', 1)`; and how far it can be trusted, `(h', w')` in [0, 1]."""

    ab: np.ndarray
    weight: np.ndarray
    trust: np.ndarray

    @property
    def carried(self) -> tuple[np.ndarray, np.ndarray]:
        """The chroma and weight of a frame that the network does not see. What is new in it takes
        the colour that stood there, and no weight: the network's next word counts."""
        return self.ab, (self.trust[..., None] * self.weight)[..., 0]


@cache
def _pool() -> ThreadPoolExecutor | None:
    """Where flows are found side by side, on half of the processors; None where that is one. It
    stays, because a new thread needs working memory of its own for them."""
    count = min(_MOST_WORKERS, processors() // 2)
    return ThreadPoolExecutor(count, thread_name_prefix="flow") if count > 1 else None


if hasattr(os, "register_at_fork"):  # the threads of a pool stay behind in the parent
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _pictures(lightness: Tensor) -> list[_Picture]:
    height, width = lightness.shape[-2:]
    # a flow needs 16 pixels a side, and none of the detail above half the model's size
    size = (max(16, height // 2), max(16, width // 2))
    grey = F.interpolate(lightness, size=size, mode="bilinear", antialias=True)
    codes = (grey * 2.55).round().clamp(0, 255).to(torch.uint8)[:, 0].cpu().numpy()
    return [_Picture(each, level(each)) for each in codes]


def _can_be_carried(inferred: int, trust: np.ndarray) -> bool:
    """Whether a frame can do without the network: in the middle of a shot, with little new in it,
    and nowhere a whole thing that is new."""
    import cv2

    # not at the borders: the least flow leads out of the picture there
    new = (trust[_EDGE:-_EDGE, _EDGE:-_EDGE] < _TRUSTED).astype(np.float32)
    if inferred < _SETTLED or float(new.mean()) >= _NEW_SHARE:
        return False
    return float(cv2.blur(new, (_THING, _THING)).max()) < _NEW_THING


def _moved(last: _State, lightness: np.ndarray, move: _Flow) -> _History:
    """The last frame's chroma, moved to where things stand now."""
    import cv2

    size = lightness.shape[::-1]
    flowing, trust = (cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in move)
    scale = np.array([new / old for new, old in zip(size, move[1].shape[::-1], strict=True)])
    # where almost nothing is found again, what seems to be found is chance: a dissolve, a blur
    trust = trust * np.float32(np.clip((trust.mean() - _LITTLE) / (_ENOUGH - _LITTLE), 0, 1))
    moved = np.dstack([last.ab, last.lightness, last.weight])
    moved = warp(moved, flowing * scale.astype(np.float32))
    ab, light, weight = np.split(moved, (2, 3), axis=2)
    # Light that grows or fades by one factor scales a* and b* with L* + 16, because both are
    # differences of cube roots (CIE 15:2018, 8.2.1).
    there = float((trust * (light[..., 0] + _DARK)).sum())
    here = float((trust * (lightness + _DARK)).sum())
    ab = ab * np.float32(np.clip(here / max(there, 1e-3), 0.25, 4.0))
    return _History(ab, weight, trust)


def _spread(
    residual: np.ndarray, weight: np.ndarray, trust: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the history says of places that it has not seen, from those around them.

    Where the network has changed its mind about a wall, the part of it that comes out from behind
    a moving hand must not show the new mind while the rest still has the old one: it takes the
    network's present chroma and, on top, by how much the history differs from that nearby.
    """
    import cv2

    size = 2 * (min(trust.shape) // _REACH) + 1
    sums = np.dstack([residual * trust[..., None], weight * trust[..., None], trust])
    for _ in range(2):
        sums = cv2.blur(sums, (size, size))
    means = sums[..., :3] / (sums[..., 3:] + _THIN)
    return means[..., :2], means[..., 2:]


def _repeats(grey: np.ndarray, other: np.ndarray) -> bool:
    """Whether nothing has changed, not even in one small place: a frame shown twice."""
    import cv2

    change = cv2.absdiff(grey, other)
    size = (max(1, grey.shape[1] // _BLOCK), max(1, grey.shape[0] // _BLOCK))
    return bool(
        cv2.resize(change.astype(np.float32), size, interpolation=cv2.INTER_AREA).max() < _SAME
    )


def _move(picture: _Picture, before: _Picture | None) -> _Flow | None:
    """How a picture has moved since the one before it, not at all if it is given for that; None
    where there is nothing before."""
    import cv2

    if before is None:
        return None
    if before is picture:
        shape = picture.grey.shape
        return np.zeros((*shape, 2), np.float32), np.ones(shape, np.float32)
    now, then = picture.levelled, before.levelled
    back, forth = flow(now, then, _PRESET), flow(then, now, _PRESET)
    difference = cv2.blur(cv2.absdiff(warp(then, back), now).astype(np.float32), (_PATCH, _PATCH))
    excess = np.maximum(difference - min(_GRAIN, float(np.median(difference[::4, ::4]))), 0)
    trust = np.exp(-np.square(excess / _TOLERANCE)) * visible(back, forth, *_SLACK)
    return back, trust.astype(np.float32)
