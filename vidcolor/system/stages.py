"""Stages that work on a stream of items, each in its own thread, and the processor's cores.

    stages = [Stage("double", lambda item: [2 * item]), Stage("sum", stream=accumulate)]
    with closing(run_stages(source, stages)) as results:
        for result in results: ...

A few items wait between two threads. So the slowest thread sets the pace, and memory stays bounded.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

import torch

from .devices import synchronize
from .threads import thread_budget

A = TypeVar("A")
B = TypeVar("B")

LOOK_AHEAD = 2  # items that wait between two threads; one more is being made
_JOIN_SECONDS = 15.0  # a decoder that hangs in a broken file must not hold up the program


@dataclass(frozen=True)
class Stage(Generic[A, B]):
    """One step of the work on a stream of items; give either `work` or `stream`.

    Attributes:
        name: of the stage, for its thread and for a `StageTimer`.
        work: makes the results of one item, none, one or several, in order.
        stream: makes the iterator of all results from the iterator of all items; for a stage that
            keeps something from one item to the next.
        threads: torch's threads in each thread that works for the stage; stages that share a
            thread have the largest of their numbers.
        workers: items worked on at the same time, by the thread pool that all such stages of a run
            share; 0 works on one item at a time in the stage's own thread. Only with `work`.
        joined: the stage runs in the thread of the stage before it, or in that of the source; not
            possible after a stage with workers.
    """

    name: str
    work: Callable[[A], Iterable[B]] | None = None
    stream: Callable[[Iterator[A]], Iterator[B]] | None = None
    threads: int = 1
    workers: int = 0
    joined: bool = False

    def __post_init__(self) -> None:
        if (self.work is None) == (self.stream is None):
            raise ValueError(f"stage {self.name}: give either work or stream")
        if self.workers and self.stream:
            raise ValueError(f"stage {self.name}: a stream has no workers")


@dataclass
class StageCost:
    """What a stage has taken so far.

    Attributes:
        frames: frames it has been given; items without a length count as one.
        seconds: wall time of its work, without waiting for other stages.
        processor_seconds: processor time of the threads that called its work. Threads of libraries
            (OpenMP, decoders, encoders) are not included.
    """

    frames: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0

    @property
    def fps(self) -> float:
        """Frames per second of work."""
        return self.frames / max(1e-9, self.seconds)


@dataclass
class StageTimer:
    """Measures what each stage of a run takes.

    Args:
        device: waited for after each item, so that a stage's time includes its work on a GPU.
        overlap: False runs the stages one after another in one thread, so that none is slowed down
            by another.

    Attributes:
        costs: by the names of the stages.
    """

    device: torch.device | None = None
    overlap: bool = True
    costs: dict[str, StageCost] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def measure(self, name: str, frames: int) -> Iterator[None]:
        """Add the block's time, and the frames it works on, to the stage `name`."""
        began = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self._add(name, began, frames)

    def follow(
        self, name: str, items: Iterable[A], *, sign: int = 1, counted: bool = True
    ) -> Generator[A, None, None]:
        """Pass items on, and add the time that they take to the stage `name`.

        Args:
            name: of the stage.
            items: closed at the end, if they are a generator.
            sign: -1 subtracts the time, because it is that of the stages before.
            counted: add the items' frames too.
        """
        iterator = iter(items)
        try:
            while True:
                began, frames = (time.perf_counter(), time.thread_time()), 0
                try:
                    item = next(iterator)
                    frames = _frames(item) if counted else 0
                except StopIteration:
                    return
                finally:
                    self._add(name, began, frames, sign)
                yield item
                del item
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    def _add(self, name: str, began: tuple[float, float], frames: int, sign: int = 1) -> None:
        if self.device is not None:
            synchronize(self.device)
        seconds, processor = time.perf_counter() - began[0], time.thread_time() - began[1]
        with self._lock:
            cost = self.costs.setdefault(name, StageCost())
            cost.frames += frames
            cost.seconds += sign * seconds
            cost.processor_seconds += sign * processor


def _frames(item: object) -> int:
    return len(item) if isinstance(item, Sized) else 1


class _Channel:
    """Hands items from one thread to another, or the futures of lists of items.

    Args:
        size: items or futures that wait in it at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._items: deque[Any] = deque()
        self._closed = self._ended = False
        self._error: BaseException | None = None

    def put(self, item: Any) -> bool:
        """Hand over an item, when there is room; False if the receiver wants no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._size)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def end(self, error: BaseException | None = None) -> None:
        """There are no more items; `error` is raised behind the last."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody wants more items; whoever waits goes on."""
        with self._changed:
            self._closed = self._ended = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Generator[Any, None, None]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            if isinstance(item, Future):
                try:
                    results = item.result()
                finally:  # its error's traceback holds this frame, and this frame would hold it
                    del item
                yield from results
                del results
                continue
            yield item
            del item  # not to be kept while the next one is waited for
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:  # as above
                del error


