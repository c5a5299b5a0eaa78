"""The processor's cores: how many threads torch and OpenCV may use, and where.

Using vidcolor as a library leaves torch's and OpenCV's numbers of threads as it found them.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch

from .opencv import set_opencv_threads


class _ThreadBudget:
    """Gives threads of this process their own number of torch threads, and restores everything.

    torch's last number set is what new threads begin with, so it is set back when a thread ends.
    OpenCV has one number for the whole process: it gets 1 as long as any thread is in here, since
    on pictures of a few hundred pixels a side its threads wait longer than they work.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = threading.local()  # the number of the block that a thread is in
        self._count = self._before = 0
        self._opencv = -1  # OpenCV's threads before, -1 where it cannot be loaded

    @contextmanager
    def use(self, count: int) -> Iterator[None]:
        """Give the calling thread `count` torch threads within the block; blocks may be nested."""
        outer = getattr(self._own, "count", 0)
        with self._lock:
            if not self._count:
                self._before = torch.get_num_threads()
                self._opencv = set_opencv_threads(1)
            self._count += 1
            torch.set_num_threads(count)
        self._own.count = count
        try:
            yield
        finally:
            self._own.count = outer
            with self._lock:
                self._count -= 1
                torch.set_num_threads(outer or self._before)
                if not self._count and self._opencv > 0:
                    set_opencv_threads(self._opencv)

    def available(self) -> int:
        """torch's number of threads outside of all blocks."""
        with self._lock:
            return self._before if self._count else torch.get_num_threads()


thread_budget = _ThreadBudget()


@dataclass(frozen=True)
class StageThreads:
    """Threads of each stage of a film; decoders, encoders and the optical flow have their own.

    Attributes:
        model: torch's, in each thread of the model and in the thread that prepares its input.
        compose: torch's, in the thread that composes.
        workers: batches in the model at the same time.
        prefetch: decoding has a thread of its own before the one that prepares.
    """

    model: int
    compose: int
    workers: int = 1
    prefetch: bool = False


_HEAVY = 4.0  # billions of multiply-adds a frame from which the model takes most of the time


def share_threads(device: torch.device, gmacs: float = 0.0) -> StageThreads:
    """Share the cores, or what OMP_NUM_THREADS leaves of them, between the stages of a film.

    OpenMP's threads wait for each other at every operation, for long if another stage holds the
    core. So on two cores each stage has one thread, and the stages overlap instead. With a heavy
    model two batches are in the model at once, each with half the cores: the other stages have
    little to do.

    Args:
        device: of the model.
        gmacs: billions of multiply-adds that the model takes for a frame, 0 for unknown.
    """
    cores = thread_budget.available()
    if device.type != "cpu":
        # preparing waits for the device, so decoding has another thread
        return StageThreads(cores, cores, prefetch=True)
    half = max(1, cores // 2)
    if gmacs >= _HEAVY:
        return StageThreads(half, max(1, cores // 4), min(2, cores))
    return StageThreads(half, max(1, cores - half - 1))


@contextmanager
def keep_scheduling() -> Iterator[None]:
    """Give all threads of this process the caller's scheduling again after the block.

    Where it may, as root, SVT-AV1 makes its own threads and the one that opens it realtime threads.
    No other program would then get a core.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in map(int, os.listdir("/proc/self/task")):
            with suppress(OSError):  # it has ended
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameters)
