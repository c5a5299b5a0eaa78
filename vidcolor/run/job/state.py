"""The state of jobs: an SQLite file that tells what was done, what is under way and what failed.

A job is one call of `vidcolor run`. Its state lies beside the output: for good if that is a folder,
else as long as the work lasts (`state_files`). `State` writes it; `read_state` reads it, also from
another process while the job runs. Times are seconds since 1970.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from ...errors import OutputError, VidcolorError
from ...system.processes import Process
from ..settings import Report
from .state_files import output_of

WAITING, WORKING, DONE, FAILED = "waiting", "working", "done", "failed"
FINISHED = (DONE, "renamed", "incomplete")
_VERSION = 1
_BUSY_SECONDS = 5.0  # to wait for another process that reads or writes
SILENT_SECONDS = 60.0  # after which a process that cannot be seen from here counts as ended


class StateError(VidcolorError):
    """The state cannot be read or written; the work can go on without it. `passing`: but perhaps
    later, because it is locked or the disk is full, for example."""

    passing = False


class HeldError(OutputError):
    """Another process works on the same output."""


@dataclass
class InputRow:
    """What is known of one input.

    Attributes:
        input: the file or pattern; the row's key.
        output: the file that it is to be written to.
        job: the last job that had to do with it.
        status: `waiting`, `working`; or as in `Report`: `done`, `renamed`, `incomplete`, `failed`.
        written: the file that was written, which may have another name than `output`.
        size, mtime: of `written`, bytes and nanoseconds; while it is worked on, of the file that is
            at `output` before. None for no file.
        digest: identity of the input: names, sizes, times and ends of its files.
        settings: number of the settings and model that decide its pixels; see `State.settings`.
        frames: written so far.
        total: expected; None if no header says how many.
        resumed: frames that an earlier job had written; while it is worked on, those that were
            written when measuring began.
        seconds: of work that was measured.
        error: one line, for what is not as wanted.
        warnings: one line each.
        attempts: how often the process ended while working on it, in this job.
        deaths: the same in all jobs, until it is done.
        begun, ended: of the last work on it; None for not yet.
    """

    input: Path
    output: Path
    job: str = ""
    status: str = WAITING
    written: Path | None = None
    size: int | None = None
    mtime: int | None = None
    digest: str = ""
    settings: int | None = None
    frames: int = 0
    total: int | None = None
    resumed: int = 0
    seconds: float = 0.0
    error: str = ""
    warnings: list[str] = field(default_factory=list)
    attempts: int = 0
    deaths: int = 0
    begun: float | None = None
    ended: float | None = None

    def report(self, path: Path) -> Report:
        """What became of it, with its path as the user gave it."""
        report = Report(path, self.written or self.output, self.status, self.frames, self.seconds)
        report.error, report.warnings, report.resumed = self.error, self.warnings, self.resumed
        return report


@dataclass
class JobRow:
    """A call of `vidcolor run`.

    Attributes:
        id: of the job, hexadecimal; the processes of one job share it.
        begun, ended: ended is None as long as it has not ended by itself.
        outcome: `done` (all inputs were tried), `interrupted`, `died`; empty while it runs.
        host, code, pid, started: the process that works; see `Process`.
        updated: when it last wrote.
        restarts: how often a new process had to go on, because the one before ended.
        announced: 1 when what planning found has been printed.
        inputs: of the job, with those that were done before.
        frames: expected in all of them, as far as headers tell.
        arguments: of the command line.
    """

    id: str
    begun: float
    host: str
    code: str
    pid: int
    started: int
    updated: float
    ended: float | None = None
    outcome: str = ""
    restarts: int = 0
    announced: int = 0
    inputs: int = 0
    frames: int = 0
    arguments: list[str] = field(default_factory=list)

    @property
    def process(self) -> Process:
        """The process that works."""
        return Process(self.host, self.code, self.pid, self.started)

    def is_running(self, now: float) -> bool:
        """Whether it has not ended and its process runs, or wrote lately if that is unknown."""
        if self.ended is not None:
            return False
        running = self.process.is_running()
        return now - self.updated < SILENT_SECONDS if running is None else running


@dataclass
class Snapshot:
    """All that a state tells at one moment.

    Attributes:
        path: of the state.
        job: the last one.
        inputs: those of `job` first, then those of earlier jobs alone.
    """

    path: Path
    job: JobRow
    inputs: list[InputRow]

    @property
    def of_job(self) -> list[InputRow]:
        """The inputs of the last job."""
        return [row for row in self.inputs if row.job == self.job.id]


def read_state(path: Path) -> Snapshot | None:
    """Read a state; None if it holds no job yet. Nothing is changed.

    Raises:
        StateError: it cannot be read, is damaged or of a newer version.
    """
    with _translated(path), closing(_connect(path, "ro")) as connection:
        if not _version(path, connection):
            return None
        jobs = _select(connection, path, JobRow, "jobs ORDER BY begun DESC, rowid DESC LIMIT 1")
        if not jobs:
            return None
        rows = _select(connection, path, InputRow, "inputs ORDER BY rowid")
    rows.sort(key=lambda row: row.job != jobs[0].id)
    return Snapshot(path, jobs[0], rows)


class State:
    """A state, to be written by one process.

    Methods raise a `StateError` if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        """Open a state, or make it with its folder."""
        self.path = path
        with _translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as unused:
                self._connection = unused.enter_context(closing(_connect(path, "rwc")))
                if not _version(path, self._connection):
                    _create(self._connection)
                unused.pop_all()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def claim(self, job: JobRow) -> JobRow | None:
        """Begin a job, or go on with it in a new process.

        Returns:
            The job before, if its process ended before its work; also if it is the same job.

        Raises:
            HeldError: another process works on it.
        """
        with self._transaction():
            before = None
            for other in _select(self._connection, self.path, JobRow, "jobs WHERE ended IS NULL"):
                if other.is_running(job.updated):
                    since = _local_time(other.begun)
                    raise HeldError(
                        f"{output_of(self.path)}: process {other.pid} on {other.host} has been "
                        f"writing it since {since}; wait for it, or choose another output with -o"
                    )
                before = other
                if other.id != job.id:
                    other.ended, other.outcome = other.updated, "died"
                    self._put("jobs", [other])
            self._put("jobs", [job])
        return before

    def rows(self) -> list[InputRow]:
        """All inputs of all jobs."""
        with _translated(self.path):
            return _select(self._connection, self.path, InputRow, "inputs ORDER BY rowid")

    def put(self, job: JobRow, rows: Iterable[InputRow] = ()) -> None:
        """Write a job, and rows of it, in one transaction."""
        with self._transaction():
            self._put("jobs", [job])
            self._put("inputs", rows)

    def settings(self, values: dict[str, str]) -> int:
        """The number of some settings, the same for the same values."""
        text = json.dumps(values, sort_keys=True)
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO settings (value) VALUES (?)", (text,))
            found = self._connection.execute("SELECT id FROM settings WHERE value = ?", (text,))
            return int(found.fetchone()[0])

    def settings_of(self, number: int | None) -> dict[str, str]:
        """The settings of a number; none for an unknown one."""
        with _translated(self.path):
            query = "SELECT value FROM settings WHERE id = ?"
            found = self._connection.execute(query, (number,)).fetchone()
            return dict(json.loads(found[0])) if found else {}

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _translated(self.path):
            if self._connection.in_transaction:  # Ctrl-C came in the middle of one
                self._connection.rollback()
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:  # commits, or rolls back
                yield

    def _put(self, table: str, rows: Iterable[InputRow | JobRow]) -> None:
        values = [tuple(_to_sql(value, self.path.parent) for value in astuple(row)) for row in rows]
        if values:
            names = [each.name for each in fields(InputRow if table == "inputs" else JobRow)]
            changes = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
            self._connection.executemany(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
                f"ON CONFLICT ({names[0]}) DO UPDATE SET {changes}",
                values,
            )


