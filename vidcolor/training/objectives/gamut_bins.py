"""`gamut_bins`: cross entropy over the 313 in-gamut a*b* bins, soft-encoded and rebalanced.

Source: Zhang, Isola and Efros 2016, "Colorful image colorization", sections 2.1 and 2.2. The
annealed mean of 2.3 is the model's own `decode`, so that validation sees what `vidcolor run` gives.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import TrainingError
from ...models.reproductions.classifier import BinClassifier
from ...models.reproductions.gamut import ab_bins, soft_encode
from ..data.batch import Batch
from .base import Objective, join_lab

_SIGMA = 5.0  # of the kernel that smooths the distribution of colours, Lab units


def smoothed(share: Tensor, bins: Tensor) -> Tensor:
    """A distribution `(K,)` over `bins` `(K, 2)`, smoothed by a Gaussian kernel of 5 Lab units.

    Each bin's share is spread over all bins and none is lost: at the rim of the gamut the kernel is
    cut and made up to 1.
    """
    distance = torch.cdist(bins, bins, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = (distance.square() / (-2 * _SIGMA**2)).softmax(dim=1)
    return share @ kernel


class GamutBins(Objective):
    """Each pixel's a*b* is a distribution over its five nearest bins.

    The model's `forward` must decode these: it needs `logits`, `bins` and `decode`, which makes
    a*b* of logits.

    Args:
        rebalance: weight rare colours more, by the inverse of the smoothed distribution of colours
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
                "recipe key 'objective': 'gamut_bins' needs a model that makes its colours of "
                'scores of the gamut\'s 313 bins; set model = "eccv16", or another objective'
            )
        self.weights = torch.ones(len(self.bins), device=self.device)

    def prepare(self, model: nn.Module, sample: Batch, *, initialised: bool) -> None:
        """Find the class weights: proportional to 1 / ((1 - lambda) p + lambda / 313), with a mean
        of 1 under p, the smoothed distribution of the sample's colours (section 2.2)."""
        if self.rebalance:
            small = F.interpolate(sample.ab, scale_factor=0.25, mode="area")
            counts = torch.zeros_like(self.weights)
            for part in small.split(32):
                # the nearest bin alone, since the smoothing comes after
                counts += soft_encode(part, neighbours=1).sum(dim=(0, 2, 3)).to(counts)
            share = smoothed(counts / counts.sum(), self.bins)
            weights = 1 / ((1 - self.uniform) * share + self.uniform / len(share))
            self.weights = weights / (weights * share).sum()

    def state(self) -> dict[str, Tensor]:
        """The class weights `(313,)`."""
        return {"weights": self.weights}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take the class weights back."""
        self.weights = state["weights"].to(self.weights)

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits `(B, 313, h, w)`."""
        return model.logits(batch.lightness)  # type: ignore[operator]

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Mean cross entropy over the pixels, nats, each weighted by its nearest bin; a scalar."""
        target = soft_encode(F.interpolate(batch.ab, size=raw.shape[-2:], mode="area"))
        weight = self.weights[target.argmax(dim=1)]
        return (weight * -(target * raw.float().log_softmax(dim=1)).sum(dim=1)).mean()

    def picture(self, model: nn.Module, raw: Tensor, batch: Batch) -> Tensor:
        """What the model decodes its logits to, under the true L*."""
        return join_lab(batch.lab[:, :1], model.decode(raw))  # type: ignore[operator]
