"""What a network is made of and costs: layers, parameters, connections, memory.

The network runs on torch's `meta` device, where tensors have shapes and no values, so the largest
one is described in moments and without its memory.

Conventions:

* A connection is a pair of an input and an output that a weight joins: for a convolution
  k x k x C_in / groups x C_out x H_out x W_out, the padding's zeros included, for a linear layer
  inputs x outputs. Biases, batch norm, pooling, resampling and attention's products have none.
* MACs are the multiply-adds of one picture's inference, one a connection; FLOPs are twice that.
* Memory is that of the tensors in float32, without the library's workspace and the overhead of the
  allocator or driver (hundreds of MiB on a GPU).
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from .base import ColorModel

_ADAM_COPIES = 4  # of each trained parameter: itself, its gradient, and Adam's two means


@dataclass(frozen=True)
class Layer:
    """One call of a leaf module.

    Attributes:
        name: its place in the network, such as `block1.0`.
        kind: its class.
        output: shape of its output for one picture, `(1, C, H, W)` or `(1, C)`.
        parameters: trained numbers it holds.
        connections: see the module's text; its multiply-adds are as many.
        activation_bytes: size of its output.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    connections: int
    activation_bytes: int


@dataclass(frozen=True)
class Description:
    """A network at one input size, for one picture.

    Attributes:
        input: `(1, 1, H, W)`.
        layers: the calls of leaf modules, in order of execution.
        native: what training compares with the truth: `rgb`, `logits`, `mean_ab`, or `ab`.
        output: shape of that prediction.
        outputs: numbers in it.
        parameters, buffers: trained numbers, and others that are saved (running means, palettes).
        connections, macs: of all layers.
        model_bytes: parameters and buffers.
        inference_bytes: most that is alive at once in inference, parameters and buffers included.
        kept_bytes: what training keeps of one picture from the forward for the backward pass.
        training_bytes: Adam on one picture: `kept_bytes`, buffers, and four numbers per trained
            parameter. More pictures in a batch add `kept_bytes` each.
    """

    input: tuple[int, ...]
    layers: list[Layer]
    native: str
    output: tuple[int, ...]
    outputs: int
    parameters: int
    buffers: int
    connections: int
    macs: int
    model_bytes: int
    inference_bytes: int
    kept_bytes: int
    training_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain numbers, lists and text."""
        return dataclasses.asdict(self)


def describe(model: ColorModel, size: int) -> Description:
    """Describe `model` for an L* picture of `size` x `size`.

    Args:
        model: it is left as it was, on whatever device it lies.
        size: pixels, a multiple of the model's `stride`.

    Raises:
        ValueError: the size is not such a multiple.
    """
    if size < model.stride or size % model.stride:
        raise ValueError(f"the input must be a multiple of {model.stride} pixels, not {size}")
    modes = {module: module.training for module in model.modules()}
    picture = torch.empty(1, 1, size, size, device="meta")
    state, native = _on_meta(model), _Native(model)
    native_state = {f"model.{name}": tensor for name, tensor in state.items()}
    try:
        model.eval()
        with torch.no_grad():
            with _recorded(model) as layers, _PeakBytes() as peak:
                functional_call(model, state, (picture,))
            output = tuple(functional_call(native, native_state, (picture,)).shape)
        model.train()
        kept = _kept_bytes(native, native_state, size)
    finally:
        for module, training in modes.items():
            module.training = training

    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    model_bytes = sum(t.nbytes for t in state.values())
    connections = sum(layer.connections for layer in layers)
    return Description(
        input=tuple(picture.shape),
        layers=layers,
        native="ab" if model.native == "forward" else model.native,
        output=output,
        outputs=torch.Size(output).numel(),
        parameters=sum(p.numel() for p in parameters),
        buffers=sum(b.numel() for b in model.buffers()),
        connections=connections,
        macs=connections,
        model_bytes=model_bytes,
        inference_bytes=model_bytes + picture.nbytes + peak.bytes,
        kept_bytes=kept,
        training_bytes=model_bytes + (_ADAM_COPIES - 1) * 4 * trained + kept,
    )


def _on_meta(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers without their values."""
    named = (*model.named_parameters(), *model.named_buffers())
    return {k: t.detach().to("meta").requires_grad_(t.requires_grad) for k, t in named}


class _Native(nn.Module):
    """A model whose `forward` is its native prediction, because `functional_call` calls that."""

    def __init__(self, model: ColorModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, picture: Tensor) -> Tensor:
        native: Tensor = getattr(self.model, self.model.native)(picture)
        return native


@contextmanager
def _recorded(model: nn.Module) -> Iterator[list[Layer]]:
    """A list that fills with the calls of leaf modules."""
    layers: list[Layer] = []

    def record(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        layers.append(
            Layer(
                name=name,
                kind=type(module).__name__,
                output=tuple(output.shape),
                parameters=sum(p.numel() for p in module.parameters()),
                connections=_connections(module, inputs[0], output),
                activation_bytes=output.nbytes,
            )
        )

    handles = [
        module.register_forward_hook(lambda *call, name=name: record(name, *call))
        for name, module in model.named_modules()
        if name and not any(module.children())
    ]
    try:
        yield layers
    finally:
        for handle in handles:
            handle.remove()


def _connections(module: nn.Module, given: Tensor, made: Tensor) -> int:
    """Pairs of an input and an output of one picture that a weight of `module` joins."""
    if isinstance(module, nn.ConvTranspose2d):
        # the weight (C_in, C_out / groups, k, k) is applied at every input pixel
        return int(module.weight.numel() * given.shape[-2] * given.shape[-1])
    if isinstance(module, nn.Conv2d):
        return module.weight.numel() * made.shape[-2] * made.shape[-1]
    if isinstance(module, nn.Linear):
        return int(module.weight.numel() * made.numel() // module.out_features)
    return 0


class _PeakBytes(TorchFunctionMode):
    """The most bytes that the results of torch's functions called inside it take at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # a view or a result written in place shares the storage of an argument
        given = _storages((args, kwargs))
        made = func(*args, **(kwargs or {}))
        self._alive |= _storages(made) - given
        self.bytes = max(self.bytes, sum(storage.nbytes() for storage in self._alive))
        return made


def _storages(values: Any) -> set[Any]:
    """The storages of the tensors in nested lists, tuples and dictionaries."""
    if isinstance(values, Tensor):
        return {values.untyped_storage()}
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return {storage for value in values for storage in _storages(value)}
    return set()


def _kept_bytes(native: _Native, state: dict[str, Tensor], size: int) -> int:
    """Bytes of one picture that autograd keeps of the native prediction for the backward pass."""
    kept: set[Any] = set()

    def pack(tensor: Tensor) -> Tensor:
        kept.add(tensor.untyped_storage())
        return tensor

    # two pictures, because batch norm over one value per channel refuses to train
    pictures = torch.empty(2, 1, size, size, device="meta")
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        functional_call(native, state, (pictures,))
    return int(sum(storage.nbytes() for storage in kept - _storages(state)) // 2)
