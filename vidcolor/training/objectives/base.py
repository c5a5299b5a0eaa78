"""What every training objective offers to the loop."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...color.convert import lab_to_rgb
from ...evaluation.metrics import margin_error, psnr
from ..data.batch import Batch


def join_lab(lightness: Tensor, ab: Tensor) -> Tensor:
    """L* `(B, 1, H, W)` and a*b* of any size, upsampled bilinearly, as R'G'B' in [0, 1]."""
    ab = F.interpolate(ab.float(), size=lightness.shape[-2:], mode="bilinear")
    return lab_to_rgb(torch.cat([lightness, ab], dim=1)).clamp(0, 1)


class Objective(ABC):
    """A way to train a model: native prediction, loss, and the picture that it means.

    Attributes:
        space: `rgb` or `lab`: what the batches are kept in, so that nothing is converted twice.
        native: the model's method that is trained.
        note: what a reader must know of the measures; empty where there is nothing.
    """

    space = "lab"
    native = "forward"
    note = ""

    def __init__(self, model: nn.Module) -> None:
        """`model` is on its device already; an objective may keep hold of its buffers."""
        self.device = next(model.parameters()).device

    def prepare(  # noqa: B027 most objectives need nothing
        self, model: nn.Module, sample: Batch, *, initialised: bool
    ) -> None:
        """Fit what the objective needs (colours, class weights) to `sample` of the training part
        and write it into the model's buffers; called once, before the first step, and not when a
        training resumes. `initialised`: the model starts from trained weights, whose buffers are
        to be kept."""

    def state(self) -> dict[str, Tensor]:
        """What `prepare` found and the model's buffers do not hold; saved with checkpoints."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:  # noqa: B027
        """Take back what `state` gave."""

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """The model's native prediction for `batch`; by default a*b* `(B, 2, h, w)`."""
        return model(batch.lightness)

    @abstractmethod
    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """The scalar that training lowers, a mean over the pictures of `batch`."""

    def picture(self, model: nn.Module, raw: Tensor, batch: Batch) -> Tensor:
        """The colour picture that `raw` means, R'G'B' `(B, 3, H, W)` in [0, 1]; by default the
        predicted a*b*, upsampled bilinearly, under the true L*."""
        return join_lab(batch.lab[:, :1], raw)

    def measures(self, made: Tensor, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Measures of each picture, `(B,)` by name: `psnr` in dB, the `gain` over leaving the
        picture grey in dB, and the 12-`margin_error`, all in 8-bit R'G'B'.

        Args:
            made: what `picture` returned.
            raw: the native prediction.
            batch: the truth.
        """
        truth, made = ((rgb * 255).round() for rgb in (batch.rgb, made))
        neutral = join_lab(batch.lab[:, :1], torch.zeros_like(batch.ab))
        score = psnr(made, truth)
        return {
            "psnr": score,
            "gain": score - psnr((neutral * 255).round(), truth),
            "margin_error": margin_error(made, truth),
        }
