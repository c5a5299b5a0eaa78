"""What a run tells while it works, and for how long nothing has been finished of an input."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ..settings import Progress, Report

GAVE_UP = 75  # exit code of a process that gave up an input: another is to go on with the others


class Observer:
    """Is told what a run does; this one does nothing. See `record.Record`."""

    def working(self, paths: Sequence[Path]) -> None:
        """These inputs are worked on from now on."""

    def watching(self, paths: Sequence[Path]) -> AbstractContextManager[None]:
        """While work on these inputs is under way, which must make progress."""
        return nullcontext()

    def progress(self, progress: Progress) -> None:
        """Something of a film was finished."""

    def finish(self, report: Report) -> None:
        """An input is finished."""

    def postpone(self, report: Report) -> None:
        """An input has failed and is to be tried again at the end."""

    def is_suspect(self, path: Path) -> bool:
        """Whether an input is to come last, because it was under way when a process ended."""
        return False


@dataclass(frozen=True)
class Supervised:
    """What a process is told that another one watches over, and replaces if it crashes.

    Attributes:
        job: identifier of the job, the same in all its processes.
        restarts: how many processes of the job ended before this one.
        ready: to be called when the state tells what is under way: only then can a new process
            go on, because it knows what ended this one. None if nothing watches.
    """

    job: str
    restarts: int = 0
    ready: Callable[[], None] | None = None


class Watch:
    """Measures how long nothing has been finished of the inputs under way; safe with threads."""

    def __init__(self) -> None:
        self._since: dict[object, tuple[set[str], float]] = {}  # by absolute path
        self._pauses = 0
        self._lock = threading.Lock()

    @contextmanager
    def on(self, paths: Sequence[Path]) -> Iterator[None]:
        """While work on these inputs is under way."""
        key = object()
        with self._lock:
            self._since[key] = {os.path.abspath(path) for path in paths}, time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._since[key]

    def touch(self, path: Path | None = None) -> None:
        """Something of an input was finished; or begin to measure anew for all."""
        name = None if path is None else os.path.abspath(path)
        with self._lock:
            for key, (paths, _) in self._since.items():
                if name is None or name in paths:
                    self._since[key] = paths, time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While nothing can be finished, by no fault of an input."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            self.touch()

    def late(self, seconds: float) -> set[str]:
        """The absolute paths of inputs of which nothing was finished for so long."""
        now = time.monotonic()
        with self._lock:
            late = [paths for paths, since in self._since.values() if now - since > seconds]
        return set() if self._pauses else set().union(*late)
