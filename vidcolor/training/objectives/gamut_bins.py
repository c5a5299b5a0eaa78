"""`gamut_bins`: cross entropy over the 313 in-gamut a*b* bins, soft-encoded and rebalanced.

Source: Zhang, Isola and Efros 2016, "Colorful image colorization", sections 2.1 and 2.2. The
annealed mean of 2.3 is the model's `decode`, so that validation measures what `vidcolor run` gives.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import TrainingError
from ...models.reproductions.classifier import BinClassifier
from ...models.reproductions.gamut import ab_bins, soft_encode
from ..data.batch import Batch
from .base import Objective, join_lab, register_objective

_SIGMA = 5.0  # of the kernel that smooths the distribution of colors, Lab units


def smoothed(share: Tensor, bins: Tensor) -> Tensor:
    """Smooth a distribution `(K,)` over `bins` `(K, 2)` by a Gaussian kernel of 5 Lab units.

    At the border of the gamut the kernel is cut and normalized to a sum of 1.
    """
    distance = torch.cdist(bins, bins, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = (distance.square() / (-2 * _SIGMA**2)).softmax(dim=1)
    return share @ kernel


@register_objective("gamut_bins")
class GamutBins(Objective):
    """Cross entropy; the target of a pixel is a distribution over the five nearest bins.

    The model needs `logits`, `bins` and `decode`, which computes a*b* from logits.

    Args:
        rebalance: weight rare colors more, by the inverse of the smoothed distribution of colors
            in a sample of the training part, mixed with `uniform` of the uniform one.
        uniform: the share lambda of the uniform distribution.
    """

    native = "logits"

    def __init__(self, model: nn.Module, rebalance: bool = True, uniform: float = 0.5) -> None:
        super().__init__(model)
        if not 0 <= uniform <= 1:
            raise ValueError(f"uniform must lie between 0 and 1, not {uniform}")
        self.rebalance, self.uniform = rebalance, uniform
        self.bins = ab_bins().to(self.device)
        if not isinstance(model, BinClassifier) or len(model.bins) != len(self.bins):
            raise TrainingError(
                "recipe key 'objective': 'gamut_bins' needs a model that predicts "
                'the gamut\'s 313 bins; set model = "eccv16", or another objective'
            )
        self.weights = torch.ones(len(self.bins), device=self.device)

    def prepare(self, model: nn.Module, sample: Batch, *, initialized: bool) -> None:
        """Find the class weights: proportional to 1 / ((1 - lambda) p + lambda / 313), with a mean
        of 1 under p, the smoothed distribution of the sample's colors (section 2.2)."""
        if self.rebalance:
            small = F.interpolate(sample.ab, scale_factor=0.25, mode="area")
            counts = torch.zeros_like(self.weights)
            for part in torch.split(small, 32):
                # the nearest bin alone; the smoothing follows
                counts += soft_encode(part, neighbors=1).sum(dim=(0, 2, 3)).to(counts)
            share = smoothed(counts / counts.sum(), self.bins)
            weights = 1 / ((1 - self.uniform) * share + self.uniform / len(share))
            self.weights = weights / (weights * share).sum()

    def state_dict(self) -> dict[str, Tensor]:
        """The class weights `(313,)`."""
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load the class weights."""
        self.weights = state["weights"].to(self.weights)

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits `(B, 313, h, w)`."""
        made: Tensor = model.logits(batch.lightness)  # type: ignore[operator]
        return made

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Mean cross entropy over the pixels, nats, each weighted by its nearest bin; a scalar."""
        target = soft_encode(F.interpolate(batch.ab, size=raw.shape[-2:], mode="area"))
        weight = self.weights[target.argmax(dim=1)]
        return (weight * -(target * raw.float().log_softmax(dim=1)).sum(dim=1)).mean()

    def picture(self, model: nn.Module, raw: Tensor, batch: Batch) -> Tensor:
        """The a*b* that the model decodes from its logits, with the true L*."""
        return join_lab(batch.lab[:, :1], model.decode(raw))  # type: ignore[operator]
