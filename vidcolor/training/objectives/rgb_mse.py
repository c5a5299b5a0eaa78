"""`rgb_mse`: mean squared error of predicted R'G'B' pictures (S0, S2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batch import Batch
from .base import Objective, register_objective


@register_objective("rgb_mse")
class RgbMse(Objective):
    """Mean squared error of the whole picture that the model's `rgb` predicts from the luma."""

    space = "rgb"
    native = "rgb"
    note = "of the network's own picture, with its own lightness"

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """R'G'B' `(B, 3, H, W)`; not limited to [0, 1] where the network is not."""
        made: Tensor = model.rgb(batch.gray)  # type: ignore[operator]
        return made

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Mean squared error, R'G'B' in [0, 1]; a scalar."""
        return F.mse_loss(raw.float(), batch.rgb)

    def picture(self, model: nn.Module, raw: Tensor, batch: Batch) -> Tensor:
        """The prediction itself: with the network's own lightness, as the documents measure."""
        return raw.float().clamp(0, 1)
