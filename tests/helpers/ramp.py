"""`_ramp`: a model whose chroma is a linear function of lightness, and quick."""

from __future__ import annotations

import torch
from torch import Tensor

from vidcolor.models import ColorModel


class Ramp(ColorModel):
    """L* `(B, 1, H, W)` to a* = 0.3 L* - 15, b* = 20 - 0.3 L*, `(B, 2, H, W)`."""

    stride = 8
    slope: Tensor
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slope", torch.tensor([0.3, -0.3]).view(1, 2, 1, 1))
        self.register_buffer("offset", torch.tensor([-15.0, 20.0]).view(1, 2, 1, 1))

    def forward(self, lightness: Tensor) -> Tensor:
        return self.slope * lightness + self.offset
