"""Each measurement in a process of its own, so that its peak memory and its threads are its own.

The processes are forked from a server that has imported torch and vidcolor and done nothing else,
so that a measurement does not wait for imports (where the system has no fork server, it does).
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vidcolor.errors import VidcolorError

_PRELOAD = ["vidcolor.pipeline", "vidcolor.models.describe", "benchmarks.peers"]


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resident_bytes(peak: bool) -> int:
    """Bytes of this process in main memory: at most so far, or (on Linux) now."""
    if not sys.platform.startswith("linux"):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    # not getrusage: its peak is handed on from the process that started this one
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def peak_bytes(device: str) -> int:
    """The peak of this process: of the GPU's memory with a GPU, else of main memory."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    return resident_bytes(peak=True)


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


class Stopwatch:
    """Wall and processor seconds since it was made, of all threads of this process."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Wall seconds and processor seconds."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def _serve(pipe: Connection, work: Callable[..., dict[str, Any]], given: dict[str, Any]) -> None:
    try:
        pipe.send((work(**given), resident_bytes(peak=True), ""))
    except VidcolorError as error:  # told to the parent, which raises
        pipe.send((None, 0, error))
    except BaseException:
        pipe.send((None, 0, traceback.format_exc()))
        raise SystemExit(1) from None


def alone(work: Callable[..., dict[str, Any]], **given: Any) -> dict[str, Any]:
    """What `work(**given)` returns in a new process, and `peak_rss_bytes` of that process.

    Args:
        work: a function that a module names; its arguments and result can be pickled.

    Raises:
        VidcolorError: as `work` raised it.
        RuntimeError: it failed otherwise; the message is its traceback, or its exit code.
    """
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(kind)
    if kind == "forkserver":
        context.set_forkserver_preload(_PRELOAD)
    ours, theirs = context.Pipe(duplex=False)
    # a daemon ends with this process, however that ends
    process = context.Process(target=_serve, args=(theirs, work, given), daemon=True)
    process.start()
    theirs.close()  # so that its end is noticed when the process dies
    try:
        found, peak, failed = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"{work.__name__} ended with exit code {process.exitcode}; was memory short?"
        ) from None
    process.join()
    if isinstance(failed, VidcolorError):
        raise failed
    if failed:
        raise RuntimeError(f"{work.__name__} failed:\n{failed}")
    return {**found, "peak_rss_bytes": peak}
