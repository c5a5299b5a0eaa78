"""The lightness that a model gets of a training crop, and the gray of orthochromatic film.

Orthochromatic film does not see red. All random numbers come from torch's global CPU generator.
"""

from __future__ import annotations

import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from ...color.convert import gray_to_lightness
from .old_film import expose, old_film

_REC709 = (0.2126, 0.7152, 0.0722)  # luma of R'G'B', what an eye and a modern camera see
_MOST_GREEN = 0.75  # of a film that sees no red; the least is none, as the first emulsions


def emulsion_weights() -> Tensor:
    """Draw weights `(3,)` of R', G' and B' that sum to 1, between Rec. 709's and no red at all."""
    distance, green = torch.rand(2).tolist()
    green *= _MOST_GREEN
    return torch.lerp(torch.tensor(_REC709), torch.tensor((0.0, green, 1 - green)), distance)


def orthochromatic(rgb: Tensor) -> Tensor:
    """Gray `(1, H, W)` of R'G'B' `(3, H, W)` in [0, 1] on film that sees little or no red:
    skin, red lips and brick become dark, a blue sky white."""
    return (rgb * emulsion_weights()[:, None, None]).sum(dim=0, keepdim=True)


def seen_lightness(rgb: Tensor, lab: Tensor, old_film_share: float, ortho: float) -> Tensor:
    """L* `(1, H, W)` in [0, 100] of a picture, as the model gets it.

    The share `old_film_share` looks like old film; the share `ortho`, of these and of the others,
    is in the gray of orthochromatic film. Half of the rest have the L* of their luma.

    Args:
        rgb: R'G'B' `(3, H, W)` in [0, 1].
        lab: the same in L*a*b*.
        old_film_share, ortho: see `Augment`.
    """
    # no random number where it is 0, so that such trainings keep their crops
    blind = ortho > 0 and bool(torch.rand(1) < ortho)
    if torch.rand(1) < old_film_share:
        return old_film(rgb, orthochromatic if blind else expose)
    if blind:
        return gray_to_lightness(orthochromatic(rgb))
    if torch.rand(1) < 0.5:
        # film and video hold luma, whose gray differs from L* in saturated colors
        return gray_to_lightness(TF.rgb_to_grayscale(rgb))
    return lab[:1]
