"""The work of `vidcolor run`: all inputs once, or with `--watch` files as they come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import VidcolorError
from ..run.colorizer import Colorizer
from ..run.job.disk_need import warn_of_need
from ..run.job.notify import Notifier
from ..run.job.options import JobOptions
from ..run.job.progress import JobProgress
from ..run.job.record import Record
from ..run.job.report import JobReport
from ..run.parallel.distribute import run_on
from ..run.parallel.mirror import Mirror, StagedPool, UrlPath
from ..run.parallel.pool import Pool
from ..run.parallel.remote import Runner, run_remote
from ..run.pipeline import run
from ..run.plan import FilmJob, Job, plan
from ..run.settings import ColorizerOptions, Report, Settings
from ..system.devices import device_name
from ..system.disk import DiskGuard
from ..system.files import OWN
from .run import set_memory_policy
from .screen import Screen
from .worker_pool import WorkerPool


class Reporter:
    """Reports finished inputs: on the screen, in report files and to the user's command.

    Args:
        make: makes the model, or gives the one that it has made.
        options, settings, job: of the run.
        screen: prints each input that is finished, and the progress.
        workers: that do the work, if this process does not.
        paused: makes a context for the time that the run waits for space on the disk.

    Attributes:
        is_good: every input so far is as wanted, and every report was written.

    Raises:
        OutputError: a report cannot be written.
    """

    def __init__(
        self,
        make: Callable[[], Colorizer],
        options: ColorizerOptions,
        settings: Settings,
        job: JobOptions,
        screen: Screen,
        workers: WorkerPool,
        *,
        paused: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._make, self._settings, self._job = make, settings, job
        self._screen, self._workers = screen, workers
        self._report = JobReport(job, settings, options)
        self._notifier = Notifier(job.notify or "")
        self._guard = DiskGuard(job.min_free, around=paused)
        self._begun = False
        self._left: dict[Path, Path] = {}  # outputs of the inputs that are not finished
        self.is_good = True

    def _finished(self, report: Report) -> None:
        self._left.pop(report.input, None)
        if not report.restored:
            self._screen.finished(report)
        self._notifier.add(report)
        self._report.add(report)
        self.is_good &= not report.is_problem

    def _make_colorizer(self, jobs: Sequence[Job], pool: Pool | None) -> Colorizer:
        colorizer = self._make()
        if not self._begun:
            self._begun = True
            precision = pool.precision if pool else colorizer.precision
            logging.getLogger("vidcolor").info(
                "%s, %s on %s", colorizer.name, precision, pool.where if pool else colorizer.device
            )
            device = pool.where if pool else device_name(colorizer.device)
            self._report.use(colorizer, precision, device)
            if not self._job.watch:
                set_memory_policy(jobs, colorizer)
        return colorizer

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell of an end that comes before all is done."""
        event = "stopped"
        try:
            yield
            event = ""
        except KeyboardInterrupt:
            event = "interrupted"
            raise
        except SystemExit:
            event = "terminated"
            raise
        finally:
            if event:
                self._end(event)

    def _end(self, event: str) -> None:
        written = ""
        try:
            self._report.write(event, self._left.items())
            written = str(next(iter(self._report.paths), ""))
        except VidcolorError as error:
            self._screen.error(str(error))
            self.is_good = False
        self._notifier.end(event, written)


