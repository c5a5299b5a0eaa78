"""Changes to a trained network that leave its results alone and make it quicker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..system.devices import has_bf16
from .blocks import ConvReLU6
from .precision import full_precision


class ReadyConv(nn.Conv2d):
    """A convolution that is not trained any more, with the ReLU or ReLU6 behind it.

    On the CPU both are one step of oneDNN. Left to itself, torch prefers its own matrix product
    for fp32 and small kernels in a single thread and for batches below 16, which takes up to twice
    as long; a film's stages have one thread each. Weights that autocast wants in 16 bits are made
    so once and not at every call, so they must not be changed afterwards.

    Attributes:
        activation: a key of `_ACTIVATIONS`.
        exact: whether it stays fp32 where autocast asks for bf16. (fp16 has eight times finer
            steps.) Not where gradients are wanted.
    """

    activation: str
    exact: bool
    _kept: dict[torch.dtype, tuple[Tensor, Tensor | None]]

    @staticmethod
    def make(conv: nn.Conv2d, activation: str, exact: bool) -> None:
        """Turn `conv` into one, in place."""
        conv.__class__ = ReadyConv
        assert isinstance(conv, ReadyConv)
        conv.activation, conv.exact, conv._kept = activation, exact, {}

    def forward(self, input: Tensor) -> Tensor:
        activation = _ACTIVATIONS[self.activation]
        if torch.is_grad_enabled():
            return activation.apart(super().forward(input))
        device = input.device.type
        dtype = self.weight.dtype
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            asked = torch.get_autocast_dtype(device)
            dtype = dtype if self.exact and asked == torch.bfloat16 else asked
        input, (weight, bias) = input.to(dtype), self._in(dtype)
        if device == "cpu" and _in_onednn(dtype):
            places = self.padding, self.stride, self.dilation, self.groups
            return torch.ops.mkldnn._convolution_pointwise(
                input, weight, bias, *places, activation.name, activation.limits, ""
            )
        with full_precision(input.device):  # the types are chosen
            return activation.apart(self._conv_forward(input, weight, bias))

    def _in(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as `dtype`."""
        if dtype == self.weight.dtype:
            return self.weight, self.bias
        if dtype not in self._kept:
            bias = None if self.bias is None else self.bias.to(dtype)
            self._kept[dtype] = self.weight.to(dtype), bias
        return self._kept[dtype]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}  # a copy makes its own

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ReadyConv:
        super()._apply(fn, recurse)
        self._kept.clear()  # the weights are on another device, or of another type
        return self


@dataclass(frozen=True)
class _Activation:
    """oneDNN's name and parameters of an activation, and the same apart from the convolution."""

    name: str
    limits: list[float]
    apart: Callable[[Tensor], Tensor]


_ACTIVATIONS = {
    "none": _Activation("none", [], lambda x: x),
    "relu": _Activation("relu", [], F.relu_),
    "relu6": _Activation("hardtanh", [0.0, 6.0], partial(F.relu6, inplace=True)),
}


def _in_onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN convolves this type on this processor."""
    quick = dtype == torch.float32 or (dtype == torch.bfloat16 and has_bf16())
    return quick and torch.backends.mkldnn.is_available()


def fold_batch_norm(model: nn.Module) -> None:
    """Fold each batch norm that follows a convolution in a `Sequential` into it, in place."""
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                first, second = module[i], module[i + 1]
                if type(first) is nn.Conv2d and isinstance(second, nn.BatchNorm2d):
                    module[i], module[i + 1] = fuse_conv_bn_eval(first, second), nn.Identity()


def make_ready(model: nn.Module) -> None:
    """Fold batch norms and activations into convolutions, in place; for a network in evaluation
    mode that is not trained any more, and whose convolutions are called in their `Sequential`
    alone."""
    fold_batch_norm(model)
    exact = set(getattr(model, "exact", tuple)())
    convs = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    for conv in convs:
        known = type(conv) in (nn.Conv2d, ConvReLU6)
        if known and conv.padding_mode == "zeros" and not isinstance(conv.padding, str):
            ReadyConv.make(conv, "relu6" if isinstance(conv, ConvReLU6) else "none", conv in exact)
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            _take_relus(module)


def _take_relus(layers: nn.Sequential) -> None:
    """Make each ReLU behind a convolution the convolution's own."""
    last: nn.Module | None = None
    for i, layer in enumerate(layers):
        if type(layer) is nn.ReLU and type(last) is ReadyConv and last.activation == "none":
            last.activation = "relu"
            layers[i] = nn.Identity()
        elif type(layer) is not nn.Identity:
            last = layer
