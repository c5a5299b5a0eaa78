"""A batch of training pictures in R'G'B' or Lab, converted on demand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from ...color.convert import gray_to_lightness, lab_to_rgb, lightness_to_gray, rgb_to_lab


@dataclass
class Batch:
    """Pictures of one size.

    Attributes:
        picture: `(B, 3, H, W)` float32: R'G'B' in [0, 1], or L*a*b* in Lab units.
        space: `rgb` or `lab`: the color space of `picture`.
        degraded: L* `(B, 1, H, W)` in [0, 100] that the model gets instead of the truth's, such
            as that of old film; None: the truth's.
    """

    picture: Tensor
    space: str
    degraded: Tensor | None = None

    def __len__(self) -> int:
        return len(self.picture)

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`; itself if it is there already."""
        if self.picture.device == device:
            return self
        degraded = None if self.degraded is None else self.degraded.to(device, non_blocking=True)
        return Batch(self.picture.to(device, non_blocking=True), self.space, degraded)

    @cached_property
    def rgb(self) -> Tensor:
        """The true R'G'B' `(B, 3, H, W)` in [0, 1]."""
        return self.picture if self.space == "rgb" else lab_to_rgb(self.picture)

    @cached_property
    def lab(self) -> Tensor:
        """The true L*a*b* `(B, 3, H, W)` in Lab units."""
        return self.picture if self.space == "lab" else rgb_to_lab(self.picture)

    @property
    def ab(self) -> Tensor:
        """The true a*b* `(B, 2, H, W)` in Lab units."""
        return self.lab[:, 1:]

    @cached_property
    def gray(self) -> Tensor:
        """The model's input as gray levels `(B, 1, H, W)` in [0, 1]: the BT.601 luma of the
        pictures, or the levels of `degraded`."""
        if self.degraded is not None:
            return lightness_to_gray(self.degraded)
        luma: Tensor = TF.rgb_to_grayscale(self.rgb)
        return luma

    @cached_property
    def lightness(self) -> Tensor:
        """The model's input as L* `(B, 1, H, W)` in [0, 100]."""
        if self.degraded is not None:
            return self.degraded
        return self.lab[:, :1] if self.space == "lab" else gray_to_lightness(self.gray)
