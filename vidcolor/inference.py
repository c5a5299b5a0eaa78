"""Changes to a trained network that leave its results alone and make it quicker."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class OneDnnConv(nn.Conv2d):
    """A convolution that always runs in oneDNN on the CPU.

    In a single thread and for batches below 16, torch prefers its own matrix product for fp32 and
    small kernels, which takes up to twice as long; a film's stages have one thread each.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        quick = input.device.type == "cpu" and input.dtype == torch.float32
        if not quick or torch.is_autocast_enabled("cpu") or torch.is_grad_enabled():
            return super()._conv_forward(input, weight, bias)
        assert not isinstance(self.padding, str)  # `make_ready` sees to it
        return torch.mkldnn_convolution(
            input, weight, bias, self.padding, self.stride, self.dilation, self.groups
        )


def fold_batch_norm(model: nn.Module) -> None:
    """Fold each batch norm that follows a convolution in a `Sequential` into it, in place."""
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                first, second = module[i], module[i + 1]
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    module[i], module[i + 1] = fuse_conv_bn_eval(first, second), nn.Identity()


def make_ready(model: nn.Module) -> None:
    """Fold batch norms and choose convolutions, in place; for a network in evaluation mode."""
    fold_batch_norm(model)
    if not torch.backends.mkldnn.is_available():
        return
    for module in model.modules():
        simple = type(module) is nn.Conv2d and module.padding_mode == "zeros"
        if simple and not isinstance(module.padding, str):
            module.__class__ = OneDnnConv
