"""A batch before the network: its luma, and what the network gets to see of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..frames import LumaBatch
from ..motion.stabilizer import Motion
from ..motion.stabilizer_state import Tracking


def model_size(height: int, width: int, size: int, stride: int) -> tuple[int, int]:
    """Height and width of the model's input: `size` squared pixels in the frame's shape, both
    rounded to multiples of `stride`. A frame is stretched by no more than this rounding."""
    ratio = math.sqrt(height / width)
    return (
        max(1, round(size * ratio / stride)) * stride,
        max(1, round(size / ratio / stride)) * stride,
    )


@dataclass(frozen=True)
class Prepared:
    """A batch before the network.

    Attributes:
        batch: the luma.
        lightness: `(B, 1, h, w)` L* in [0, 100], upright, at the model's size.
        motions: how each frame moves, for the stabilizer; empty without one.
        tracking: state of the stabilizer's tracking before the batch, at a checkpoint.
    """

    batch: LumaBatch
    lightness: Tensor
    motions: tuple[Motion, ...] = ()
    tracking: Tracking | None = None

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def inference_indices(self) -> list[int]:
        """Numbers of the frames that need the network: without a stabilizer, all."""
        return [i for i in range(len(self)) if not self.motions or self.motions[i].needs_inference]

    def __getitem__(self, part: slice) -> Prepared:
        batch = self.batch[part]
        tracking = self.tracking if batch.checkpoint else None
        return Prepared(batch, self.lightness[part], self.motions[part], tracking)

    def to(self, device: torch.device) -> Prepared:
        """The same on `device`."""
        return replace(self, batch=self.batch.to(device), lightness=self.lightness.to(device))


def area_means(plane: Tensor, ab: Tensor) -> Tensor:
    """A plane at the size of `ab`."""
    return F.interpolate(plane, size=ab.shape[-2:], mode="area")


def shrink(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """A plane at another, mostly smaller size, without aliasing."""
    return F.interpolate(plane, size=size, mode="bilinear", antialias=True)
