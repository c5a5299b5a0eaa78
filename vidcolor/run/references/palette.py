"""What reference pictures say of color: `Palette` pulls a frame's prediction toward them.

Each place of a frame (a cell of 8x8 pixels of what the model sees) is compared with the places of
the references by what the model's own encoder says of them, its features at strides 8 and 16. It
takes the references' true a*b*, weighted by likeness, as far as the best likeness can be trusted,
and the model's own prediction otherwise. There is no second network.

Correspondence by encoder features and a softmax over places is the idea of He et al. 2018, "Deep
exemplar-based colorization"; here nothing is trained for it. Taking over the reference's colors
was measured against taking over its residual (truth minus prediction) and won wherever the
reference fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...color.convert import rgb_to_lab

Description = tuple[Tensor, dict[int, Tensor]]  # a model's a*b* of pictures, and its features
Describe = Callable[[Tensor], Description]

STRIDES = (8, 16)  # of the features that are compared; the first is the size of a place
GRAY = 3.0  # chroma of a*b* below which a pixel or place is gray
MAX_PLACES = 2048  # of all references that compete; more are thinned out evenly
_SHARPNESS = 20.0  # of the softmax over cosines
_DOUBT, _TRUST = 0.3, 0.7  # a best cosine that counts nothing, and one that counts fully
_ROWS = 4096  # places of a frame that are compared at once
_EXPOSURE = 0.5, 2.0  # limits of the factor on a darker or brighter reference's chroma


@dataclass(frozen=True)
class Reference:
    """A color picture as the model sees it.

    Attributes:
        path: its file.
        rgb: `(1, 3, h, w)` uint8 R'G'B' at the model's resolution, upright.
        opaque: `(1, 1, h, w)` bool, False where the picture is transparent.
        lightness: `(1, 1, h, w)` L* of the film's own frame that the picture shows, if it is known;
            None takes the picture's own.
    """

    path: Path
    rgb: Tensor
    opaque: Tensor
    lightness: Tensor | None = None


@dataclass(frozen=True)
class Places:
    """The places of one reference, `n` in rows.

    Attributes:
        grid: rows and columns of places.
        features: `(C_s, n)` for each of `STRIDES`.
        colors: `(n, 2)` a*b*.
        predicted: `(n, 2)` what the model predicts from the lightness.
        known: `(n,)` bool, False where the reference is transparent.
        gray: `(n,)` share of gray pixels.
        vivid: `(n, 2)` a*b* of the others alone.
    """

    grid: tuple[int, int]
    features: tuple[Tensor, ...]
    colors: Tensor
    predicted: Tensor
    known: Tensor
    gray: Tensor
    vivid: Tensor


def grid_of(features: dict[int, Tensor]) -> tuple[int, int]:
    """Rows and columns of places."""
    height, width = features[STRIDES[0]].shape[-2:]
    return height, width


def planes_of(features: dict[int, Tensor], grid: tuple[int, int]) -> tuple[Tensor, ...]:
    """Features of one picture at its places, `(C_s, n)` float32 for each of `STRIDES`."""
    planes = []
    for stride in STRIDES:
        plane = features[stride].float()
        if plane.shape[-2:] != grid:
            plane = F.interpolate(plane, grid, mode="bilinear")
        planes.append(plane[0].flatten(1))
    return tuple(planes)


def places_of(reference: Reference, describe: Describe, device: torch.device) -> Places:
    """Describe a reference by the model.

    The picture of a known frame is compared with others by that frame's lightness. Where the
    picture is darker or brighter, its chroma is multiplied by (L + 16) / (L' + 16): a change of
    exposure scales X, Y and Z alike, and L* + 16, a* and b* with their cube root.
    """
    lab = rgb_to_lab(reference.rgb.to(device).float() / 255)
    opaque = reference.opaque.to(device)
    lightness = lab[:, :1] if reference.lightness is None else reference.lightness.to(device)
    predicted, features = describe(lightness)
    grid = grid_of(features)

    def mean_of(plane: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        part = F.adaptive_avg_pool2d(where.float(), grid)
        return F.adaptive_avg_pool2d(plane * where, grid) / part.clamp_min(1e-6), part

    colored = opaque & (lab[:, 1:].norm(dim=1, keepdim=True) >= GRAY)
    mean, share = mean_of(lab, opaque)
    vivid, colored_share = mean_of(lab[:, 1:], colored)
    exposure: float | Tensor = 1.0
    if reference.lightness is not None:
        own, _ = mean_of(lightness, opaque)
        exposure = ((own + 16) / (mean[:, :1] + 16)).clamp(*_EXPOSURE)
    known = share.flatten() >= 0.5
    if not known.any():  # thin lines on nothing: no place is half covered, so all count
        known = torch.ones_like(known)
    return Places(
        grid,
        planes_of(features, grid),
        _rows(mean[:, 1:] * exposure),
        _rows(F.interpolate(predicted.float(), grid, mode="area")),
        known,
        1 - (colored_share / share.clamp_min(1e-6)).flatten(),
        _rows(vivid * exposure),
    )


def _rows(plane: Tensor) -> Tensor:
    """`(1, C, h, w)` to `(n, C)`."""
    return plane[0].flatten(1).T.contiguous()


class Keys:
    """Features made comparable: normalized by their statistics over some pictures' places.

    Args:
        planes: `(C_s, n)` for each of `STRIDES`: the places that the statistics are taken of.
    """

    def __init__(self, planes: Sequence[Tensor]) -> None:
        self.means = [plane.mean(dim=1)[:, None] for plane in planes]
        spreads = [plane.std(dim=1, correction=0)[:, None] for plane in planes]
        # a channel that is constant in the references must not dominate where it is not
        self.spreads = [s + 0.05 * s.mean() + 1e-6 for s in spreads]

    def __call__(self, planes: Sequence[Tensor]) -> Tensor:
        """Features `(C_s, n)` of each stride to keys `(C, n)` of length 1."""
        parts = [
            F.normalize((plane - mean) / spread, dim=0)
            for plane, mean, spread in zip(planes, self.means, self.spreads, strict=True)
        ]
        return F.normalize(torch.cat(parts), dim=0)


class Palette:
    """What a set of references says of color, by the features of their places.

    Args:
        pictures: the places of pictures that compete with each other.
    """

    def __init__(self, pictures: Sequence[Places]) -> None:
        known = torch.cat([each.known for each in pictures])
        keep = known.nonzero()[:, 0]
        if len(keep) > MAX_PLACES:
            steps = torch.arange(MAX_PLACES, device=keep.device)
            keep = keep[steps * len(keep) // MAX_PLACES]
        parts = zip(*(each.features for each in pictures), strict=True)
        planes = [torch.cat(each, dim=1)[:, keep] for each in parts]
        self.key = Keys(planes)
        self.keys = self.key(planes)  # (C, places), of length 1
        self.colors = torch.cat([each.colors for each in pictures])[keep]  # (places, 2)
        counts = torch.tensor([len(each.known) for each in pictures], device=keep.device)
        numbers = torch.arange(len(pictures), device=keep.device)
        self.owners = torch.repeat_interleave(numbers, counts)[keep]  # the picture of each place

    def match(self, features: dict[int, Tensor], weights: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Find a frame's places among the references'.

        Args:
            features: of the frame, by stride, each `(1, C_s, h_s, w_s)`.
            weights: of each picture, above 0 to 1: among equal likenesses they share by it.

        Returns:
            `(1, 2, h, w)` a*b* by the references at each place, and `(1, 1, h, w)` how far they can
            be trusted, 0 to 1.
        """
        grid = grid_of(features)
        color, trust = self.match_planes(planes_of(features, grid), weights)
        plane = torch.cat([color, trust], dim=1).T.reshape(1, 3, *grid)
        return plane[:, :2], plane[:, 2:]

    def match_planes(
        self, planes: Sequence[Tensor], weights: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """`match` for features `(C_s, n)` of each stride: `(n, 2)` a*b* and `(n, 1)` trust."""
        weight = self.colors.new_tensor(weights)[self.owners]
        weighted = torch.cat([self.colors, torch.ones_like(self.colors[:, :1])], 1)
        weighted = weighted * weight[:, None]
        parts = []
        for queries in self.key(planes).T.split(_ROWS):
            cosine = queries @ self.keys
            best = cosine.amax(dim=1, keepdim=True)
            sums = cosine.sub_(best).mul_(_SHARPNESS).exp_() @ weighted
            trust = ((best - _DOUBT) / (_TRUST - _DOUBT)).clamp(0, 1)
            parts.append(torch.cat([sums[:, :2] / sums[:, 2:], trust], dim=1))
        both = torch.cat(parts)
        return both[:, :2], both[:, 2:]

    def pull(
        self, ab: Tensor, features: dict[int, Tensor], weights: Sequence[float], strength: float
    ) -> Tensor:
        """Pull a frame's predicted chroma toward the references.

        Args:
            ab: `(1, 2, h, w)` the model's own prediction.
            features, weights: see `match`.
            strength: 0 (nothing) to 1.

        Returns:
            `(1, 2, h, w)`.
        """
        plane = torch.cat(self.match(features, weights), dim=1)
        plane = F.interpolate(plane, size=ab.shape[-2:], mode="bilinear")
        return ab + strength * plane[:, 2:] * (plane[:, :2] - ab)
