"""Weights files as plain tensors: safetensors, and the `.pth` files of public checkpoints."""

from __future__ import annotations

import pickle
import re
import reprlib
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..errors import WeightsError

TORCH_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")

# What torch.load raises for a damaged file depends on where the damage is.
_BROKEN = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    struct.error,
)


# What safetensors and torch raise for a bad header: also types and shapes that torch does not have.
_BAD_HEADER = (
    SafetensorError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    MemoryError,
)


def is_torch_file(path: Path) -> bool:
    """Whether a file has the suffix of `torch.save`'s files."""
    return path.suffix.lower() in TORCH_SUFFIXES


def require_file(path: Path) -> None:
    """Raise WeightsError where there is no such file."""
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such weights file; check the path, or leave out --weights to use the "
            "shipped ones"
        )


def read_header(path: Path) -> dict[str, str]:
    """The text entries of a safetensors header; empty for a file of `torch.save`.

    Raises:
        WeightsError: the file is missing, cut short or not safetensors.
    """
    require_file(path)
    if is_torch_file(path):
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except _BAD_HEADER as error:
        raise _not_safetensors(path, error) from error


def _not_safetensors(path: Path, error: Exception) -> WeightsError:
    reason = str(error).partition("\n")[0][:200] or type(error).__name__
    return WeightsError(
        f"{path}: not a complete safetensors file ({reason}); copy or train it again"
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a weights file by name, on the CPU, floating-point values as float32.

    A file of `torch.save` holds the tensors at the top or under the key `state_dict`; the prefix
    `module.` of `DataParallel` is taken off their names. It is read with `weights_only`, so no code
    in it runs.

    Raises:
        WeightsError: the file is missing, cut short, of another format, or holds anything but
            plain tensors.
    """
    require_file(path)
    if is_torch_file(path):
        tensors = _read_torch(path)
    else:
        try:
            tensors = load_file(path)
        except _BAD_HEADER as error:
            raise _not_safetensors(path, error) from error
    return {
        name: value.detach().float() if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on the pickle's version
            state = torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        # torch's own message goes on to advise loading the file unsafely
        found = re.search(r"Unsupported (?:global|class)\W+(?:GLOBAL )?([\w.]+)", str(error))
        if found:
            raise WeightsError(
                f"{path}: holds a pickled {found[1]}, which could run code, and not tensors alone; "
                "save it again as torch.save(model.state_dict(), ...)"
            ) from error
        raise WeightsError(
            f"{path}: not a complete PyTorch file of tensors ({type(error).__name__}); download "
            "or copy it again"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not state:
        held = "an empty dict" if state == {} else f"an object of type {type(state).__name__}"
        raise WeightsError(f"{path}: holds {held}, not a state dict of named tensors")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path}: not a state dict of named tensors: {reprlib.repr(name)} is of type "
                f"{type(value).__name__}"
            )
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise WeightsError(
                f"{path}: {reprlib.repr(name)} is sparse, quantized or without values; save it as "
                "a plain tensor"
            )
    prefix = "module."
    if all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)
