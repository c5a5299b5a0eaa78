"""`cunet`: a U-Net whose lowest level is dilated convolutions, S1b.

Source: seed document 001 after Wang, Chen, Tian 2022, "Image Colorization Algorithm Based on Deep
Learning" (Symmetry 14(11):2295): three down- and up-samplings, batch norm before the activation,
and dilated convolutions where the basic U-Net (Ronneberger et al. 2015) goes down a fourth time.
Neither text's public part gives the dilations: here they are 2, 4 and 8 in a row, their outputs
added (after Yu and Koltun 2016, "Multi-Scale Context Aggregation by Dilated Convolutions"). The
paper's abstract puts a sigmoid for ReLU; the seed does not take that over, and neither does this.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..base import ColorModel
from ..registry import register_model
from .options import whole_number

_DILATIONS = (2, 4, 8)
_AB_SCALE = 110.0  # the head's unit, about the largest |a*|, |b*| of sRGB


def _conv(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, outputs), _conv(outputs, outputs))


class Dilated(nn.Module):
    """Dilated 3x3 convolutions in a row, `(B, C_in, H, W)` to `(B, C_out, H, W)`.

    The sum of all their outputs has fields of view from 3 to 31 pixels of its own grid.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter = _conv(inputs, outputs)
        self.rates = nn.ModuleList(_conv(outputs, outputs, rate) for rate in _DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        total = x
        for conv in self.rates:
            x = conv(x)
            total = total + x
        return total


@register_model("cunet")
class CUnet(ColorModel):
    """L* `(B, 1, H, W)` in [0, 100], H and W multiples of 8, to a*b* `(B, 2, H, W)`.

    Args:
        width: channels at full size; they double at each of the three down-samplings.

    Raises:
        ValueError: width is out of range.
    """

    stride = 8

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        whole_number("width", width)
        sizes = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(
            _double(inputs, outputs)
            for inputs, outputs in zip([1, *sizes[:-1]], sizes, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.bottom = Dilated(sizes[-1], 2 * sizes[-1])
        self.rise = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, 2) for n in reversed(sizes))
        self.up = nn.ModuleList(_double(2 * n, n) for n in reversed(sizes))
        self.head = nn.Conv2d(width, 2, 1)
        # an untrained network leaves the picture gray
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, lightness: Tensor) -> Tensor:
        x = lightness / 100
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for rise, block in zip(self.rise, self.up, strict=True):
            x = block(torch.cat([rise(x), skips.pop()], dim=1))
        ab: Tensor = self.head(x)
        return _AB_SCALE * ab.float()
