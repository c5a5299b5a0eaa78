"""Main memory of this process: keep freed memory, measure the peak."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

# parameters of mallopt(3), from glibc's malloc.h
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_MAX = -4
_ARENA_MAX = -8

_PAD_BYTES = 1 << 28


def retain_freed_memory() -> bool:
    """Keep freed memory in this process for reuse, instead of returning it to the system.

    By default glibc maps each large block separately and unmaps it when it is freed. A training
    frees its activations at every step, so at every step the system maps and zeroes the pages
    again. For `skip_cnn` at batch 128 that takes more than a third of the time. In the heap the
    pages stay mapped. The cost is memory: the process stays at its largest size, and blocks of
    different sizes leave gaps. For `skip_cnn` this added nothing at batch 16, a third at 128 and
    at least two thirds at 256; over 200 steps the process stopped growing after 40
    (benchmarks/README.md).

    The frames of a film all have one size, so films cost little: 50 to 75 MB more, for 10 % less
    processor time (640x480, `fast`).

    The setting applies to later allocations, until the process ends. It has no effect with a C
    library other than glibc.

    Returns:
        Whether the setting was made.
    """
    return _set_malloc(
        (_MMAP_MAX, 0),  # map no block separately
        (_TRIM_THRESHOLD, -1),  # never return the heap's free end
        (_TOP_PAD, _PAD_BYTES),  # grow the heap in large pieces
        (_ARENA_MAX, 1),  # one heap for all threads, because a thread's own arenas are small
    )


def limit_heaps() -> bool:
    """Let all threads share two heaps, for blocks of many sizes.

    Under glibc each thread has a heap of its own, with gaps of its own. 120 pictures of 0.1 to 12
    megapixels took 1.68 GB in two threads, with two heaps 1.32 GB, in the same processor time.
    Later threads are concerned, until the process ends.

    Returns:
        Whether the setting was made; it has no effect with a C library other than glibc.
    """
    return _set_malloc((_ARENA_MAX, 2))


def settle_memory(one_size: bool) -> bool:
    """Set how this process uses memory. Call it after the modules are imported.

    Later garbage collections skip the objects that exist now, and take milliseconds. A full one
    over torch's modules takes 0.1 s, and each checkpoint of a film needs one.

    Args:
        one_size: whether the process works on the CPU with blocks of few sizes, as for films of one
            size: freed memory is retained, as by `retain_freed_memory`. Otherwise `limit_heaps`.

    Returns:
        Whether freed memory is retained.
    """
    if not gc.get_freeze_count():  # once: later there may be garbage, which would stay
        gc.freeze()
    if one_size:
        return retain_freed_memory()
    limit_heaps()
    return False


def _set_malloc(*settings: tuple[int, int]) -> bool:
    """Set parameters of glibc's malloc; False where there is none."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl, bionic
        return False
    return all(library.mallopt(name, value) == 1 for name, value in settings)


def release_freed_memory() -> None:
    """Return freed memory to the system, where the C library can.

    Under glibc each thread has a heap of its own. Blocks of some megabytes that are made in one
    thread and then another would stay in each.
    """
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


_POLL_SECONDS = 0.05  # between two readings of the process's memory


def resident_bytes() -> int:
    """Main memory that this process uses, bytes."""
    return int(psutil.Process().memory_info().rss)


@dataclass
class Peak:
    """Peak memory while a block ran, bytes.

    Attributes:
        memory: main memory of the whole process, libraries included.
        vram: GPU memory reserved by torch; 0 on other devices.
    """

    memory: int = 0
    vram: int = 0

    def of(self, device: torch.device) -> int:
        """The peak of the memory that `device` works in."""
        return self.vram if device.type == "cuda" else self.memory


def _reset_peak() -> bool:
    """Reset the system's count of the process's peak memory; possible on Linux only."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_resident_bytes() -> int:
    """Peak main memory of this process by the system's count, bytes.

    It counts from the start of the process or from the last `peak_memory`. The result is 0 on
    systems that do not count: all but Linux, and some sandboxes.
    """
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    lines = (line.split() for line in text.splitlines() if line.startswith("VmHWM:"))
    return next((int(words[1]) for words in lines), 0) * 1024


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure peak memory of the process, and of the GPU, while the block runs.

    Linux counts the peak itself. On other systems main memory is read 20 times a second.

    The block resets the system's count (it writes 5 to /proc/self/clear_refs), and there is one
    count for the process. So VmHWM, and an enclosing block, give the peak since the last reset.

    Yields:
        The result, complete after the block.
    """
    peak, stop, thread = Peak(resident_bytes()), threading.Event(), None
    counted = peak_resident_bytes() > 0 and _reset_peak()
    if not counted:
        process = psutil.Process()

        def poll() -> None:
            while not stop.wait(_POLL_SECONDS):
                peak.memory = max(peak.memory, process.memory_info().rss)

        thread = threading.Thread(target=poll, name="memory", daemon=True)
        thread.start()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        yield peak
    finally:
        stop.set()
        if thread is not None:
            thread.join()
        peak.memory = max(peak.memory, peak_resident_bytes() if counted else resident_bytes())
        if device.type == "cuda":
            peak.vram = torch.cuda.max_memory_reserved(device)
