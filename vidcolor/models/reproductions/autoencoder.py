"""`autoencoder`: the encoder-decoder colorizer of S4b.

Source: seed document 004, section IV: five down- and five up-sampling blocks, batch norm before
each convolution, a last activation of ReLU, sigmoid or tanh. The document does not print its
filter counts, kernel size or kind of upsampling: moderate ones are chosen here (32, 64, 128, 256,
256 and back), 3x3, and bilinear upsampling, which leaves no checkerboard as a deconvolution may.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from ..base import ColorModel
from ..precision import full_precision
from ..registry import register_model
from .options import one_of
from .units import lightness_to_input, output_to_ab

_DOWN = (1, 32, 64, 128, 256, 256)
_UP = (256, 256, 128, 64, 32, 2)
_LAST: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


@register_model("autoencoder")
class Autoencoder(ColorModel):
    """L* `(B, 1, H, W)` in [0, 100], H and W multiples of 32, to a*b* `(B, 2, H, W)`.

    Inside, and in its last activation, it works in 8-bit Lab divided by 255 (`units`), with `tanh`
    scaled on to [-1, 1] on both sides.

    Args:
        activation: the last one, `relu`, `sigmoid` or `tanh`; all others are ReLU.

    Raises:
        ValueError: it is another.
    """

    stride = 32

    def __init__(self, activation: str = "tanh") -> None:
        super().__init__()
        self.activation = one_of("activation", activation, tuple(_LAST))
        self.down = nn.Sequential(
            *(
                nn.Sequential(
                    nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, 2, 1), nn.ReLU()
                )
                for inputs, outputs in pairwise(_DOWN)
            )
        )
        blocks = []
        for inputs, outputs in pairwise(_UP):
            blocks.append(
                nn.Sequential(
                    nn.Upsample(scale_factor=2.0, mode="bilinear"),
                    nn.BatchNorm2d(inputs),
                    nn.Conv2d(inputs, outputs, 3, padding=1),
                    nn.ReLU() if outputs != _UP[-1] else _LAST[activation](),
                )
            )
        self.up = nn.Sequential(*blocks)
        if activation == "relu":
            # 0.5 is about gray in these units. At zero, half of the outputs would lie below it,
            # where a ReLU gives no gradient.
            last = blocks[-1][2]
            nn.init.constant_(last.bias, 0.5)  # type: ignore[arg-type]

    def forward(self, lightness: Tensor) -> Tensor:
        x = self.up[:-1](self.down(lightness_to_input(lightness, self.activation)))
        with full_precision(x.device):
            raw = self.up[-1](x.float())
        return output_to_ab(raw, self.activation)
