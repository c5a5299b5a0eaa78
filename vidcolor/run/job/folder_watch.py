"""Watch folders for files to color: `FolderWatch`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import watchfiles

from ...errors import InputError
from ...sources import PICTURE_SUFFIXES
from ...sources.folders import search_folder
from ...sources.inputs import FILM_SUFFIXES
from ...system.disk import is_network
from ...system.files import is_being_written

logger = logging.getLogger(__name__)

_SHARE = 0.1  # of the time may go into searching folders
Stamp = tuple[int, int]  # size in bytes, time of modification in ns


@dataclass(frozen=True)
class Pace:
    """Seconds of a `FolderWatch`.

    Attributes:
        settle: for which a file's size and time must stay the same, before it counts as complete.
        poll: between two searches, where the system does not tell of changes.
        sweep: the same where it does; it may have missed some.
    """

    settle: float = 3.0
    poll: float = 10.0
    sweep: float = 600.0


@dataclass
class FolderWatch:
    """Finds files that are new or have changed, once they are complete.

    A file is complete when its size and time of modification have stayed the same for a few
    seconds, longer on network drives, and no program of this machine has it open for writing, as
    far as the system tells. Hidden files are passed over, so that unfinished outputs and those of
    programs that copy under a hidden name are never taken.

    The system's messages (inotify and its like, by watchfiles) only say when to search the folders;
    so no file is missed, whatever the order of messages.

    Args:
        folders: to watch, with their subfolders.
        ignored: folders whose files are not taken: outputs.
        poll: search regularly instead of waiting for messages.
        pace: see `Pace`.

    Raises:
        InputError: one of `folders` is no folder.
    """

    folders: Sequence[Path]
    ignored: Sequence[Path] = ()
    poll: bool = False
    pace: Pace = Pace()
    _taken: dict[Path, Stamp] = field(default_factory=dict)
    _growing: dict[Path, tuple[Stamp, float]] = field(default_factory=dict)  # and since when

    def __post_init__(self) -> None:
        for folder in self.folders:
            if not folder.is_dir():
                raise InputError(f"{folder}: is no folder; --watch takes folders that exist")
        self.ignored = [each.resolve() for each in self.ignored]
        self.poll = self.poll or any(is_network(folder) for folder in self.folders)

    def rounds(self) -> Iterator[list[Path]]:
        """Complete files that are new or have changed, as soon as there are some; without end.

        A file is given once, and again when it has changed.
        """
        changed, ended = threading.Event(), threading.Event()
        changed.set()
        thread = threading.Thread(target=self._listen, args=(changed, ended), daemon=True)
        if not self.poll:
            thread.start()
        try:
            while True:
                began = time.monotonic()
                changed.clear()
                found = self._search(began)
                took = time.monotonic() - began
                if found:
                    yield found
                elif self._growing:
                    time.sleep(max(self.pace.settle / 3, took / _SHARE))
                else:
                    changed.wait(self.pace.poll if self.poll else self.pace.sweep)
        finally:
            ended.set()

    def _listen(self, changed: threading.Event, ended: threading.Event) -> None:
        """Set `changed` when the system tells of a change. In a thread signals do not end it."""
        try:
            for _ in watchfiles.watch(
                *self.folders,
                watch_filter=None,
                stop_event=ended,
                rust_timeout=1000,
                force_polling=False,
                ignore_permission_denied=True,
            ):
                changed.set()
        except (OSError, RuntimeError) as error:  # no messages left, for example
            logger.warning(
                "the system does not tell of changes (%s); looking every %.0f seconds",
                getattr(error, "strerror", None) or error,
                self.pace.poll,
            )
            self.poll = True
            changed.set()

    def _search(self, now: float) -> list[Path]:
        settle = self.pace.settle if not self.poll else max(self.pace.settle, self.pace.poll)
        growing, ready = {}, []
        for path, stamp in self._files():
            if self._taken.get(path) == stamp:
                continue
            before, since = self._growing.get(path, (stamp, now))
            if before != stamp:
                since = now
            if now - since < settle or is_being_written(path):
                growing[path] = stamp, since
            else:
                self._taken[path] = stamp
                ready.append(path)
        self._growing = growing
        return ready

    def _files(self) -> Iterator[tuple[Path, Stamp]]:
        """The films and pictures of the folders."""
        for folder in self.folders:
            for path in search_folder(folder).files:
                if path.suffix.lower() not in PICTURE_SUFFIXES | FILM_SUFFIXES:
                    continue
                if any(path.resolve().is_relative_to(each) for each in self.ignored):
                    continue
                with suppress(OSError):  # it is gone
                    found = path.stat()
                    yield path, (found.st_size, found.st_mtime_ns)
