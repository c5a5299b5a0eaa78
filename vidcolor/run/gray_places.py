"""Places of a reference that were left gray: tell them from places that are gray, and fill them.

People and image-editing models often color a picture in parts. Gray that was left over is no color,
but a gray wall is. Each gray place is decided by itself, from the evidence of the places that have
colors, and of the model:

* Places that look like it have colors: it was left gray.
* The model sees a strong color in it, and is right about the places that have colors: likewise.
* Otherwise it is gray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .palette import Keys, Places

GRAY = 3.0  # chroma of a*b* below which a place is gray
_COLORED = 6.0  # and from which on it has a color
_LEAST_COLORED = 0.02  # share of the places; with fewer, all gray is meant
_LIKE = 0.5  # cosine from which on two places show the same
_SHARPNESS = 20.0
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
    if not some.any() or any_colored.float().mean() < _LEAST_COLORED:
        return [torch.zeros_like(each) for each in gray]
    parts = zip(*(each.features for each in pictures), strict=True)
    planes = [torch.cat(each, dim=1) for each in parts]
    keys = Keys(planes)(planes)
    colors = torch.cat([each.colors for each in pictures])
    predicted = torch.cat([each.predicted for each in pictures])
    right = F.cosine_similarity(predicted[any_colored], colors[any_colored], dim=1).mean()
    like_colored = (keys[:, some].T @ keys[:, any_colored]).amax(dim=1)
    apart = _components(pictures, gray)[some]
    cosine = keys[:, some].T @ keys[:, some]
    cosine[apart[:, None] == apart[None]] = -1.0
    like_gray = cosine.amax(dim=1)
    left = (like_colored > _LIKE) & (like_colored > like_gray)
    if right > _RIGHT:
        left |= predicted[some].norm(dim=1) > _STRONG
    decided = torch.zeros_like(some)
    decided[some] = left
    return list(decided.split([len(each) for each in gray]))


def _components(pictures: Sequence[Places], gray: Sequence[Tensor]) -> Tensor:
    """A number for each place: that of the patch of gray places it lies in."""
    import cv2

    found, count = [], 0
    for each, mask in zip(pictures, gray, strict=True):
        plane = mask.view(each.grid).cpu().numpy().astype("uint8")
        number, labels = cv2.connectedComponents(plane, connectivity=4)
        found.append(torch.from_numpy(labels).flatten().to(mask.device) + count)
        count += number
    return torch.cat(found)


def _filled(picture: Places, left: Tensor) -> Places:
    """Colors for the places `left`: of known places that look alike and lie near."""
    source = picture.known & ~left
    if not left.any() or not source.any():
        return picture
    keys = Keys(picture.features)(picture.features)
    rows, columns = picture.grid
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    at = torch.stack([y.flatten(), x.flatten()], 1).to(keys) / (_REACH * max(rows, columns))
    cosine = keys[:, left].T @ keys[:, source]
    logits = _SHARPNESS * cosine - torch.cdist(at[left], at[source]).square() / 2
    weights = logits.softmax(dim=1)
    colors = picture.colors.clone()
    colors[left] = weights @ picture.colors[source]
    return replace(picture, colors=colors)
