"""Do the jobs of a run with several workers: the same files, sooner.

This process reads ahead, finds the segments of films, hands them out, and joins the finished parts
in order without coding them again. Films that cannot be entered in their middle, and short ones,
go to a worker as a whole; pictures in groups.
"""

from __future__ import annotations

import itertools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from ...sinks import can_resume
from ...system.devices import processors
from ...system.disk import DEFAULT_RESERVE, DiskGuard
from ..identity import checkpoint_spacing
from ..job.leftovers import remove_temporaries
from ..job.watch import Observer
from ..journal import open_journal
from ..pictures import WINDOW
from ..pipeline import Outcome, apart, carefully, colorize_parts
from ..plan import FilmJob, Job, PicturesJob
from ..provenance.attest import check_provenance, film_origin
from ..settings import Progress, ProgressCallback, Report, Settings, failed
from .film_parts import AHEAD, FilmInParts, NotDivisibleError
from .pool import Pool
from .tasks import Describe, Description, SomePictures, WholeFilm

logger = logging.getLogger(__name__)

_LONGEST = Fraction(60)  # seconds of a segment, unless checkpoints are farther apart
_PER_SCAN = 4  # processors of this machine for each film that is scanned at the same time

# What work threads tell the calling one: a report of a job, or None at the job's end; progress; the
# inputs that are under way from now on.
_Told = tuple[Outcome, Report | None] | Progress | list[Path]


def run_on(
    pool: Pool,
    jobs: Sequence[Job],
    settings: Settings,
    on_progress: ProgressCallback = lambda progress: None,
    *,
    length: Fraction | None = None,
    observer: Observer | None = None,
    guard: DiskGuard | None = None,
) -> Iterator[Report]:
    """Work on the jobs, as `pipeline.run` does; yields a report as each input is finished.

    An input whose failure may pass, or that the observer suspects, comes at the end, as it does
    there: one by one, by one worker.

    Args:
        pool: of workers; closed if this is ended early.
        jobs: by `plan`.
        settings: of the run.
        on_progress: called with a `Progress` as the work goes on, in the calling thread.
        length: seconds of a film's segment, at least; None for a minute, or less where a film would
            have too few segments for the workers.
        observer: is told what is under way and what is done.
        guard: pauses the work while a disk has too little space; None for one with the default
            reserve.

    Raises:
        OutputError, OptionError: see `pipeline.run`.
    """
    check_provenance(settings)
    observer, guard = observer or Observer(), guard or DiskGuard(DEFAULT_RESERVE)
    now, later = apart(jobs, observer)
    again: list[Job] = []
    driver = partial(_Driver, pool, observer=observer, guard=guard)
    yield from driver(settings, length=length, again=again).run(now, on_progress)
    for job in later:
        yield from driver(carefully(settings)).run([job], on_progress)
    for job in again:
        yield from driver(carefully(settings), slowly=True).run([job], on_progress)
    for folder in {output.absolute().parent for job in jobs for output in _outputs(job)}:
        remove_temporaries(folder)  # of workers that have died


def _outputs(job: Job) -> list[Path]:
    return [job.output] if isinstance(job, FilmJob) else [output for _, output in job.items]


