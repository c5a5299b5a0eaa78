"""How far a job is, and how long the rest will take, by what was measured so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..plan import FilmJob, Job
from ..settings import Progress, Report


@dataclass
class _Pace:
    """Seconds that an amount of work has taken."""

    seconds: float = 0.0
    work: float = 0.0

    def seconds_for(self, work: float) -> float | None:
        """Of more work; None if nothing was measured."""
        if not work:
            return 0.0
        return self.seconds / self.work * work if self.work else None


class JobProgress:
    """The inputs of a job that are done, and the time that is left.

    A film's work is its frames times the megapixels of each; a picture's is one, because
    pictures are opened only when they are worked on.

    Args:
        jobs: of the run, in order.
        clock: seconds of work; a pause must not count.

    Attributes:
        total: inputs.
        done: inputs that are finished, whatever became of them.
        problems: of these, those that are not as wanted.
        present: the newest `Progress`, None before the first.
    """

    def __init__(self, jobs: Sequence[Job], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._films: dict[Path, float | None] = {}  # work that is left; None if unknown
        self._megapixels: dict[Path, float] = {}
        self._pictures = 0
        for job in jobs:
            if isinstance(job, FilmJob):
                facts = job.source.facts
                size = facts.width * facts.height / 1e6
                self._megapixels[job.input] = size
                self._films[job.input] = None if job.frames is None else job.frames * size
            else:
                self._pictures += len(job.items)
        self.total = len(self._films) + self._pictures
        self.done = self.problems = 0
        self.present: Progress | None = None
        self._pace = {"film": _Pace(), "picture": _Pace()}
        self._counted = 0.0  # work of the present film
        self._moment = clock()

    def update(self, progress: Progress) -> None:
        """Take over what a run tells after every batch or picture."""
        before, self.present = self.present, progress
        size = self._megapixels.get(progress.input)
        if size is None:
            return  # pictures are counted when they are finished
        self._spend("film")
        if before is None or before.input != progress.input:
            self._counted = 0.0
        elif before.done < progress.done:
            # the first batch counts at the end: before it may lie an earlier run's frames
            self._count((progress.done - before.done) * size)
        if progress.input in self._films and progress.total is not None:
            self._films[progress.input] = max(0, progress.total - progress.done) * size

    def finish(self, report: Report) -> None:
        """Take over the report of an input; only the first one of a film that is split counts."""
        self.problems += report.is_problem
        if report.input not in self._megapixels:
            self._spend("picture")
            self._pace["picture"].work += 1
            self._pictures = max(0, self._pictures - 1)
            self.done += 1
            return
        self._spend("film")
        size = self._megapixels[report.input]
        self._count(max(0.0, (report.frames - report.resumed) * size - self._counted))
        self._counted = 0.0
        if report.input in self._films:
            del self._films[report.input]
            self.done += 1

    def _count(self, work: float) -> None:
        self._counted += work
        self._pace["film"].work += work

    def _spend(self, kind: str) -> None:
        now = self._clock()
        self._pace[kind].seconds += now - self._moment
        self._moment = now

    def seconds_left(self) -> tuple[float, bool]:
        """Seconds that the rest will take, and whether that is all: not if a film's length is
        unknown, or nothing of its kind was measured yet."""
        known = [work for work in self._films.values() if work is not None]
        films = self._pace["film"].seconds_for(sum(known))
        pictures = self._pace["picture"].seconds_for(self._pictures)
        certain = len(known) == len(self._films) and None not in (films, pictures)
        return (films or 0.0) + (pictures or 0.0), certain

    @property
    def share(self) -> float:
        """How much is done, 0 to 1: by time, or while that is unknown by inputs."""
        left, certain = self.seconds_left()
        spent = sum(pace.seconds for pace in self._pace.values())
        if certain and spent > 0:
            return spent / (spent + left)
        return self.done / max(1, self.total)