def run_stages(
    source: Iterable[Any],
    stages: Sequence[Stage[Any, Any]],
    *,
    timer: StageTimer | None = None,
    name: str = "decode",
    unblock: Callable[[], None] = lambda: None,
) -> Generator[Any, None, None]:
    """Run a source through stages; the results come in order.

    The source and each stage that is not `joined` have a thread of their own. The threads start
    when the first result is asked for. What the source or a stage raises is raised here, after the
    results of the items before it.

    Args:
        source: of items; closed at the end, if it is a generator.
        stages: in order.
        timer: measures the source and the stages.
        name: of the source, for its thread and for `timer`.
        unblock: called when the run ends, before its threads are waited for; must end any waiting
            of the source for something else than its own work.

    Close the result to stop early: that closes the source and ends the threads. Work that has
    begun is waited for. An item is released when its results have been passed on; only a stage
    given by `stream` may hold it longer.
    """
    first = source if timer is None else timer.follow(name, source)
    if timer is not None and not timer.overlap:
        yield from _chain(first, [replace(stage, workers=0) for stage in stages], None, timer)
        return
    groups = _by_thread(stages)
    channels = [_Channel(max(LOOK_AHEAD, group[-1].workers if group else 0)) for group in groups]
    pool = _make_pool([stage for stage in stages if stage.workers])

    def pump(items: Iterable[Any], group: list[Stage[Any, Any]], into: _Channel) -> None:
        try:
            with closing(_chain(items, group, pool, timer)) as results:
                for result in results:
                    if not into.put(result):
                        break
                    del result
        except BaseException as error:  # raised by the receiver, in its turn
            into.end(error)
        else:
            into.end()

    threads = [
        # a daemon: see _JOIN_SECONDS
        threading.Thread(
            target=pump, args=given, name=given[1][0].name if given[1] else name, daemon=True
        )
        for given in zip([first, *channels], groups, channels, strict=False)
    ]
    # Held until the pool's threads have ended: each sets the number that new threads begin with.
    with thread_budget.use(torch.get_num_threads()):
        try:
            for thread in threads:
                thread.start()
            yield from channels[-1]
        finally:
            unblock()
            for channel in channels:
                channel.close()
            if pool is not None:
                pool.shutdown(cancel_futures=True)
            until = time.monotonic() + _JOIN_SECONDS
            for thread in threads:
                if thread.ident is not None:  # it has started
                    thread.join(max(0.0, until - time.monotonic()))


def _by_thread(stages: Sequence[Stage[Any, Any]]) -> list[list[Stage[Any, Any]]]:
    """The stages of each thread; the first thread reads the source."""
    groups: list[list[Stage[Any, Any]]] = [[]]
    for stage in stages:
        if not stage.joined:
            groups.append([])
        elif groups[-1] and groups[-1][-1].workers:
            raise ValueError(f"stage {stage.name} cannot join a stage with workers")
        groups[-1].append(stage)
    return groups


def _make_pool(stages: Sequence[Stage[Any, Any]]) -> ThreadPoolExecutor | None:
    """The threads that the workers of `stages` share."""
    if not stages:
        return None
    return ThreadPoolExecutor(
        max(stage.workers for stage in stages),
        thread_name_prefix="-".join(stage.name for stage in stages),
        initializer=torch.set_num_threads,  # set back at the end of `run_stages`
        initargs=(max(stage.threads for stage in stages),),
    )


def _chain(
    items: Iterable[Any],
    stages: Sequence[Stage[Any, Any]],
    pool: ThreadPoolExecutor | None,
    timer: StageTimer | None,
) -> Generator[Any, None, None]:
    """The results of stages that run one after another in the calling thread."""
    threads = max((stage.threads for stage in stages), default=1)
    with thread_budget.use(threads), ExitStack() as opened:
        if isinstance(items, Generator):
            opened.callback(items.close)
        for stage in stages:
            items = _results(stage, items, pool, timer)
            opened.callback(items.close)
        yield from items


def _results(
    stage: Stage[Any, Any],
    items: Iterable[Any],
    pool: ThreadPoolExecutor | None,
    timer: StageTimer | None,
) -> Generator[Any, None, None]:
    """The results of one stage; of one with workers, the futures of lists of results."""
    if stage.workers and pool is not None:
        work = partial(_work_on_one, stage, timer)
        for item in items:
            yield pool.submit(work, item)
            del item  # not to be kept while the next one is waited for
    elif timer is None:
        yield from _work(stage, items)
    else:
        given = timer.follow(stage.name, items, sign=-1)
        yield from timer.follow(stage.name, _work(stage, given), counted=False)


def _work(stage: Stage[Any, Any], items: Iterable[Any]) -> Generator[Any, None, None]:
    if stage.work is None:
        assert stage.stream is not None
        yield from stage.stream(iter(items))
        return
    for item in items:
        yield from stage.work(item)
        del item  # as above


def _work_on_one(stage: Stage[Any, Any], timer: StageTimer | None, item: Any) -> list[Any]:
    assert stage.work is not None
    with timer.measure(stage.name, _frames(item)) if timer else nullcontext():
        return list(stage.work(item))
