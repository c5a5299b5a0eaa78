"""Each measurement in a process of its own, so that its peak memory and its threads are its own.

The processes are forked from a server that has imported torch and vidcolor and done nothing else,
so that a measurement does not wait for imports (where the system has no fork server, it does).
"""

from __future__ import annotations

import multiprocessing
import resource
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from vidcolor.errors import VidcolorError
from vidcolor.system.memory import peak_resident_bytes

_PRELOAD = ["vidcolor.run.films", "vidcolor.models.describe", "benchmarks.peers"]


def peak_bytes() -> int:
    """Bytes of main memory that this process has held at most."""
    # the system's own count first: what getrusage tells of Linux is handed on from the process that
    # started this one; elsewhere it is right, in bytes on macOS
    return peak_resident_bytes() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Stopwatch:
    """Wall and processor seconds since it was made, of all threads of this process."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Wall seconds and processor seconds."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def _serve(pipe: Connection, work: Callable[..., dict[str, Any]], given: dict[str, Any]) -> None:
    try:
        pipe.send((work(**given), peak_bytes(), ""))
    except VidcolorError as error:  # told to the parent, which raises
        pipe.send((None, 0, error))
    except BaseException as error:  # told to the parent too
        pipe.send((None, 0, "".join(traceback.format_exception(error))))
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
