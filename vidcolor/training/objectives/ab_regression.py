"""Regression of a*b*: `ab_mse`, `ab_huber`, and `lab8_mse` in the units of 8-bit Lab (S4b)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...metrics import psnr, ssim
from ..batch import Batch
from .base import Objective


def _target(raw: Tensor, batch: Batch) -> Tensor:
    """The true a*b* at the prediction's resolution, averaged over the area of each sample."""
    if batch.ab.shape == raw.shape:
        return batch.ab
    return F.interpolate(batch.ab, size=raw.shape[-2:], mode="area")


class AbMse(Objective):
    """Mean squared error of a*b* in units of 10 Lab units."""

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Mean squared error over 100 squared Lab units; a scalar."""
        return F.mse_loss(raw.float(), _target(raw, batch)) / 100


class AbHuber(Objective):
    """Huber loss of a*b*.

    Args:
        knee: where the loss turns from squared to linear, Lab units.
    """

    def __init__(self, model: nn.Module, knee: float = 10.0) -> None:
        super().__init__(model)
        if not knee > 0:
            raise ValueError(f"knee must be above 0, not {knee}")
        self.knee = knee

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Huber loss divided by the knee; a scalar."""
        return F.huber_loss(raw.float(), _target(raw, batch), delta=self.knee) / self.knee


class Lab8Mse(Objective):
    """Mean squared error of a* and b* as 8-bit Lab stores them, divided by 255 (S4).

    There a* + 128 and b* + 128 are the levels, so an error of 255 Lab units counts as 1.
    """

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Mean squared error over 255^2 squared Lab units; a scalar."""
        return F.mse_loss(raw.float(), _target(raw, batch)) / 255**2

    def measures(self, made: Tensor, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Also `mse_a`, `psnr_a` and `ssim_a` of the planes of 8-bit Lab, and the same of b."""
        found = super().measures(made, raw, batch)
        ab = F.interpolate(raw.float(), size=batch.ab.shape[-2:], mode="bilinear")
        planes = [(values + 128).clamp(0, 255) for values in (ab, batch.ab)]
        for index, name in enumerate("ab"):
            prediction, truth = (plane[:, index : index + 1] for plane in planes)
            error = (prediction - truth).double().square().mean(dim=(1, 2, 3))
            found[f"mse_{name}"] = (error / 255**2).float()
            found[f"psnr_{name}"] = psnr(prediction, truth)
            if min(truth.shape[-2:]) >= 11:
                found[f"ssim_{name}"] = ssim(prediction, truth).to(torch.float32)
        return found
