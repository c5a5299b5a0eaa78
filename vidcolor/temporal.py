"""Colour that stays put in time: a motion-compensated recursive filter of the predicted chroma.

A network that sees one frame at a time changes its mind from frame to frame. Here each frame's
chroma is averaged with that of the frames before it, moved to where things stand now: a running
mean from the start of a shot, with a limited memory. The network's own value stands where the flow
between two frames cannot be trusted, where the moved picture does not look like the present one,
and where the moved colour disagrees with the network otherwise than around it, so that nothing
trails behind what moves. It is shifted there by as much as history and network differ nearby, so
that a change of the network's mind does not show first where something has moved.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .motion import flow, level, visible, warp

# Chosen on two colour clips and three synthetic moves (train/LOG.md has the figures).
MEMORY = 20  # frames
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
_WORKERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class _Frame:
    """What is kept of the last frame that was no repeat.

    Attributes:
        grey: `(h, w)` uint8, at the flow's size.
        levelled: `grey` without flicker.
        lightness: `(h', w')` float32 L*, at the chroma's size.
        ab: `(h', w', 2)` float32, stabilised.
        weight: `(h', w')` float32, how many frames speak for `ab`.
    """

    grey: np.ndarray
    levelled: np.ndarray
    lightness: np.ndarray
    ab: np.ndarray
    weight: np.ndarray


class Stabilizer:
    """The chroma filter of one film: frames in, in order, batch by batch.

    A call starts from where the last `commit` left the film, so a batch that has to be done again
    (out of memory) is done again from the same state. Results do not depend on how the frames are
    cut into batches.

    Args:
        memory: frames the mean reaches back, at least 1; 1 changes nothing.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        if memory < 1:
            raise ValueError(f"memory must be at least 1 frame, not {memory}")
        self.memory = memory
        self._kept: _Frame | None = None
        self._reached: _Frame | None = None

    def commit(self) -> None:
        """The frames of the last call are done: the next call goes on behind them."""
        self._kept = self._reached

    def __call__(self, lightness: Tensor, ab: Tensor, cuts: Sequence[bool] = ()) -> Tensor:
        """Stabilise a batch.

        Args:
            lightness: `(B, 1, h, w)` L* in [0, 100], at the model's size.
            ab: `(B, 2, h', w')` a*b* of the model, at its own size.
            cuts: for each frame whether a shot begins with it; empty for nowhere.

        Returns:
            `(B, 2, h', w')` on `ab`'s device, of its type.

        Raises:
            ValueError: `cuts` is neither empty nor one for each frame.
        """
        if cuts and len(cuts) != len(ab):
            raise ValueError(f"{len(cuts)} marks of cuts for {len(ab)} frames")
        frames = self._frames(lightness, ab)
        befores = self._befores(frames, cuts)
        with ThreadPoolExecutor(_WORKERS) as pool:
            moves = list(pool.map(_move, frames, befores))
        out = []
        last = self._kept
        for i, (frame, move) in enumerate(zip(frames, moves, strict=True)):
            if befores[i] is frame:
                assert last is not None  # a repeat: what was said stays said
            elif move is None or last is None:
                last = frame  # a shot begins
            else:
                last = self._mean(last, frame, *move)
            out.append(last.ab)
        self._reached = last
        return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).to(ab)

    def _frames(self, lightness: Tensor, ab: Tensor) -> list[_Frame]:
        height, width = lightness.shape[-2:]
        # a flow needs 16 pixels a side, and none of the detail above half the model's size
        size = (max(16, height // 2), max(16, width // 2))
        grey = F.interpolate(lightness, size=size, mode="bilinear", antialias=True)
        codes = (grey * 2.55).round().clamp(0, 255).to(torch.uint8)[:, 0].cpu().numpy()
        light = F.interpolate(lightness, size=ab.shape[-2:], mode="area")[:, 0].float().cpu()
        chroma = ab.float().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        one = np.ones(ab.shape[-2:], np.float32)
        return [
            _Frame(codes[i], level(codes[i]), light[i].numpy(), chroma[i], one)
            for i in range(len(ab))
        ]

    def _befores(self, frames: list[_Frame], cuts: Sequence[bool]) -> list[_Frame | None]:
        """For each frame the one it goes on from: None at a cut, itself where it is a repeat."""
        befores: list[_Frame | None] = []
        last = self._kept
        for i, frame in enumerate(frames):
            if (cuts and cuts[i]) or (last is not None and last.ab.shape != frame.ab.shape):
                last = None
            if last is not None and _repeats(frame.grey, last.grey):
                befores.append(frame)
                continue
            befores.append(last)
            last = frame
        return befores

    def _mean(self, last: _Frame, frame: _Frame, to_last: np.ndarray, trust: np.ndarray) -> _Frame:
        """The running mean of the chroma, moved along `to_last` and weighted by `trust`."""
        # where almost nothing is found again, what seems to be found is chance: a dissolve, a blur
        trust = trust * np.float32(np.clip((trust.mean() - _LITTLE) / (_ENOUGH - _LITTLE), 0, 1))
        moved = np.dstack([last.ab, last.lightness, last.weight])
        ab, light, weight = np.split(warp(moved, to_last), (2, 3), axis=2)
        # Light that grows or fades by one factor scales a* and b* with L* + 16, because both are
        # differences of cube roots (CIE 15:2018, 8.2.1).
        light = light[..., 0]
        there = float((trust * (light + _DARK)).sum())
        here = float((trust * (frame.lightness + _DARK)).sum())
        ab = ab * np.float32(np.clip(here / max(there, 1e-3), 0.25, 4.0))
        residual = ab - frame.ab
        bias, _ = _spread(residual, weight, trust)
        odd = np.square(residual - bias).sum(axis=2)
        trust = trust * np.exp(-odd / _ODD**2)
        bias, support = _spread(residual, weight, trust)
        known = trust[..., None]
        history = known * ab + (1 - known) * (frame.ab + bias)
        seen = np.minimum(known * weight + (1 - known) * support, self.memory - 1)
        mean = (seen * history + frame.ab) / (seen + 1)
        return _Frame(frame.grey, frame.levelled, frame.lightness, mean, seen[..., 0] + 1)


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


def _move(frame: _Frame, before: _Frame | None) -> tuple[np.ndarray, np.ndarray] | None:
    """The flow from a frame to the one before it, `(h', w', 2)`, and how far it can be trusted,
    `(h', w')` in [0, 1]; both at the chroma's size. None where there is nothing before."""
    import cv2

    if before is None or before is frame:
        return None
    now, then = frame.levelled, before.levelled
    back, forth = flow(now, then, _PRESET), flow(then, now, _PRESET)
    difference = cv2.blur(cv2.absdiff(warp(then, back), now).astype(np.float32), (_PATCH, _PATCH))
    excess = np.maximum(difference - min(_GRAIN, np.median(difference[::4, ::4])), 0)
    trust = np.exp(-np.square(excess / _TOLERANCE)) * visible(back, forth, *_SLACK)
    height, width = frame.ab.shape[:2]
    scale = np.array([width / now.shape[1], height / now.shape[0]], np.float32)
    small = cv2.resize(back, (width, height), interpolation=cv2.INTER_AREA) * scale
    return small, cv2.resize(
        trust.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