# ---------------------------------------------------------------------- SQLite

Row = TypeVar("Row", InputRow, JobRow)
_PATHS = ("output", "input", "written")  # relative to the state's folder
_LISTS = ("warnings", "arguments")  # as JSON


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    # A commit is on the disk when it returns. No write-ahead log: it needs memory that processes
    # share, which network drives do not have.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        for table, row in (("inputs", InputRow), ("jobs", JobRow)):
            names = [each.name for each in fields(row)]
            columns = ", ".join([f"{names[0]} PRIMARY KEY", *names[1:]])
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS settings (id INTEGER PRIMARY KEY, value TEXT UNIQUE)"
        )
        connection.execute(f"PRAGMA user_version = {_VERSION}")


def _version(path: Path, connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > _VERSION:
        raise StateError(f"{path}: is of a newer version of vidcolor; update vidcolor")
    return version


def _select(connection: sqlite3.Connection, path: Path, row: type[Row], rest: str) -> list[Row]:
    names = [each.name for each in fields(row)]
    found = connection.execute(f"SELECT {', '.join(names)} FROM {rest}")
    return [
        row(**{n: _from_sql(n, v, path.parent) for n, v in zip(names, values, strict=True)})
        for values in found
    ]


def _to_sql(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return json.dumps(value)
    if isinstance(value, Path):
        value = os.path.abspath(value)
        with suppress(ValueError):  # another drive of Windows
            value = os.path.relpath(value, folder)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # a name that is not UTF-8
            return os.fsencode(value)
    return value


def _from_sql(name: str, value: Any, folder: Path) -> Any:
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    if name in _LISTS:
        return json.loads(value)
    if name in _PATHS and value is not None:
        return Path(os.path.normpath(folder / value))
    return value


def _local_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:
        found = StateError(f"{path}: cannot be used ({error}); delete it if it is damaged")
        found.passing = isinstance(error, sqlite3.OperationalError)
        raise found from error
