"""Stages of a pipeline: each an iterator that runs ahead in a thread of its own.

    for item in ahead(lambda: second(ahead(first))):

A few items wait between two stages, so the slowest sets the pace, and memory stays what those few
take. Here also is decided how the processor's cores are shared.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")

AHEAD = 2  # items waiting between two stages; one more is being made
_JOIN_SECONDS = 15.0  # DataLoader gives each of its workers 5 s to end before it kills them


class _OwnThreads:
    """Sets torch's number of threads for single threads of this process, and puts right what that
    does to others: the last number set is what new threads begin with."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = self._before = 0

    def begin(self, count: int) -> None:
        """The calling thread has `count` threads for torch from now on."""
        with self._lock:
            if not self._count:
                self._before = torch.get_num_threads()
            self._count += 1
            torch.set_num_threads(count)

    def end(self) -> None:
        """The calling thread ends; the last of all leaves things as the first has found them."""
        with self._lock:
            self._count -= 1
            torch.set_num_threads(self._before)

    def available(self) -> int:
        """Threads that torch would have but for those that have begun."""
        with self._lock:
            return self._before if self._count else torch.get_num_threads()


own_threads = _OwnThreads()


@dataclass(frozen=True)
class Threads:
    """How many threads of torch each stage may use, the motion as many as the model; decoders,
    encoders and the flow have their own."""

    model: int
    compose: int
    prefetch: bool = False  # whether reading has a thread of its own before the motion's


_HEAVY = 4.0  # billions of multiply-adds a frame from which the model takes most of the time


def share_threads(device: torch.device, gmacs: float = 0.0) -> Threads:
    """Share the cores, or what OMP_NUM_THREADS leaves of them, between the stages of a film.

    Threads of one stage wait for each other at every operation, for long where another stage holds
    the core, so on two cores each stage has one thread and the stages overlap instead. A heavy
    model has all cores: the other stages have little to do while it works.

    Args:
        device: of the model.
        gmacs: billions of multiply-adds that the model takes for a frame, 0 for unknown.
    """
    cores = own_threads.available()
    if device.type != "cpu":
        return Threads(cores, cores, prefetch=True)  # the motion waits for the device
    if gmacs >= _HEAVY:
        return Threads(cores, max(1, cores // 4))
    model = max(1, cores // 2)
    return Threads(model, max(1, cores - model - 1))


def ahead(
    items: Callable[[], Generator[Item]],
    name: str,
    *,
    threads: int | None = None,
) -> Generator[Item]:
    """Run a generator in a thread, up to `AHEAD` items ahead.

    Args:
        items: makes the generator; called in the thread, which also closes it.
        name: of the thread.
        threads: for torch in that thread; None leaves them as they are.

    The thread starts when the first item is asked for. Close the result (or let it go) to end it
    early. What the generator raises is raised here, in its turn.
    """
    runner = _Runner(items, name, threads)
    try:
        while True:
            item, error = runner.waiting.get()
            if error is not None:
                try:
                    raise error
                finally:  # its traceback holds this frame, and this frame would hold it
                    del error, item
            if item is _END:
                return
            yield item
            del item  # not to be kept while the next one is waited for
    finally:
        runner.close()


def in_thread(work: Callable[[], Item], name: str, threads: int) -> Item:
    """What `work()` returns, done in a thread that has `threads` threads for torch as a stage has:
    for measuring a stage alone."""

    def once() -> Generator[Item]:
        yield work()

    with closing(ahead(once, name, threads=threads)) as results:
        return next(results)


_END: Any = object()


class _Runner:
    """The thread behind `ahead`."""

    def __init__(self, items: Callable[[], Generator[Any]], name: str, threads: int | None) -> None:
        self.waiting: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(AHEAD)
        self._items, self._threads = items, threads
        self._stop = threading.Event()
        # A daemon, so that a decoder stuck in a broken file cannot hold up the end of the process.
        self._thread = threading.Thread(target=self._pull, name=name, daemon=True)
        self._thread.start()

    def _pull(self) -> None:
        if self._threads is not None:
            own_threads.begin(self._threads)
        try:
            with closing(self._items()) as items:  # closed here: that ends what it stands on
                for item in items:
                    if not self._put((item, None)):
                        return
                    del item
        except BaseException as error:  # handed to the consumer, who raises it
            self._put((None, error))
        else:
            self._put((_END, None))
        finally:
            if self._threads is not None:
                own_threads.end()

    def _put(self, entry: tuple[Any, BaseException | None]) -> bool:
        while not self._stop.is_set():
            try:
                self.waiting.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def close(self) -> None:
        """Stop the thread; waits for it, but not for ever."""
        self._stop.set()
        while True:
            try:
                self.waiting.get_nowait()
            except queue.Empty:
                break
        self._thread.join(_JOIN_SECONDS)
