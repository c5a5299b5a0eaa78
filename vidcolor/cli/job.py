"""The work of `vidcolor run`: all inputs once, or with `--watch` files as they come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..errors import VidcolorError
from ..run.colorizer import Colorizer
from ..run.disk_need import warn_of_need
from ..run.distribute import run_on
from ..run.job_options import JobOptions
from ..run.job_progress import JobProgress
from ..run.job_report import JobReport
from ..run.notify import Notifier
from ..run.pipeline import run
from ..run.plan import FilmJob, Job, plan
from ..run.record import Record
from ..run.settings import ColorizerOptions, Report, Settings
from ..system.disk import DiskGuard
from ..system.files import OWN
from .run import set_memory_policy
from .screen import Screen
from .worker_pool import WorkerPool


class Work:
    """Colorizes inputs and tells of it: on the screen, in reports, to the user's command.

    Args:
        make: makes the model, or gives the one that it has made.
        options, settings, job: of the run.
        screen: prints each input that is finished, and the progress.
        record: keeps the state of the job.
        workers: that do the work, if this process does not.

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
        record: Record,
        workers: WorkerPool,
    ) -> None:
        self._workers = workers
        self._make, self._settings, self._job = make, settings, job
        self._screen, self._record = screen, record
        self._report = JobReport(job, settings, options)
        self._notifier = Notifier(job.notify or "")
        self._guard = DiskGuard(job.min_free, around=record.paused)
        self._begun = False
        self._left: dict[Path, Path] = {}  # outputs of the inputs that are not finished
        self.is_good = True

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
        from ..run.folder_watch import FolderWatch

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
        done: list[Report] = []

        def finished(report: Report) -> None:
            self._left.pop(report.input, None)
            if not report.restored:
                self._screen.finished(report)
            self._notifier.add(report)
            self._report.add(report)
            done.append(report)
            self.is_good &= not report.is_problem

        self._record.settle(reports)
        self._left = dict(pair for job in jobs for pair in _pairs(job))
        for report in reports:
            finished(report)
        if jobs:
            self._record.begin(jobs)
            colorizer = self._make_colorizer(jobs)
            warn_of_need(jobs, self._settings.encoder, self._job.min_free)
            progress = JobProgress(jobs, self._guard.working_seconds)
            pool = self._workers.open(jobs)
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
                    finished(report)
        self._screen.summary(done)
        self._end("done")

    def _make_colorizer(self, jobs: Sequence[Job]) -> Colorizer:
        colorizer = self._make()
        if not self._begun:
            self._begun = True
            logging.getLogger("vidcolor").info(
                "%s, %s on %s", colorizer.name, colorizer.precision, colorizer.device
            )
            self._report.use(colorizer)
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


def _pairs(job: Job) -> Sequence[tuple[Path, Path]]:
    return [(job.input, job.output)] if isinstance(job, FilmJob) else job.items
