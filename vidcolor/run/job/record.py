"""Keep the state of a job while it runs: `Record`.

A record knows what earlier jobs have done, so that it is not done again; it marks what is under
way, so that a file that ends the process is known; and it gives up what makes no progress.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OutputError
from ...sources.inputs import Input
from ...system.files import stamp_of
from ...system.processes import this_process
from ..identity import Identity, digest
from ..journal import is_abandoned, work_folder
from ..settings import Progress, Report
from .leftovers import remove_temporaries
from .state import DONE, FAILED, FINISHED, WAITING, WORKING, InputRow, JobRow, State, StateError
from .watch import GAVE_UP, Observer, Supervised, Watch

if TYPE_CHECKING:
    from ..plan import Job

logger = logging.getLogger(__name__)

ATTEMPTS = 2  # that an input has in a job, if each ends the process
_FLUSH_SECONDS = 1.0  # between two writings of what is not urgent
_STOPPED_SECONDS = 10.0  # that this thread does not miss while the process runs
_SILENT_SECONDS = 10.0  # after which a job that has nothing to write says that it is alive


class Record(Observer):
    """The state of a job, kept while it runs; a context manager. If the file cannot be used, a
    warning says so and the job goes on without it.

    Args:
        path, stays: see `state_path`.
        chosen: settings and model of an output, see `identity.chosen`; called with whether it is a
            picture, where they must be known.
        arguments: of the command line.
        supervised: what watches over this process.
        timeout: seconds without progress after which an input is given up; 0 for never. Only where
            something watches.
        splits: a film may become several files.

    Raises:
        HeldError: another process works on the same output.
    """

    def __init__(
        self,
        path: Path,
        *,
        stays: bool,
        chosen: Callable[[bool], Identity],
        arguments: Sequence[str] = (),
        supervised: Supervised | None = None,
        timeout: float = 0.0,
        splits: bool = False,
    ) -> None:
        self._path, self._stays, self._chosen, self._splits = path, stays, chosen, splits
        self._supervised = supervised or Supervised(os.urandom(8).hex())
        self._timeout = timeout if self._supervised.ready else 0.0
        who, now, restarts = this_process(), time.time(), self._supervised.restarts
        self._job = JobRow(
            self._supervised.job, now, who.host, who.code, who.pid, who.started, now,
            restarts=restarts, arguments=list(arguments),
        )  # fmt: skip
        self._rows: dict[str, InputRow] = {}  # by the absolute path of the input
        self._dirty: dict[str, InputRow] = {}  # to be written
        self._films: dict[str, list[Path]] = {}  # files of each
        self._numbers: dict[bool, int] = {}  # of settings, by whether they are of a picture
        self._watch = Watch()
        self._measured: dict[str, tuple[int, float]] = {}  # frames and time of the first progress
        self._untold: set[str] = set()  # inputs whose end no process has announced
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._state: State | None = None
        self._usable, self._warned, self._new_folder = True, False, False
        if path.is_file():
            self._open()
        threading.Thread(target=self._keep, name="record", daemon=True).start()

    def _open(self) -> None:
        """Open the state, and see what earlier processes have left."""
        if self._state is not None or not self._usable:
            return
        with self._lock, self._guarded():
            self._new_folder = not self._path.parent.exists()
            with ExitStack() as unused:
                state = State(self._path)
                unused.callback(state.close)
                before = state.claim(self._job)
                unused.pop_all()
            self._state = state
            if before is not None and before.id == self._job.id:
                self._job.begun, self._job.announced = before.begun, before.announced
            for row in state.rows():
                self._rows[os.path.abspath(row.input)] = row
                if row.status == WORKING:
                    self._take_over(row, before)
            self._flush()

    def _take_over(self, row: InputRow, before: JobRow | None) -> None:
        """A row that was under way when its process ended."""
        row.status, row.deaths, same_job = WAITING, row.deaths + 1, row.job == self._job.id
        row.attempts += same_job
        new = stamp_of(row.output)
        if new is not None and new != (row.size, row.mtime) and not self._splits:
            # It got its name, and so is whole, just before the process ended.
            is_abandoned(work_folder(row.output), remove=True)
            self._untold.add(os.path.abspath(row.input))
            row.status, row.written, (row.size, row.mtime) = DONE, row.output, new
            row.frames, row.ended = max(row.frames, 1), before.updated if before else time.time()
        elif same_job and row.attempts < ATTEMPTS:
            logger.warning(
                "%s: was under way when the process ended; it is tried again at the end", row.input
            )
        self._dirty[os.path.abspath(row.input)] = row

    def earlier(self, item: Input, output: Path, *, overwrite: bool) -> Report | bool:
        """What is known of an input before the work.

        Args:
            item: the input.
            output: where it is to be written.
            overwrite: outputs of earlier jobs are replaced.

        Returns:
            A report if the input is finished; else whether `output` is of an earlier job and may be
            replaced, because the input has changed since.

        Raises:
            OutputError: it was done with other settings.
        """
        key = os.path.abspath(item.path)
        row = self._rows.get(key)
        if row is None or os.path.abspath(row.output) != os.path.abspath(output):
            return False
        if row.job == self._job.id and self._supervised.restarts:
            if row.status in (*FINISHED, FAILED) and row.digest in ("", digest(item.files())):
                report = row.report(item.path)
                report.restored = key not in self._untold
                return report
            if row.attempts >= ATTEMPTS:
                why = row.error or "the process ended twice while working on it"
                report = Report(item.path, output, FAILED, error=f"{item.path}: {why}; left out")
                self._untold.add(key)
                self.finish(report)
                remove_temporaries(output.absolute().parent)
                return report
        if overwrite or row.written is None or stamp_of(row.written) != (row.size, row.mtime):
            return False  # not there, or changed by somebody else
        if row.status not in FINISHED or row.digest != digest(item.files()):
            return True
        if other := self._changed(row, item.is_picture):
            raise OutputError(
                f"{row.written}: was made with other settings ({other}); give --overwrite to make "
                "it again, or choose another output with -o"
            )
        with self._lock:
            row.job = self._job.id
            self._dirty[os.path.abspath(row.input)] = row
        written = output if row.written == Path(os.path.abspath(output)) else row.written
        status = "incomplete" if row.status == "incomplete" else "skipped"
        return Report(item.path, written, status, row.frames, error=row.error)

    def settle(self, reports: Sequence[Report]) -> None:
        """Note what planning found; what an earlier process has announced becomes `restored`."""
        for report in reports:
            key = os.path.abspath(report.input)
            report.restored |= bool(self._job.announced) and key not in self._untold
            row = self._rows.get(key)
            if report.status == FAILED and (row is None or row.status not in FINISHED):
                self.finish(report)

    def _changed(self, row: InputRow, picture: bool) -> str:
        """The names of the settings that differ from those of a row."""
        with self._lock, self._guarded():
            before = self._state.settings_of(row.settings) if self._state else {}
            now = self._chosen(picture)
            return ", ".join(key for key in before if before[key] != now.get(key, before[key]))
        return ""

    def is_suspect(self, path: Path) -> bool:
        """Whether an input was under way when a process of this job ended, or of two earlier."""
        row = self._rows.get(os.path.abspath(path))
        return row is not None and (row.attempts > 0 or row.deaths >= ATTEMPTS)

    @contextmanager
    def examining(self, path: Path, output: Path) -> Iterator[None]:
        """While an input is opened, before the work."""
        self._open()
        self._mark([self._row(path, output)])
        try:
            with self.watching([path]):
                yield
        finally:
            self._row(path, output).status = WAITING

    def _row(self, path: Path, output: Path) -> InputRow:
        """The row of an input in this job; it is to be written."""
        key = os.path.abspath(path)
        with self._lock:
            row = self._rows.setdefault(key, InputRow(path, output))
            if row.job != self._job.id:
                row.job, row.attempts, row.error, row.warnings = self._job.id, 0, "", []
                row.frames, row.resumed, row.seconds, row.total = 0, 0, 0.0, None
                row.status, row.begun, row.ended = WAITING, None, None
            row.input, row.output = path, output
            self._dirty[key] = row
            return row

    def begin(self, jobs: Sequence[Job]) -> None:
        """The work begins, and what planning found is announced; may be called again.

        Raises:
            HeldError: another process works on the same output.
        """
        from ..plan import FilmJob

        self._open()
        folders = set()
        with self._lock:
            self._job.announced = 1
            for job in jobs:
                self._job.frames += job.frames or 0
                films = [(job.input, job.output)] if isinstance(job, FilmJob) else job.items
                for path, output in films:
                    row = self._row(path, output)
                    row.total, row.status = 1, WAITING
                    folders.add(output.absolute().parent)
                    if isinstance(job, FilmJob):
                        row.output, row.total = job.planned, job.frames
                        self._films[os.path.abspath(path)] = job.source.files()
            self._flush()
        for folder in folders:
            remove_temporaries(folder)

    def working(self, paths: Sequence[Path]) -> None:
        """These inputs are to be worked on now; known on the disk when this returns."""
        keys = [key for path in paths if (key := os.path.abspath(path)) in self._rows]
        for key in keys:
            row, files = self._rows[key], self._films.get(key)
            row.digest = ""
            with suppress(OSError):  # reading it reports that
                row.digest = digest(files or [row.input])
            with self._lock:
                row.settings, row.begun = self._number(picture=files is None), time.time()
                self._measured.pop(key, None)
        self._mark([self._rows[key] for key in keys])

    def _number(self, *, picture: bool) -> int | None:
        if picture not in self._numbers and self._state is not None:
            with self._guarded():
                self._numbers[picture] = self._state.settings(self._chosen(picture))
        return self._numbers.get(picture)

    def _mark(self, rows: Sequence[InputRow]) -> None:
        with self._lock:
            for row in rows:
                row.status = WORKING
                now = stamp_of(row.output)
                if row.written is None or stamp_of(row.written) != (row.size, row.mtime):
                    row.written, (row.size, row.mtime) = None, now or (None, None)
                self._dirty[os.path.abspath(row.input)] = row
            if self._flush() and self._supervised.ready is not None:
                self._supervised.ready()

    def watching(self, paths: Sequence[Path]) -> AbstractContextManager[None]:
        """While work on these inputs is under way, which must make progress."""
        return self._watch.on(paths)

    def paused(self) -> AbstractContextManager[None]:
        """While nothing can make progress, by no fault of an input."""
        return self._watch.paused()

    def progress(self, progress: Progress) -> None:
        """Something of a film was finished."""
        key = os.path.abspath(progress.input)
        with self._lock:
            if key in self._films and (row := self._rows.get(key)):
                began = self._measured.setdefault(key, (progress.done, time.monotonic()))
                row.resumed, row.seconds = began[0], time.monotonic() - began[1]
                row.frames, self._dirty[key] = progress.done, row
        self._watch.touch(progress.input)

    def finish(self, report: Report) -> None:
        """An input is finished."""
        if report.restored or report.status == "skipped":
            return
        key = os.path.abspath(report.input)
        with self._lock:
            known = self._rows.get(key)
            row = self._row(report.input, known.output if known else report.output)
            row.status, row.error, row.warnings = report.status, report.error, report.warnings
            row.frames, row.resumed, row.seconds = report.frames, report.resumed, report.seconds
            row.ended = time.time()
            if report.status in FINISHED and (stamp := stamp_of(report.output)):
                row.written, (row.size, row.mtime) = report.output, stamp
                row.attempts = row.deaths = 0
            if key in self._films:
                self._flush()

    def postpone(self, report: Report) -> None:
        """An input has failed and is to be tried again at the end."""
        logger.warning("%s; it is tried again at the end", report.error)
        with self._lock:
            row = self._row(report.input, self._rows[os.path.abspath(report.input)].output)
            row.error, row.status = report.error, WAITING

    def _flush(self) -> bool:
        """Write what has changed; whether it is on the disk."""
        with self._lock, self._guarded():
            if self._state is not None:
                self._job.updated = time.time()
                self._job.inputs = sum(row.job == self._job.id for row in self._rows.values())
                self._state.put(self._job, self._dirty.values())
                self._dirty.clear()
                return True
        return False

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Go on without the state if it cannot be used."""
        try:
            yield
        except StateError as error:
            if not self._warned:
                logger.warning("%s; the run goes on without it, and done work is not known", error)
            self._warned = True
            if not (error.passing and self._state):
                self._state, self._usable = None, False

    def _keep(self) -> None:
        """Write now and then, and look for what makes no progress."""
        written = last = time.monotonic()
        while not self._ended.wait(min(0.5, self._timeout / 4 or 0.5)):
            with self._lock:
                now = time.monotonic()
                if now - last > _STOPPED_SECONDS:  # the process was stopped, as by Ctrl-Z
                    self._watch.touch()
                last = now
                if now - written > (_FLUSH_SECONDS if self._dirty else _SILENT_SECONDS):
                    self._flush()
                    written = now
                late = self._watch.late(self._timeout) if self._timeout else ()
                if late and self._state is not None:
                    self._give_up(late)

    def _give_up(self, paths: Collection[str]) -> None:
        """End the process, which is stuck; another one goes on."""
        for row in self._rows.values():
            if row.status == WORKING:
                row.status = WAITING
                self._dirty[os.path.abspath(row.input)] = row
        late = [self._rows[path] for path in paths if path in self._rows]
        for row in late:
            row.attempts += 1
            row.error = f"no progress was made for {self._timeout:g} seconds (--timeout)"
            self._dirty[os.path.abspath(row.input)] = row
        if self._flush():
            for row in late:
                if row.attempts < ATTEMPTS:
                    logger.warning("%s: %s; it is tried again at the end", row.input, row.error)
            os._exit(GAVE_UP)

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        with self._lock, self._guarded():
            if self._state is None:
                return
            for key, row in self._rows.items():
                if row.status == WORKING and row.job == self._job.id:
                    row.status, self._dirty[key] = WAITING, row
            self._job.ended = time.time()
            self._job.outcome = "done" if error[0] is None else "interrupted"
            self._flush()
            self._state.close()
            if not self._stays or not any(row.status in FINISHED for row in self._rows.values()):
                self._path.unlink(missing_ok=True)
                if self._new_folder:
                    with suppress(OSError):
                        self._path.parent.rmdir()
