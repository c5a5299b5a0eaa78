"""Worker processes: one for each device of this machine, with a colorizer each."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import replace
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

import torch

from ...errors import DeviceError, VidcolorError
from ...system.devices import device_name
from ...system.memory import settle_memory
from ..colorizer import Colorizer
from ..settings import ColorizerOptions
from .pool import Assignment, OnFrames, Pace, portable
from .tasks import Task

logger = logging.getLogger("vidcolor")

_SILENCE = 600.0  # seconds without a finished batch after which a worker counts as hanging
_START_SECONDS = 300.0  # that a worker may take to load its model
_MOST_DEATHS = 3  # of workers over one task, after which the task counts as the cause
_MOST_FAILURES = 4  # of one worker in a row, after which its device is left out
_END_SECONDS = 10.0  # that workers have to remove their temporary files


class Workers:
    """A `Pool` of processes on this machine; a context manager.

    A worker that dies or hangs is started anew, and its task is done by the next that is free. A
    device whose worker fails again and again is left out. A task that takes much longer than others
    of its kind is done a second time by a worker that has nothing else to do.

    Args:
        options: of the colorizer.
        devices: of the workers, one each, all of one kind.
        threads: torch's, in each worker; 0 for a share of its own number.
        retain: keep freed memory, for films of one size on the CPU; see `system.memory`.
        silence: seconds without progress after which a worker counts as hanging; None for never.

    Raises:
        VidcolorError: no worker can make a colorizer.
    """

    def __init__(
        self,
        options: ColorizerOptions,
        devices: Sequence[str],
        *,
        threads: int = 0,
        retain: bool = False,
        silence: float | None = _SILENCE,
    ) -> None:
        self.silence, self._closed = silence, False
        self._waiting: deque[Assignment] = deque()
        self._running: list[Assignment] = []
        self._pace = Pace()
        self._changed = threading.Condition()
        self._ready = 0
        self._problem: VidcolorError | None = None  # of the last device that was left out
        level = logger.getEffectiveLevel()
        threads = threads or max(1, torch.get_num_threads() // len(devices))
        self._slots = [
            _Slot(self, (replace(options, device=device), threads, retain, level))
            for device in devices
        ]
        self._usable = len(self._slots)
        for slot in self._slots:
            slot.start()
        with self._changed:
            self._changed.wait_for(lambda: self._ready or not self._usable)
        if not self._ready:
            self.close()
            assert self._problem is not None
            raise self._problem

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Number of devices that are in use."""
        return max(1, self._usable)

    @property
    def neighbors(self) -> int:
        """All are on this machine."""
        return self.size

    @property
    def where(self) -> str:
        """See `Pool.where`."""
        return f"{self.size} x {self._device}"

    @property
    def processes(self) -> list[int]:
        """Process numbers of the workers."""
        return [slot.process.pid for slot in self._slots if slot.process and slot.process.pid]

    def submit(self, task: Task, on_frames: OnFrames = lambda frames: None) -> Future[Any]:
        """See `Pool.submit`."""
        assignment = Assignment(task, on_frames)
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._usable or len(self._waiting) < self._usable
            )
            if self._closed:
                raise CancelledError
            if not self._usable:
                assignment.future.set_exception(self._lost())
            else:
                self._waiting.append(assignment)
                self._changed.notify_all()
        return assignment.future

    def close(self) -> None:
        """See `Pool.close`."""
        with self._changed:
            self._closed = True
            left = [*self._waiting, *self._running]
            self._waiting.clear()
            self._changed.notify_all()
        for slot in self._slots:
            slot.end()
        until = time.monotonic() + _END_SECONDS
        for slot in self._slots:
            slot.kill(max(0.0, until - time.monotonic()))
            if slot.is_alive():
                slot.join()
        for assignment in left:
            if not assignment.future.done():
                assignment.future.set_exception(CancelledError())

    def drop(self, futures: Sequence[Future[Any]]) -> None:
        """See `Pool.drop`."""
        with self._changed:
            for found in list(self._waiting):
                if found.future in futures:
                    self._waiting.remove(found)
                    found.future.set_exception(CancelledError())
            self._changed.notify_all()
        wait(futures)

    def _lost(self) -> DeviceError:
        return DeviceError(f"no device is left to work on ({self._problem}); run the command again")

    # ------------------------------------------------------------------ called by the slots

    def take(self) -> Assignment | None:
        """The next task; waits for it. None if there will be none."""
        with self._changed:
            while not self._closed:
                found = self._waiting.popleft() if self._waiting else self._slow()
                if found is not None:
                    if not found.running:
                        found.began = time.monotonic()
                        self._running.append(found)
                    found.running += 1
                    self._changed.notify_all()
                    return found
                self._changed.wait(1.0)
        return None

    def _slow(self) -> Assignment | None:
        return next((found for found in self._running if self._pace.is_slow(found)), None)

    def finished(self, found: Assignment, value: Any) -> None:
        """A worker has done a task; `value` is the result, or an exception."""
        with self._changed:
            self._leave(found)
            if not found.future.done():
                self._pace.add(found)
                if isinstance(value, Exception):
                    found.future.set_exception(value)
                else:
                    found.future.set_result(value)
            self._changed.notify_all()

    def _leave(self, found: Assignment) -> None:
        found.running -= 1
        if not found.running:
            self._running.remove(found)

    def died(self, found: Assignment, how: str) -> None:
        """A worker has died over a task; the next that is free does it again."""
        with self._changed:
            self._leave(found)
            if not (found.running or found.future.done() or self._closed):
                found.deaths += 1
                if found.deaths < _MOST_DEATHS:
                    self._waiting.appendleft(found)
                else:
                    found.future.set_exception(
                        VidcolorError(
                            f"{found.task.input}: its worker {how}, {_MOST_DEATHS} times; try "
                            "--device cpu, or close other programs"
                        )
                    )
            self._changed.notify_all()

    def is_ready(self, precision: str, device: str) -> None:
        """A worker has its colorizer."""
        with self._changed:
            self.precision, self._device = precision, device
            self._ready += 1
            self._changed.notify_all()

    def leave_out(self, device: str, problem: VidcolorError) -> None:
        """Work without a device from now on."""
        with self._changed:
            self._usable -= 1
            self._problem = problem
            if self._usable and not self._closed:
                logger.warning("%s is left out: %s", device, problem)
            lost = [] if self._usable else list(self._waiting)
            if lost:
                self._waiting.clear()
            self._changed.notify_all()
        for assignment in lost:
            assignment.future.set_exception(self._lost())


