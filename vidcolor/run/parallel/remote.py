"""Inputs and outputs elsewhere: any place that fsspec knows by a URL, such as `s3://bucket/films/`.

FFmpeg and libvips need files. So each film, and each group of pictures, is fetched into a temporary
folder, worked on there, and put in its place as a whole; the disk holds few at a time. On a cluster
every node has such a folder, and finished parts of films go to the output's place.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from glob import has_magic
from itertools import groupby
from pathlib import Path, PurePosixPath

import fsspec

from ...errors import InputError, OutputError, VidcolorError
from ...sinks import is_sequence
from ...sources import FILM_SUFFIXES, PICTURE_SUFFIXES
from ..pictures import WINDOW
from ..plan import FilmJob, Job, PicturesJob, plan
from ..settings import Report, Settings, failed
from .mirror import Mirror, UrlPath, files_of, is_film, is_local, reaching

Runner = Callable[[Sequence[Job], Settings], Iterator[Report]]


def _find(text: str) -> tuple[str, list[str]]:
    """The files that a URL means.

    Returns:
        The URL of a folder, and the names of the files relative to it.
    """
    with reaching(text, InputError):
        files, name = fsspec.core.url_to_fs(text)
        if has_magic(name):
            found, root = sorted(files.glob(name)), re.split(r"[*?[]", name)[0].rpartition("/")[0]
        elif files.isdir(name):
            root = name.rstrip("/")
            known = FILM_SUFFIXES | PICTURE_SUFFIXES
            found = [
                each
                for each in sorted(files.find(name))
                if PurePosixPath(each).suffix.lower() in known
                and not any(part.startswith(".") for part in each[len(root) + 1 :].split("/"))
            ]
        elif files.exists(name):
            root, found = name.rpartition("/")[0], [name]
        else:
            found, root = [], ""
        if not found:
            raise InputError(f"{text}: there is no film or picture of that name")
        place = root if is_local(files) else str(files.unstrip_protocol(root))
        return place, [each[len(root) :].lstrip("/") for each in found]


def _groups(names: Sequence[str]) -> Iterator[list[str]]:
    """Films one by one, and pictures in groups. Files that differ in their suffix alone stay
    together, because they may want one output."""

    def stem(name: str) -> str:
        return str(PurePosixPath(name).with_suffix(""))

    group: list[str] = []
    for _, same in groupby(sorted(names, key=lambda name: (stem(name), name)), stem):
        some = list(same)
        alone = any(is_film(PurePosixPath(name)) for name in some)
        if group and (alone or len(group) + len(some) > WINDOW):
            yield group
            group = []
        group += some
        if alone:
            yield group
            group = []
    if group:
        yield group


def run_remote(
    inputs: Sequence[str],
    output: str | None,
    settings: Settings,
    runner: Callable[[Mirror, Mirror], Runner],
) -> Iterator[Report]:
    """Colorize files elsewhere, or to elsewhere; yields a report as each is finished.

    Args:
        inputs: files, folders and globs, by URLs or local names.
        output: a file for one input, a folder for several, as URL or local name.
        settings: of the run.
        runner: makes what works on jobs whose files have these mirrors.

    Raises:
        OutputError: there is no output, or it is numbered pictures.
    """
    if output is None:
        raise OutputError(f"{inputs[0]}: a URL needs an output; give -o")
    if is_sequence(Path(output)):
        raise OutputError(
            f"{output}: numbered pictures are made of local films alone, in a local folder; copy "
            "the film here, or give a film's name to -o"
        )
    key = hashlib.sha256(repr((sorted(inputs), output)).encode()).hexdigest()[:16]
    top = Path(tempfile.gettempdir()) / f"vidcolor-{key}"  # the same when the command is run again
    several = len(inputs) > 1
    for number, text in enumerate(inputs):
        try:
            root, names = _find(text)
        except VidcolorError as error:
            yield failed(UrlPath(text), UrlPath(output), error)
            continue
        name = PurePosixPath(output).name
        is_file = not several and len(names) == 1 and "." in name and not output.endswith("/")
        place = output[: -len(name)].rstrip("/") if is_file else output
        source = Mirror(top / f"in{number}", root)
        target = Mirror(top / f"out{number}", place)
        for group in _groups(names):
            paths = [source.folder / each for each in group]
            wanted = target.folder / name if is_file else None
            try:
                yield from _group(paths, wanted, source, target, settings, runner)
            finally:
                for path in paths:
                    path.unlink(missing_ok=True)
    shutil.rmtree(top, ignore_errors=True)


def _group(
    paths: Sequence[Path],
    wanted: Path | None,
    source: Mirror,
    target: Mirror,
    settings: Settings,
    runner: Callable[[Mirror, Mirror], Runner],
) -> Iterator[Report]:
    """Fetch some files, work on them, and put the results in their place.

    Args:
        wanted: the output of a single file; None mirrors the files under their folder's names.
    """
    local = replace(settings, overwrite=True, skip_existing=False)

    def is_free(path: Path, output: Path, reports: list[Report]) -> bool:
        files = files_of(output) if settings.marks.c2pa_cert else [output]
        if settings.overwrite or not any(target.exists(each) for each in files):
            return True
        if settings.skip_existing:
            reports.append(Report(path, output, "skipped"))
        else:
            line = f"{output}: already exists; give --overwrite to replace it or --skip-existing"
            reports.append(Report(path, output, "failed", error=line))
        return False

    def told(report: Report) -> Report:
        """The report with URLs in place of local names."""
        for mirror in (source, target):
            here = f"{mirror.folder}{os.sep}"
            there = f"{mirror.url.rstrip('/')}/"
            report.error = report.error.replace(here, there)
            report.warnings = [line.replace(here, there) for line in report.warnings]
        for name, mirror in (("input", source), ("output", target)):
            path = getattr(report, name)
            if path.is_relative_to(mirror.folder):
                setattr(report, name, UrlPath(mirror.place(path)))
        return report

    jobs: list[Job] = []
    try:
        for path in paths:
            source.fetch(path)
        if wanted is None:
            planned, reports = plan([source.folder], target.folder, local)
        else:
            planned, reports = plan(paths, wanted, local)
        for job in planned:
            if isinstance(job, PicturesJob):
                items = tuple(item for item in job.items if is_free(*item, reports))
                jobs += [replace(job, items=items)] if items else []
            elif is_free(job.input, job.output, reports):
                jobs.append(job)
        known = {report.input for report in reports}
        for job in jobs:
            known |= {job.input} if isinstance(job, FilmJob) else {path for path, _ in job.items}
        reports += [
            failed(path, target.folder, InputError(f"{path}: is no film or picture by its name"))
            for path in paths
            if path not in known
        ]
    except Exception as error:
        reports = [failed(path, target.folder, error) for path in paths]
        jobs = []
    yield from map(told, reports)
    for report in runner(source, target)(jobs, local):
        try:
            for path in files_of(report.output) if report.status != "failed" else ():
                if path.exists():
                    target.put(path)
            target.remove(report.output.with_name(f".{report.output.name}.vidcolor"))
        except VidcolorError as error:
            report = failed(report.input, report.output, error)
        yield told(report)
