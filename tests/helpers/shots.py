"""Synthetic shots: pans over textured pictures, as gray frames and as luma batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import torch

from tests.motion.test_flow import texture
from vidcolor.frames import LumaBatch
from vidcolor.motion.flow import Array

HEIGHT, WIDTH = 96, 128
TIME_BASE = Fraction(1, 25)


def pan(count: int, seed: int, step: int = 2) -> list[Array]:
    """`count` frames `(HEIGHT, WIDTH)` uint8 of a texture that moves left by `step` a frame."""
    import cv2

    height, width = HEIGHT, WIDTH + step * count
    wide = cv2.resize(texture(height // 2, (width + 1) // 2, seed), (width, height))
    return [np.ascontiguousarray(wide[:, step * i : step * i + WIDTH]) for i in range(count)]


def batches(
    frames: Sequence[Array], size: int, pts: Sequence[int] | None = None
) -> Iterator[LumaBatch]:
    """The frames as full-range batches of `size`, one tick apart unless `pts` says otherwise."""
    times = tuple(range(len(frames)) if pts is None else pts)
    for i in range(0, len(frames), size):
        luma = torch.from_numpy(np.stack(frames[i : i + size]))[:, None]
        part = times[i : i + size]
        yield LumaBatch(luma, 8, True, part, (1,) * len(part), first_index=i)
