"""`gamut_bins`: cross entropy over the 313 in-gamut a*b* bins, soft-encoded and rebalanced.

Source: Zhang, Isola and Efros 2016, "Colorful image colorization", sections 2.1 to 2.3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import TrainingError
from ...models.gamut import ab_bins, soft_encode
from ..batch import Batch
from .base import Objective, join_lab


class GamutBins(Objective):
    """Each pixel's a*b* is a distribution over its five nearest bins.

    Args:
        rebalance: weight rare colours more, by the inverse of the smoothed distribution of colours
            in the training part, mixed with `uniform` of the uniform one.
        uniform: the share lambda of the uniform distribution.
        temperature: of the annealed mean that makes a picture of the prediction.
    """

    native = "logits"

    def __init__(
        self,
        model: nn.Module,
        rebalance: bool = True,
        uniform: float = 0.5,
        temperature: float = 0.38,
    ) -> None:
        super().__init__(model)
        if not 0 <= uniform <= 1 or temperature <= 0:
            raise ValueError("uniform must lie between 0 and 1, and temperature above 0")
        self.rebalance, self.uniform, self.temperature = rebalance, uniform, temperature
        self.bins = ab_bins().to(self.device)
        if len(getattr(model, "bins", ())) != len(self.bins):
            raise TrainingError(
                "recipe key 'objective': 'gamut_bins' needs a model that scores the gamut's 313 bins "
                "(eccv16, or siggraph17 with model_options.classes = 313)"
            )
        self.weights = torch.ones(len(self.bins), device=self.device)

    def prepare(self, model: nn.Module, sample: Batch, *, initialised: bool) -> None:
        """Find the class weights: proportional to 1 / ((1 - lambda) p + lambda / 313), with a mean
        of 1 under the distribution p of the sample's colours."""
        if self.rebalance:
            small = F.interpolate(sample.ab, scale_factor=0.25, mode="area")
            counts = torch.zeros_like(self.weights)
            for part in small.split(32):
                counts += soft_encode(part).sum(dim=(0, 2, 3)).to(counts)
            share = counts / counts.sum()
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
        """The annealed mean of the distribution, `picture` of which is under the true L*."""
        shares = (raw.float() / self.temperature).softmax(dim=1)
        ab = torch.einsum("bnhw,nc->bchw", shares, self.bins)
        return join_lab(batch.lab[:, :1], ab)
