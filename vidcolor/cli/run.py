"""`vidcolor run`: colorize films, pictures and folders."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ..errors import VidcolorError
from ..run.settings import ColorizerOptions, ProgressCallback, Report, Settings
from .options import make_colorizer, takes

if TYPE_CHECKING:
    from ..run.colorizer import Colorizer
    from ..run.plan import Job
    from ..run.pool import Pool
    from .screen import Screen

    Runner = Callable[[Sequence[Job], Settings, ProgressCallback], Iterator[Report]]


@click.command("run")
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    help="A file, or a folder for several inputs [beside each: NAME.color.EXT, FOLDER.color/].",
)
@takes(options=ColorizerOptions, settings=Settings)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Work on a Ray cluster (pip install 'vidcolor[ray]'): host:6379, auto for the one that "
    "this machine belongs to, or local to start one here. All nodes must see the inputs and the "
    "output under the same names.",
)
@click.option(
    "--preview",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Write one sheet of N before/after pairs instead.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each finished input.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Also print decisions, such as the device.")
def run_command(
    inputs: tuple[str, ...],
    output: str | None,
    options: ColorizerOptions,
    settings: Settings,
    cluster: str | None,
    preview: int | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Colorize INPUTS: films, pictures, folders, globs, or numbered sequences.

    \b
    vidcolor run old_film.mp4 -o color.mp4
    vidcolor run photos/ scans/*.tif -o color/
    vidcolor run frames/%05d.png --fps 24 -o film.mkv
    vidcolor run film.mov -o out/%06d.dpx
    vidcolor run old_film.mp4 --preview 6 -o sheet.png

    Sound, subtitles, chapters and attachments are copied. An output appears under its name only
    when it is complete. The readable part of a damaged film goes to NAME.incomplete.EXT.

    \b
    Exit codes: 0 all done, 1 some input failed, was incomplete or got another name than it would
    have had, 2 usage, 130 interrupted.
    """
    from ..system.limits import check_least_memory

    check_least_memory()
    from ..run.plan import plan
    from .screen import Screen

    if not all(inputs) or output == "":
        raise click.UsageError("an input or the output is an empty name; is a variable unset?")
    if settings.overwrite and settings.skip_existing:
        raise click.UsageError("--overwrite and --skip-existing exclude each other")
    screen = Screen(quiet=quiet, verbose=verbose, as_json=as_json)
    if preview is not None:
        _preview(inputs, output, preview, options, settings, screen)
        return
    if any("://" in text for text in (*inputs, output or "")):
        if dry_run:
            raise click.UsageError("--dry-run is for local files")
        reports = _work_elsewhere(inputs, output, options, settings, cluster, screen)
        _end(reports, screen)
    jobs, reports = plan(inputs, output, settings)
    if dry_run:
        screen.plan(jobs, reports, _describe_model(options), settings.encoder.encoder)
        sys.exit(1 if any(r.status == "failed" for r in reports) else 0)
    for report in reports:
        screen.finished(report)
    if jobs:
        reports += _work(jobs, options, settings, cluster, screen)
    _end(reports, screen)


def _end(reports: Sequence[Report], screen: Screen) -> NoReturn:
    screen.summary(reports)
    sys.exit(1 if screen.lost or any(r.is_problem for r in reports) else 0)


def set_memory_policy(jobs: Sequence[Job], colorizer: Colorizer) -> bool:
    """Retain freed memory (`memory.retain_freed_memory`) for films of one size on the CPU.

    Frames of several sizes, and pictures, would leave gaps in the heap; for them
    `memory.limit_heaps`.

    Returns:
        Whether freed memory is retained.
    """
    from ..system.memory import limit_heaps, retain_freed_memory

    if colorizer.device.type == "cpu" and _of_one_size(jobs):
        return retain_freed_memory()
    limit_heaps()
    return False


def _of_one_size(jobs: Sequence[Job]) -> bool:
    """Whether all jobs are films of one size."""
    from ..run.plan import FilmJob

    sizes = {
        (job.source.facts.width, job.source.facts.height) if isinstance(job, FilmJob) else None
        for job in jobs
    }
    return len(sizes) == 1 and None not in sizes


