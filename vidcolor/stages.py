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


@dataclass(frozen=True)
class Threads:
    """How many threads of torch each stage may use; decoders and encoders have their own."""

    model: int
    compose: int


def share_threads(device: torch.device) -> Threads:
    """Share the cores, or what OMP_NUM_THREADS leaves of them, between the stages of a film.

    Threads of one stage wait for each other at every operation, for long where another stage holds
    the core, so on two cores each stage has one thread and the stages overlap instead.
    """
    cores = torch.get_num_threads()
    if device.type != "cpu":
        return Threads(cores, cores)
    model = max(1, cores // 2)
    return Threads(model, max(1, cores - model - 1))


def ahead(
    items: Callable[[], Generator[Item]],
    name: str,
    *,
    threads: int | None = None,
    depth: int = AHEAD,
) -> Generator[Item]:
    """Run a generator in a thread, up to `depth` items ahead.

    Args:
        items: makes the generator; called in the thread, which also closes it.
        name: of the thread.
        threads: for torch in that thread; None leaves them as they are.
        depth: items that may wait.

    The thread starts when the first item is asked for. Close the result (or let it go) to end it
    early. What the generator raises is raised here, in its turn.
    """
    runner = _Runner(items, name, threads, depth)
    try:
        while True:
            item, error = runner.waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
            del item  # not to be kept while the next one is waited for
    finally:
        runner.close()


_END: Any = object()


class _Runner:
    """The thread behind `ahead`."""

    def __init__(
        self, items: Callable[[], Generator[Any]], name: str, threads: int | None, depth: int
    ) -> None:
        self.waiting: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
        self._items, self._threads = items, threads
        self._stop = threading.Event()
        # A daemon, so that a decoder stuck in a broken file cannot hold up the end of the process.
        self._thread = threading.Thread(target=self._pull, name=name, daemon=True)
        self._thread.start()

    def _pull(self) -> None:
        before = torch.get_num_threads()
        try:
            if self._threads is not None:
                torch.set_num_threads(self._threads)
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
            torch.set_num_threads(before)  # what threads yet to come begin with

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
