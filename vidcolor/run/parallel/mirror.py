"""Files that lie elsewhere, and tasks that fetch them and put them there.

A local folder stands for a place elsewhere (`Mirror`). A task on another machine has such a folder
there (`Staged`), and a pool gives its tasks so (`StagedPool`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from ...errors import InputError, OutputError, VidcolorError
from ...sinks.credentials import sidecar_of
from ...sources import FILM_SUFFIXES
from ...system.files import temporary_path
from .pool import OnFrames, Pool
from .tasks import PartOfFilm, SomePictures, Task, TaskAround, WholeFilm

_KEPT = 3  # films on a node


def is_local(files: Any) -> bool:
    """Whether a file system of fsspec is that of this machine."""
    return "file" in files.protocol


class UrlPath(type(Path())):  # type: ignore[misc]  # the system's kind of path
    """A path that prints as the URL it was made of; `Path` makes one slash of two."""

    def __str__(self) -> str:
        text: str = super().__str__()
        return text.replace(":/", "://", 1)


def is_film(path: Path | PurePosixPath) -> bool:
    """Whether a file is a film, by its name."""
    return path.suffix.lower() in FILM_SUFFIXES


def files_of(output: Path) -> list[Path]:
    """The files that an output may consist of: the sidecar of its signature first, then itself."""
    return [path for path in (sidecar_of(output), output) if path is not None]


@contextmanager
def reaching(url: str, error_type: type[VidcolorError]) -> Iterator[None]:
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


def _modified(files: Any, name: str) -> float:
    """Seconds since 1970; 0 where the place, such as a web server, has no such method."""
    has_times = type(files).modified is not fsspec.AbstractFileSystem.modified
    return float(files.modified(name).timestamp()) if has_times else 0.0


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
        with reaching(url, OutputError):
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
        with reaching(url, InputError):
            files, name = fsspec.core.url_to_fs(url)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = temporary_path(path, ".fetch")
            try:
                files.get_file(name, str(partial))
                changed = _modified(files, name)
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
        with reaching(url, OutputError):
            files, name = fsspec.core.url_to_fs(url)
            if is_local(files):
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
        with reaching(url, OutputError):
            files, name = fsspec.core.url_to_fs(url)
            if files.exists(name):
                files.rm(name, recursive=True)


@dataclass(frozen=True)
class Staged(TaskAround):
    """A task on a node that has to fetch its input and to put its files in their place."""

    inputs: Mirror
    outputs: Mirror

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
        for path in (each for output in made for each in files_of(output)):
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

    @property
    def precision(self) -> str:
        """See `Pool.precision`."""
        return self._pool.precision

    @property
    def where(self) -> str:
        """See `Pool.where`."""
        return self._pool.where

    def drop(self, futures: Sequence[Future[Any]]) -> None:
        """See `Pool.drop`; all have been begun."""
        wait(futures)

    def close(self) -> None:
        """See `Pool.close`."""
        self._pool.close()
        self._fetching.shutdown(wait=False)
