"""`skip_cnn`: the light skip CNN of S0.

Source: seed document 000 ("Explain Your Architecture"): three blocks of two 3x3 convolutions at
full resolution, their outputs concatenated. The document gives about 170,000 parameters and 1 to 2
GFLOPs at 64x64; its layers hold 76,787 parameters and cost 0.311 G multiply-adds (0.62 GFLOPs).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..registry import register_model
from .options import fraction
from .rgb import RgbModel

_FILTERS = (16, 32, 64)
_MERGED = 32


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


@register_model("skip_cnn")
class SkipCNN(RgbModel):
    """L* `(B, 1, H, W)` in [0, 100] to a*b* `(B, 2, H, W)`; natively `rgb`.

    Each convolution of a block is followed by batch norm and ReLU; blocks 2 and 3 end in dropout.
    The document says dropout without its kind: it is taken as the plain one, of single values and
    not of whole maps.

    Args:
        dropout: probability of dropout in blocks 2 and 3, in [0, 1).

    Raises:
        ValueError: dropout is out of range.
    """

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        dropout = fraction("dropout", dropout)
        self.block1 = _block(1, _FILTERS[0], 0.0)
        self.block2 = _block(_FILTERS[0], _FILTERS[1], dropout)
        self.block3 = _block(_FILTERS[1], _FILTERS[2], dropout)
        self.merge = nn.Sequential(
            nn.Conv2d(sum(_FILTERS), _MERGED, 1), nn.BatchNorm2d(_MERGED), nn.ReLU()
        )
        self.out = nn.Conv2d(_MERGED, 3, 3, padding=1)

    def rgb(self, gray: Tensor) -> Tensor:
        """Gray levels `(B, 1, H, W)` in [0, 1] to R'G'B' `(B, 3, H, W)` in (0, 1)."""
        low = self.block1(gray)
        middle = self.block2(low)
        high = self.block3(middle)
        merged = self.merge(torch.cat([low, middle, high], dim=1))
        return torch.sigmoid(self.out(merged).float())
