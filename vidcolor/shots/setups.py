"""Set-ups: shots that look alike, from one place of the camera, by the model's own features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..run.references.palette import STRIDES

_GRID = 8  # rows and columns of the places that two stills are compared by
_ALIKE = 0.6  # mean cosine of their places from which on two stills are of one set-up


def describe_view(features: dict[int, Tensor]) -> Tensor:
    """What set-ups are told by: `(C, 64)` of the features `(1, C_s, h_s, w_s)` by stride."""
    pooled = [F.adaptive_avg_pool2d(features[s].float(), _GRID)[0].flatten(1) for s in STRIDES]
    return torch.cat(pooled).cpu()


def group(views: Sequence[Tensor]) -> list[int]:
    """Group stills into set-ups.

    Each still joins the set-up whose mean it is most like, if it is like enough, or begins one.
    Features are normalized by their statistics over all stills' places; so a place counts by how
    it differs from others.

    Args:
        views: of each still, by `describe_view`.

    Returns:
        The number of each still's set-up, from 1, in the order of their first stills.
    """
    if not views:
        return []
    stack = torch.stack(list(views))
    mean = stack.mean(dim=(0, 2), keepdim=True)
    spread = stack.std(dim=(0, 2), keepdim=True, correction=0)
    places = F.normalize((stack - mean) / (spread + 0.05 * spread.mean() + 1e-6), dim=1)
    flat = places.flatten(1) / _GRID  # of length 1: the product is the mean cosine
    sums: list[Tensor] = []
    found = []
    for still in flat:
        likeness = [float(still @ F.normalize(each, dim=0)) for each in sums]
        best = max(range(len(sums)), key=likeness.__getitem__, default=None)
        if best is None or likeness[best] < _ALIKE:
            best = len(sums)
            sums.append(torch.zeros_like(still))
        sums[best] = sums[best] + still
        found.append(best + 1)
    return found
