"""What a device has, and what a piece of work takes of it: its name, its memory, seconds."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

_EVERY = 0.05  # seconds between two looks at the process's memory
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


def resident_bytes() -> int:
    """Main memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Peak:
    """The most memory that was held while a block ran, in bytes.

    Attributes:
        memory: main memory of the whole process, libraries included.
        vram: what torch held of a GPU's memory; 0 elsewhere.
    """

    memory: int = 0
    vram: int = 0

    def of(self, device: torch.device) -> int:
        """The one that counts on `device`."""
        return self.vram if device.type == "cuda" else self.memory


def _reset_peak() -> bool:
    """Begin the system's own count of the process's peak anew; only Linux can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def counted_peak() -> int:
    """Bytes of the process's main memory at its peak by the system's own count: since it began, or
    since the last `peak_memory`. 0 where the system does not count (not Linux; some sandboxes)."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    lines = (line.split() for line in text.splitlines() if line.startswith("VmHWM:"))
    return next((int(words[1]) for words in lines), 0) * 1024


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watch the process's memory, and the GPU's, while the block runs; read the result after it.

    Linux counts the peak itself. Elsewhere main memory is looked at 20 times a second.

    The system's count is begun anew for it (5 is written to /proc/self/clear_refs), and there is
    one count for the whole process: whoever reads VmHWM in it afterwards sees the peak since then,
    and so does a block within which another one began.
    """
    peak, stop, thread = Peak(resident_bytes()), threading.Event(), None
    counted = counted_peak() > 0 and _reset_peak()
    if not counted:
        process = psutil.Process()

        def look() -> None:
            while not stop.wait(_EVERY):
                peak.memory = max(peak.memory, process.memory_info().rss)

        thread = threading.Thread(target=look, name="memory", daemon=True)
        thread.start()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        yield peak
    finally:
        stop.set()
        if thread is not None:
            thread.join()
        peak.memory = max(peak.memory, counted_peak() if counted else resident_bytes())
        if device.type == "cuda":
            peak.vram = torch.cuda.max_memory_reserved(device)


def seconds_a_call(device: torch.device, work: Callable[[], object], least: float = 0.5) -> float:
    """Seconds a call of `work`: the mean over `least` seconds and two calls, after one to warm up.

    Args:
        device: that `work` gives its work to.
        work: the same every time.
        least: seconds to measure at least.
    """
    work()
    synchronize(device)
    calls, began = 0, time.perf_counter()
    while True:
        work()
        calls += 1
        synchronize(device)
        elapsed = time.perf_counter() - began
        if elapsed >= least and calls >= 2:
            return elapsed / calls
