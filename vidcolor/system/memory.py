"""Memory that a process keeps from step to step, so that it is not fetched anew each time."""

from __future__ import annotations

import ctypes
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


def keep_memory() -> bool:
    """Let this process keep the memory that it frees, and use it again.

    glibc maps each large block by itself and unmaps it when it is freed. A training frees its
    activations at every step, so that at every step the system hands them out again page by page,
    zeroed: at batch 128 more than a third of the time of `skip_cnn`. Kept in the heap they stay in
    place. The price is memory: the process stays at its largest size, and blocks of different sizes
    leave gaps. Measured on `skip_cnn`, that added nothing at batch 16, a third at 128 and at least
    two thirds at 256; in 200 steps the process stopped growing after 40 (benchmarks/README.md).

    A film's frames are all of one size, so there it costs little: 50 to 75 MB more, for a tenth
    less processor time (640x480, `fast`).

    It works for memory that is asked for later, for the rest of the process. It does nothing where
    the C library is another one than glibc.

    Returns:
        Whether the setting was made.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl, bionic
        return False
    settings = (
        (_MMAP_MAX, 0),  # no block is mapped by itself
        (_TRIM_THRESHOLD, -1),  # the heap's free end is never given back
        (_TOP_PAD, _PAD_BYTES),  # it grows in large pieces
        (_ARENA_MAX, 1),  # and is shared by all threads: those of their own are small and mapped
    )
    return all(library.mallopt(name, value) == 1 for name, value in settings)


_EVERY = 0.05  # seconds between two looks at the process's memory


def resident_bytes() -> int:
    """Main memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


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
