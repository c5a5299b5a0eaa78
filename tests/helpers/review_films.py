"""A gray film of two shots, and color films made of it with one fault planted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.color_clips import write_clip
from tests.helpers.shot_folders import write_gray_film
from vidcolor.color.convert import lab_to_rgb, rgb_to_lab
from vidcolor.color.gamut import limit_chroma

SIDE = 96
SHOT = 30  # frames of each shot; 10 a second
Planted = Callable[[int, Tensor], Tensor]  # a frame's number and its a*b* `(1, 2, H, W)`


def scene(seed: int, width: int) -> Tensor:
    """R'G'B' `(1, 3, SIDE, width)`: texture, and colors of all hues."""
    generator = torch.Generator().manual_seed(seed)
    lightness = 30 + 45 * torch.rand(1, 1, SIDE // 4, width // 4, generator=generator)
    ab = 30 * torch.randn(1, 2, 3, width // 48, generator=generator).clamp(-1, 1)
    planes = [F.interpolate(x, (SIDE, width), mode="bilinear") for x in (lightness, ab)]
    planes[1] = limit_chroma(*planes)
    return lab_to_rgb(torch.cat(planes, dim=1))


def true_frames() -> list[Tensor]:
    """R'G'B' `(1, 3, SIDE, SIDE)` of two shots that pan."""
    shots = [scene(seed, SIDE + 2 * SHOT + 4) for seed in (1, 2)]
    return [shot[..., 2 * i : 2 * i + SIDE] for shot in shots for i in range(SHOT)]


def nothing(number: int, ab: Tensor) -> Tensor:
    """Colors as they are."""
    return ab


def recolored(frames: Sequence[Tensor], planted: Planted = nothing) -> list[Tensor]:
    """The frames with other a*b* and their own L*."""
    found = []
    for number, rgb in enumerate(frames):
        lab = rgb_to_lab(rgb)
        ab = limit_chroma(lab[:, :1], planted(number, lab[:, 1:].clone()))
        found.append(lab_to_rgb(torch.cat([lab[:, :1], ab], dim=1)))
    return found


def pixels(rgb: Tensor) -> np.ndarray:
    """`(H, W, 3)` uint8."""
    return np.asarray((rgb[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())


def write_original(folder: Path, frames: Sequence[Tensor]) -> Path:
    return write_gray_film(folder / "original.mkv", frames)


def write_result(folder: Path, frames: Sequence[Tensor], name: str = "color.mkv") -> Path:
    return write_clip(folder / name, [pixels(rgb) for rgb in frames])
