"""Regression of a*b*: `ab_mse`, `ab_huber`, and `lab8_mse` in the units of 8-bit Lab (S4b)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...evaluation.metrics import colorfulness, psnr, ssim
from ..data.batch import Batch
from .base import Objective, join_lab, register_objective

_LEAST = 0.2  # Lab units, added to a picture's Huber loss: limits what a small one counts
_PLACES = ("prediction", "picture")


def _pair(raw: Tensor, batch: Batch, at: str) -> tuple[Tensor, Tensor]:
    """Predicted and true a*b* at one resolution, float32.

    Args:
        raw: the prediction `(B, 2, h, w)`.
        batch: the truth.
        at: `prediction` averages the truth over the area of each sample of the prediction;
            `picture` upsamples the prediction bilinearly to the picture.
    """
    raw, truth = raw.float(), batch.ab
    if raw.shape[-2:] == truth.shape[-2:]:
        return raw, truth
    if at == "picture":
        return F.interpolate(raw, size=truth.shape[-2:], mode="bilinear"), truth
    return raw, F.interpolate(truth, size=raw.shape[-2:], mode="area")


class _AbLoss(Objective):
    """Base of the regressions of a*b*.

    Args:
        at: the resolution to compare at, `prediction` or `picture`; see `_pair`.
    """

    def __init__(self, model: nn.Module, at: str = "prediction") -> None:
        super().__init__(model)
        if at not in _PLACES:
            raise ValueError(f"at must be one of {', '.join(_PLACES)}, not {at!r}")
        self.at = at


@register_objective("ab_mse")
class AbMse(_AbLoss):
    """Mean squared error of a*b* in units of 10 Lab units.

    Args:
        at: `prediction` averages the truth over the area of each sample of a smaller prediction;
            `picture` upsamples the prediction bilinearly and compares in every pixel.
    """

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Mean squared error over 100 squared Lab units; a scalar."""
        return F.mse_loss(*_pair(raw, batch, self.at)) / 100


@register_objective("ab_huber")
class AbHuber(_AbLoss):
    """Huber loss of a*b*, and a colorfulness penalty.

    Regression alone predicts the mean of the plausible colors, which is pale. The penalty is the
    difference of the predictions' mean colorfulness to the truth's, as a share, if it is lower:
    over a batch, because the colors of one picture may well differ. With several processes, over
    each one's part.

    Args:
        knee: where the loss turns from squared to linear, Lab units.
        at: as in `AbMse`.
        color: factor on the colorfulness penalty.
        log: factor on the mean logarithm of each picture's Huber loss, which replaces their mean.
            Halving a small error then counts as much as halving a large one, as in a mean of PSNRs.
            0: their mean.

    Raises:
        ValueError: `knee` is not above 0, or `color` or `log` is negative.
    """

    def __init__(
        self,
        model: nn.Module,
        knee: float = 10.0,
        at: str = "prediction",
        color: float = 0.0,
        log: float = 0.0,
    ) -> None:
        super().__init__(model, at)
        if not knee > 0:
            raise ValueError(f"knee must be above 0, not {knee}")
        if color < 0:
            raise ValueError(f"color must not be negative, not {color}")
        if log < 0:
            raise ValueError(f"log must not be negative, not {log}")
        self.knee, self.color, self.log = knee, color, log

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Huber loss, see `huber`, + color * penalty; a scalar."""
        made = join_lab(batch.lab[:, :1], raw) if self.color else None
        return self.huber(raw, batch) + self.color * self.paleness(made, batch)

    def huber(self, raw: Tensor, batch: Batch) -> Tensor:
        """Huber loss divided by the knee; with `log`, log * its mean logarithm; a scalar."""
        pair = _pair(raw, batch, self.at)
        if not self.log:
            return F.huber_loss(*pair, delta=self.knee) / self.knee
        each = F.huber_loss(*pair, delta=self.knee, reduction="none").mean(dim=(1, 2, 3))
        return self.log * (each / self.knee + _LEAST).log().mean()

    def paleness(self, made: Tensor | None, batch: Batch) -> Tensor:
        """The penalty of the predicted pictures, R'G'B' `(B, 3, H, W)` in [0, 1]; 0 for None."""
        if made is None:
            return batch.ab.new_zeros(())
        wanted = colorfulness(batch.rgb * 255).mean()
        # 1 of 255 levels squared keeps the gradient of a gray picture small
        return F.relu(1 - colorfulness(made * 255, epsilon=1.0).mean() / wanted)


@register_objective("lab8_mse")
class Lab8Mse(Objective):
    """Mean squared error of a* and b* as 8-bit Lab stores them, divided by 255 (S4).

    There a* + 128 and b* + 128 are the levels, so an error of 255 Lab units counts as 1.
    """

    measure_names = (
        *Objective.measure_names,
        *("mse_a", "mse_b", "psnr_a", "psnr_b", "psnr_ab"),
    )

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Mean squared error over 255^2 squared Lab units; a scalar."""
        return F.mse_loss(*_pair(raw, batch, "prediction")) / 255**2

    def measures(self, made: Tensor, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Also `mse_a`, `psnr_a` and `ssim_a` of the planes of 8-bit Lab, the same of b, and
        `psnr_ab`, the mean of the two PSNRs."""
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
        found["psnr_ab"] = (found["psnr_a"] + found["psnr_b"]) / 2
        return found
