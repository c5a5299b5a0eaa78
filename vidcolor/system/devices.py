"""Devices: choice of device and precision, free memory, out-of-memory errors."""

from __future__ import annotations

import copy
import os
import platform
from functools import cache
from typing import Any, TypeVar

import psutil
import torch
from torch import nn

from ..errors import DeviceError
from .limits import group_memory

Network = TypeVar("Network", bound=nn.Module)

_MOST_WORKERS = 1024
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """Choose the device that `auto`, `cpu`, `cuda`, `cuda:N` or `mps` names.

    Raises:
        DeviceError: the device is unknown or not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("cpu")  # mps only on request, because it has not been tested
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"unknown device '{name}'; use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device '{name}' is not available ({count} CUDA devices found); use --device cpu"
            )
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("device 'mps' is not available; use --device cpu")
    elif device.type != "cpu":
        raise DeviceError(f"device '{name}' is not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


def worker_devices(names: str) -> list[str]:
    """The devices of several workers: `cuda:0,cuda:1`, `all` for every CUDA device, `4xcpu`.

    Args:
        names: one device, as for `choose_device`, or several.

    Raises:
        DeviceError: a device is not available, or they are of different kinds, which would give
            different results.
    """
    if names == "all":
        found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        if not found:
            raise DeviceError("'all' means all CUDA devices, and there is none; use --device cpu")
        return found
    found = []
    for name in names.split(","):
        count, times, device = name.strip().partition("x")
        several = times and count.isdecimal() and 0 < int(count) <= _MOST_WORKERS
        found += [device] * int(count) if several else [name.strip()]
    if len(found) > 1:
        kinds = {choose_device(name).type for name in found}
        if len(kinds) > 1:
            raise DeviceError(
                f"--device {names} names devices of different kinds, whose results differ a "
                "little; use one kind"
            )
    return found


def choose_precision(name: str, device: torch.device, supports_mixed_precision: bool = True) -> str:
    """Choose the precision of the network, a key of `PRECISIONS`.

    Args:
        name: `auto` or a key of `PRECISIONS`. `auto` is fp16 on CUDA, bf16 on a CPU that supports
            it if the network does too, and fp32 otherwise.
        device: device of the network.
        supports_mixed_precision: of the network; see `models.ColorModel`.

    Raises:
        DeviceError: `name` is unknown, or the device does not support it.
    """
    if name == "auto":
        if device.type == "cuda":
            return "fp16"
        mixed = device.type == "cpu" and supports_mixed_precision and has_bf16()
        return "bf16" if mixed else "fp32"
    if name not in PRECISIONS:
        raise DeviceError(f"unknown precision '{name}'; use auto, {', '.join(PRECISIONS)}")
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(f"{torch.cuda.get_device_name(device)} has no bf16; use --precision fp16")
    return name


@cache
def has_bf16() -> bool:
    """Whether this processor multiplies bf16 (AVX-512 BF16 or AMX), which halves the time.

    Versions of torch without `torch.cpu.get_capabilities` have private functions for it. False if
    torch has neither.
    """
    if hasattr(torch.cpu, "get_capabilities"):
        known = torch.cpu.get_capabilities()
        return any(bool(known.get(name)) for name in ("avx512_bf16", "amx_bf16"))
    checks = (
        getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")
    )
    return any(bool(check()) for check in checks if check is not None)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch means that memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        text in str(error) for text in ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    )


def out_of_memory() -> DeviceError:
    """The error to raise if memory does not suffice for a single frame."""
    return DeviceError(
        "out of memory on the CPU for a single frame: close other programs, or use a smaller --size"
    )


def processors() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _processor_name() -> str:
    """Name of the processor, which Linux gives only in a file."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Name of a device, for messages and as a key of the cache of batch sizes.

    It is the same from run to run. For a CPU it includes the number of usable processors, because
    the speed depends on it.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({_processor_name()}, {processors()} processors)"


def device_memory(device: torch.device) -> dict[str, int]:
    """Memory of the device in bytes: in use, free, total.

    VRAM on CUDA, else main memory, whose free part takes a container's limit into account.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return {"VRAM_in_use": total - free, "VRAM_free": free, "VRAM_total": total}
    memory, left = psutil.virtual_memory(), group_memory()
    return {
        "memory_in_use": memory.used,
        "memory_free": memory.available if left is None else min(left, memory.available),
        "memory_total": memory.total,
    }


def free_memory(device: torch.device) -> int:
    """Free bytes of the device; see `device_memory`."""
    memory = device_memory(device)
    return memory["VRAM_free" if device.type == "cuda" else "memory_free"]


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def copy_network(network: Network, device: torch.device) -> Network:
    """A copy of a network on another device, which takes no memory on the network's own."""
    copies: dict[int, Any] = {id(each): each.to(device) for each in network.buffers()}
    for each in network.parameters():
        copies[id(each)] = nn.Parameter(each.detach().to(device), requires_grad=False)
    return copy.deepcopy(network, copies)