class _Died(Exception):
    """A worker's process has ended; how."""


class _Slot(threading.Thread):
    """Starts the process of one device, gives it tasks, and hears what becomes of them."""

    def __init__(self, pool: Workers, given: tuple[ColorizerOptions, int, bool, int]) -> None:
        self._device = given[0].device
        super().__init__(name=f"worker on {self._device}", daemon=True)
        self._pool, self._given = pool, given  # for `serve`
        self.process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection[Any, Any] | None = None
        self._failures = 0
        self._ending = False

    def run(self) -> None:
        """Do tasks until there are none, or the device has failed too often."""
        pool, device = self._pool, self._device
        if hasattr(signal, "pthread_sigmask"):  # not on Windows
            # Inherited by processes, which a Ctrl-C may meet before `serve` can ignore it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            pool.is_ready(*self._begin())
        except VidcolorError as error:
            pool.leave_out(device, error)
            return
        while (found := pool.take()) is not None:
            try:
                self._do(found)
            except _Died as error:
                pool.died(found, str(error))
                if self._ending:
                    return
                self._failures += 1
                logger.info("%s: the worker on %s %s", found.task.input, device, error)
                problem: VidcolorError = DeviceError(f"its worker {error} again and again")
                if self._failures < _MOST_FAILURES:
                    try:
                        self._begin()
                        continue
                    except VidcolorError as again:
                        problem = again
                pool.leave_out(device, problem)
                return

    def _begin(self) -> Any:
        """Start the process, and wait until it has its colorizer; its precision and device."""
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, *self._given), daemon=True)
        if self._ending:
            raise DeviceError("its worker is not needed")
        self.process.start()
        other.close()
        try:
            kind, value = self._hear(_START_SECONDS)
        except _Died as error:
            raise DeviceError(f"the worker on {self._device} {error} at its start") from error
        if kind == "error":
            raise value
        return value

    def _do(self, found: Assignment) -> None:
        assert self._connection is not None
        try:
            self._connection.send(found.task)
        except OSError as error:
            raise self._death() from error
        while True:
            kind, value = self._hear(self._pool.silence)
            if kind == "frames":
                found.on_frames(value)
                continue
            self._failures = 0
            self._pool.finished(found, value)
            return

    def _hear(self, silence: float | None) -> tuple[str, Any]:
        assert self._connection is not None
        while True:
            try:
                if not self._connection.poll(silence):
                    self.kill(0.0)
                    raise _Died(f"did nothing for {silence or 0:g} seconds")
                kind, value = self._connection.recv()
            except (EOFError, OSError) as error:
                raise self._death() from error
            if kind != "log":
                return kind, value
            logger.log(*value)

    def _death(self) -> _Died:
        assert self.process is not None
        self.process.join(_END_SECONDS)
        code = self.process.exitcode
        return _Died("hung" if code is None else f"ended with code {code}")

    def end(self) -> None:
        """Ask the process to end."""
        self._ending = True
        if self.process is not None and self.process.is_alive():
            self.process.terminate()

    def kill(self, seconds: float) -> None:
        """End the process, which has so many seconds to end by itself."""
        if self.process is not None and self.process.pid is not None:
            self.process.join(seconds)
            self.process.kill()
            self.process.join()


class _Sender(logging.Handler):
    """Sends log records to the process that started this one."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        self._connection.send(("log", (record.levelno, "%s", record.getMessage())))


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # unwinds, so that temporary files are removed


def serve(
    connection: Connection[Any, Any],
    options: ColorizerOptions,
    threads: int,
    retain: bool,
    level: int,
) -> None:
    """The life of a worker process: make a colorizer, then do tasks until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the starting process's to handle
    signal.signal(signal.SIGTERM, _terminate)
    logger.handlers, logger.propagate = [_Sender(connection)], False
    logger.setLevel(level)
    torch.set_num_threads(threads)
    settle_memory(retain)
    try:
        try:
            colorizer = Colorizer(options)
        except Exception as error:
            connection.send(("error", portable(error)))
            return
        connection.send(("ready", (colorizer.precision, device_name(colorizer.device))))
        while True:
            task: Task = connection.recv()
            try:
                done = task.run(colorizer, lambda frames: connection.send(("frames", frames)))
            except (BrokenPipeError, EOFError):
                raise
            except Exception as error:
                logger.info("%s: %s", task.input, error, exc_info=error)
                connection.send(("error", portable(error)))
            else:
                connection.send(("done", done))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the other process has ended
