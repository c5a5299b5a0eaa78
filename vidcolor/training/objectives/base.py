"""The interface of training objectives, and their registry.

An objective registers itself in its own file of this package:

    @register_objective("name")
    class Name(Objective): ...

An installed package adds objectives by entry points of the group `vidcolor.training.objectives`;
see `vidcolor.system.registry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...color.convert import lab_to_rgb
from ...errors import RecipeError
from ...evaluation.metrics import margin_error, psnr
from ...system.registry import Registry
from ..data.batch import Batch

_HIGHER_IS_BETTER = {"psnr", "ssim", "accuracy"}


def higher_is_better(measure: str) -> bool:
    """Whether a higher `measure` is better; `psnr_a`, `test_psnr` and the like count as `psnr`."""
    return not _HIGHER_IS_BETTER.isdisjoint(measure.split("_"))


def join_lab(lightness: Tensor, ab: Tensor) -> Tensor:
    """R'G'B' `(B, 3, H, W)` in [0, 1] of L* `(B, 1, H, W)` and a*b* of any size, which is upsampled
    bilinearly."""
    ab = F.interpolate(ab.float(), size=lightness.shape[-2:], mode="bilinear")
    return lab_to_rgb(torch.cat([lightness, ab], dim=1)).clamp(0, 1)


class Objective(ABC):
    """A loss, with the model's method that it trains and the measures of a prediction.

    Attributes:
        space: color space of the batches, `rgb` or `lab`.
        native: the model's method that is trained.
        note: a remark on the measures for the results; may be empty.
        measure_names: the measures that `measures` always returns; a recipe may choose its best
            epoch by one of them, or by `loss`.
    """

    space: ClassVar[str] = "lab"
    native: ClassVar[str] = "forward"
    note: ClassVar[str] = ""
    measure_names: ClassVar[tuple[str, ...]] = ("psnr", "psnr_over_gray", "margin_error")

    def __init__(self, model: nn.Module) -> None:
        """`model` is on its device already; the objective may keep references to its buffers."""
        self.device = next(model.parameters()).device

    def prepare(  # noqa: B027 most objectives need nothing
        self, model: nn.Module, sample: Batch, *, initialized: bool
    ) -> None:
        """Fit palettes or class weights; called before the first step, not when resuming.

        Args:
            model: whose buffers may be written.
            sample: pictures of the training part.
            initialized: the model has trained weights; its buffers must be kept.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """The results of `prepare` that the model's buffers do not hold, for checkpoints."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:  # noqa: B027
        """Load what `state_dict` returned."""

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """The model's native prediction for `batch`; by default a*b* `(B, 2, h, w)`."""
        made: Tensor = model(batch.lightness)
        return made

    @abstractmethod
    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar: a mean over the pictures of `batch`."""

    def picture(self, model: nn.Module, raw: Tensor, batch: Batch) -> Tensor:
        """The color pictures of the prediction `raw`, R'G'B' `(B, 3, H, W)` in [0, 1]; by default
        the predicted a*b*, upsampled bilinearly, with the true L*."""
        return join_lab(batch.lab[:, :1], raw)

    def measures(self, made: Tensor, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Measures of each picture, `(B,)` by name, of 8-bit R'G'B'.

        `psnr` in dB, `psnr_over_gray` (less the PSNR of the gray picture, dB) and `margin_error`
        (share of channel values with an error of 12 or more).

        Args:
            made: the result of `picture`.
            raw: the native prediction.
            batch: the truth.
        """
        truth, made = ((rgb * 255).round() for rgb in (batch.rgb, made))
        neutral = join_lab(batch.lab[:, :1], torch.zeros_like(batch.ab))
        score = psnr(made, truth)
        return {
            "psnr": score,
            "psnr_over_gray": score - psnr((neutral * 255).round(), truth),
            "margin_error": margin_error(made, truth),
        }


OBJECTIVES: Registry[Objective] = Registry(
    "objective",
    Objective,  # type: ignore[type-abstract]
    "vidcolor.training.objectives",
    RecipeError,
)
register_objective = OBJECTIVES.register
