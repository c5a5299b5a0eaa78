"""`pool_cnn` and `pool_unet`: the pooling CNN of S3a and its U-Net of S3b.

Source: seed document 003, the table of question 1 (c), and question 2 (a). The order inside a
stage is the table's: convolution, pooling or upsampling, batch norm, and then ReLU.

What batch norm makes of a change y = a x + b of the input (question 1 (d)), found out by test:

* In training mode, with a > 0 and the default `replicate` padding, `PoolCNN.logits` are the same
  for every a and b, at the border too, up to batch norm's eps: the first convolution turns the
  change into one scale and one shift per channel, pooling keeps them, batch norm removes them.
* With `zeros` padding it holds for b = 0 alone. The zeros around the picture are not shifted by b,
  so the border differs, and through the batch's mean and variance every pixel does.
* It does not hold for a < 0 (the largest of a pool becomes its smallest), and not in evaluation
  mode, where batch norm uses the mean and variance that it saw in training.
* It does not hold for `PoolUNet`: the picture itself enters the last convolution.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..registry import register_model
from .classifier import PaletteClassifier
from .options import one_of, whole_number

_PADDINGS = ("replicate", "zeros")


def _stage(
    inputs: int,
    outputs: int,
    change: Literal["pool", "up", ""] = "",
    padding: Literal["zeros", "replicate"] = "zeros",
) -> nn.Sequential:
    """Convolution, `pool`, `up` or nothing, batch norm, ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode=padding)]
    if change == "pool":
        layers.append(nn.MaxPool2d(2))
    elif change == "up":
        layers.append(nn.Upsample(scale_factor=2.0, mode="bilinear"))
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.ReLU())


@register_model("pool_cnn")
class PoolCNN(PaletteClassifier):
    """L* `(B, 1, H, W)` in [0, 100], H and W multiples of 4, to a*b* `(B, 2, H, W)`.

    Natively `logits`. With NF filters and NC colors it has
    72 NF^2 + 27 NF + 9 NF NC + 9 NC^2 + 4 NC trained parameters; train/S3a/COUNTS.md has the rest.

    Args:
        filters: NF, at least 1.
        colors: NC, at least 2.
        decode: `argmax` or `mean`, see `PaletteClassifier`.
        padding: `replicate` or `zeros`, of the first convolution alone; the document does not say.
        scale, shift: the network reads scale * gray + shift, for the experiment of question 1 (d).

    Raises:
        ValueError: an option is out of range.
    """

    stride = 4
    skips = False

    def __init__(
        self,
        filters: int = 32,
        colors: int = 24,
        decode: str = "argmax",
        padding: str = "replicate",
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> None:
        super().__init__(colors, decode)
        self.scale, self.shift = float(scale), float(shift)
        nf = whole_number("filters", filters)
        self.down1 = _stage(1, nf, "pool", one_of("padding", padding, _PADDINGS))
        self.down2 = _stage(nf, 2 * nf, "pool")
        self.middle = _stage(2 * nf, 2 * nf)
        # what the skips add to the inputs of the last three layers
        quarter, half, picture = (2 * nf, nf, 1) if self.skips else (0, 0, 0)
        self.up1 = _stage(2 * nf + quarter, nf, "up")
        self.up2 = _stage(nf + half, colors, "up")
        self.final = nn.Conv2d(colors + picture, colors, 3, padding=1)

    def logits(self, gray: Tensor) -> Tensor:
        """Gray levels `(B, 1, H, W)` in [0, 1] to scores before softmax, `(B, NC, H, W)`."""
        x = self.middle(self.down2(self.down1(self.scale * gray + self.shift)))
        scores: Tensor = self.final(self.up2(self.up1(x)))
        return scores


@register_model("pool_unet")
class PoolUNet(PoolCNN):
    """`PoolCNN` with skip connections, each concatenated to the features of its own size.

    The document: "from the first layer to the last, second layer to the second last, etc." The
    first layer of its table is the picture, the only one with the size the last layer reads; the
    second is the first convolution, the third the second convolution.

    Args, shapes and errors: as `PoolCNN`.
    """

    skips = True

    def logits(self, gray: Tensor) -> Tensor:
        """Gray levels `(B, 1, H, W)` in [0, 1] to scores before softmax, `(B, NC, H, W)`."""
        gray = self.scale * gray + self.shift
        half = self.down1(gray)
        quarter = self.down2(half)
        x = self.up1(torch.cat([self.middle(quarter), quarter], dim=1))
        x = self.up2(torch.cat([x, half], dim=1))
        scores: Tensor = self.final(torch.cat([x, gray], dim=1))
        return scores
