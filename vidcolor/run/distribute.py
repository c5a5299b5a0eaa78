"""Do the jobs of a run with several workers: the same files, sooner.

This process reads ahead, finds the segments of films, hands them out, and joins the finished parts
in order without coding them again. Films that cannot be entered in their middle, and short ones,
go to a worker as a whole; pictures in groups.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, VidcolorError
from ..sinks import EarlierFilm, FilmSink, can_resume
from ..sources.loader import load
from ..system.devices import processors
from ..system.disk import DiskGuard, Reserve
from .films import Findings, film_sink, no_frame
from .identity import checkpoint_spacing
from .journal import Journal, open_journal
from .pictures import WINDOW
from .pipeline import colorize_parts
from .plan import FilmJob, Job, PicturesJob, check_memory
from .pool import Pool
from .segments import FilmSegment, scan
from .settings import Progress, ProgressCallback, Report, Settings, failed
from .tasks import Describe, Description, PartOfFilm, SomePictures, WholeFilm
from .watch import Observer

logger = logging.getLogger(__name__)

_PARTS = "parts"  # folder of the parts, in the hidden one beside the output
_LONGEST = Fraction(60)  # seconds of a segment, unless checkpoints are farther apart
_PER_SCAN = 4  # processors of this machine for each film that is scanned at the same time
_AHEAD = 4  # segments for each worker, between the one that is joined next and the last handed out


# A report, progress, or the inputs that are under way from now on.
_Told = Report | Progress | list[Path]


class _NotDivisible(Exception):
    """A film has to be colored as a whole."""


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
    """
    observer, guard = observer or Observer(), guard or DiskGuard(Reserve())
    told: queue.SimpleQueue[_Told | BaseException | None] = queue.SimpleQueue()
    driver = _Driver(pool, settings, told.put, length, guard)
    works = [work for job in jobs for work in driver.works(job)]

    def do(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # a fault of this program; raised in the calling thread
            told.put(error)
        finally:
            told.put(None)

    left = len(works)
    with ThreadPoolExecutor(pool.size + 1, thread_name_prefix="job") as threads:
        try:
            for work in works:
                threads.submit(do, work)
            while left:
                item = told.get()
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, Report):
                    observer.finish(item)
                    yield item
                elif isinstance(item, Progress):
                    observer.progress(item)
                    on_progress(item)
                elif item is not None:
                    observer.working(item)
                else:
                    left -= 1
        finally:
            if left:
                driver.ended = True
                threads.shutdown(wait=False, cancel_futures=True)
                pool.close()


