"""The a*b* plane as 313 classes: the bins of Zhang, Isola and Efros, and soft encoding.

Zhang, Isola, Efros 2016, "Colorful image colorization", section 2.1: a*b* is cut into bins of 10
units, of which 313 hold colors of the sRGB gamut.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ...color.convert import rgb_to_lab

# The tables below are made on the CPU whatever the default device is: a model may be created on
# torch's meta device, where they would have no numbers, and they are cached.
GRID = 10  # units of a*b* between neighboring bin centers

_SAMPLES = 33  # per edge of the RGB cube; doubling it moves no distance by more than 0.01
_DIRECTIONS = 720  # of the support lines round the gamut, every half degree


@cache
def _gamut_surface() -> Tensor:
    """The a*b* `(N, 2)` of colors on the six faces of the sRGB cube, float64."""
    side = torch.linspace(0, 1, _SAMPLES, dtype=torch.float64, device="cpu")
    u, v = torch.meshgrid(side, side, indexing="ij")
    faces = []
    for level in (0.0, 1.0):
        fixed = torch.full_like(u, level)
        faces += [
            torch.stack([fixed, u, v]),
            torch.stack([u, fixed, v]),
            torch.stack([u, v, fixed]),
        ]
    return rgb_to_lab(torch.stack(faces))[:, 1:].permute(0, 2, 3, 1).reshape(-1, 2)


def hull_distance(ab: Tensor) -> Tensor:
    """How far colors lie outside the convex hull of the sRGB gamut in the a*b* plane.

    The distance is the larger of the two coordinate differences (maximum norm), found by duality:
    it is the greatest of (u.p - h(u)) / |u|_1 over all directions u, where h(u) is how far the
    gamut reaches in direction u.

    Args:
        ab: `(N, 2)` in Lab units.

    Returns:
        `(N,)` float64 on the CPU, in Lab units; negative inside.
    """
    steps = torch.arange(_DIRECTIONS, dtype=torch.float64, device="cpu")
    angle = steps * (2 * torch.pi / _DIRECTIONS)
    directions = torch.stack([angle.cos(), angle.sin()])
    reach = (_gamut_surface() @ directions).amax(dim=0)
    beyond = (ab.cpu().double() @ directions - reach) / directions.abs().sum(dim=0)
    return beyond.amax(dim=1)


@cache
def ab_bins() -> Tensor:
    """The 313 bin centers, `(313, 2)` float32 in Lab units, by a* and then by b*.

    A point of the grid is a bin where it is a corner of a grid cell that the convex hull of the
    sRGB gamut reaches into, in other words where `hull_distance` is below 10. The paper does not
    print its rule. This one was found here, and it gives the centers that came with the released
    networks (a* from -90 to 100, b* from -110 to 110), in the same order. No point lies
    closer to the limit than 0.03.

    The tensor is shared: do not write to it.
    """
    axis = GRID * torch.arange(-13, 14, dtype=torch.float32, device="cpu")
    points = torch.cartesian_prod(axis, axis)
    return points[hull_distance(points) < GRID]


@cache
def ab_grid(limit: int = 110) -> Tensor:
    """The whole square grid of bin centers from -limit to limit, by a* and then by b*.

    With 110 these are the 529 classes of `siggraph17`. `((2 * limit / 10 + 1)^2, 2)` float32 in
    Lab units; the tensor is shared: do not write to it.
    """
    axis = torch.arange(-limit, limit + 1, GRID, dtype=torch.float32, device="cpu")
    return torch.cartesian_prod(axis, axis)


def soft_encode(
    ab: Tensor, neighbors: int = 5, sigma: float = 5.0, bins: Tensor | None = None
) -> Tensor:
    """Colors as distributions over the bins: Gaussian weights on the nearest ones, of sum 1.

    Source: Zhang, Isola, Efros 2016, section 2.1 (5 neighbors, sigma 5). One picture is encoded
    at a time, so that besides the result only one picture's distances are held.

    Args:
        ab: `(B, 2, H, W)` in Lab units.
        neighbors: how many of the nearest bins share a color.
        sigma: standard deviation of the Gaussian, in Lab units.
        bins: `(K, 2)` centers; the 313 of `ab_bins` by default.

    Returns:
        `(B, K, H, W)` of the dtype and on the device of `ab`.

    Raises:
        ValueError: `neighbors` is not between 1 and K, or `sigma` is not positive.
    """
    centers = (ab_bins() if bins is None else bins).to(ab.device, torch.float32)
    count = len(centers)
    if not 1 <= neighbors <= count:
        raise ValueError(f"neighbors must lie between 1 and {count}, not {neighbors}")
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, not {sigma}")
    batch, _, height, width = ab.shape
    encoded = ab.new_zeros(batch, count, height * width)
    for picture, target in zip(ab.flatten(2), encoded, strict=True):
        distance = torch.cdist(
            picture.float().T, centers, compute_mode="donot_use_mm_for_euclid_dist"
        )
        nearest, index = distance.topk(neighbors, dim=1, largest=False)
        # the softmax of the exponents is the Gaussian divided by its sum, safe far from all bins
        weights = torch.softmax(nearest.square() / (-2 * sigma**2), dim=1)
        target.scatter_(0, index.T, weights.T.to(target.dtype))
    return encoded.view(batch, count, height, width)