class Work(Reporter):
    """Colorizes inputs of this machine.

    Args:
        record: keeps the state of the job.
        given: see `Reporter`.
    """

    def __init__(self, record: Record, *given: Any) -> None:
        super().__init__(*given, paused=record.paused)
        self._record = record

    def run(self, inputs: Sequence[str], output: str | None) -> None:
        """Work on all inputs once.

        Raises:
            OutputError: the output's name cannot be used.
            WeightsError, DeviceError: the model cannot be made.
        """
        with self._telling():
            self._round(*plan(inputs, output, self._settings, self._record))

    def watch(self, folders: Sequence[str], output: str | None) -> None:
        """Work on the files of folders as they come, until a signal ends the program.

        Raises:
            InputError: one of `folders` is no folder.
            OutputError, WeightsError, DeviceError: as of `run`.
        """
        from ..run.job.folder_watch import FolderWatch

        roots = [Path(folder) for folder in folders]
        own = [root.resolve().with_name(f"{root.resolve().name}{OWN}") for root in roots]
        targets = own if output is None else [Path(output)]
        watch = FolderWatch(roots, ignored=targets, poll=self._job.poll)
        plan(folders, output, self._settings, only=())  # refuses names that cannot be used
        self._screen.print_line(f"watching {', '.join(folders)}; stop with Ctrl-C")
        said: set[str] = set()
        with self._telling():
            for paths in watch.rounds():
                chosen = frozenset(paths)
                jobs, reports = plan(folders, output, self._settings, self._record, chosen)
                # what cannot be read of a folder is found again each time
                self._round(jobs, [each for each in reports if each.error not in said])
                said |= {each.error for each in reports if each.input not in chosen}

    def _round(self, jobs: Sequence[Job], reports: Sequence[Report]) -> None:
        done = list(reports)
        self._record.settle(reports)
        self._left = dict(chain.from_iterable(map(_pairs, jobs)))
        for report in reports:
            self._finished(report)
        if jobs:
            self._record.begin(jobs)
            pool = self._workers.open(jobs)
            colorizer = self._make_colorizer(jobs, pool)
            warn_of_need(jobs, self._settings.encoder, self._job.min_free)
            progress = JobProgress(jobs, self._guard.working_seconds)
            work = partial(run_on, pool) if pool else partial(run, colorizer=colorizer)
            with self._screen.progress(progress) as on_progress:
                for report in work(
                    jobs=jobs,
                    settings=self._settings,
                    on_progress=on_progress,
                    observer=self._record,
                    guard=self._guard,
                ):
                    progress.finish(report)
                    self._finished(report)
                    done.append(report)
        self._screen.summary(done)
        self._end("done")


class RemoteWork(Reporter):
    """Colorizes files that URLs name."""

    def run(self, inputs: Sequence[str], output: str | None, *, staged: bool) -> None:
        """Work on all inputs once.

        Args:
            staged: the workers are on other machines.

        Raises:
            OutputError: there is no output, or its name cannot be used.
            WeightsError, DeviceError: the model cannot be made.
        """
        done = []
        with self._telling():
            pool = self._workers.open(())
            colorizer = self._make_colorizer((), pool)

            def runner(source: Mirror, target: Mirror) -> Runner:
                if pool is None:
                    work = partial(run, colorizer=colorizer)
                else:
                    work = partial(run_on, StagedPool(pool, source, target) if staged else pool)
                return partial(self._group, work, source, target)

            for report in run_remote(inputs, output, self._settings, runner):
                self._finished(report)
                done.append(report)
            self._screen.summary(done)
            self._end("done")

    def _group(
        self,
        work: Callable[..., Iterator[Report]],
        source: Mirror,
        target: Mirror,
        jobs: Sequence[Job],
        settings: Settings,
    ) -> Iterator[Report]:
        """Work on files that were fetched, and show how far that is."""
        for path, output in chain.from_iterable(map(_pairs, jobs)):
            self._left[UrlPath(source.place(path))] = UrlPath(target.place(output))
        progress = JobProgress(jobs, self._guard.working_seconds)
        with self._screen.progress(progress) as on_progress:
            for report in work(
                jobs=jobs, settings=settings, on_progress=on_progress, guard=self._guard
            ):
                progress.finish(report)
                yield report


def _pairs(job: Job) -> Sequence[tuple[Path, Path]]:
    return [(job.input, job.output)] if isinstance(job, FilmJob) else job.items