class _Driver:
    """Turns jobs into tasks, and their results into reports.

    Attributes:
        ended: nothing more is wanted.
    """

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        tell: Callable[[_Told], None],
        length: Fraction | None,
        guard: DiskGuard,
    ) -> None:
        self._guard = guard
        self._pool, self._settings, self._tell, self._length = pool, settings, tell, length
        # few films at once: a scan takes a processor, and open films take memory
        self._scanning = threading.Semaphore(max(1, processors() // _PER_SCAN))
        self.ended = False

    def works(self, job: Job) -> Iterator[Callable[[], None]]:
        """Functions that do a job when all of them are called, in any order and thread."""
        if isinstance(job, FilmJob):
            yield partial(self._film, job)
            return
        describe = _Once(lambda: self._result(Describe(job, self._settings)))
        counted = _Counter(len(job.items))
        for first in range(0, len(job.items), WINDOW):
            some = replace(job, items=job.items[first : first + WINDOW])
            yield partial(self._pictures, some, describe, counted)

    def _result(self, task: Any, on_frames: Callable[[int], None] = lambda frames: None) -> Any:
        return self._pool.submit(task, on_frames).result()

    # ------------------------------------------------------------------ pictures

    def _pictures(self, job: PicturesJob, describe: _Once, counted: _Counter) -> None:
        began = time.monotonic()
        try:
            self._guard.wait(job.items[0][1])
            self._tell([path for path, _ in job.items])
            description: Description = describe()
            settings = replace(self._settings, batch_size=description.batch_size)
            task = SomePictures(job, settings, description, self._pool.neighbors)
            reports = self._result(task, counted.part(self._tell, job))
        except CancelledError:
            return
        except Exception as error:
            reports = [failed(path, output, error) for path, output in job.items]
        for report in reports:
            report.rename(job.clashes.get(report.input, ""))
            report.seconds = report.seconds or (time.monotonic() - began) / len(reports)
            self._tell(report)

    # ------------------------------------------------------------------ films

    def _film(self, job: FilmJob) -> None:
        try:
            self._tell([job.input])
            for report in colorize_parts(job, self._settings, self._part, self._guard):
                if not self.ended:
                    self._tell(report)
        except CancelledError:
            pass

    def _part(self, job: FilmJob) -> Report:
        """Colorize a film, or a part of one that is to be split."""
        try:
            return self._in_segments(job)
        except _NotDivisible as reason:
            logger.info("%s: goes to one worker, because %s", job.input, reason)

        def on_frames(frames: int) -> None:
            self._tell(Progress(job.input, frames, job.frames))

        report, job.source.changed_at = self._result(WholeFilm(job, self._settings), on_frames)
        assert isinstance(report, Report)
        return report

    def _in_segments(self, job: FilmJob) -> Report:
        if not (self._settings.resume and can_resume(job.output)):
            raise _NotDivisible("its finished part could not be kept")
        if not job.source.seeks:
            raise _NotDivisible("it cannot be entered in its middle")
        description = self._result(Describe(job, self._settings))
        spacing = checkpoint_spacing(description.gmacs)
        seconds = job.source.facts.duration_seconds
        if not description.divisible:
            raise _NotDivisible("it has a reference for each shot, or no shots are found")
        if seconds is not None and seconds < 2 * spacing.most:
            raise _NotDivisible("it is short")
        share = _LONGEST if seconds is None else Fraction(seconds) / (_AHEAD * self._pool.size)
        length = self._length or max(spacing.least, min(share, _LONGEST))
        restart = self._settings.restart
        with open_journal(job.output, lambda: description.identity, restart=restart) as journal:
            film = _FilmInParts(
                job, self._settings, self._pool, description, journal, self._tell, self._guard
            )
            return film.run(length, self._scanning)


@dataclass(frozen=True)
class _Part:
    """A segment that is being colored.

    Attributes:
        segment: what is colored.
        path: of the film that it becomes.
        future: done when that is there.
        damage, warnings: of the film, as far as it was read when the segment was found.
    """

    segment: FilmSegment
    path: Path
    future: Future[Any]
    damage: list[str]
    warnings: list[str]


class _FilmInParts:
    """Scans a film, has its segments colored, and joins the parts."""

    def __init__(
        self,
        job: FilmJob,
        settings: Settings,
        pool: Pool,
        description: Description,
        journal: Journal,
        tell: Callable[[Progress], None],
        guard: DiskGuard,
    ) -> None:
        self._guard = guard
        self._job, self._settings, self._pool, self._tell = job, settings, pool, tell
        self._description, self._journal = description, journal
        self._folder = journal.film.parent / _PARTS
        self._found = Findings(job, journal)
        self._done: dict[int, int] = {}  # frames that are colored, by the first of their segment
        self._resumed = 0
        self._waiting: deque[_Part] = deque()  # to be joined, in order

    def run(self, length: Fraction, scanning: threading.Semaphore) -> Report:
        """Colorize the film.

        Args:
            length: seconds of a segment, at least.
            scanning: held while the film is scanned.

        Raises:
            _NotDivisible: a part could not be made.
            VidcolorError: see `colorize_film`.
        """
        job, journal, facts = self._job, self._journal, self._job.source.facts
        check_memory(facts)
        point = journal.earlier.checkpoint if journal.earlier else None
        if journal.earlier:
            size = journal.earlier.batch_size
            self._description = replace(self._description, batch_size=size)
        size = self._description.batch_size
        film = job.source.resumed(point) if point else job.source
        frames = self._done[-1] = self._resumed = point.frames if point else 0
        segments = scan(
            self._found.read(load(film, batch_size=size, device=torch.device("cpu"))),
            facts.time_base,
            checkpoint_spacing(self._description.gmacs),
            shots=self._description.shots,
            length=length,
            begin=point,
        )
        with film_sink(job, self._settings, journal) as sink, closing(segments):
            journal.begin(sink, size)
            try:
                with scanning:
                    for segment in segments:
                        frames += segment.marks.frames
                        self._guard.wait(job.output)
                        self._waiting.append(self._begin(segment))
                        while self._waiting and self._is_next():
                            self._join(sink)
                while self._waiting:
                    self._join(sink)
            finally:
                self._pool.drop([part.future for part in self._waiting])
            if not frames:
                raise no_frame(job)
            cut = film.changed_at is not None
            written = sink.finish(incomplete=bool(self._found.damage), cut=cut)
        job.source.changed_at = film.changed_at
        journal.finished = True
        report = self._found.report(written, point)
        report.resumed = self._resumed
        return report

    def _is_next(self) -> bool:
        """Whether the next part is to be joined before another segment is looked for."""
        return self._waiting[0].future.done() or len(self._waiting) > _AHEAD * self._pool.size

    def _join(self, sink: FilmSink) -> None:
        """Join the next part, when it is done."""
        part = self._waiting.popleft()
        segment, path = part.segment, part.path
        try:
            part.future.result()
            film = EarlierFilm(path, path.stat().st_size)
            if len(film.pts) != segment.marks.frames:
                raise InputError(f"{path} has {len(film.pts)} frames")
        except (VidcolorError, OSError) as error:
            raise _NotDivisible(f"a part of it failed ({error})") from error
        self._journal.join(film, segment.places, sink, part.damage, part.warnings)
        film.close()
        path.unlink(missing_ok=True)
        self._progress(segment.first, segment.marks.frames)

    def _begin(self, segment: FilmSegment) -> _Part:
        """Have a segment colored, unless an earlier run has done that."""
        first, count = segment.first, segment.marks.frames
        name = f"{first:09}-{first + count:09}-{self._description.digest}"
        path = self._folder / f"{name}{self._job.output.suffix}"
        if path.exists() and len(EarlierFilm(path, path.stat().st_size).pts) == count:
            future: Future[Any] = Future()
            future.set_result(None)
            self._resumed += count
        else:
            task = PartOfFilm(self._job, self._settings, segment, path, self._description)
            future = self._pool.submit(task, partial(self._progress, first))
        found = self._found
        return _Part(segment, path, future, list(found.damage), list(found.warnings))

    def _progress(self, first: int, frames: int) -> None:
        """So many frames of the segment that begins with frame `first` are colored."""
        if frames > self._done.get(first, 0):
            self._done[first] = frames
            self._tell(Progress(self._job.input, sum(self._done.values()), self._job.frames))


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
