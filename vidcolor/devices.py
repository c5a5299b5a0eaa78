"""Devices: which are there, what arithmetic suits them, and how they say that memory ran out."""

from __future__ import annotations

from functools import cache

import torch

from .errors import DeviceError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device `auto`, `cpu`, `cuda`, `cuda:N` or `mps` stands for.

    Raises:
        DeviceError: it is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("cpu")  # mps on request only: it has not been tried
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(
            f"no device is called '{name}'; use auto, cpu, cuda, cuda:N or mps"
        ) from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device '{name}' is not there: {count} CUDA devices found; use --device cpu"
            )
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("device 'mps' is not there; use --device cpu")
    elif device.type != "cpu":
        raise DeviceError(f"device '{name}' is not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


def choose_precision(name: str, device: torch.device, careful: bool = True) -> str:
    """The arithmetic of the network, a key of `PRECISIONS`.

    Args:
        name: `auto` or a key of `PRECISIONS`. `auto` is fp16 on CUDA, bf16 on processors that have
            it if the network is `careful`, and fp32 elsewhere.
        device: where it runs.
        careful: whether the network names what has to stay fp32 beside bf16 (its method `exact`).

    Raises:
        DeviceError: `name` is unknown, or the device cannot do it.
    """
    if name == "auto":
        if device.type == "cuda":
            return "fp16"
        return "bf16" if device.type == "cpu" and careful and has_bf16() else "fp32"
    if name not in PRECISIONS:
        raise DeviceError(f"no precision is called '{name}'; use auto, {', '.join(PRECISIONS)}")
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(f"{torch.cuda.get_device_name(device)} has no bf16; use --precision fp16")
    return name


@cache
def has_bf16() -> bool:
    """Whether this processor multiplies bf16 (AVX-512 BF16 or AMX), which halves the time."""
    asked = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in _BF16)
    return any(bool(ask()) for ask in asked if ask is not None)


_BF16 = ("avx512_bf16", "amx_tile")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch means that memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in str(error) for sign in ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    )


def out_of_memory() -> DeviceError:
    """What is raised where not even one frame can be worked on."""
    return DeviceError(
        "out of memory on the CPU for a single frame: close other programs, or use a smaller --size"
    )
