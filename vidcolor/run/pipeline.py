"""NEW."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import VidcolorError
from .colorizer import Colorizer
from .films import colorize_film
from .pictures import colorize_pictures
from .plan import Job, PicturesJob, plan
from .settings import ProgressCallback, Report, Settings


def run(
    jobs: Sequence[Job],
    colorizer: Colorizer,
    settings: Settings,
    on_progress: ProgressCallback = lambda progress: None,
) -> Iterator[Report]:
    """Work on the jobs, yielding a report as each input is finished; errors become reports."""
    for job in jobs:
        colorizer.restore()
        if isinstance(job, PicturesJob):
            yield from colorize_pictures(job, colorizer, settings, on_progress)
            continue
        began = time.monotonic()
        try:
            report = colorize_film(job, colorizer, settings, on_progress)
        except VidcolorError as error:
            report = Report(job.input, job.output, "failed", error=str(error))
        report.seconds = time.monotonic() - began
        yield report


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
