"""Fold a trained network's batch norms and activations into its convolutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..system.devices import has_bf16
from .base import ColorModel
from .blocks import ConvReLU6
from .precision import full_precision


@dataclass(frozen=True)
class _Activation:
    """oneDNN's name and parameters of an activation, and torch's function."""

    name: str
    limits: list[float]
    apply: Callable[[Tensor], Tensor]


_NONE = _Activation("none", [], lambda x: x)
_RELU = _Activation("relu", [], F.relu_)
_RELU6 = _Activation("hardtanh", [0.0, 6.0], partial(F.relu6, inplace=True))


class FusedConv(nn.Module):
    """A trained convolution with the activation behind it, `(B, C, H, W)` to `(B, C', H', W')`.

    On the CPU, oneDNN computes both in one step. `F.conv2d` would use torch's own matrix product
    for fp32 and small kernels in a single thread and for batches below 16, which takes up to twice
    as long. Weights are converted to 16 bits once, so they must not change afterwards.

    Args:
        conv: the convolution; padding by zeros, given as numbers.
        activation: what follows it.
        fp32: stay in fp32 where autocast asks for bf16. (fp16 has eight times finer steps.)
            Without effect where gradients are wanted.
    """

    def __init__(self, conv: nn.Conv2d, activation: _Activation, fp32: bool) -> None:
        super().__init__()
        self.conv, self.activation, self.fp32 = conv, activation, fp32
        self._converted: dict[torch.dtype, tuple[Tensor, Tensor | None]] = {}

    def forward(self, input: Tensor) -> Tensor:
        conv = self.conv
        places: tuple[Any, ...] = (conv.padding, conv.stride, conv.dilation, conv.groups)
        if torch.is_grad_enabled():
            return self._separately(input, conv.weight, conv.bias)
        device = input.device.type
        dtype = conv.weight.dtype
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            wanted = torch.get_autocast_dtype(device)
            dtype = dtype if self.fp32 and wanted == torch.bfloat16 else wanted
        input, (weight, bias) = input.to(dtype), self._weights(dtype)
        if device == "cpu" and _fast_in_onednn(dtype):
            fused = _onednn_convolution()
            if fused is not None:
                name, limits = self.activation.name, self.activation.limits
                result: Tensor = fused(input, weight, bias, *places, name, limits, "")
                return result
        with full_precision(input.device):  # the types are chosen
            return self._separately(input, weight, bias)

    def _separately(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv = self.conv
        return self.activation.apply(
            F.conv2d(input, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        )

    def _weights(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as `dtype`."""
        conv = self.conv
        if dtype == conv.weight.dtype:
            return conv.weight, conv.bias
        if dtype not in self._converted:
            bias = None if conv.bias is None else conv.bias.to(dtype)
            self._converted[dtype] = conv.weight.to(dtype), bias
        return self._converted[dtype]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_converted": {}}  # a copy converts its own

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FusedConv:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._converted.clear()  # the weights are on another device, or of another type
        return self


def _fast_in_onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN is the faster way for this type on this processor."""
    return dtype == torch.float32 or (dtype == torch.bfloat16 and has_bf16())


@cache
def _onednn_convolution() -> Callable[..., Tensor] | None:
    """oneDNN's convolution with an activation, or None where this torch lacks it.

    The operator is private to torch (its compiler emits it), so it is tried on one pixel first.
    """
    try:
        fused: Callable[..., Tensor] = torch.ops.mkldnn._convolution_pointwise
        one = torch.ones(1, 1, 1, 1, device="cpu")
        with torch.no_grad():
            found = fused(-one, one, None, (0, 0), (1, 1), (1, 1), 1, "relu", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return None
    return fused if found.shape == one.shape and not found.any() else None


def optimize_for_inference(model: ColorModel) -> None:
    """Fold batch norms and activations into convolutions, in place.

    The results stay, up to rounding. The model must be in evaluation mode, is not trained any
    more, and calls the convolutions of a `Sequential` through that alone.
    """
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            _fold_batch_norms(module)
    fp32 = set(model.fp32_modules())  # folding has made new ones
    for module in list(model.modules()):
        if isinstance(module, FusedConv):
            continue
        for name, child in module.named_children():
            if _can_fuse(child):
                activation = _RELU6 if isinstance(child, ConvReLU6) else _NONE
                setattr(module, name, FusedConv(child, activation, child in fp32))
        if isinstance(module, nn.Sequential):
            _fold_relus(module)


def _can_fuse(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(module, nn.Conv2d)
        and type(module) in (nn.Conv2d, ConvReLU6)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _fold_batch_norms(layers: nn.Sequential) -> None:
    """Fold each batch norm right behind a convolution into it."""
    for i in range(len(layers) - 1):
        first, second = layers[i], layers[i + 1]
        if type(first) is nn.Conv2d and isinstance(second, nn.BatchNorm2d):
            layers[i], layers[i + 1] = fuse_conv_bn_eval(first, second), nn.Identity()


def _fold_relus(layers: nn.Sequential) -> None:
    """Move each ReLU right behind a convolution into it."""
    last: nn.Module | None = None
    for i, layer in enumerate(layers):
        if type(layer) is nn.ReLU and isinstance(last, FusedConv) and last.activation is _NONE:
            last.activation = _RELU
            layers[i] = nn.Identity()
        elif type(layer) is not nn.Identity:
            last = layer
