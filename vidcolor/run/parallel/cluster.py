"""A Ray cluster as a pool of workers: `vidcolor run --cluster ADDRESS`.

Every task becomes a task of Ray with the processors, the GPU and the memory that it needs. Ray puts
it where there is room, and does it again where a node is lost. Frames do not pass through Ray:
tasks read their input and write their part on storage that all nodes share.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from ...errors import DeviceError, VidcolorError
from ...system.devices import device_name, processors
from ..colorizer import Colorizer
from ..settings import ColorizerOptions
from .pool import Assignment, OnFrames, Pace, portable
from .tasks import Task

logger = logging.getLogger("vidcolor")

_PROCESSORS = 2  # of a task, at most
_BYTES = 1 << 30  # of memory that a task is given beside its frames: measured are 0.5 to 0.9 GiB
_FRAME_BYTES = 100  # a pixel of a film; see `plan.check_memory`
_STORE_BYTES = 200 << 20  # of the object store of a cluster of one's own: tasks and reports only
_TRIES = 5  # of a task whose node or process was lost
# What Ray reads when it is imported: send no usage statistics, print no warnings on what we mean.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}
# A cluster of one machine listens on 127.0.0.1 alone: whoever reaches Ray can run programs. Its
# processes have the priority of this one.
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
_PASSED = ("SOURCE_DATE_EPOCH",)  # variables that decide what is written
_LONG = 40  # characters of a temporary folder's name; sockets' names have 107 at most
_LINE = 300  # characters of what Ray says of a lost node; its logs follow
_ANSWER = 10.0  # seconds for the cluster's head to answer
_LOOK = 1.0  # seconds between two looks at the cluster


@dataclass(frozen=True)
class _Here:
    """What a task has as if it were done in the process that began it.

    Attributes:
        folder: the current one.
        variables: of the environment.
    """

    folder: str
    variables: dict[str, str]


@lru_cache(1)
def _colorizer(options: ColorizerOptions) -> Colorizer:
    """Kept in a process of Ray from one task to the next."""
    return Colorizer(options)


def _do(options: ColorizerOptions, here: _Here, task: Task | None, board: Any, number: int) -> Any:
    """Do a task in a process of Ray.

    Returns:
        Its result, or the exception; without a task the precision and the device's name here.
    """
    try:
        os.chdir(here.folder)  # so that relative paths mean the same
        os.environ.update(here.variables)
        colorizer = _colorizer(options)
        if task is None:
            return colorizer.precision, device_name(colorizer.device)
        told = time.monotonic()

        def on_frames(frames: int) -> None:
            nonlocal told
            if time.monotonic() - told > 1:
                told = time.monotonic()
                board.tell.remote(number, frames)

        return task.run(colorizer, on_frames)
    except Exception as error:
        return portable(error)


def _log_instead(said: dict[str, Any], **more: Any) -> None:
    """In place of Ray's function that prints."""
    logger.info("Ray: %s", " ".join(map(str, said.get("lines", ())))[:_LINE])


class _Board:
    """Where tasks write how far they are; an actor of Ray."""

    def __init__(self) -> None:
        self._frames: dict[int, int] = {}

    def tell(self, number: int, frames: int) -> None:
        """Task `number` has done so many frames."""
        self._frames[number] = frames

    def take(self) -> dict[int, int]:
        """What was told since the last call."""
        told, self._frames = self._frames, {}
        return told


