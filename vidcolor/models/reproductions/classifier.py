"""The bases of the networks that score color classes at each pixel."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ...color.convert import lightness_to_gray, rgb_to_lab
from ..base import ColorModel
from ..precision import full_precision
from .options import one_of, whole_number


class PaletteClassifier(ColorModel):
    """L* `(B, 1, H, W)` in [0, 100] to a*b* `(B, 2, H, W)`, by scores of NC colors in a palette.

    Attributes:
        palette: buffer `(NC, 3)`, the colors in R'G'B' in [0, 1]. It begins as NC grays from
            black to white; training fills it with the colors its k-means finds.

    Args:
        colors: NC, at least 2.
        decode: `argmax` gives the a*b* of the most probable color, `mean` the mean of all
            colors' a*b*, weighted by their probability.

    Raises:
        ValueError: an option is out of range.
    """

    native = "logits"
    palette: Tensor

    def __init__(self, colors: int, decode: str) -> None:
        super().__init__()
        whole_number("colors", colors, least=2)
        self.decode = one_of("decode", decode, ("argmax", "mean"))
        grays = torch.linspace(0, 1, colors)[:, None].repeat(1, 3)
        self.register_buffer("palette", grays)

    @abstractmethod
    def logits(self, gray: Tensor) -> Tensor:
        """Gray levels `(B, 1, H, W)` in [0, 1] to scores before softmax, `(B, NC, H, W)`."""

    def palette_ab(self) -> Tensor:
        """The palette's a*b*, `(NC, 2)` in Lab units."""
        lab = rgb_to_lab(self.palette.T[:, :, None])
        return lab[1:, :, 0].T

    def forward(self, lightness: Tensor) -> Tensor:
        scores = self.logits(lightness_to_gray(lightness)).float()
        with full_precision(scores.device):
            ab = self.palette_ab()
            if self.decode == "argmax":
                return ab[scores.argmax(dim=1)].movedim(-1, 1)
            return torch.einsum("bchw,cd->bdhw", scores.softmax(dim=1), ab)


class BinClassifier(ColorModel):
    """L* `(B, 1, H, W)` in [0, 100] to a*b* `(B, 2, h, w)`, by scores of K bins of a*b*."""

    native = "logits"

    @property
    @abstractmethod
    def bins(self) -> Tensor:
        """The bins' colors, a*b* `(K, 2)` in Lab units."""

    @abstractmethod
    def logits(self, lightness: Tensor) -> Tensor:
        """L* `(B, 1, H, W)` to scores before softmax, `(B, K, h, w)`."""

    @abstractmethod
    def decode(self, logits: Tensor) -> Tensor:
        """Scores `(B, K, h, w)` to a*b* `(B, 2, h, w)` in Lab units."""

    def forward(self, lightness: Tensor) -> Tensor:
        return self.decode(self.logits(lightness))
