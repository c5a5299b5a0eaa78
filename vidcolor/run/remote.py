"""Inputs and outputs elsewhere: any place that fsspec knows by a URL, such as `s3://bucket/films/`.

FFmpeg and libvips need files. So each film, and each group of pictures, is fetched into a temporary
folder, worked on there, and put in its place as a whole; the disk holds few at a time. On a cluster
every node has such a folder, and finished parts of films go to the output's place.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from ..errors import InputError, OutputError, VidcolorError
from ..sources import FILM_SUFFIXES, PICTURE_SUFFIXES
from ..system.files import temporary_path
from .pictures import WINDOW
from .plan import Job, PicturesJob, plan
from .pool import OnFrames, Pool
from .settings import ProgressCallback, Report, Settings, failed
from .tasks import PartOfFilm, SomePictures, Task, WholeFilm

logger = logging.getLogger(__name__)

_KEPT = 3  # films on a node

Runner = Callable[[Sequence[Job], Settings, ProgressCallback], Iterator[Report]]


class UrlPath(type(Path())):  # type: ignore[misc]  # the system's kind of path
    """A path that prints as the URL it was made of; `Path` makes one slash of two."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)


def is_film(path: Path | PurePosixPath) -> bool:
    """Whether a file is a film, by its name."""
    return path.suffix.lower() in FILM_SUFFIXES


@contextmanager
def _reaching(url: str, error_type: type[VidcolorError]) -> Iterator[None]:
    """Turn errors of a place elsewhere into vidcolor's; each kind of place has its own."""
    try:
        yield
    except VidcolorError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise error_type(
            f"{url}: cannot be reached ({said}); check the name, the rights and the network"
        ) from error


@dataclass(frozen=True)
class Mirror:
    """A local folder whose files belong to a folder elsewhere, under the same names.

    Attributes:
        folder: the local one.
        url: of the other.
    """

    folder: Path
    url: str

    def place(self, path: Path) -> str:
        """The URL of a local file."""
        return f"{self.url.rstrip('/')}/{path.relative_to(self.folder).as_posix()}"

    def exists(self, path: Path) -> bool:
        """Whether the file is there, elsewhere."""
        url = self.place(path)
        with _reaching(url, OutputError):
            files, name = fsspec.core.url_to_fs(url)
            return bool(files.exists(name))

    def fetch(self, path: Path) -> None:
        """Have the file here, with its time of modification; nothing is done if it is.

        Raises:
            InputError: it cannot be read.
        """
        if path.exists():
            return
        url = self.place(path)
        with _reaching(url, InputError):
            files, name = fsspec.core.url_to_fs(url)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = temporary_path(path, ".fetch")
            try:
                files.get_file(name, str(partial))
                try:
                    changed = files.modified(name).timestamp()
                except NotImplementedError:
                    changed = 0.0
                os.utime(partial, (changed, changed))
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)

    def put(self, path: Path) -> None:
        """Put the local file in its place, where it appears as a whole, and remove it here.

        Raises:
            OutputError: it cannot be written.
        """
        url = self.place(path)
        with _reaching(url, OutputError):
            files, name = fsspec.core.url_to_fs(url)
            if _is_local(files):
                target = Path(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = temporary_path(target, ".put")
                shutil.copyfile(path, partial)
                os.replace(partial, target)
            else:
                files.put_file(str(path), name)
        path.unlink()

    def remove(self, folder: Path) -> None:
        """Remove a folder elsewhere, if it is there."""
        url = self.place(folder)
        with _reaching(url, OutputError):
            files, name = fsspec.core.url_to_fs(url)
            if files.exists(name):
                files.rm(name, recursive=True)


@dataclass(frozen=True)
class Staged:
    """A task on a node that has to fetch its input and to put its files in their place."""

    task: Task
    inputs: Mirror
    outputs: Mirror

    @property
    def input(self) -> Path:
        return self.task.input

    @property
    def repeatable(self) -> bool:
        return self.task.repeatable

    def run(self, colorizer: Any, on_frames: OnFrames) -> Any:
        """See `Task.run`."""
        task = self.task
        paths = [task.input]
        if isinstance(task, SomePictures):
            paths = [path for path, _ in task.job.items]
        for path in paths:
            self.inputs.fetch(path)
        self._forget()
        done = task.run(colorizer, on_frames)
        made: list[Path] = []
        if isinstance(task, PartOfFilm):
            made = [task.path]
        elif isinstance(task, SomePictures):
            made = [report.output for report in done]
            for path in paths:
                path.unlink(missing_ok=True)
        elif isinstance(task, WholeFilm):
            made = [done[0].output]
        for path in made:
            if path.exists():
                self.outputs.put(path)
        return done

    def _forget(self) -> None:
        """Delete the films that were fetched to this node before the last few."""
        files = [path for path in self.inputs.folder.rglob("*") if is_film(path)]
        for path in sorted(files, key=lambda path: path.stat().st_ctime)[:-_KEPT]:
            path.unlink(missing_ok=True)


class StagedPool:
    """A pool on other machines, whose tasks find their files elsewhere.

    Args:
        pool: that does the work.
        inputs, outputs: where the files are.
    """

    def __init__(self, pool: Pool, inputs: Mirror, outputs: Mirror) -> None:
        self._pool, self._inputs, self._outputs = pool, inputs, outputs
        self._fetching = ThreadPoolExecutor(4, thread_name_prefix="fetch")

    @property
    def size(self) -> int:
        """See `Pool.size`."""
        return self._pool.size

    def submit(self, task: Task, on_frames: OnFrames = lambda frames: None) -> Future[Any]:
        """See `Pool.submit`; a part of a film is here when it is done."""
        if not isinstance(task, PartOfFilm):
            return self._pool.submit(Staged(task, self._inputs, self._outputs), on_frames)
        path, future = task.path, Future[Any]()
        future.set_running_or_notify_cancel()

        def fetch(done: Future[Any] | None) -> None:
            try:
                value = None if done is None else done.result()
                self._outputs.fetch(path)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)

        if self._outputs.exists(path):  # an earlier run has made it
            self._fetching.submit(fetch, None)
        else:
            done = self._pool.submit(Staged(task, self._inputs, self._outputs), on_frames)
            done.add_done_callback(lambda each: self._fetching.submit(fetch, each) and None)
        return future

    @property
    def neighbors(self) -> int:
        """See `Pool.neighbors`."""
        return self._pool.neighbors

    def drop(self, futures: Sequence[Future[Any]]) -> None:
        """See `Pool.drop`; all have been begun."""
        wait(futures)

    def close(self) -> None:
        """See `Pool.close`."""
        self._pool.close()
        self._fetching.shutdown(wait=False)


