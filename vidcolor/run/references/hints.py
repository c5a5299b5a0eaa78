"""Hints: the color of one thing in one frame, carried to where it is in the frames of its shot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .palette import Describe, Keys, grid_of, planes_of
from .shot_list import Hint

_SHARPNESS = 30.0  # of the softmax over cosines
_DOUBT, _TRUST = 0.3, 0.5  # a best cosine that counts nothing, and one that counts fully
_OUTSIDE, _INSIDE = 0.3, 0.5  # a share of the hinted places that is outside, and one inside
_AROUND, _SAME = 2, 0.6  # places around a point, and their cosine with it from which on they join
# a thing is looked for near where it was: standard deviation in longer sides, and more a frame
_NEAR, _DRIFT = 0.2, 0.02


@dataclass(frozen=True)
class HintFrame:
    """A frame with hints, as the model sees it.

    Attributes:
        number: of the frame.
        lightness: `(1, 1, h, w)` L*.
        boxes: left, top, right, bottom of each hint, in shares of width and height.
        colors: a*, b* of each.
    """

    number: int
    lightness: Tensor
    boxes: tuple[tuple[float, float, float, float], ...]
    colors: tuple[tuple[float, float], ...]


def hint_frame(hints: Sequence[Hint], lightness: Tensor, size: tuple[int, int]) -> HintFrame:
    """The hints of one frame.

    Args:
        hints: of one frame, at least one.
        lightness: `(1, 1, h, w)` L* of the frame at the model's size.
        size: width and height of the upright frame, pixels.
    """
    scale = (*size, *size)
    boxes = []
    for each in hints:
        left, top, right, bottom = (a / b for a, b in zip(each.box, scale, strict=True))
        boxes.append((left, top, right, bottom))
    return HintFrame(hints[0].frame, lightness, tuple(boxes), tuple(each.ab for each in hints))


class HintPalette:
    """Finds the hinted places of one frame in others.

    Every place of the frame takes part in the comparison, those without a hint too: what looks
    more like them is left as it is.

    Args:
        frame: with its hints.
        describe: the model on `device`.
        device: where the palette is kept and used.
    """

    def __init__(self, frame: HintFrame, describe: Describe, device: torch.device) -> None:
        self.number = frame.number
        _, features = describe(frame.lightness.to(device))
        grid = grid_of(features)
        planes = planes_of(features, grid)
        self._key = Keys(planes)
        self._keys = self._key(planes)
        self._at = _centers(grid).to(device)
        masks = [self._places(box, grid) for box in frame.boxes]
        self._masks = torch.stack(masks, dim=1)  # (places, hints)
        self._colors = torch.tensor(frame.colors, device=device)  # (hints, 2)

    def _places(self, box: tuple[float, float, float, float], grid: tuple[int, int]) -> Tensor:
        """`(n,)` float, 1 for the places of a hint.

        A box smaller than a place, so a point too, stands for what looks the same around it.
        """
        share = _covered(box, grid).to(self._keys)
        if (share >= 0.5).any():
            return (share >= 0.5).float()
        seed = int(share.argmax())
        near = ((self._at - self._at[seed]).abs() * max(grid)).amax(dim=1) < _AROUND + 0.5
        same = self._keys[:, seed] @ self._keys > _SAME
        return (near & same).float()

    def apply(self, ab: Tensor, features: dict[int, Tensor], number: int) -> Tensor:
        """Set the color of the hinted places in a frame.

        Args:
            ab: `(1, 2, h, w)` a*b* so far.
            features: of the frame, by stride.
            number: of the frame.

        Returns:
            `(1, 2, h, w)`.
        """
        grid = grid_of(features)
        queries = self._key(planes_of(features, grid)).T
        cosine = queries @ self._keys
        reach = _NEAR + _DRIFT * abs(number - self.number)
        away = torch.cdist(_centers(grid).to(self._at), self._at).square() / (2 * reach**2)
        share = (_SHARPNESS * cosine - away).softmax(dim=1) @ self._masks
        inside = ((share.sum(dim=1) - _OUTSIDE) / (_INSIDE - _OUTSIDE)).clamp(0, 1)
        trust = ((cosine.amax(dim=1) - _DOUBT) / (_TRUST - _DOUBT)).clamp(0, 1)
        color = share @ self._colors / share.sum(dim=1, keepdim=True).clamp_min(1e-6)
        plane = torch.cat([color, (inside * trust)[:, None]], dim=1).T.reshape(1, 3, *grid)
        plane = F.interpolate(plane, size=ab.shape[-2:], mode="bilinear")
        return ab + plane[:, 2:] * (plane[:, :2] - ab)


def _centers(grid: tuple[int, int]) -> Tensor:
    """`(n, 2)` row and column of the places, in longer sides of the picture."""
    rows, columns = grid
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return (torch.stack([y.flatten(), x.flatten()], dim=1) + 0.5) / max(grid)


def _covered(box: tuple[float, float, float, float], grid: tuple[int, int]) -> Tensor:
    """`(n,)` share of each place that a box covers."""
    rows, columns = grid
    edges_y = torch.arange(rows + 1) / rows
    edges_x = torch.arange(columns + 1) / columns
    left, top, right, bottom = box
    down = (edges_y[1:].clamp(max=bottom) - edges_y[:-1].clamp(min=top)).clamp_min(0) * rows
    across = (edges_x[1:].clamp(max=right) - edges_x[:-1].clamp(min=left)).clamp_min(0) * columns
    return (down[:, None] * across).flatten()
