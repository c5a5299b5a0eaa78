"""Stages of a pipeline: each an iterator that runs ahead in a thread of its own.

    for item in ahead(lambda: second(ahead(first))):

A few items wait between two stages, so the slowest sets the pace, and memory stays what those few
take. Here also is decided how the processor's cores are shared.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from .opencv import set_opencv_threads

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # items waiting between two stages; one more is being made
_JOIN_SECONDS = 15.0  # DataLoader gives each of its workers 5 s to end before it kills them


class _OwnThreads:
    """Sets torch's number of threads for single threads of this process, and puts right what that
    does to others: the last number set is what new threads begin with. OpenCV, whose number is one
    for the whole process, has no more than the calling thread meanwhile: on pictures of a few
    hundred pixels a side its threads wait in loops for longer than they work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = self._before = 0
        self._opencv = -1  # its threads before, where it can be loaded

    def begin(self, count: int) -> None:
        """The calling thread has `count` threads for torch from now on."""
        with self._lock:
            if not self._count:
                self._before = torch.get_num_threads()
                self._opencv = set_opencv_threads(1)
            self._count += 1
            torch.set_num_threads(count)

    def end(self) -> None:
        """The calling thread ends; the last of all leaves things as the first has found them."""
        with self._lock:
            self._count -= 1
            torch.set_num_threads(self._before)
            if not self._count and self._opencv > 0:
                set_opencv_threads(self._opencv)

    def available(self) -> int:
        """Threads that torch would have but for those that have begun."""
        with self._lock:
            return self._before if self._count else torch.get_num_threads()


class Workers(ThreadPoolExecutor):
    """A pool of threads, each with a number of threads for torch of its own.

    Args:
        count: of threads, at most.
        name: of the threads.
        threads: for torch in each of them.
    """

    def __init__(self, count: int, name: str, threads: int) -> None:
        super().__init__(count, name, self._begin, (threads,))
        self._begun: list[int] = []

    def _begin(self, threads: int) -> None:
        own_threads.begin(threads)
        self._begun.append(threads)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads, behind the work that has begun; it is always waited for."""
        super().shutdown(cancel_futures=cancel_futures)
        while self._begun:
            self._begun.pop()
            own_threads.end()


class Turns:
    """What several threads do at once, or, where it has to be, one after another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at_work = 0

    @contextmanager
    def taken(self, alone: bool) -> Iterator[None]:
        """A turn; if `alone`, one that begins when all others have ended."""
        with self._changed:
            self._changed.wait_for(lambda: not (alone and self._at_work))
            self._at_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()


own_threads = _OwnThreads()


@dataclass(frozen=True)
class Threads:
    """How many threads each stage may use; decoders, encoders and the flow have their own.

    Attributes:
        model: of torch, in each of the model's workers and in the motion's thread.
        compose: of torch, in the thread that composes.
        workers: batches that are in the model at once.
        prefetch: reading has a thread of its own before the motion's.
    """

    model: int
    compose: int
    workers: int = 1
    prefetch: bool = False


_HEAVY = 4.0  # billions of multiply-adds a frame from which the model takes most of the time


def share_threads(device: torch.device, gmacs: float = 0.0) -> Threads:
    """Share the cores, or what OMP_NUM_THREADS leaves of them, between the stages of a film.

    Threads of one stage wait for each other at every operation, for long where another stage holds
    the core. So on two cores each stage has one thread, and the stages overlap instead. A heavy
    model has two batches at once, each with half the cores: the other stages have little to do.

    Args:
        device: of the model.
        gmacs: billions of multiply-adds that the model takes for a frame, 0 for unknown.
    """
    cores = own_threads.available()
    if device.type != "cpu":
        return Threads(cores, cores, prefetch=True)  # the motion waits for the device
    half = max(1, cores // 2)
    if gmacs >= _HEAVY:
        return Threads(half, max(1, cores // 4), min(2, cores))
    return Threads(half, max(1, cores - half - 1))


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


def side_by_side(
    items: Callable[[], Generator[Item]],
    work: Callable[[Item], Result],
    name: str,
    *,
    workers: int,
    threads: int,
) -> Generator[Result]:
    """Work on a generator's items in several threads, ahead; the results come in their order.

    Args:
        items: makes the generator; it runs as that of `ahead` does.
        work: what is done with each item.
        name: of the threads.
        workers: items at work at once, at most; no more than `AHEAD` + 2 are under way.
        threads: for torch in each of these.

    Close the result to end it early; work that has begun is waited for. What the generator or
    `work` raises is raised here, in its turn.
    """

    def given() -> Generator[Future[Result]]:
        with Workers(workers, name, threads) as pool, closing(items()) as found:
            try:
                try:
                    for item in found:
                        yield pool.submit(work, item)
                        del item
                except Exception as error:  # in its turn, and not before the work that waits
                    failed: Future[Result] = Future()
                    failed.set_exception(error)
                    yield failed
                    del failed
            except GeneratorExit:
                pool.shutdown(cancel_futures=True)
                raise

    with closing(ahead(given, name)) as results:
        for future in results:
            try:
                result = future.result()
            finally:  # its error's traceback holds this frame, and this frame would hold it
                del future
            yield result
            del result


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
        begun = False
        try:
            if self._threads is not None:
                own_threads.begin(self._threads)
                begun = True
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
            if begun:
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