def _is_local(files: Any) -> bool:
    return "file" in files.protocol


def _find(text: str) -> tuple[str, list[str]]:
    """The files that a URL means.

    Returns:
        The URL of a folder, and the names of the files relative to it.
    """
    with _reaching(text, InputError):
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
        place = root if _is_local(files) else str(files.unstrip_protocol(root))
        return place, [each[len(root) :].lstrip("/") for each in found]


def _groups(names: Sequence[str]) -> Iterator[list[str]]:
    """Films one by one, and pictures in groups."""
    pictures: list[str] = []
    for name in names:
        if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES:
            pictures.append(name)
            if len(pictures) == WINDOW:
                yield pictures
                pictures = []
        else:
            yield [name]
    if pictures:
        yield pictures


def run_remote(
    inputs: Sequence[str],
    output: str | None,
    settings: Settings,
    runner: Callable[[Mirror, Mirror], Runner],
    on_progress: ProgressCallback,
) -> Iterator[Report]:
    """Colorize files elsewhere, or to elsewhere; yields a report as each is finished.

    Args:
        inputs: files, folders and globs, by URLs or local names.
        output: a file for one input, a folder for several, as URL or local name.
        settings: of the run.
        runner: makes what works on jobs whose files have these mirrors.
        on_progress: called with a `Progress` after every batch.

    Raises:
        OutputError: there is no output.
    """
    if output is None:
        raise OutputError(f"{inputs[0]}: a URL needs an output; give -o")
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
            wanted = target.folder / (name if is_file else ".")
            try:
                yield from _group(paths, wanted, source, target, settings, runner, on_progress)
            finally:
                for path in paths:
                    path.unlink(missing_ok=True)
    shutil.rmtree(top, ignore_errors=True)


def _group(
    paths: Sequence[Path],
    wanted: Path,
    source: Mirror,
    target: Mirror,
    settings: Settings,
    runner: Callable[[Mirror, Mirror], Runner],
    on_progress: ProgressCallback,
) -> Iterator[Report]:
    """Fetch some files, work on them, and put the results in their place."""
    local = replace(settings, overwrite=True, skip_existing=False)

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
    for path in paths:
        into = wanted
        if wanted.name == target.folder.name:
            into = target.folder / path.relative_to(source.folder)
        try:
            source.fetch(path)
            planned, reports = plan([path], into, local)
            for job in planned:
                output = job.items[0][1] if hasattr(job, "items") else job.output
                if target.exists(output) and not settings.overwrite:
                    if settings.skip_existing:
                        reports.append(Report(path, output, "skipped"))
                        continue
                    raise OutputError(
                        f"{output}: already exists; give --overwrite to replace it or "
                        "--skip-existing"
                    )
                jobs.append(job)
        except Exception as error:
            reports = [failed(path, into, error)]
        yield from map(told, reports)
    for report in runner(source, target)(_merged(jobs), local, on_progress):
        try:
            if report.status != "failed" and report.output.exists():
                target.put(report.output)
            target.remove(report.output.with_name(f".{report.output.name}.vidcolor"))
        except VidcolorError as error:
            report = failed(report.input, report.output, error)
        yield told(report)


def _merged(jobs: Sequence[Job]) -> list[Job]:
    """All pictures as one job."""
    items = [item for job in jobs if isinstance(job, PicturesJob) for item in job.items]
    films: list[Job] = [job for job in jobs if not isinstance(job, PicturesJob)]
    return [*films, *([PicturesJob(tuple(items))] if items else [])]