def _describe_model(options: ColorizerOptions) -> str:
    from ..system.devices import worker_devices

    devices = worker_devices(options.device)
    colorizer = make_colorizer(replace(options, device=devices[0]))
    where = ", ".join(devices) if len(devices) > 1 else colorizer.device
    mirrored = ", mirrored too" if colorizer.options.tta else ""
    count = len(colorizer.references.pictures)
    pulled = f", {count} reference picture{'s' * (count > 1)}" if count else ""
    return (
        f"{colorizer.name}, {colorizer.precision} on {where}, "
        f"at {colorizer.size} squared pixels{mirrored}{pulled}"
    )


def _work(
    jobs: Sequence[Job],
    options: ColorizerOptions,
    settings: Settings,
    cluster: str | None,
    screen: Screen,
) -> list[Report]:
    done = []
    with _pool(jobs, options, cluster) as pool, screen.progress() as on_progress:
        run = _runner(pool, jobs, options)
        for report in run(jobs, settings, on_progress):
            screen.finished(report)
            done.append(report)
    return done


def _work_elsewhere(
    inputs: Sequence[str],
    output: str | None,
    options: ColorizerOptions,
    settings: Settings,
    cluster: str | None,
    screen: Screen,
) -> list[Report]:
    """Work on files that URLs name."""
    from ..run.distribute import run_on
    from ..run.mirror import Mirror, StagedPool
    from ..run.remote import run_remote

    done = []
    with _pool((), options, cluster) as pool, screen.progress() as on_progress:
        here = None if cluster is not None else _runner(pool, (), options)

        def runner(source: Mirror, target: Mirror) -> Runner:
            if here is not None:
                return here
            assert pool is not None
            return partial(run_on, StagedPool(pool, source, target))

        for report in run_remote(inputs, output, settings, runner, on_progress):
            screen.finished(report)
            done.append(report)
    return done


@contextmanager
def _pool(
    jobs: Sequence[Job], options: ColorizerOptions, cluster: str | None
) -> Iterator[Pool | None]:
    """The workers of a run; None if this process does the work."""
    from ..run.plan import most_pixels
    from ..system.devices import worker_devices

    devices = worker_devices(options.device)
    if cluster is not None:
        from ..run.cluster import Cluster

        with Cluster(cluster, options, most_pixels(jobs)) as nodes:
            yield nodes
    elif len(devices) > 1:
        from ..run.workers import Workers

        retain = devices[0] == "cpu" and _of_one_size(jobs)
        with Workers(options, devices, retain=retain) as workers:
            yield workers
    else:
        yield None


def _runner(pool: Pool | None, jobs: Sequence[Job], options: ColorizerOptions) -> Runner:
    """What does jobs: the pool, or this process."""
    from ..run.pipeline import run
    from ..system.devices import worker_devices

    if pool is not None:
        from ..run.distribute import run_on

        return partial(run_on, pool)
    (device,) = worker_devices(options.device)
    colorizer = make_colorizer(replace(options, device=device))
    logging.getLogger("vidcolor").info(
        "%s, %s on %s", colorizer.name, colorizer.precision, colorizer.device
    )
    set_memory_policy(jobs, colorizer)
    return lambda jobs, settings, on_progress: run(jobs, colorizer, settings, on_progress)


def _preview(
    inputs: tuple[str, ...],
    output: str | None,
    count: int,
    options: ColorizerOptions,
    settings: Settings,
    screen: Screen,
) -> None:
    from ..run.preview import write_preview
    from ..sources import PICTURE_SUFFIXES, expand
    from ..system.devices import worker_devices

    options = replace(options, device=worker_devices(options.device)[0])
    items = expand(inputs, rate=settings.fps)
    path = Path(output) if output else items[0].path.with_name(f"{items[0].path.stem}.preview.png")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise click.UsageError(f"a preview is a picture; use -o {path.with_suffix('.png')}")
    colorizer = make_colorizer(options)
    began = time.monotonic()
    try:
        pairs, unread = write_preview(
            items,
            path,
            count,
            colorizer,
            segment=settings.segment,
            rate=settings.fps,
            playlists=settings.allow_playlists,
            deinterlace=settings.deinterlace,
            large_pictures=settings.large_pictures,
            overwrite=settings.overwrite,
        )
    except VidcolorError as error:
        screen.finished(Report(items[0].path, path, "failed", error=str(error)))
        sys.exit(1)
    report = Report(items[0].path, path, "done", pairs, time.monotonic() - began, warnings=unread)
    screen.sheet(report)
    sys.exit(1 if unread else 0)
