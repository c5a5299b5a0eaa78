"""`eccv16`: colorization as classification (Zhang, Isola, Efros 2016).

Source: "Colorful image colorization", ECCV 2016, table 4 of its supplement, with the layer
numbers of the authors' PyTorch release (github.com/richzhang/colorization, `eccv16`), so that
the released state dict loads key for key.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import full_precision
from ..registry import register_model
from .classifier import BinClassifier
from .gamut import ab_bins

# Normalization of the released networks: (L* - 50) / 100 in, a*b* / 110 out.
L_CENTER, L_NORM, AB_NORM = 50.0, 100.0, 110.0

# (input channels, output channels, convolutions, stride of the last one, dilation)
_BLOCKS = (
    (1, 64, 2, 2, 1),
    (64, 128, 2, 2, 1),
    (128, 256, 3, 2, 1),
    (256, 512, 3, 1, 1),
    (512, 512, 3, 1, 2),
    (512, 512, 3, 1, 2),
    (512, 512, 3, 1, 1),
)


def normalized_lightness(lightness: Tensor) -> Tensor:
    """L* in [0, 100], any shape, to [-0.5, 0.5], as the released networks read it."""
    return (lightness - L_CENTER) / L_NORM


def conv_block(
    inputs: int,
    outputs: int,
    convolutions: int,
    stride: int = 1,
    dilation: int = 1,
    *,
    norm_each: bool = False,
) -> list[nn.Module]:
    """3x3 convolutions, a ReLU after each, then one batch norm (after the last ReLU, as released).

    `(B, inputs, H, W)` to `(B, outputs, H/stride, W/stride)`: the last convolution has the stride.
    With `norm_each` there is a batch norm after each ReLU.
    """
    layers: list[nn.Module] = []
    for number in range(convolutions):
        last = number == convolutions - 1
        layers += [
            nn.Conv2d(
                inputs if number == 0 else outputs,
                outputs,
                3,
                stride=stride if last else 1,
                padding=dilation,
                dilation=dilation,
            ),
            nn.ReLU(inplace=True),
        ]
        if norm_each or last:
            layers.append(nn.BatchNorm2d(outputs))
    return layers


@register_model("eccv16")
class ECCV16(BinClassifier):
    """L* `(B, 1, H, W)` in [0, 100], H and W multiples of 8, to a*b* `(B, 2, H/4, W/4)`.

    The released network ends with a bilinear upsampling by 4 (corners not aligned), which has no
    weights and is left out: the colorizer upsamples along the picture's edges. `F.interpolate` of
    this map, with scale_factor=4 and mode="bilinear", is what the released network returns.

    Args:
        temperature: of the annealed mean, section 2.3 of the paper: the logits are divided by it
            before the softmax. The paper uses 0.38; the released weights were made for 1.
        norm_each: a batch norm after each convolution of the first seven blocks, as seed document
            001 says, instead of one a block, as in the release.

    Raises:
        ValueError: the temperature is not above 0.
    """

    stride = 8
    head_prefixes = ("model8.6.", "model_out.")
    public_checkpoint = "colorization_release_v2-9b330a0b.pth"
    public_source = "github.com/richzhang/colorization"

    def __init__(self, temperature: float = 1.0, norm_each: bool = False) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be above 0, not {temperature}")
        self.temperature = temperature
        bins = ab_bins()
        for number, block in enumerate(_BLOCKS, start=1):
            self.add_module(
                f"model{number}", nn.Sequential(*conv_block(*block, norm_each=norm_each))
            )
        self.model8 = nn.Sequential(
            nn.ConvTranspose2d(512, 256, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, len(bins), 1),
        )
        # the mean color of a distribution over the bins, linear in its probabilities
        self.model_out = nn.Conv2d(len(bins), 2, 1, bias=False)
        with torch.no_grad():
            self.model_out.weight.copy_(bins.T[:, :, None, None] / AB_NORM)

    @property
    def bins(self) -> Tensor:
        """The colors of the classes, a*b* `(313, 2)` in Lab units."""
        return ab_bins()

    def logits(self, lightness: Tensor) -> Tensor:
        """L* `(B, 1, H, W)` to unnormalized log probabilities of the bins `(B, 313, H/4, W/4)`."""
        x = normalized_lightness(lightness)
        for number in range(1, len(_BLOCKS) + 2):
            x = self.get_submodule(f"model{number}")(x)
        return x

    def decode(self, logits: Tensor) -> Tensor:
        """The annealed mean of `logits` `(B, 313, h, w)`: a*b* `(B, 2, h, w)` in Lab units."""
        with full_precision(logits.device):
            probabilities = F.softmax(logits.float() / self.temperature, dim=1)
            ab: Tensor = self.model_out(probabilities)
            return AB_NORM * ab