class _Driver:
    """Turns jobs into tasks, and their results into reports.

    Args:
        pool: of workers.
        settings: of the run.
        observer, guard, length: see `run_on`.
        again: see `Outcome`. Without it films are not divided.
        slowly: work on the CPU, whatever the workers' devices.
    """

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        *,
        observer: Observer,
        guard: DiskGuard,
        length: Fraction | None = None,
        again: list[Job] | None = None,
        slowly: bool = False,
    ) -> None:
        self._pool, self._settings, self._length = pool, settings, length
        self._observer, self._guard = observer, guard
        self._again, self._slowly = again, slowly
        self._told: queue.SimpleQueue[_Told | BaseException | None] = queue.SimpleQueue()
        self._tell: Callable[[_Told], None] = self._told.put
        # few films at once: a scan takes a processor, and open films take memory
        self._scanning = threading.Semaphore(max(1, processors() // _PER_SCAN))
        self._ended = False  # nothing more is wanted

    def run(self, jobs: Sequence[Job], on_progress: ProgressCallback) -> Iterator[Report]:
        """Do jobs; closes the pool if it is ended early."""
        works = [work for job in jobs for work in self._works(job)]
        left = len(works)
        with ThreadPoolExecutor(self._pool.size + 1, thread_name_prefix="job") as threads:
            try:
                for work in works:
                    threads.submit(self._do, work)
                while left:
                    item = self._told.get()
                    if isinstance(item, BaseException):
                        raise item
                    if isinstance(item, tuple):
                        outcome, report = item
                        if report is None:
                            outcome.end()
                        elif outcome.take(report):
                            yield report
                    elif isinstance(item, Progress):
                        self._observer.progress(item)
                        on_progress(item)
                    elif item is not None:
                        self._observer.working(item)
                    else:
                        left -= 1
            finally:
                if left:
                    self._ended = True
                    threads.shutdown(wait=False, cancel_futures=True)
                    self._pool.close()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # a fault of this program; raised in the calling thread
            self._told.put(error)
        finally:
            self._told.put(None)

    def _works(self, job: Job) -> Iterator[Callable[[], None]]:
        """Functions that do a job when all of them are called, in any order and thread."""
        if isinstance(job, FilmJob):
            yield partial(self._film, job)
            return
        describe = _Once(lambda: self._result(Describe(job, self._settings)))
        counted = _Counter(len(job.items))
        # as many groups for each worker, of a window at most
        rounds = math.ceil(len(job.items) / (WINDOW * max(1, self._pool.size)))
        group = math.ceil(len(job.items) / (rounds * max(1, self._pool.size)))
        for first in range(0, len(job.items), group):
            some = replace(job, items=job.items[first : first + group])
            yield partial(self._pictures, some, describe, counted)

    def _outcome(self, job: Job) -> Outcome:
        return Outcome(job, self._settings, self._observer, self._again)

    def _result(self, task: Any, on_frames: Callable[[int], None] = lambda frames: None) -> Any:
        return self._pool.submit(task, on_frames).result()

    # ------------------------------------------------------------------ pictures

    def _pictures(self, job: PicturesJob, describe: _Once, counted: _Counter) -> None:
        began, outcome = time.monotonic(), self._outcome(job)
        try:
            self._guard.wait(job.items[0][1])
            self._tell([path for path, _ in job.items])
            description: Description = describe()
            settings = replace(self._settings, batch_size=description.batch_size)
            task = SomePictures(job, settings, description, self._pool.neighbors, self._slowly)
            reports = self._result(task, counted.part(self._tell, job))
        except CancelledError:
            return
        except Exception as error:
            reports = [failed(path, output, error) for path, output in job.items]
        for report in reports:
            report.rename(job.clashes.get(report.input, ""))
            report.seconds = report.seconds or (time.monotonic() - began) / len(reports)
            self._tell((outcome, report))
        self._tell((outcome, None))

    # ------------------------------------------------------------------ films

    def _film(self, job: FilmJob) -> None:
        outcome = self._outcome(job)
        try:
            self._tell([job.input])
            for report in colorize_parts(job, self._settings, self._part, self._guard):
                if not self._ended:
                    self._tell((outcome, report))
            self._tell((outcome, None))
        except CancelledError:
            pass

    def _part(self, job: FilmJob) -> Report:
        """Colorize a film, or a part of one that is to be split."""
        try:
            return self._in_segments(job)
        except NotDivisibleError as reason:
            logger.info("%s: goes to one worker, because %s", job.input, reason)

        def on_frames(frames: int) -> None:
            self._tell(Progress(job.input, frames, job.frames))

        report, job.source.changed_at = self._result(
            WholeFilm(job, self._settings, self._slowly), on_frames
        )
        assert isinstance(report, Report)
        return report

    def _in_segments(self, job: FilmJob) -> Report:
        if self._again is None:
            raise NotDivisibleError("it is tried once more")
        if not (self._settings.resume and can_resume(job.output)):
            raise NotDivisibleError("its finished part could not be kept")
        if job.chroma is not None or self._settings.output_lut is not None:
            raise NotDivisibleError("it has files of colors beside its output")
        if not job.source.seeks:
            raise NotDivisibleError("it cannot be entered in its middle")
        description = self._result(Describe(job, self._settings))
        spacing = checkpoint_spacing(description.gmacs)
        seconds = job.source.facts.duration_seconds
        if not description.divisible:
            raise NotDivisibleError("it has a list of shots, or no shots are found")
        if seconds is not None and seconds < 2 * spacing.most:
            raise NotDivisibleError("it is short")
        share = _LONGEST if seconds is None else Fraction(seconds) / (AHEAD * self._pool.size)
        length = self._length or max(spacing.least, min(share, _LONGEST))
        restart = self._settings.restart
        with open_journal(job.output, lambda: description.identity, restart=restart) as journal:
            marks = replace(description.marks, date=journal.date)
            with film_origin(job, self._settings, marks, description.references) as origin:
                report = FilmInParts(
                    job,
                    self._settings,
                    self._pool,
                    description,
                    journal,
                    origin.marking,
                    self._tell,
                    self._guard,
                ).run(length, spacing, self._scanning)
                origin.attest(report)
                return report


class _Once:
    """Calls a function once, however many threads ask for its result."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: list[Any] = []

    def __call__(self) -> Any:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


class _Counter:
    """Counts the pictures of a job that are done, over all its groups."""

    def __init__(self, total: int) -> None:
        self._total, self._numbers = total, itertools.count()
        self._done: dict[int, int] = {}

    def part(self, tell: Callable[[Progress], None], job: PicturesJob) -> Callable[[int], None]:
        """A callback for one group."""
        number = next(self._numbers)

        def on_frames(frames: int) -> None:
            self._done[number] = max(frames, self._done.get(number, 0))
            path = job.items[frames - 1][0]
            tell(Progress(path, sum(self._done.values()), self._total))

        return on_frames
