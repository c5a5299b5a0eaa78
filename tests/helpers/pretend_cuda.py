"""A CUDA device that is not there, for the paths of a GPU on a machine without one.

`OnCuda` tensors lie in main memory and say that they lie on `CUDA`. Within `PretendCuda` they
refuse what real ones refuse, tensors of the CPU beside them and numpy, and it counts what the CPU
would wait for by name. The values are the CPU's. There is nothing of streams but their names, and
everything comes in order; autocast is not pretended, and every type can be worked on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device("cuda", 99)  # what is kept for it can be no real one's

_MOVES = (Tensor.to, Tensor.cpu, Tensor.copy_)
_INDEXING = (Tensor.__getitem__, Tensor.__setitem__)  # an index may lie on the CPU
_HOST = (Tensor.numpy, Tensor.__array__, Tensor.data_ptr)
_WAITS = {"cpu", "item", "tolist", "nonzero", "unique", "masked_select"}
_WAITS |= {"__bool__", "__int__", "__float__", "__index__"}


class OnCuda(Tensor):
    """A tensor that says it lies on `CUDA`."""

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def record_stream(self, stream: object) -> None:
        """Nothing: there is no stream."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copy = on_cuda(self.detach().clone())
        return nn.Parameter(copy, self.requires_grad) if isinstance(self, nn.Parameter) else copy


def on_cuda(value: Any) -> Any:
    """A tensor as one on `CUDA`, anything else as it is."""
    lies_elsewhere = isinstance(value, Tensor) and not isinstance(value, OnCuda)
    return value.as_subclass(OnCuda) if lies_elsewhere else value


def _on_cpu(value: Any) -> Any:
    return value.as_subclass(Tensor) if isinstance(value, OnCuda) else value


def _names_cuda(value: Any) -> bool:
    if isinstance(value, torch.device):
        return value.type == "cuda"
    return isinstance(value, str) and value.startswith("cuda")


class PretendCuda(TorchFunctionMode):
    """While it is entered, what is made on a CUDA device, or moved there, is `OnCuda`.

    Attributes:
        waits: names of the calls at which the CPU would have waited for the device.
    """

    def __init__(self, waits: list[str] | None = None) -> None:
        super().__init__()
        self.waits: list[str] = [] if waits is None else waits

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.device:
            return func(*args, **kwargs or {})
        if func is Tensor.pin_memory:
            return args[0]
        values, _ = tree_flatten((args, kwargs or {}))
        tensors = [value for value in values if isinstance(value, Tensor)]
        there = any(isinstance(tensor, OnCuda) for tensor in tensors)
        if there:
            self._check(func, tensors)
        named = [v for v in values if isinstance(v, (torch.device, str))]
        if func is Tensor.cpu:
            named.append("cpu")
        if func is Tensor.to:  # like another tensor
            named += [CUDA if isinstance(t, OnCuda) else "cpu" for t in tensors[1:]]
        cuda = there or any(map(_names_cuda, named))
        for value in named if func in _MOVES else ():
            cuda = _names_cuda(value)

        def real(value: Any) -> Any:
            return torch.device("cpu") if _names_cuda(value) else value

        with torch._C.DisableTorchFunctionSubclass():
            result = func(*tree_map(real, args), **tree_map(real, kwargs or {}))
        if func in (Tensor.copy_, Tensor.__setitem__):
            return result
        return tree_map(on_cuda if cuda else _on_cpu, result)

    def _check(self, func: Any, tensors: list[Tensor]) -> None:
        name = getattr(func, "__name__", str(func))
        if func in _HOST:
            raise TypeError(f"{name} of a tensor on {CUDA}")
        masks = any(t.dtype == torch.bool for t in tensors[1:]) and func in _INDEXING
        if name in _WAITS or masks:
            self.waits.append(name)
        if func in _MOVES or func in _INDEXING:
            return
        if any(not isinstance(tensor, OnCuda) and tensor.dim() for tensor in tensors):
            raise RuntimeError(f"{name}: tensors on {CUDA} and on the CPU")


@contextmanager
def pretend_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendCuda]:
    """A `PretendCuda`, in the threads that begin in it too, for networks and for whole films."""
    move: Callable[..., nn.Module] = nn.Module.to
    run = threading.Thread.run

    def to(self: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        if not any(isinstance(value, (str, torch.device)) for value in args):
            return move(self, *args, **kwargs)
        moved = on_cuda if any(map(_names_cuda, args)) else _on_cpu
        for module in self.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    there = nn.Parameter(moved(value.detach()), value.requires_grad)
                    module._parameters[name] = there
            for name, buffer in module._buffers.items():
                module._buffers[name] = moved(buffer)
        return self

    with monkeypatch.context() as patch, PretendCuda() as pretend:

        def run_there(self: threading.Thread) -> None:
            with PretendCuda(pretend.waits):
                run(self)

        patch.setattr(nn.Module, "to", to)
        patch.setattr(threading.Thread, "run", run_there)
        patch.setattr("vidcolor.run.colorizer.choose_device", torch.device)
        for name in ("Stream", "Event", "current_stream"):
            patch.setattr(torch.cuda, name, MagicMock())
        for name in ("device", "stream"):
            patch.setattr(torch.cuda, name, lambda *_: nullcontext())
        patch.setattr(torch.cuda, "get_device_name", lambda *_: "a GPU that is not there")
        patch.setattr(torch.cuda, "mem_get_info", lambda *_: (8 << 30, 8 << 30))
        yield pretend
