"""`mean_chroma`: regression of a picture's mean a* and b* (S4a)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batch import Batch
from .base import Objective, join_lab, register_objective


@register_objective("mean_chroma")
class MeanChroma(Objective):
    """Mean squared error of one mean color for each picture, in units of 255 Lab units."""

    native = "mean_ab"
    measure_names = (*Objective.measure_names, "mse_a", "mse_b")

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean a*b* `(B, 2)` in Lab units."""
        made: Tensor = model.mean_ab(batch.lightness)  # type: ignore[operator]
        return made

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Mean squared error over 255^2 squared Lab units; a scalar."""
        return F.mse_loss(raw.float(), batch.ab.mean(dim=(2, 3))) / 255**2

    def picture(self, model: nn.Module, raw: Tensor, batch: Batch) -> Tensor:
        """The pictures in their predicted mean color."""
        return join_lab(batch.lab[:, :1], raw[:, :, None, None])

    def measures(self, made: Tensor, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Also `mse_a` and `mse_b`: squared errors of the means over 255^2."""
        found = super().measures(made, raw, batch)
        error = (raw.float() - batch.ab.mean(dim=(2, 3))).square() / 255**2
        return {**found, "mse_a": error[:, 0], "mse_b": error[:, 1]}
