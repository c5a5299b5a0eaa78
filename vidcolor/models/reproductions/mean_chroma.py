"""`mean_chroma_fc` and `mean_chroma_cnn`: the mean a*, b* of a picture from its lightness, S4a.

Source: seed document 004, section III. Its numbers are 8-bit Lab divided by 255 (`units`), with
`tanh` scaled on to [-1, 1] on both sides of the network. What it leaves open is settled so:
3x3 kernels; no batch norm, which it names for the colorizer alone; and with `relu` a last layer
without activation, since a ReLU there could die at once and give zero for ever.
"""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import ColorModel
from ..precision import full_precision
from ..registry import register_model
from .options import one_of
from .units import lightness_to_input, output_to_ab

_SIDE = 128
_HIDDEN = (8192, 4096, 1024, 256)
# feature maps of the six hidden blocks of CNN1, CNN2 and CNN3
_MAPS = {
    1: (3, 3, 3, 3, 3, 3),
    2: (16, 32, 64, 128, 256, 256),
    3: (32, 64, 128, 256, 256, 512),
}
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def _through(layers: nn.Sequential, x: Tensor) -> Tensor:
    """`layers` of `x`, the last of them in float32."""
    x = layers[:-1](x)
    with full_precision(x.device):
        last: Tensor = layers[-1](x.float())
        return last


class MeanChroma(ColorModel):
    """L* `(B, 1, H, W)` in [0, 100] to one a*b* for the whole picture, `(B, 2, H/8, W/8)`.

    Natively `mean_ab`. H and W are multiples of 8 only so that the constant map can be small.

    Args:
        activation: `relu` or `tanh`.

    Raises:
        ValueError: it is another.
    """

    stride = 8
    native = "mean_ab"

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = one_of("activation", activation, tuple(_ACTIVATIONS))

    @abstractmethod
    def raw(self, x: Tensor) -> Tensor:
        """`(B, 1, 128, 128)` in the network's range to `(B, 2)` in it."""

    def mean_ab(self, lightness: Tensor) -> Tensor:
        """L* `(B, 1, H, W)` in [0, 100] to the mean a*b* `(B, 2)` in Lab units.

        Pictures of another size are resized to 128x128, bilinearly and with antialiasing.
        """
        if lightness.shape[-2:] != (_SIDE, _SIDE):
            lightness = F.interpolate(
                lightness, size=(_SIDE, _SIDE), mode="bilinear", antialias=True
            )
        return output_to_ab(
            self.raw(lightness_to_input(lightness, self.activation)), self.activation
        )

    def forward(self, lightness: Tensor) -> Tensor:
        height, width = lightness.shape[-2:]
        mean = self.mean_ab(lightness)
        return mean[:, :, None, None].repeat(1, 1, height // self.stride, width // self.stride)


@register_model("mean_chroma_fc")
class MeanChromaFC(MeanChroma):
    """The fully connected network, 16,384 - 8,192 - 4,096 - 1,024 - 256 - 2: 172 M parameters.

    Args, shapes and errors: as `MeanChroma`.
    """

    def __init__(self, activation: str = "relu") -> None:
        super().__init__(activation)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise((_SIDE * _SIDE, *_HIDDEN)):
            layers += [nn.Linear(inputs, outputs), _ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(_HIDDEN[-1], 2))

    def raw(self, x: Tensor) -> Tensor:
        """`(B, 1, 128, 128)` in the network's range to `(B, 2)` in it."""
        y = _through(self.layers, x)
        return torch.tanh(y) if self.activation == "tanh" else y


@register_model("mean_chroma_cnn")
class MeanChromaCNN(MeanChroma):
    """Seven convolutions of stride 2, from 128x128 to 1x1; the seventh gives a* and b*.

    Args:
        variant: 1, 2 or 3, the document's CNN1 (three maps per hidden layer), CNN2 or CNN3.
        activation: `relu` or `tanh`.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(self, variant: int = 2, activation: str = "relu") -> None:
        super().__init__(activation)
        one_of("variant", variant, tuple(_MAPS))
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((1, *_MAPS[variant])):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), _ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(_MAPS[variant][-1], 2, 3, 2, 1))

    def raw(self, x: Tensor) -> Tensor:
        """`(B, 1, 128, 128)` in the network's range to `(B, 2)` in it."""
        y = _through(self.layers, x).flatten(1)
        return torch.tanh(y) if self.activation == "tanh" else y
