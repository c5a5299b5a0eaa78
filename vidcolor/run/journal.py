"""Resume a film where an earlier run ended: the `Journal` of its checkpoints.

An unfinished film, or the files of a sequence, lie in a hidden folder beside the output,
`.NAME.vidcolor`, with it. A checkpoint is set every 10 to 30 seconds of film, at a cut if there is
one. There the encoder ends its group of pictures, shot detection begins anew, and the stabilizer's
state is saved if no shot begins. The next run copies what lies before the last checkpoint that is
whole on the disk, and colorizes the rest. The result is that of a run without a stop.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import OutputError
from ..frames import Checkpoint, ColorBatch
from ..motion.stabilizer_state import StabilizerState
from ..sinks import EarlierFilm, EarlierSequence, FilmSink, SequenceSink, is_sequence
from ..system.files import fitting_name, json_lines, parse_json, replacing
from ..system.processes import Process, boot_id, this_process
from .identity import Identity, changes
from .packed import pack, unpack
from .provenance.settings import today

WORK_SUFFIX, PARTS, _OWNER = ".vidcolor", "parts", "owner.json"
_FILES = re.compile(r"(film|journal|state)-\d+\.\w+|owner\.json|parts|\..*\.tmp")  # in the folder
SILENT_SECONDS = 86_400.0  # after which a file of a process that cannot be seen is a leftover
_SYNC_SECONDS = 5.0  # between two times that the film is made safe on the disk


@dataclass
class _Entry:
    """A checkpoint, with the frames since the one before. A state that is not loaded is given by
    the name of its file."""

    point: Checkpoint
    frames: list[tuple[int, int]]
    damage: list[str]
    warnings: list[str]


@dataclass
class Earlier:
    """What an earlier run has left of a film.

    Attributes:
        film: its packets, or its files.
        entries: its checkpoints up to the one to resume at.
        batch_size: of that run.
        names: of its files.
        date: when the film was begun.
    """

    film: EarlierFilm | EarlierSequence
    entries: list[_Entry]
    batch_size: int
    names: set[str]
    date: str

    @property
    def checkpoint(self) -> Checkpoint:
        """The one to resume at."""
        return self.entries[-1].point


class Journal:
    """The hidden folder of one output; see `open_journal`.

    Attributes:
        film: path of the film in the making, or of the folder of a sequence.
        earlier: what an earlier run has left, None if there is nothing to resume.
        notes: one line each, for the user.
        finished: the film has got its name; to be set by the user of this class.
        date: when the film was begun, for its marks.
    """

    def __init__(self, folder: Path, output: Path, make_identity: Callable[[], Identity]) -> None:
        self._folder, self._output, self._make_identity = folder, output, make_identity
        self.finished = False
        self.notes: list[str] = []
        journals = sorted(folder.glob("journal-*.jsonl"))
        found = [each for path in journals if (each := self._read(path)) is not None]
        self.earlier = max(found, key=lambda each: each.checkpoint.frames, default=None)
        self.date = self.earlier.date if self.earlier else today()
        taken = {path.stem for path in journals}
        number = next(n for n in itertools.count(1) if f"journal-{n}" not in taken)
        self.film = folder / f"film-{number}{output.suffix}"
        self._path = folder / f"journal-{number}.jsonl"
        self._file: IO[str] | None = None
        self._batch_size = 0
        kept = self.earlier.names if self.earlier else set()
        _empty(folder, kept)

    @cached_property
    def _identity(self) -> Identity:
        return self._make_identity()

    def _read(self, path: Path) -> Earlier | None:
        """What the journal at `path` can resume; None if it is of another film or holds nothing."""
        lines = list(json_lines(path))
        try:
            header, *lines = lines
            if changed := changes(header["identity"], self._identity):
                self.notes.append(
                    f"begins anew, because of what has changed since the last run: {changed}"
                )
                return None
            written = path.with_name(header["film"])
            size = None
            if not header["boot"] or header["boot"] != boot_id():  # else what was written is there
                size = max((line["bytes"] for line in lines), default=0)
            film: EarlierFilm | EarlierSequence
            if is_sequence(self._output):
                film = EarlierSequence(written, self._output.name, size)
            else:
                film = EarlierFilm(written, size)
            entries = []
            for line in lines:
                if "frames" in line:
                    if line["frames"] > film.frames:
                        break
                    entries.append(self._entry(line))
            while entries:
                state = entries[-1].point.state
                point = self._with_state(entries[-1].point)
                if point is not None:
                    entries[-1].point = point
                    names = {path.name, header["film"], state}
                    return Earlier(film, entries, header["batch_size"], names, header["date"])
                entries.pop()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            self.notes.append("begins anew, because the journal of the last run is damaged")
        return None

    def _entry(self, line: dict[str, Any]) -> _Entry:
        keys = ("frames", "pts", "batch", "cut", "shot", "state")
        point = Checkpoint(**{key: line[key] for key in keys}, bars=tuple(line["bars"]))
        shown, durations = (unpack(line[key], line["frames"]) for key in ("shown", "durations"))
        frames = list(zip(shown, durations, strict=True))
        return _Entry(point, frames, line["damage"], line["warnings"])

    def _with_state(self, point: Checkpoint) -> Checkpoint | None:
        """The checkpoint with its stabilizer's state read; None if that is missing."""
        if not point.state:
            return replace(point, state=None)
        try:
            with (self._folder / point.state).open("rb") as file:
                arrays = np.load(file, allow_pickle=False)
                return replace(point, state=StabilizerState.from_arrays(arrays))
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def begin(self, sink: FilmSink | SequenceSink, batch_size: int) -> None:
        """Begin to write; replay what the earlier run has left."""
        self._batch_size = batch_size
        if self.earlier is None:
            return
        for entry in self.earlier.entries:
            sink.replay(self.earlier.film, entry.frames)
        self.earlier.film.close()

    def follow(
        self,
        colors: Iterable[ColorBatch],
        sink: FilmSink | SequenceSink,
        damage: Sequence[str],
        warnings: Sequence[str],
    ) -> Generator[ColorBatch, None, None]:
        """Pass batches on to be written, and write down the checkpoints between them.

        Args:
            colors: the batches.
            sink: that they are written to.
            damage, warnings: of the run so far; they grow.
        """
        frames: list[tuple[int, int]] = []
        synced = None  # when the film was last made safe
        for color in colors:
            batch = color.source
            if batch.checkpoint is not None:
                size = sink.checkpoint()
                sink.keep = True  # before it is written: a signal may come at any moment
                self._add(_Entry(batch.checkpoint, frames, list(damage), list(warnings)), size)
                synced, frames = time.monotonic(), []
            yield color
            frames += zip(batch.pts, batch.durations, strict=True)
            if synced is not None and time.monotonic() - synced > _SYNC_SECONDS:
                self._write({"bytes": sink.sync()})  # the last checkpoint is whole now
                synced = None

    def join(
        self,
        part: EarlierFilm,
        places: Iterable[tuple[Checkpoint | None, list[tuple[int, int]]]],
        sink: FilmSink,
        damage: Sequence[str],
        warnings: Sequence[str],
    ) -> None:
        """Copy a part of the film that another process has colored; write its checkpoints down.

        Args:
            part: its packets.
            places: pts and duration of its frames up to each checkpoint; None for the film's end.
            sink: that it is written to.
            damage, warnings: of the run up to here.
        """
        for point, frames in places:
            sink.replay(part, frames)
            if point is not None:
                size, sink.keep = sink.sync(), True
                self._add(_Entry(point, frames, list(damage), list(warnings)), size)

    def _add(self, entry: _Entry, size: int) -> None:
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
            self._write(
                {
                    "film": self.film.name,
                    "boot": boot_id(),
                    "batch_size": self._batch_size,
                    "identity": self._identity,
                    "date": self.date,
                }
            )
            for old in self.earlier.entries if self.earlier else ():
                self._write_entry(old, 0)
        self._write_entry(entry, size)
        if self.earlier is not None:  # its frames are in this film
            self.earlier.film.remove()
            self.earlier = None
        for path in self._folder.glob("journal-*.jsonl"):
            if path != self._path:
                path.unlink()
        states = sorted(self._folder.glob("state-*.npz"), key=lambda each: each.stat().st_mtime)
        for path in states[:-3]:
            path.unlink()

    def _write_entry(self, entry: _Entry, size: int) -> None:
        point, state = entry.point, ""
        if isinstance(point.state, StabilizerState):
            state = f"state-{point.frames}.npz"
            with replacing(self._folder / state) as path, path.open("wb") as file:
                np.savez(file, allow_pickle=False, **point.state.to_arrays())
        elif point.state:
            state = point.state  # the name of its file
        self._write(
            {
                "frames": point.frames,
                "pts": point.pts,
                "batch": point.batch,
                "cut": point.cut,
                "shot": point.shot,
                "state": state,
                "bars": point.bars,
                "shown": pack(pts for pts, _ in entry.frames),
                "durations": pack(duration for _, duration in entry.frames),
                "damage": entry.damage,
                "warnings": entry.warnings,
                "bytes": size,
            }
        )

    def _write(self, values: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Remove the folder, unless it holds a film that can be resumed."""
        if self._file is not None:
            self._file.close()
        if self.finished or not any(self._folder.glob("film-*")):
            shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def open_journal(
    output: Path, make_identity: Callable[[], Identity], *, restart: bool
) -> Iterator[Journal]:
    """The journal of `output`, held by this process alone.

    Args:
        output: the film's final path, or the pattern of a sequence.
        make_identity: see `identity`; called when it is needed.
        restart: delete what an earlier run has left.

    Raises:
        OutputError: another process holds it.
    """
    output, folder = output.absolute(), work_folder(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be written ({error.strerror}); check the folder and its "
            "permissions, or choose another with -o"
        ) from error
    with _held(folder, output):
        if restart:
            _empty(folder, set())
        journal = Journal(folder, output, make_identity)
        try:
            yield journal
        finally:
            journal.close()


def _empty(folder: Path, kept: set[str]) -> None:
    """Delete the files of a work folder but those named."""
    for path in folder.iterdir():
        if path.name in kept | {_OWNER}:
            continue
        if path.is_file():
            path.unlink()
        elif path.name.startswith("film-"):  # of a sequence
            shutil.rmtree(path, ignore_errors=True)


def work_folder(output: Path) -> Path:
    """Where the journal of `output` lies."""
    return output.absolute().with_name(fitting_name(f".{output.name}", WORK_SUFFIX))


def is_abandoned(folder: Path, *, remove: bool = False) -> bool:
    """Whether a folder is that of a journal, and no process holds it.

    Args:
        folder: a folder with the name of one. That of a process which cannot be seen, as on another
            machine, counts as abandoned when nothing was written there for a day.
        remove: remove it in that case.
    """
    try:
        files = list(folder.iterdir())
        if not all(_FILES.fullmatch(path.name) for path in files):
            return False
        with (folder / _OWNER).open("r+", encoding="utf-8") as file:
            if not _lock(file):
                return False
            running: bool | None = False
            with suppress(ValueError, KeyError, TypeError):  # its process ended before it wrote it
                running = Process(**parse_json(file.read())["process"]).is_running()
            newest = max(path.stat().st_mtime for path in files)
            free = not running and (running is False or time.time() - newest > SILENT_SECONDS)
            if free and remove:
                shutil.rmtree(folder)
            return free
    except OSError:
        return False


def _lock(file: IO[str]) -> bool:
    """Lock a file until it is closed or the process ends; whether no other process holds it."""
    try:
        import fcntl
    except ImportError:
        return True  # Windows has no such lock
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without such locks
        return error.errno != errno.EACCES
    return True


@contextmanager
def _held(folder: Path, output: Path) -> Iterator[None]:
    """Lock a folder; the system frees the lock when the process ends, however it does."""
    with (folder / _OWNER).open("a+", encoding="utf-8") as file:
        if not _lock(file):
            file.seek(0)
            with suppress(ValueError, KeyError, TypeError):
                owner = parse_json(file.read())
                process = Process(**owner["process"])
                raise OutputError(
                    f"{output}: process {process.pid} on {process.host} has been writing it "
                    f"since {owner['since']}; wait for it, or choose another output with -o"
                )
            raise OutputError(f"{output}: another process is writing it")
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        json.dump({"process": asdict(this_process()), "since": since}, file)
        file.flush()
        yield
