"""From inputs to finished files.

    for batch in source: sink.write(compose(batch, colorizer(batch)))

This is what is done with every input. To keep all cores busy it is a list of stages: `film_stages`
in `films.py` and `picture_stages` in `pictures.py` name them in order, `run_stages` in
`system/stages.py` runs each in a thread of its own, and the loops of `colorize_film` and
`colorize_pictures` take what comes out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..system.disk import DEFAULT_RESERVE, DiskGuard
from ..system.stages import StageTimer
from .colorizer import Colorizer
from .films import colorize_film
from .job.watch import Observer
from .pictures import colorize_pictures
from .plan import FilmJob, Job, plan, plan_rest
from .provenance.attest import check_provenance
from .settings import Progress, ProgressCallback, Report, Settings, failed


def run(
    jobs: Sequence[Job],
    colorizer: Colorizer,
    settings: Settings,
    on_progress: ProgressCallback = lambda progress: None,
    timer: StageTimer | None = None,
    observer: Observer | None = None,
    guard: DiskGuard | None = None,
) -> Iterator[Report]:
    """Work on the jobs; yields one report for each input as it is finished. Errors become reports.

    An input whose failure may pass is tried once more at the end: alone, in batches of one frame,
    and on the CPU. Inputs that an observer suspects come at the end too, one by one.

    Args:
        jobs: by `plan`.
        colorizer: the model; it is not changed.
        settings: of the run.
        on_progress: called with a `Progress` after every batch.
        timer: measures the stages of all jobs.
        observer: is told what is under way.
        guard: pauses the work while a disk has too little space; None for one with the default
            reserve.

    Raises:
        OutputError: outputs cannot be signed, or no dossier be written.
        OptionError: SOURCE_DATE_EPOCH is not a number of seconds.
    """
    check_provenance(settings)
    observer = observer or Observer()

    def notice(progress: Progress) -> None:
        observer.progress(progress)
        on_progress(progress)

    guard = guard or DiskGuard(DEFAULT_RESERVE)
    work = _Work(colorizer, settings, notice, timer, observer, guard)
    careful = replace(work, settings=carefully(settings))
    now, later = apart(jobs, observer)
    again: list[Job] = []
    for job in now:
        yield from work.do(job, again)
    for job in later:
        yield from careful.do(job)
    for job in again:
        yield from replace(careful, colorizer=colorizer.on(torch.device("cpu"))).do(job)


def carefully(settings: Settings) -> Settings:
    """The settings for inputs that have failed: as little at a time as is possible."""
    return replace(settings, batch_size=1, picture_threads=1)


def _singles(job: Job) -> Iterator[tuple[Path, Job]]:
    """Each input with a job of its own."""
    if isinstance(job, FilmJob):
        yield job.input, job
        return
    for path, output in job.items:
        yield path, replace(job, items=((path, output),))


def apart(jobs: Sequence[Job], observer: Observer) -> tuple[list[Job], list[Job]]:
    """The jobs without those inputs that are to come last, and a job for each of these."""
    now: list[Job] = []
    later: list[Job] = []
    for job in jobs:
        later += [single for path, single in _singles(job) if observer.is_suspect(path)]
        if isinstance(job, FilmJob):
            now += [] if job in later else [job]
            continue
        kept = tuple(item for item in job.items if not observer.is_suspect(item[0]))
        if kept:
            now.append(replace(job, items=kept))
    return now, later


class Outcome:
    """What becomes of the inputs of one job; an observer is told of it.

    Args:
        job: that is worked on.
        settings: of the run.
        observer: of the run.
        again: takes what is to be tried again instead of being reported; None to report all.
    """

    def __init__(
        self, job: Job, settings: Settings, observer: Observer, again: list[Job] | None
    ) -> None:
        self._observer, self._again = observer, again
        self._singles = dict(_singles(job)) if again is not None else {}
        self._splits = isinstance(job, FilmJob) and settings.on_change == "split"
        self._parts: list[Report] = []

    def take(self, report: Report) -> bool:
        """Take the next report of the job; returns whether it is to be yielded."""
        # None after the first part of a film was announced
        single = self._singles.pop(report.input, None)
        if self._again is not None and single and report.status == "failed" and report.transient:
            self._observer.postpone(report)
            self._again.append(single)
            return False
        if self._splits:
            self._parts.append(report)
        else:
            self._observer.finish(report)
        return True

    def end(self) -> None:
        """The job is done. A film that may have been split is finished with its last part."""
        if parts := self._parts:
            whole = next((report for report in parts if report.is_problem), parts[0])
            frames = sum(report.frames for report in parts)
            self._observer.finish(replace(whole, output=parts[0].output, frames=frames))


@dataclass(frozen=True)
class _Work:
    """Works on jobs in one way; see `run`."""

    colorizer: Colorizer
    settings: Settings
    on_progress: ProgressCallback
    timer: StageTimer | None
    observer: Observer
    guard: DiskGuard

    def do(self, job: Job, again: list[Job] | None = None) -> Iterator[Report]:
        """Work on one job; see `Outcome`."""
        outcome = Outcome(job, self.settings, self.observer, again)
        for report in self._reports(job):
            if outcome.take(report):
                yield report
        outcome.end()

    def _reports(self, job: Job) -> Iterator[Report]:
        if isinstance(job, FilmJob):
            self.observer.working([job.input])

            def progress(progress: Progress) -> None:
                self.on_progress(progress)
                self.guard.wait(job.output)

            def colorize(part: FilmJob) -> Report:
                return colorize_film(part, self.colorizer, self.settings, progress, self.timer)

            with self.observer.watching([job.input]):
                yield from colorize_parts(job, self.settings, colorize, self.guard)
            return
        for report in colorize_pictures(
            job, self.colorizer, self.settings, self.on_progress,
            timer=self.timer, observer=self.observer, guard=self.guard,
        ):  # fmt: skip
            report.rename(job.clashes.get(report.input, ""))
            yield report


def colorize_parts(
    job: FilmJob, settings: Settings, colorize: Callable[[FilmJob], Report], guard: DiskGuard
) -> Iterator[Report]:
    """A report for each part of a film; there is one but where it is split.

    Args:
        job: the film.
        settings: of the run.
        colorize: does a part; what it raises becomes that part's report.
        guard: pauses the work before a part while the disk has too little space.
    """
    first, parts = job.output, itertools.count(2)
    part: FilmJob | None = job
    while part is not None:
        began = guard.working_seconds()
        try:
            guard.wait(first)
            report = colorize(part)
        except Exception as error:
            report = failed(part.input, part.output, error)
        report.seconds = guard.working_seconds() - began
        report.rename(job.clash)
        yield report
        if report.status == "failed":
            return
        try:
            part = plan_rest(part, first, next(parts), settings)
        except Exception as error:
            yield failed(job.input, first, error)
            return


def colorize(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    colorizer: Colorizer | None = None,
    settings: Settings | None = None,
    on_progress: ProgressCallback = lambda progress: None,
) -> list[Report]:
    """Colorize films, pictures and folders; what `vidcolor run` does.

    Args:
        inputs: one or several files, folders, globs or numbered sequences (`frames/%05d.png`).
        output: a file for one input, a folder for several; None writes `name.color.ext` beside
            each file and `folder.color/` beside each folder.
        colorizer: the model to use; the default is `Colorizer()`.
        settings: encoder, streams, segment and so on; the default is `Settings()`.
        on_progress: called with a `Progress` after every batch.

    Returns:
        A report for each input; look at `status` and `error`.

    Raises:
        OutputError: the output's name cannot be used, outputs cannot be signed, or no dossier be
            written.
        WeightsError, DeviceError: the default colorizer cannot be made.
    """
    settings = settings or Settings()
    several = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    jobs, reports = plan(several, output, settings)
    if jobs:
        reports += run(jobs, colorizer or Colorizer(), settings, on_progress)
    return reports
