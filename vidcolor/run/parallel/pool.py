"""Pools of workers: what they have in common, wherever the workers are."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...errors import VidcolorError
from .tasks import Task

_SLOW = 2.0  # times the mean of like tasks after which an idle worker does a task as well
_LEAST_SLOW = 10.0  # seconds
# What pickle raises for what it cannot write or make again.
_UNREADABLE = (pickle.PickleError, AttributeError, EOFError, ImportError, LookupError, TypeError,
               ValueError)  # fmt: skip

OnFrames = Callable[[int], None]


class Pool(Protocol):
    """Does tasks somewhere else.

    Attributes:
        size: number of tasks that are done at the same time.
        neighbors: number of those on one machine, at most.
        precision: of the model, where the work is done.
        where: that is, in words.
    """

    @property
    def size(self) -> int: ...

    @property
    def neighbors(self) -> int: ...

    @property
    def precision(self) -> str: ...

    @property
    def where(self) -> str: ...

    def submit(self, task: Task, on_frames: OnFrames = lambda frames: None) -> Future[Any]:
        """Give a task to the next worker that is free; waits while enough tasks wait.

        Args:
            task: to do.
            on_frames: called in another thread with the number of frames that are done. It becomes
                smaller when another worker begins anew.
        """
        ...

    def drop(self, futures: Sequence[Future[Any]]) -> None:
        """Forget the tasks that no worker has begun, and wait for the others."""
        ...

    def close(self) -> None:
        """End all workers. The futures of tasks that are not done raise CancelledError."""
        ...


@dataclass
class Assignment:
    """A task that a pool was given.

    Attributes:
        deaths: number of workers that died over it.
        began: when it was begun, monotonic seconds.
        running: number of workers that do it now.
    """

    task: Task
    on_frames: OnFrames
    future: Future[Any] = field(default_factory=Future)
    deaths: int = 0
    began: float = 0.0
    running: int = 0


class Pace:
    """How long tasks of each kind take."""

    def __init__(self) -> None:
        self._seconds: dict[type[Any], tuple[int, float]] = {}  # count and sum

    def add(self, done: Assignment) -> None:
        """A task was done now."""
        count, total = self._seconds.get(type(done.task), (0, 0.0))
        took = time.monotonic() - done.began
        self._seconds[type(done.task)] = count + 1, total + took

    def is_slow(self, found: Assignment) -> bool:
        """Whether a task is done by one worker, takes much longer than others, and may be done by
        a second one."""
        count, total = self._seconds.get(type(found.task), (0, 0.0))
        if found.running != 1 or not found.task.repeatable or count < 2:
            return False
        return time.monotonic() - found.began > max(_LEAST_SLOW, _SLOW * total / count)


def portable(error: Exception) -> Exception:
    """An error that another process can read."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except _UNREADABLE:
        return VidcolorError(str(error))
