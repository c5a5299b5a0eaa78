"""What a network is made of and costs: layers, parameters, connections, memory.

Nothing is computed: the network runs on torch's `meta` device, where tensors have a shape and no
numbers, so the largest one is described in moments and without its memory.

Conventions:

* A connection is a pair of an input and an output that a weight joins: for a convolution
  k x k x C_in / groups x C_out x H_out x W_out, zeros of the padding included, for a linear layer
  inputs x outputs. Biases, batch norm, pooling and resampling have none.
* MACs are the multiply-adds of one picture's inference. Each connection costs one, and only these
  are counted, so the two numbers are equal; a FLOP count is about twice that.
* Memory is that of the tensors in float32, without the library's workspace and the allocator's or
  the driver's overhead (hundreds of MiB on a GPU).
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

NATIVE = ("rgb", "logits", "mean_ab")
_ADAM_COPIES = 4  # of each trained parameter: itself, its gradient, and Adam's two means


@dataclass(frozen=True)
class Layer:
    """One call of a leaf module.

    Attributes:
        name: its place in the network, such as `block1.0`.
        kind: its class.
        output: shape of its output for one picture, `(1, C, H, W)` or `(1, C)`.
        parameters: trained numbers it holds.
        connections, macs: see the module's text.
        activation_bytes: size of its output.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    connections: int
    macs: int
    activation_bytes: int


@dataclass(frozen=True)
class Description:
    """A network at one input size, for one picture.

    Attributes:
        input: `(1, 1, H, W)`.
        layers: the calls of leaf modules, in order of execution.
        native: what the network predicts: `rgb`, `logits`, `mean_ab`, or `ab`.
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


def describe(model: nn.Module, size: int) -> Description:
    """Describe `model` for an L* picture of `size` x `size`.

    Args:
        model: any network of the registry; it is left as it was, on whatever device it lies.
        size: pixels, a multiple of the model's `stride`.

    Raises:
        ValueError: the size is not such a multiple.
    """
    stride = int(model.stride)  # type: ignore[arg-type]
    if size < stride or size % stride:
        raise ValueError(f"the input must be a multiple of {stride} pixels, not {size}")
    state = _state(model)
    picture = torch.empty(1, 1, size, size, device="meta")
    seen: dict[str, tuple[int, ...]] = {}

    def note(name: str, made: Tensor) -> None:
        seen[name] = tuple(made.shape)

    with (
        _mode(model, training=False),
        _recorded(model) as layers,
        _watched(model, note),
        torch.no_grad(),
        _Alive() as alive,
    ):
        ab = functional_call(model, state, (picture,))
    native, output = next(iter(seen.items()), ("ab", tuple(ab.shape)))
    kept = _kept(model, state, size)

    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    model_bytes = sum(t.numel() * t.element_size() for t in state.values())
    return Description(
        input=tuple(picture.shape),
        layers=layers,
        native=native,
        output=output,
        outputs=_product(output),
        parameters=sum(p.numel() for p in parameters),
        buffers=sum(b.numel() for b in model.buffers()),
        connections=sum(layer.connections for layer in layers),
        macs=sum(layer.macs for layer in layers),
        model_bytes=model_bytes,
        inference_bytes=model_bytes + picture.nbytes + alive.peak,
        kept_bytes=kept,
        training_bytes=model_bytes + (_ADAM_COPIES - 1) * 4 * trained + kept,
    )


def _product(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers without their numbers."""
    named = chain(model.named_parameters(), model.named_buffers())
    return {k: t.detach().to("meta").requires_grad_(t.requires_grad) for k, t in named}


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Every module in one mode, and back in its own at the end."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


@contextmanager
def _recorded(model: nn.Module) -> Iterator[list[Layer]]:
    """A list that fills with the leaf modules' calls."""
    layers: list[Layer] = []

    def hook(name: str) -> Any:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            count = _connections(module, inputs[0], output)
            layers.append(
                Layer(
                    name=name,
                    kind=type(module).__name__,
                    output=tuple(output.shape),
                    parameters=sum(p.numel() for p in module.parameters()),
                    connections=count,
                    macs=count,
                    activation_bytes=output.nbytes,
                )
            )

        return record

    leaves = [(n, m) for n, m in model.named_modules() if n and not any(m.children())]
    handles = [module.register_forward_hook(hook(name)) for name, module in leaves]
    try:
        yield layers
    finally:
        for handle in handles:
            handle.remove()


def _connections(module: nn.Module, given: Tensor, made: Tensor) -> int:
    """Pairs of an input and an output of one picture that a weight of `module` joins."""
    if isinstance(module, nn.ConvTranspose2d):
        # the weight (C_in, C_out / groups, k, k) is applied at every input pixel
        return module.weight.numel() * given.shape[-2] * given.shape[-1]
    if isinstance(module, nn.Conv2d):
        return module.weight.numel() * made.shape[-2] * made.shape[-1]
    if isinstance(module, nn.Linear):
        return module.weight.numel() * made.numel() // module.out_features
    return 0


@contextmanager
def _watched(model: nn.Module, after: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call `after` with the name and the value of each native prediction `forward` asks for."""

    def watch(name: str, method: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def call(given: Tensor) -> Tensor:
            made = method(given)
            after(name, made)
            return made

        return call

    names = [name for name in NATIVE if hasattr(model, name)]
    for name in names:
        setattr(model, name, watch(name, getattr(model, name)))  # hides the class's method
    try:
        yield
    finally:
        for name in names:
            delattr(model, name)


class _Alive(TorchDispatchMode):
    """Counts the bytes of the tensors made inside it: those alive, and the most at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        before = {id(t.untyped_storage()) for t in tree_iter((args, kwargs)) if _is_tensor(t)}
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if not _is_tensor(tensor):
                continue
            storage = tensor.untyped_storage()
            # a view or a result written in place shares the storage of an argument
            if id(storage) not in before and storage not in self._known:
                self._known.add(storage)
                size = storage.nbytes()
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, size)
        return made

    def _gone(self, size: int) -> None:
        self.now -= size


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _kept(model: nn.Module, state: dict[str, Tensor], size: int) -> int:
    """Bytes of one picture that autograd keeps of the native prediction for the backward pass."""
    own = {id(tensor.untyped_storage()) for tensor in state.values()}
    storages: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in own:
            storages[id(storage)] = storage  # held, so that no other one gets its id
        return tensor

    def unpack(tensor: Tensor) -> Tensor:
        return tensor

    kept: list[int] = []

    def count(*_: Any) -> None:
        kept.append(sum(storage.nbytes() for storage in storages.values()))

    # two pictures, because batch norm over one value per channel refuses to train
    pictures = torch.empty(2, 1, size, size, device="meta")
    with (
        _mode(model, training=True),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(pack, unpack),
        _watched(model, count),
    ):
        functional_call(model, state, (pictures,))
    count()  # where forward asks for no native prediction, all of it is kept
    return kept[0] // 2
