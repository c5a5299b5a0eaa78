"""Augmentation that keeps colors: flips, rotations, crops.

Random numbers come from a generator on the CPU on every device, so that a training gets the same
pictures everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import TrainingError


@dataclass(frozen=True)
class Augment:
    """The augmentation of training pictures, each drawn at random.

    Attributes:
        flip: mirror half of the pictures horizontally.
        rotate: rotate by up to this many degrees either way, 0 to 180.
        min_scale: least share of the area that a random crop keeps, above 0; 1 is no crop.
        old_film_share: share of the pictures whose L* looks like old film, 0 to 1.
        ortho: share of the pictures whose L* is that of orthochromatic film, 0 to 1.
    """

    flip: bool = False
    rotate: float = 0.0
    min_scale: float = 1.0
    old_film_share: float = 0.0
    ortho: float = 0.0

    def __post_init__(self) -> None:
        for key, value, good in (
            ("rotate", self.rotate, 0 <= self.rotate <= 180),
            ("min_scale", self.min_scale, 0 < self.min_scale <= 1),
            ("old_film_share", self.old_film_share, 0 <= self.old_film_share <= 1),
            ("ortho", self.ortho, 0 <= self.ortho <= 1),
        ):
            if not good:
                span = {"rotate": "0 to 180", "min_scale": "above 0 to 1"}.get(key, "0 to 1")
                raise TrainingError(f"{key}: {value:g} is outside of {span}")


@dataclass(frozen=True)
class Draws:
    """The random choices for B pictures, on the CPU; None for an augmentation that is off.

    Attributes:
        flip: `(B,)` bool.
        theta: `(B, 2, 3)` float32, from places in the result to places in the picture, for
            `torch.nn.functional.affine_grid`.
    """

    flip: Tensor | None = None
    theta: Tensor | None = None

    def rows(self, rows: slice | Tensor) -> Draws:
        """The choices of some of the pictures."""
        flip = None if self.flip is None else self.flip[rows]
        return Draws(flip, None if self.theta is None else self.theta[rows])


def draw(count: int, settings: Augment, generator: torch.Generator) -> Draws:
    """Draw the choices for `count` square pictures; `generator` is on the CPU."""
    flip = torch.rand(count, generator=generator) < 0.5 if settings.flip else None
    if not settings.rotate and settings.min_scale == 1:
        return Draws(flip)
    turn, area, right, down = torch.rand(4, count, generator=generator)
    angle = (2 * turn - 1) * math.radians(settings.rotate)
    side = (settings.min_scale + (1 - settings.min_scale) * area).sqrt()
    x, y = (2 * right - 1) * (1 - side), (2 * down - 1) * (1 - side)  # the crop's center
    cos, sin = side * angle.cos(), side * angle.sin()
    theta = torch.stack([cos, -sin, x, sin, cos, y], dim=1).view(count, 2, 3)
    return Draws(flip, theta)


def apply(picture: Tensor, draws: Draws) -> Tensor:
    """Augment pictures `(B, 3, S, S)`, floating point, any device, as `draws` says.

    A flip moves pixels unchanged. Rotation and crop are one bilinear resampling; outside of the
    picture is its reflection.
    """
    if draws.flip is not None:
        mirrored = draws.flip.to(picture.device)[:, None, None, None]
        picture = torch.where(mirrored, picture.flip(-1), picture)
    if draws.theta is not None:
        theta = draws.theta.to(picture)
        grid = F.affine_grid(theta, list(picture.shape), align_corners=False)
        picture = F.grid_sample(picture, grid, padding_mode="reflection", align_corners=False)
    return picture
