"""The base of the networks that choose each pixel's colour out of a palette."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ...color.convert import lightness_to_grey, rgb_to_lab
from ..precision import full_precision
from .options import one_of, whole_number


class ColourClassifier(nn.Module, ABC):
    """L* `(B, 1, H, W)` in [0, 100] to a*b* `(B, 2, H, W)`, by way of scores of NC colours.

    Attributes:
        palette: buffer `(NC, 3)`, the colours in R'G'B' in [0, 1]. It begins as NC greys from
            black to white; training fills it with the colours its k-means finds.

    Args:
        colours: NC, at least 2.
        decode: `argmax` gives the a*b* of the most probable colour, `mean` the mean of all
            colours' a*b*, weighted by their probability.

    Raises:
        ValueError: an option is out of range.
    """

    palette: Tensor

    def __init__(self, colours: int, decode: str) -> None:
        super().__init__()
        whole_number("colours", colours, least=2)
        self.decode = one_of("decode", decode, ("argmax", "mean"))
        greys = torch.linspace(0, 1, colours)[:, None].repeat(1, 3)
        self.register_buffer("palette", greys)

    @abstractmethod
    def logits(self, grey: Tensor) -> Tensor:
        """Grey levels `(B, 1, H, W)` in [0, 1] to scores before softmax, `(B, NC, H, W)`."""

    def palette_ab(self) -> Tensor:
        """The palette's a*b*, `(NC, 2)` in Lab units."""
        lab = rgb_to_lab(self.palette.T[:, :, None])
        return lab[1:, :, 0].T

    def forward(self, lightness: Tensor) -> Tensor:
        scores = self.logits(lightness_to_grey(lightness)).float()
        with full_precision(scores.device):
            ab = self.palette_ab()
            if self.decode == "argmax":
                return ab[scores.argmax(dim=1)].movedim(-1, 1)
            return torch.einsum("bchw,cd->bdhw", scores.softmax(dim=1), ab)
