"""From inputs to finished files.

    for batch in source: sink.write(compose(batch, colorizer(batch)))

This is what is done with every input. To keep all cores busy it is a list of stages: `film_stages`
in `films.py` and `picture_stages` in `pictures.py` name them in order, `run_stages` in
`system/stages.py` runs each in a thread of its own, and the loops of `colorize_film` and
`colorize_pictures` take what comes out.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..system.stages import StageTimer
from .colorizer import Colorizer
from .films import colorize_film
from .pictures import colorize_pictures
from .plan import FilmJob, Job, PicturesJob, plan, plan_rest
from .settings import ProgressCallback, Report, Settings, failed


def run(
    jobs: Sequence[Job],
    colorizer: Colorizer,
    settings: Settings,
    on_progress: ProgressCallback = lambda progress: None,
    timer: StageTimer | None = None,
) -> Iterator[Report]:
    """Work on the jobs; yields a report as each input is finished. Errors become reports.

    Args:
        jobs: by `plan`.
        colorizer: the model; it is not changed.
        settings: of the run.
        on_progress: called with a `Progress` after every batch.
        timer: measures the stages of all jobs.
    """
    for job in jobs:
        if isinstance(job, PicturesJob):
            pictures = colorize_pictures(job, colorizer, settings, on_progress, timer=timer)
            for report in pictures:
                report.rename(job.clashes.get(report.input, ""))
                yield report
            continue

        def colorize(part: FilmJob) -> Report:
            return colorize_film(part, colorizer, settings, on_progress, timer)

        yield from colorize_parts(job, settings, colorize)


def colorize_parts(
    job: FilmJob, settings: Settings, colorize: Callable[[FilmJob], Report]
) -> Iterator[Report]:
    """A report for each part of a film; there is one but where it is split.

    Args:
        job: the film.
        settings: of the run.
        colorize: does a part; what it raises becomes that part's report.
    """
    first, parts = job.output, itertools.count(2)
    part: FilmJob | None = job
    while part is not None:
        began = time.monotonic()
        try:
            report = colorize(part)
        except Exception as error:
            report = failed(part.input, part.output, error)
        report.seconds = time.monotonic() - began
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
        OutputError: the output's name cannot be used.
        WeightsError, DeviceError: the default colorizer cannot be made.
    """
    settings = settings or Settings()
    several = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    jobs, reports = plan(several, output, settings)
    if jobs:
        reports += run(jobs, colorizer or Colorizer(), settings, on_progress)
    return reports
