"""The base of the networks that predict a R'G'B' picture from a gray one."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from ...color.convert import lightness_to_gray, rgb_to_lab
from ..base import ColorModel
from ..precision import full_precision


class RgbModel(ColorModel):
    """L* `(B, 1, H, W)` in [0, 100] to a*b* `(B, 2, H, W)`, by way of R'G'B'.

    Only the color of the predicted picture is used; its lightness is replaced by the input's. Any
    size works.
    """

    stride = 8
    native = "rgb"

    @abstractmethod
    def rgb(self, gray: Tensor) -> Tensor:
        """Gray levels `(B, 1, H, W)` in [0, 1] to R'G'B' `(B, 3, H, W)`, [0, 1] where right."""

    def forward(self, lightness: Tensor) -> Tensor:
        rgb = self.rgb(lightness_to_gray(lightness)).float().clamp(0, 1)
        # the differences between nearly equal channels are what makes the chroma
        with full_precision(rgb.device):
            return rgb_to_lab(rgb)[:, 1:]
