"""Devices: which are there, what arithmetic suits them, and how they say that memory ran out."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import psutil
import torch

from ..errors import DeviceError

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


def choose_precision(name: str, device: torch.device, supports_mixed_precision: bool = True) -> str:
    """The arithmetic of the network, a key of `PRECISIONS`.

    Args:
        name: `auto` or a key of `PRECISIONS`. `auto` is fp16 on CUDA, bf16 on processors that have
            it if the network `supports_mixed_precision`, and fp32 elsewhere.
        device: where it runs.
        supports_mixed_precision: of the network; see `models.ColorModel`.

    Raises:
        DeviceError: `name` is unknown, or the device cannot do it.
    """
    if name == "auto":
        if device.type == "cuda":
            return "fp16"
        mixed = device.type == "cpu" and supports_mixed_precision and has_bf16()
        return "bf16" if mixed else "fp32"
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


_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _processor_name() -> str:
    """The processor's name; Linux tells it in a file alone."""
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
    """A device's name for people and for the cache of batch sizes: the same from run to run, and
    another one where its speed is another: a CPU's says how many processors may be used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({_processor_name()}, {processors()} processors)"


def _number(path: Path) -> int | None:
    """The number in a file of the system; None where it holds none, such as `max`."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _idle_cache(path: Path, name: str) -> int:
    """Bytes of cached files that a group gives back when memory is short, by its `memory.stat`."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def _group_memory() -> int | None:
    """Bytes that Linux's control groups leave to this process, as a container's limit does; None
    without a limit. A group is limited by those that it lies in too."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    left: list[int] = []
    for line in lines:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:  # version 2
            root, names = _GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = _GROUPS / "memory"
        else:
            continue
        # a container may see its own group as the root, under a path from outside of it
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            group = root.joinpath(*parts[:depth])
            limit, used = _number(group / names[0]), _number(group / names[1])
            if limit is not None and used is not None:
                used -= _idle_cache(group / "memory.stat", names[2])
                left.append(max(0, limit - max(0, used)))
    return min(left, default=None)


def device_memory(device: torch.device) -> dict[str, int]:
    """Memory of the device in bytes: VRAM in use, free and in all on CUDA, else main memory, of
    which no more is free than a container's limit leaves."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return {"VRAM_in_use": total - free, "VRAM_free": free, "VRAM_total": total}
    memory, left = psutil.virtual_memory(), _group_memory()
    return {
        "memory_in_use": memory.used,
        "memory_free": memory.available if left is None else min(left, memory.available),
        "memory_total": memory.total,
    }


def free_memory(device: torch.device) -> int:
    """Bytes that are left on the device, or to this process; see `device_memory`."""
    memory = device_memory(device)
    return memory["VRAM_free" if device.type == "cuda" else "memory_free"]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
