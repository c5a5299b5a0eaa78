"""Real runs on a Ray cluster of two nodes on this machine, one of which is killed on the way."""

from __future__ import annotations

import json
import logging
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from vidcolor.run.parallel.cluster import Cluster
from vidcolor.run.parallel.distribute import run_on
from vidcolor.run.parallel.pool import OnFrames
from vidcolor.run.parallel.tasks import PartOfFilm, Task, TaskAround
from vidcolor.run.plan import most_pixels, plan
from vidcolor.run.settings import ColorizerOptions, Progress, Settings

_ROOT = Path(__file__).resolve().parents[2]
_KILL_AT = 0.4  # share of the frames that are done when the node is killed
_WARM_SECONDS = 120.0  # that nodes may take to load their models
_NODE = {"num_cpus": 1, "object_store_memory": 100 << 20, "node_ip_address": "127.0.0.1"}


@dataclass(frozen=True)
class _Warm:
    """Holds a node until all have a process with the model."""

    folder: Path
    nodes: int
    input = Path()
    repeatable = False

    def run(self, colorizer: Any, on_frames: OnFrames) -> None:
        """See `Task.run`."""
        (self.folder / f"warm-{os.getpid()}").touch()
        until = time.monotonic() + _WARM_SECONDS
        while len(list(self.folder.glob("warm-*"))) < self.nodes and time.monotonic() < until:
            time.sleep(0.1)


@dataclass(frozen=True)
class _Logged(TaskAround):
    """A segment whose begin and end are written down."""

    first: int  # of its frames
    log: Path

    def run(self, colorizer: Any, on_frames: OnFrames) -> None:
        """See `Task.run`."""
        self._write("begin")
        self.task.run(colorizer, on_frames)
        self._write("end")

    def _write(self, event: str) -> None:
        line = [event, self.first, os.getpid(), time.time()]
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def run_nodes(
    source: Path, output: Path, model: str, length: int, batch_size: int, *, kill: bool
) -> dict[str, float]:
    """Color a film on two nodes of one processor each.

    Args:
        source, output: the film.
        model: its name.
        length: seconds of a segment.
        batch_size: frames.
        kill: kill a node when much of the film is done, and start another in its place.

    Returns:
        `seconds` of the run, after the nodes have their models; `frames`; `tasks`, which are
        segments; `again`, segments that were begun again; `lost`, seconds of work of those;
        `dispatch`, seconds from the end of a segment to the begin of the next of the same process.
    """
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ |= {
        "PYTHONPATH": os.pathsep.join(paths),  # for this module, on the nodes
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # as other workers have
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listen on 127.0.0.1 alone
    }
    from ray.cluster_utils import Cluster as Nodes

    settings = Settings(overwrite=True, batch_size=batch_size)
    jobs, problems = plan([source], output, settings)
    if problems:
        raise RuntimeError(str(problems))
    options = ColorizerOptions(model=model, device="cpu", precision="fp32")
    log = output.with_suffix(".log")
    logging.getLogger("ray").setLevel(logging.ERROR)
    nodes = Nodes(initialize_head=True, head_node_args={**_NODE, "include_dashboard": False})
    try:
        other = nodes.add_node(**_NODE)
        with Cluster(nodes.address, options, most_pixels(jobs)) as pool:
            wait([pool.submit(_Warm(output.parent, pool.size)) for _ in range(pool.size)])
            pool.submit = _logging(pool.submit, log)  # type: ignore[method-assign]
            killed: list[float] = []

            def on_progress(progress: Progress) -> None:
                if kill and not killed and progress.done >= _KILL_AT * (progress.total or 0):
                    killed.append(time.time())
                    nodes.remove_node(other, allow_graceful=False)
                    nodes.add_node(**_NODE)

            began = time.perf_counter()
            reports = list(run_on(pool, jobs, settings, on_progress, length=Fraction(length)))
            seconds = time.perf_counter() - began
    finally:
        nodes.shutdown()
        for path in output.parent.glob("warm-*"):
            path.unlink()
    wrong = [report.error for report in reports if report.status != "done"]
    if wrong:
        raise RuntimeError(str(wrong))
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return {
        "seconds": seconds,
        "frames": sum(report.frames for report in reports),
        **_read(lines, killed[0] if killed else 0.0),
    }


def _logging(submit: Callable[..., Future[Any]], log: Path) -> Callable[..., Future[Any]]:
    def logged(task: Task, *more: Any) -> Future[Any]:
        if isinstance(task, PartOfFilm):
            task = _Logged(task, task.segment.first, log)
        return submit(task, *more)

    return logged


def _read(lines: list[tuple[str, int, int, float]], killed: float) -> dict[str, float]:
    """What the log of a run says; see `run_nodes`."""
    begins = [line for line in lines if line[0] == "begin"]
    ends = {line[1:3]: line[3] for line in map(tuple, lines) if line[0] == "end"}
    lost = [when for _, first, process, when in begins if (first, process) not in ends]
    gaps = []
    for process in {line[2] for line in begins}:
        events = sorted((line[3], line[0]) for line in lines if line[2] == process)
        for (one, kind), (two, next_kind) in pairwise(events):
            if (kind, next_kind) == ("end", "begin"):
                gaps.append(two - one)
    return {
        "tasks": len({line[1] for line in begins}),
        "again": len(begins) - len({line[1] for line in begins}),
        "lost": sum(max(0.0, killed - when) for when in lost),
        "dispatch": statistics.median(gaps) if gaps else 0.0,
    }
