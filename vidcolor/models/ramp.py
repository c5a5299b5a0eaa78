"""`_ramp`: a model without weights for tests; chroma is a linear function of lightness."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ramp(nn.Module):
    """L* `(B, 1, H, W)` to a* = 0.3 (L* - 50), b* = 20 - 0.3 L*, `(B, 2, H, W)`."""

    stride = 8

    def forward(self, lightness: Tensor) -> Tensor:
        return torch.cat([0.3 * (lightness - 50), 20 - 0.3 * lightness], dim=1)
