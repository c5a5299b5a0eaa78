"""A small random encoder for tests of reference pictures, and scenes that it can tell apart."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vidcolor.color.convert import lab_to_rgb
from vidcolor.models import FeatureModel


class Tiny(FeatureModel):
    """A random encoder whose decoder knows one color alone."""

    stride = 16

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.filters = nn.Parameter(torch.randn(48, 1, 8, 8, generator=generator))

    def features(self, lightness: Tensor) -> dict[int, Tensor]:
        fine = F.relu(F.conv2d(lightness / 100 - 0.5, self.filters, stride=8))
        return {8: fine, 16: F.avg_pool2d(fine, 2)}

    def from_features(self, features: dict[int, Tensor]) -> Tensor:
        batch, _, height, width = features[8].shape
        return torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(batch, 2, height * 2, width * 2)


def scene(seed: int, hue: float, height: int = 96, width: int = 96) -> Tensor:
    """R'G'B' `(1, 3, H, W)`: textured, with patches of color around one hue."""
    generator = torch.Generator().manual_seed(seed)
    lightness = 30 + 45 * torch.rand(1, 1, height // 4, width // 4, generator=generator)
    turn = hue + 0.5 * torch.rand(1, 1, 3, 3, generator=generator)
    ab = torch.cat([25 * turn.cos(), 25 * turn.sin()], dim=1)
    planes = [F.interpolate(x, (height, width), mode="bilinear") for x in (lightness, ab)]
    return lab_to_rgb(torch.cat(planes, dim=1))


def save(path: Path, rgb: Tensor) -> Path:
    pixels = (rgb[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(path)
    return path
