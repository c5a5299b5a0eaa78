"""`color_classes`: cross entropy over k-means colors (S3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import TrainingError
from ...models.reproductions.classifier import PaletteClassifier
from ..data.batch import Batch
from .base import Objective, register_objective

_SAMPLES = 100_000


def fit_palette(rgb: Tensor, count: int) -> Tensor:
    """The `(count, 3)` k-means centers of R'G'B' pictures `(B, 3, H, W)`, darkest first.

    OpenCV's k-means, k-means++ seeding, the best of three attempts, on at most 100,000 pixels.
    The same pictures give the same palette.
    """
    import cv2  # here, because its wheel needs system libraries that a bare machine lacks

    pixels = rgb.detach().cpu().permute(0, 2, 3, 1).reshape(-1, 3)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    chosen = pixels[order[:_SAMPLES]].contiguous().numpy()
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-4)
    labels = None
    _, _, centers = cv2.kmeans(chosen, count, labels, stop, 3, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    found = torch.from_numpy(centers)
    return found[found.sum(dim=1).argsort()]


@register_objective("color_classes")
class ColorClasses(Objective):
    """Cross entropy; a pixel's class is the nearest color of the model's palette."""

    space = "rgb"
    native = "logits"
    note = "of the picture in the palette's colors, with their lightness"
    measure_names = (*Objective.measure_names, "accuracy")

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        if not isinstance(model, PaletteClassifier):
            raise TrainingError(
                "recipe key 'objective': 'color_classes' needs a model with a palette of colors"
            )
        self.palette = model.palette

    def prepare(self, model: nn.Module, sample: Batch, *, initialized: bool) -> None:
        """Fit the palette to the sample's pixels by k-means, unless trained weights have one."""
        if not initialized:
            self.palette.copy_(fit_palette(sample.rgb, len(self.palette)))

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits `(B, NC, H, W)` of the classes."""
        made: Tensor = model.logits(batch.gray)  # type: ignore[operator]
        return made

    def classes(self, rgb: Tensor) -> Tensor:
        """The class of each pixel, `(B, H, W)`: the nearest color in R'G'B'."""
        pixels = rgb.permute(0, 2, 3, 1)
        # |p - c|^2 without |p|^2, which is the same for all classes
        scores = pixels @ self.palette.T - self.palette.square().sum(dim=1) / 2
        return scores.argmax(dim=-1)

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Mean cross entropy over the pixels, nats; a scalar."""
        return F.cross_entropy(raw.float(), self.classes(batch.rgb))

    def picture(self, model: nn.Module, raw: Tensor, batch: Batch) -> Tensor:
        """The most probable color of each pixel, as in the document."""
        return self.palette[raw.argmax(dim=1)].permute(0, 3, 1, 2)

    def measures(self, made: Tensor, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Also `accuracy`: the share of pixels of the right class."""
        found = super().measures(made, raw, batch)
        hits = raw.argmax(dim=1) == self.classes(batch.rgb)
        return {**found, "accuracy": hits.float().mean(dim=(1, 2))}