class Cluster:
    """A `Pool` of the processes of a Ray cluster; a context manager.

    Args:
        address: of the head (`host:6379`) of a cluster that this machine belongs to; `auto` finds
            it; `local` starts one for this run, on this machine alone.
        options: of the colorizer. With the device `auto` tasks take GPUs if the cluster has any.
        pixels: of a frame of the largest film, for the memory that is asked for.

    Raises:
        VidcolorError: Ray is not installed.
        DeviceError: there is no such cluster, or no node of it has room for a task.
    """

    def __init__(self, address: str, options: ColorizerOptions, pixels: int = 0) -> None:
        for name, value in (_ENVIRONMENT | (_ALONE if address == "local" else {})).items():
            os.environ.setdefault(name, value)
        try:
            import ray
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
        except ImportError as error:
            raise VidcolorError("--cluster needs Ray: pip install 'vidcolor[ray]'") from error
        self._ray = ray
        self._own = not ray.is_initialized()
        self._connect(address)
        self._closed, self._ended = False, threading.Event()
        self._running: dict[int, Assignment] = {}
        self._pace = Pace()
        self._changed = threading.Condition()
        self._count = self._size = 0
        self._counted = -_LOOK
        if options.device == "auto":
            gpus = ray.cluster_resources().get("GPU", 0) >= 1
            options = replace(options, device="cuda" if gpus else "cpu")
        passed = {key: os.environ[key] for key in _PASSED if key in os.environ}
        self._options, self._here = options, _Here(os.getcwd(), passed)
        most = max((node["Resources"].get("CPU", 0) for node in self._nodes()), default=0)
        self._needs = {
            "num_cpus": max(1, min(_PROCESSORS, int(most) // 2)),
            "num_gpus": int(options.device.startswith("cuda")),
            "memory": _BYTES + _FRAME_BYTES * pixels,
        }
        self._remote = ray.remote(_do).options(max_retries=_TRIES, **self._needs)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._board = ray.remote(_Board).options(num_cpus=0, scheduling_strategy=here).remote()
        self._thread = threading.Thread(target=self._watch, name="cluster", daemon=True)
        with ExitStack() as undo:
            undo.callback(self._disconnect)
            if not self.size:
                raise DeviceError(
                    f"no node of the cluster has {self._needs['num_cpus']} processors, "
                    f"{self._needs['num_gpus']} GPUs and {self._needs['memory'] >> 20} MiB for a "
                    "task; add a node"
                )
            # What `auto` means may differ from node to node; it is to mean the same.
            found = ray.get(self._remote.remote(options, self._here, None, self._board, 0))
            if isinstance(found, Exception):
                raise found
            self.precision, self._device = found
            self._options = replace(options, precision=self.precision)
            undo.pop_all()
        self._thread.start()

    def _connect(self, address: str) -> None:
        """Connect this process to a cluster, unless it is."""
        if not self._own:
            return
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if address == "local":
                if len(tempfile.gettempdir()) > _LONG:
                    from platformdirs import user_cache_path

                    quiet["_temp_dir"] = str(user_cache_path("vidcolor", appauthor=False) / "ray")
                self._ray.init(
                    "local",
                    num_cpus=processors(),
                    object_store_memory=_STORE_BYTES,
                    include_dashboard=False,
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
            else:
                host, _, port = address.rpartition("://")[2].rpartition(":")
                if host and port.isdecimal():  # Ray would wait for minutes where nobody answers
                    socket.create_connection((host, int(port)), _ANSWER).close()
                self._ray.init(address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DeviceError(
                f"--cluster {address}: no cluster can be reached there ({reason}); start one with "
                "'ray start --head', or use --cluster local"
            ) from error
        # Ray prints that nodes are lost, whatever it is told, to the output that --json has.
        self._printing = getattr(self._ray._private.worker, "print_to_stdstream", None)
        self._ray._private.worker.print_to_stdstream = _log_instead

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Number of tasks that fit into the cluster now; it changes as nodes come and go."""
        if time.monotonic() - self._counted > _LOOK:
            self._size, self._counted = sum(self._slots()), time.monotonic()
        return self._size

    @property
    def where(self) -> str:
        """See `Pool.where`."""
        return f"a cluster, {self.size} x {self._device}"

    @property
    def neighbors(self) -> int:
        """See `Pool.neighbors`."""
        return max(1, *self._slots(), 1)

    def _slots(self) -> list[int]:
        """Number of tasks that fit into each node."""
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        needs = {names[name]: need for name, need in self._needs.items() if need}
        return [
            min(int(node["Resources"].get(name, 0) // need) for name, need in needs.items())
            for node in self._nodes()
        ]

    def submit(self, task: Task, on_frames: OnFrames = lambda frames: None) -> Future[Any]:
        """See `Pool.submit`."""
        found = Assignment(task, on_frames)
        found.future.set_running_or_notify_cancel()
        with self._changed:
            while not self._closed and len(self._running) > self.size:
                self._changed.wait(_LOOK)
            if self._closed:
                raise CancelledError
            found.began = time.monotonic()
            self._count += 1
            self._running[self._count] = found
            self._launch(self._count)
        return found.future

    def _launch(self, number: int) -> None:
        found = self._running[number]
        found.running += 1
        reference = self._remote.remote(self._options, self._here, found.task, self._board, number)
        reference.future().add_done_callback(partial(self._land, number))

    def _land(self, number: int, done: Future[Any]) -> None:
        """A task, or its second copy, has ended; called in a thread of Ray."""
        error = done.exception()
        value = done.result() if error is None else error
        with self._changed:
            found = self._running.get(number)
            if found is None:
                return
            found.running -= 1
            if isinstance(value, BaseException) and not isinstance(value, VidcolorError):
                if found.running:
                    return
                said = (str(value).splitlines() or [type(value).__name__])[0]
                line = f"{found.task.input}: the cluster could not do it ({said})"
                value = VidcolorError(line)
            del self._running[number]
            self._pace.add(found)
            if isinstance(value, VidcolorError):
                found.future.set_exception(value)
            else:
                found.future.set_result(value)
            self._changed.notify_all()

    def _watch(self) -> None:
        """Pass progress on, and have slow tasks done a second time; runs in a thread."""
        while not self._ended.wait(_LOOK):
            told: dict[int, int] = {}
            with suppress(Exception):  # progress is not worth an error
                told = self._ray.get(self._board.take.remote(), timeout=5)
            with self._changed:
                running = dict(self._running)
            for number, frames in told.items():
                if number in running:
                    running[number].on_frames(frames)
            with self._changed:
                for number, found in self._running.items():
                    room = sum(each.running for each in self._running.values()) < self.size
                    if room and self._pace.is_slow(found):
                        self._launch(number)

    def drop(self, futures: Sequence[Future[Any]]) -> None:
        """See `Pool.drop`; Ray has begun all of them, or is about to."""
        wait(futures)

    def close(self) -> None:
        """See `Pool.close`."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            left, self._running = self._running, {}
            self._changed.notify_all()
        self._ended.set()
        self._thread.join()
        for found in left.values():
            found.future.set_exception(CancelledError())
        self._disconnect()

    def _disconnect(self) -> None:
        if self._own:
            self._ray.shutdown()
            self._ray._private.worker.print_to_stdstream = self._printing
