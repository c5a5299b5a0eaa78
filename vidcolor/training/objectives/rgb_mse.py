"""`rgb_mse`: mean squared error of predicted R'G'B' pictures (S0, S2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batch import Batch
from .base import Objective


class RgbMse(Objective):
    """The network draws the whole picture, `rgb` of its luma, compared in [0, 1]."""

    space = "rgb"
    native = "rgb"
    note = "of the picture that the network draws itself, lightness and all"

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """R'G'B' `(B, 3, H, W)`; not limited to [0, 1] where the network is not."""
        return model.rgb(batch.grey)  # type: ignore[operator]

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Mean squared error, R'G'B' in [0, 1]; a scalar."""
        return F.mse_loss(raw.float(), batch.rgb)

    def picture(self, model: nn.Module, raw: Tensor, batch: Batch) -> Tensor:
        """The prediction itself: with the network's own lightness, as the documents measure."""
        return raw.float().clamp(0, 1)
