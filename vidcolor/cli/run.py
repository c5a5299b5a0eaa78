"""`vidcolor run`: colorize films, pictures and folders."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import VidcolorError
from ..run.job.options import JobOptions
from ..run.settings import ColorizerOptions, Report, Settings
from .log import verbosity
from .options import make_colorizer, takes
from .supervisor import supervise
from .text import say

if TYPE_CHECKING:
    from ..run.colorizer import Colorizer
    from ..run.job.record import Record
    from ..run.job.watch import Supervised
    from ..run.plan import Job
    from .screen import Screen


@click.command("run")
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    help="A file, or a folder for several inputs [beside each: NAME.color.EXT, FOLDER.color/].",
)
@takes(options=ColorizerOptions, settings=Settings, job=JobOptions)
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
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON line for each finished input."
)
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@verbosity
def run_command(
    inputs: tuple[str, ...],
    output: str | None,
    options: ColorizerOptions,
    settings: Settings,
    job: JobOptions,
    cluster: str | None,
    preview: int | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Colorize INPUTS: films, pictures, folders, globs, or numbered sequences.

    \b
    vidcolor run old_film.mp4 -o color.mp4
    vidcolor run photos/ scans/*.tif -o color/
    vidcolor run frames/%05d.png --fps 24 -o film.mkv
    vidcolor run film.mov -o out/%06d.dpx
    vidcolor run old_film.mp4 --preview 6 -o sheet.png
    vidcolor run old_film.mp4 --shots shots/ -o color.mp4

    Sound, subtitles, chapters and attachments are copied. An output appears under its name only
    when it is complete. The readable part of a damaged film goes to NAME.incomplete.EXT.

    \b
    Exit codes: 0 all done, 1 some input failed, was incomplete or got another name than it would
    have had, 2 usage, 130 interrupted, 143 terminated, 129 terminal closed.
    """
    if not all(inputs) or output == "":
        raise click.UsageError("an input or the output is an empty name; is a variable unset?")
    if settings.overwrite and settings.skip_existing:
        raise click.UsageError("--overwrite and --skip-existing exclude each other")
    if output is None and settings.output_chroma is not None:
        output = str(settings.output_chroma)
    if job.watch and (dry_run or preview is not None):
        raise click.UsageError("--watch excludes --dry-run and --preview")
    elsewhere = any("://" in text for text in (*inputs, output or ""))
    if elsewhere and (dry_run or preview is not None or job.watch):
        raise click.UsageError("--dry-run, --preview and --watch are for local files")
    supervised = None
    if preview is None and not dry_run and not elsewhere:
        supervised = supervise(quiet=quiet)
    from ..system.limits import check_least_memory

    check_least_memory()
    from ..run.job.state import HeldError
    from ..run.plan import plan
    from .job import RemoteWork, Work
    from .screen import Screen
    from .worker_pool import WorkerPool

    screen = Screen(quiet=quiet, as_json=as_json, watching=job.watch)
    if options.shots is not None and not _is_one_film(inputs, settings):
        raise click.UsageError("--shots belongs to one film; give that film alone")
    if preview is not None:
        _preview(inputs, output, preview, options, settings, screen)
        return
    if dry_run:
        jobs, reports = plan(inputs, output, settings)
        screen.plan(jobs, reports, _describe_model(options), settings.encoder.encoder)
        sys.exit(1 if any(r.status == "failed" for r in reports) else 0)
    if settings.marks.dossier is not None:
        from ..review.report import add_to_dossier

        marks = replace(settings.marks, dossier_extra=partial(add_to_dossier, options.shots))
        settings = replace(settings, marks=marks)
    workers = WorkerPool(options, cluster, settings.timeout)
    make = functools.cache(lambda: make_colorizer(workers.own))
    given = make, options, settings, job, screen, workers
    with workers:
        if elsewhere:
            away = RemoteWork(*given)
            away.run(inputs, output, staged=cluster is not None)
            sys.exit(0 if away.is_good and not screen.lost else 1)
        try:
            with _open_record(inputs, output, make, settings, supervised) as record:
                work = Work(record, *given)
                if job.watch:
                    work.watch(inputs, output)
                work.run(inputs, output)
        except HeldError as error:
            say(f"error: {error}", err=True)
            sys.exit(1)
    sys.exit(0 if work.is_good and not screen.lost else 1)


def _is_one_film(inputs: tuple[str, ...], settings: Settings) -> bool:
    from ..sources import expand

    items = expand(inputs, rate=settings.fps)
    return len(items) == 1 and not items[0].is_picture


def _open_record(
    inputs: tuple[str, ...],
    output: str | None,
    make: Callable[[], Colorizer],
    settings: Settings,
    supervised: Supervised | None,
) -> Record:
    from ..run.identity import chosen
    from ..run.job.record import Record
    from ..run.job.state_files import state_path

    path, stays = state_path(inputs, output)
    if path.is_file():
        make()  # what counts as done depends on the model; one that is wrong is a wrong command
    return Record(
        path,
        stays=stays,
        chosen=lambda picture: chosen(make(), settings, picture=picture),
        arguments=sys.argv[1:],
        supervised=supervised,
        timeout=settings.timeout,
        splits=settings.on_change == "split",
    )


def set_memory_policy(jobs: Sequence[Job], colorizer: Colorizer) -> bool:
    """Set how this process uses memory for the jobs; see `memory.settle_memory`.

    Returns:
        Whether freed memory is retained: for films of one size on the CPU. Frames of several sizes,
        and pictures, would leave gaps in the heap.
    """
    from ..system.memory import settle_memory

    return settle_memory(colorizer.device.type == "cpu" and of_one_size(jobs))


def of_one_size(jobs: Sequence[Job]) -> bool:
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
            provenance=settings.marks.provenance,
        )
    except VidcolorError as error:
        screen.finished(Report(items[0].path, path, "failed", error=str(error)))
        sys.exit(1)
    report = Report(items[0].path, path, "done", pairs, time.monotonic() - began, warnings=unread)
    screen.sheet(report)
    sys.exit(1 if unread else 0)
