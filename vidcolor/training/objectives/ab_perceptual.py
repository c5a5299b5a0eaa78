"""`ab_perceptual`: Huber loss of a*b*, LPIPS, and a colorfulness penalty."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import WeightsError
from ...evaluation.metrics import colorfulness, load_lpips
from ...run.colorizer import Colorizer
from ..data.batch import Batch
from .ab_regression import AbHuber
from .base import join_lab, register_objective


@register_objective("ab_perceptual")
class AbPerceptual(AbHuber):
    """Huber loss of a*b*, LPIPS of the picture, and a colorfulness penalty.

    Regression blurs the borders between colors; LPIPS (see `metrics.Lpips`) sharpens them.

    Args:
        knee, at, color, log: as in `AbHuber`.
        lpips: factor on LPIPS.
        lpips_weights: file of AlexNet's features; empty: torch's hub cache.
        teacher: name of shipped or imported weights, or a weights file, to learn from as well;
            empty: none.
        taught: share of the Huber loss that compares with the teacher instead of the truth; in
            training only, not in validation.

    Raises:
        ValueError: a factor or share is out of range, AlexNet's weights are missing, or the teacher
            cannot be loaded.
    """

    measure_names = (*AbHuber.measure_names, "lpips", "colorfulness", "true_colorfulness")

    def __init__(
        self,
        model: nn.Module,
        knee: float = 10.0,
        at: str = "prediction",
        lpips: float = 1.0,
        color: float = 0.1,
        lpips_weights: str = "",
        teacher: str = "",
        taught: float = 0.5,
        log: float = 0.0,
    ) -> None:
        super().__init__(model, knee, at, color, log)
        if not 0 <= taught <= 1:
            raise ValueError(f"taught must be within 0 and 1, not {taught}")
        if lpips < 0:
            raise ValueError(f"lpips must not be negative, not {lpips}")
        self.lpips = lpips
        network = load_lpips(Path(lpips_weights) if lpips_weights else None)
        if network is None:
            raise ValueError(
                "AlexNet is not in torch's hub cache: give torchvision's file with --set "
                "objective_options.lpips_weights=FILE, or train without it: --set "
                "objective=ab_huber --set objective_options={}"
            )
        self.network = network.to(self.device).requires_grad_(False)
        self.taught = taught
        self.teacher = _Teacher(teacher, self.device) if teacher and taught else None

    def loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """Huber loss, see `huber`, + lpips * LPIPS + color * penalty; a scalar. With
        gradients a share of the Huber loss compares with the teacher."""
        made = join_lab(batch.lab[:, :1], raw)
        # a mean over feature maps: bf16 is enough, and needs half the time on a CPU
        with torch.autocast(made.device.type, torch.bfloat16):
            distance: Tensor = self.network(made * 255, batch.rgb * 255).mean()
        huber = self.huber(raw, batch)
        if self.teacher is not None and torch.is_grad_enabled():
            huber = torch.lerp(huber, self.huber(raw, self.teacher(batch)), self.taught)
        return huber + self.lpips * distance + self.color * self.paleness(made, batch)

    def measures(self, made: Tensor, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Also `lpips` and the `colorfulness` of each picture, and the truth's
        `true_colorfulness`."""
        found = super().measures(made, raw, batch)
        found["lpips"] = self.network((made * 255).round(), (batch.rgb * 255).round())
        found["colorfulness"] = colorfulness((made * 255).round())
        found["true_colorfulness"] = colorfulness((batch.rgb * 255).round())
        return found


class _Teacher:
    """Trained weights that predict a batch.

    Args:
        name: of shipped or imported weights, or a weights file.
        device: where to predict, in the precision that suits it.

    Raises:
        ValueError: they cannot be loaded.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        file = Path(name) if Path(name).is_file() else None
        try:
            self.colorizer = Colorizer(None if file else name, weights=file, device=str(device))
        except WeightsError as error:
            raise ValueError(f"teacher: {error}") from error

    def __call__(self, batch: Batch) -> Batch:
        """The batch with the teacher's a*b* in place of its own."""
        lightness = batch.lab[:, :1].detach()
        sides, stride = lightness.shape[-2:], self.colorizer.stride
        size = [max(1, round(side / stride)) * stride for side in sides]
        seen = F.interpolate(lightness, size=size, mode="bilinear", antialias=True)
        ab = F.interpolate(self.colorizer.network(seen), size=sides, mode="bilinear")
        return Batch(torch.cat([lightness, ab], dim=1), "lab")
