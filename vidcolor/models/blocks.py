"""What several architectures are built of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# R'G'B' in [0, 1], which ImageNet classifiers are trained on less the mean, by the deviation
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406])
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225])


class ConvReLU6(nn.Conv2d):
    """Convolution and ReLU6."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and self.groups > 1 and self.stride == (2, 2) and not input.is_cuda:
            # the same values, and gradients that a CPU finds in a third of the time and less
            whole = F.conv2d(input, self.weight, self.bias, 1, self.padding, 1, self.groups)
            return F.relu6(whole[..., ::2, ::2])
        return F.relu6(super().forward(input), inplace=True)


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Convolution without bias, batch norm and ReLU, `(B, inputs, H, W)` to `(B, outputs, H, W)`;
    `kernel` is odd."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
