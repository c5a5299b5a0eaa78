"""What a model in training sees of a crop, and grey as early film sees colour.

Orthochromatic emulsions are blind to red. Every function throws its dice with torch's global
generator of the CPU.
"""

from __future__ import annotations

import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from ...color.convert import grey_to_lightness
from .old_film import expose, old_film

_REC709 = (0.2126, 0.7152, 0.0722)  # luma of R'G'B', what an eye and a modern camera see
_MOST_GREEN = 0.75  # of a film that sees no red; the least is none, as the first emulsions


def emulsion_weights() -> Tensor:
    """Weights `(3,)` of R', G' and B' that sum to 1, between Rec. 709's and blue and green alone.

    Two dice: how far from Rec. 709, and how much of the blind film's
    light is green.
    """
    far, green = torch.rand(2).tolist()
    green *= _MOST_GREEN
    return torch.lerp(torch.tensor(_REC709), torch.tensor((0.0, green, 1 - green)), far)


def orthochromatic(rgb: Tensor) -> Tensor:
    """Grey `(1, H, W)` of R'G'B' `(3, H, W)` in [0, 1] on a film that sees little or no red: red
    lips and brick go dark, skin too, a blue sky white."""
    return (rgb * emulsion_weights()[:, None, None]).sum(dim=0, keepdim=True)


def seen_lightness(rgb: Tensor, lab: Tensor, degrade: float, ortho: float) -> Tensor:
    """L* `(1, H, W)` in [0, 100] that a model is to see of a picture.

    The share `degrade` looks like old film and the share `ortho`, among these and the others, like
    film that is blind to red. Of what is neither, half show their luma's L* instead of their own.

    Args:
        rgb: R'G'B' `(3, H, W)` in [0, 1].
        lab: the same in L*a*b*.
        degrade, ortho: shares; see `Augment`.
    """
    # no die where it is 0, so that such trainings cut the crops that they always have
    blind = ortho > 0 and bool(torch.rand(1) < ortho)
    if torch.rand(1) < degrade:
        return old_film(rgb, orthochromatic if blind else expose)
    if blind:
        return grey_to_lightness(orthochromatic(rgb))
    if torch.rand(1) < 0.5:
        # film and video carry luma, whose grey differs from L* in saturated colours
        return grey_to_lightness(TF.rgb_to_grayscale(rgb))
    return lab[:1]
