"""How far a run is: bars on a terminal, elsewhere a line a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from .text import printable

if TYPE_CHECKING:
    from ..run.job.progress import JobProgress
    from ..run.settings import Progress as Moment

_EVERY = 60.0  # seconds between two lines


class _CountColumn(ProgressColumn):
    """How much of how much is done."""

    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else f"{task.total:.0f}"
        return Text(task.fields.get("count") or f"{task.completed:.0f}/{total}")


class _RateColumn(ProgressColumn):
    """Frames a second over the last half minute; nothing for the whole job."""

    def render(self, task: Task) -> Text:
        if "left" in task.fields:
            return Text("")
        rate = task.finished_speed or task.speed
        return Text(f"{rate:.1f} fps" if rate else "- fps")


class _LeftColumn(ProgressColumn):
    """The time that is left."""

    def render(self, task: Task) -> Text:
        if "left" in task.fields:
            return Text(task.fields["left"])
        left = task.time_remaining
        return Text("-:--:--" if left is None else str(timedelta(seconds=int(left))))


def describe_left(job: JobProgress) -> str:
    """The time left of a job, such as `1:20:00`, `over 1:20:00`, or `-:--:--` for unknown."""
    seconds, certain = job.seconds_left()
    text = str(timedelta(seconds=round(seconds)))
    return text if certain else f"over {text}" if seconds >= 1 else "-:--:--"


def describe(job: JobProgress) -> str:
    """How far a job is, in one line."""
    problems = f", {job.problems} not as wanted" if job.problems else ""
    line = f"{job.done} of {job.total} inputs{problems}, {describe_left(job)} left"
    now = job.present
    if now is None or now.done == now.total or job.total == now.total:
        return line
    return f"{line}; {now.input.name}: {now.done} of {now.total or '?'}"


@contextmanager
def show_lines(
    job: JobProgress, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Moment], None]]:
    """Say every minute how far a job is.

    Args:
        job: kept up to date with what the result is called with.
        say: prints a line.
        clock: seconds.
    """
    said = clock()

    def on_progress(moment: Moment) -> None:
        nonlocal said
        job.update(moment)
        if clock() - said >= _EVERY:
            said = clock()
            say(describe(job))

    yield on_progress


@contextmanager
def show_bars(job: JobProgress, console: Console) -> Iterator[Callable[[Moment], None]]:
    """A bar for the whole job, if it has several inputs, and one for the present input."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _CountColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        _LeftColumn(),
        console=console,
        transient=True,
    )
    with bars:
        whole = None
        if job.total > 1:
            start: dict[str, Any] = {"count": f"0/{job.total}", "left": describe_left(job)}
            whole = bars.add_task("all inputs", total=1, **start)
        present = bars.add_task("starting", total=None)
        before: Moment | None = None

        def on_progress(moment: Moment) -> None:
            nonlocal before
            job.update(moment)
            # pictures share one bar: their count restarts only with a new job
            if moment.done == 1 or (before is not None and moment.done < before.done):
                bars.reset(present)
            before = moment
            bars.update(
                present,
                description=escape(printable(moment.input.name)),
                completed=moment.done,
                total=moment.total,
            )
            if whole is not None:
                problems = f", {job.problems} not as wanted" if job.problems else ""
                bars.update(
                    whole,
                    completed=job.share,
                    count=f"{job.done}/{job.total}{problems}",
                    left=describe_left(job),
                )

        yield on_progress
