"""The workers that `--device` and `--cluster` ask for, if any."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from ..run.parallel.pool import Pool
from ..run.plan import Job, most_pixels
from ..run.settings import ColorizerOptions
from ..system.devices import worker_devices
from .run import of_one_size


class WorkerPool:
    """Opens the pool of workers when there is work; a context manager that closes it.

    Args:
        options: of the colorizer.
        cluster: address of a cluster, None for this machine.
        timeout: seconds without progress after which a worker counts as hanging; 0 for never.

    Attributes:
        own: the options of this process's own colorizer. Where others work it is on the CPU, and
            only tells what the model is.

    Raises:
        DeviceError: a device is not available.
    """

    def __init__(self, options: ColorizerOptions, cluster: str | None, timeout: int) -> None:
        self._options, self._cluster, self._timeout = options, cluster, timeout
        self._devices = worker_devices(options.device)
        self._is_alone = cluster is None and len(self._devices) == 1
        self.own = replace(options, device=self._devices[0] if self._is_alone else "cpu")
        self._pool: Pool | None = None
        self._opened = ExitStack()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def open(self, jobs: Sequence[Job]) -> Pool | None:
        """The pool, opened now if it is not; None if this process does the work.

        Args:
            jobs: that come first.

        Raises:
            VidcolorError: no worker can make a colorizer, or there is no cluster.
        """
        if self._pool is None and not self._is_alone:
            if self._cluster is not None:
                from ..run.parallel.cluster import Cluster

                self._pool = Cluster(self._cluster, self._options, most_pixels(jobs))
            else:
                from ..run.parallel.workers import Workers

                retain = self._devices[0] == "cpu" and of_one_size(jobs)
                self._pool = Workers(
                    self._options,
                    self._devices,
                    retain=retain,
                    silence=float(self._timeout) or None,
                )
            self._opened.callback(self._pool.close)
        return self._pool
