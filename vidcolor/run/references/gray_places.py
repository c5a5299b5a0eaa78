"""Places of a reference that were left gray: tell them from places that are gray, and fill them.

People and image-editing models often color a picture in parts. Gray that was left over is no color,
but a gray wall is. Each gray place is decided by itself, from the evidence of the places that have
colors, and of the model:

* Places that look like it have colors, about as much like it as other gray ones: it was left gray.
* The model sees a strong color in it, and is right about the places that have colors: likewise.
* Otherwise it is gray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .palette import GRAY, MAX_PLACES, Keys, Places

_COLORED = 6.0  # and from which on it has a color
_LEAST_COLORED = 0.02  # share of the places; with fewer, all gray is meant
_LIKE = 0.5  # cosine from which on two places show the same
_NEAREST = 3  # places that a place is compared with, of the gray and of the colored ones
_NEAR = 2  # rows and columns within which another gray place says nothing: it is left over with it
_FAVOR = 0.1  # a place may be so much less like the colored ones than like other gray ones
_SHARPNESS, _ROWS = 20.0, 1024
_PARTLY = 0.1  # share of gray pixels from which on a place is gray in part
_REACH = 0.15  # of the picture's longer side: how far colors are taken over from
_STRONG = 10.0  # chroma of a prediction that contradicts gray
_RIGHT = 0.6  # cosine of prediction and color from which on the model is right about a picture


def decide_gray(pictures: Sequence[Places], how: str) -> Sequence[Places]:
    """Give the places that were left gray the colors of places like them.

    Args:
        pictures: places of references that show one shot.
        how: `auto` decides place by place; `keep` takes all gray for a color, `ignore` none.
    """
    if how == "keep":
        return pictures
    if how == "ignore":
        left = [each.known & (each.colors.norm(dim=1) < GRAY) for each in pictures]
    else:
        left = left_gray(pictures)
    return [_filled(each, these) for each, these in zip(pictures, left, strict=True)]


def left_gray(pictures: Sequence[Places]) -> list[Tensor]:
    """For each picture `(n,)` bool, which of its places were left gray."""
    chroma = [each.colors.norm(dim=1) for each in pictures]
    gray = [each.known & (c < GRAY) for each, c in zip(pictures, chroma, strict=True)]
    colored = [each.known & (c >= _COLORED) for each, c in zip(pictures, chroma, strict=True)]
    some, any_colored = torch.cat(gray), torch.cat(colored)
    decided = torch.zeros_like(some)
    if not some.any() or any_colored.float().mean() < _LEAST_COLORED:
        return list(decided.split([len(each) for each in gray]))
    parts = zip(*(each.features for each in pictures), strict=True)
    planes = [torch.cat(each, dim=1) for each in parts]
    keys = Keys(planes)(planes)
    colors = torch.cat([each.colors for each in pictures])
    predicted = torch.cat([each.predicted for each in pictures])
    right = F.cosine_similarity(predicted[any_colored], colors[any_colored], dim=1).mean()
    # pictures lie far apart, so that no place of one is near to another's
    at = torch.cat([_places(each) + 10**6 * i for i, each in enumerate(pictures)])
    colored_at, gray_at = _thinned(any_colored), _thinned(some)
    for rows in some.nonzero()[:, 0].split(_ROWS):
        like_colored = _nearest(keys[:, rows].T @ keys[:, colored_at])
        cosine = keys[:, rows].T @ keys[:, gray_at]
        near = (at[rows][:, None] - at[gray_at]).abs().amax(dim=2) <= _NEAR
        like_gray = _nearest(cosine.masked_fill_(near, -1.0))
        left = (like_colored > _LIKE) & (like_colored > like_gray - _FAVOR)
        if right > _RIGHT:
            left |= predicted[rows].norm(dim=1) > _STRONG
        decided[rows] = left
    return list(decided.split([len(each) for each in gray]))


def _thinned(mask: Tensor) -> Tensor:
    """Numbers of the places of a mask; of many, some evenly over all."""
    found = mask.nonzero()[:, 0]
    return found[:: len(found) // MAX_PLACES + 1]


def _nearest(cosine: Tensor) -> Tensor:
    """Mean of the largest cosines in each row."""
    return cosine.topk(min(_NEAREST, cosine.shape[1]), dim=1).values.mean(dim=1)


def _places(picture: Places) -> Tensor:
    """`(n, 2)` row and column of each place."""
    rows, columns = picture.grid
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([y.flatten(), x.flatten()], dim=1).to(picture.colors.device)


def _filled(picture: Places, left: Tensor) -> Places:
    """Colors for the places `left`: of known places that look alike and lie near."""
    if not left.any():
        return picture
    # a place beside them that is gray in part lies on the border of what was colored
    beside = F.max_pool2d(left.view(1, 1, *picture.grid).float(), 3, 1, 1).flatten() > 0
    partly = picture.known & ~left & beside & (picture.gray > _PARTLY)
    spoiled = partly & (picture.gray > 1 - _PARTLY)
    known = torch.where((partly & ~spoiled)[:, None], picture.vivid, picture.colors)
    left = left | spoiled
    source = picture.known & ~left
    if not source.any():
        return picture
    keys = Keys(picture.features)(picture.features)
    at = _places(picture) / (_REACH * max(picture.grid))
    cosine = keys[:, left].T @ keys[:, source]
    logits = _SHARPNESS * cosine - torch.cdist(at[left], at[source]).square() / 2
    weights = logits.softmax(dim=1)
    colors = known.clone()
    colors[left] = weights @ known[source]
    return replace(picture, colors=colors)
