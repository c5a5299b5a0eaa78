"""`plain_cnn`: the plain CNN of S2, one to a few 3x3 convolutions.

Source: seed document 002, sections 1 to 3. Its best configuration is the default: 2 layers, 16
kernels, no batch norm, no tanh.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from ..registry import register_model
from .options import switch, whole_number
from .rgb import RgbModel


@register_model("plain_cnn")
class PlainCNN(RgbModel):
    """L* `(B, 1, H, W)` in [0, 100] to a*b* `(B, 2, H, W)`; natively `rgb`.

    ReLU stands between the layers. The last convolution has 3 kernels and no activation of its
    own, so that `rgb` is compared raw with R'G'B' in [0, 1].

    With `tanh` the last activation lies in [-1, 1]. The document does not say how it is set
    against R'G'B' in [0, 1]; here it is read as 2 R'G'B' - 1, so that every color can be reached.
    The document adds batch norm "into each convolutional layer", so it follows the last one too.

    Args:
        layers: convolutions, at least 1.
        kernels: output channels of every convolution but the last (no effect with one layer).
        batch_norm: batch norm after every convolution.
        tanh: tanh after the last layer.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(
        self, layers: int = 2, kernels: int = 16, batch_norm: bool = False, tanh: bool = False
    ) -> None:
        super().__init__()
        whole_number("layers", layers)
        whole_number("kernels", kernels)
        self.tanh = switch("tanh", tanh)
        switch("batch_norm", batch_norm)
        widths = [1, *[kernels] * (layers - 1), 3]
        stack: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            if stack:
                stack.append(nn.ReLU())
            stack.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            if batch_norm:
                stack.append(nn.BatchNorm2d(outputs))
        if tanh:
            stack.append(nn.Tanh())
        self.stack = nn.Sequential(*stack)

    def rgb(self, gray: Tensor) -> Tensor:
        """Gray levels `(B, 1, H, W)` in [0, 1] to R'G'B' `(B, 3, H, W)`, not clamped."""
        raw: Tensor = self.stack(gray)
        return (raw + 1) / 2 if self.tanh else raw
