"""What runs that were killed have left: temporary files, unfinished films, states of single files.

A leftover is known by its name and by the process that made it. Nothing of a process that runs is
taken for one, and no file that vidcolor has not named.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...system.files import maker_of
from ..journal import SILENT_SECONDS, WORK_SUFFIX, is_abandoned
from .state import StateError, read_state
from .state_files import STATE_NAME, is_of_folder


@dataclass(frozen=True)
class Leftover:
    """Something that a killed run has left.

    Attributes:
        path: of the file or folder.
        kind: what it is, in words.
        bytes: what it takes on the disk.
    """

    path: Path
    kind: str
    bytes: int

    def remove(self) -> bool:
        """Remove it; whether it is gone.

        Raises:
            OSError: it cannot be removed.
        """
        if self.path.name.endswith(WORK_SUFFIX):
            return is_abandoned(self.path, remove=True)
        if self.path.is_dir():
            shutil.rmtree(self.path)
            return True
        if self.path.name.endswith(STATE_NAME):
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        return True


def find_leftovers(folder: Path) -> Iterator[Leftover]:
    """What killed runs have left in a folder and its subfolders, in the order of names."""
    for root, folders, files in os.walk(folder):
        for name in sorted(folders):
            path = Path(root, name)
            if name.startswith(".") and name.endswith(WORK_SUFFIX):
                folders.remove(name)
                if is_abandoned(path):
                    size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
                    yield Leftover(path, "film that the same command goes on with", size)
            elif _is_abandoned_temporary(path):
                folders.remove(name)
                size = sum(each.stat().st_size for each in path.iterdir())
                yield Leftover(path, "unfinished numbered pictures", size)
        folders.sort()
        for name in sorted(files):
            path = Path(root, name)
            with suppress(OSError):
                if _is_abandoned_temporary(path):
                    yield Leftover(path, "temporary file", path.stat().st_size)
                elif name.endswith(STATE_NAME) and not is_of_folder(path) and _has_died(path):
                    yield Leftover(path, "state of a job that was killed", path.stat().st_size)


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of killed runs that lie directly in a folder."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.is_file() and _is_abandoned_temporary(Path(entry.path)):
                Path(entry.path).unlink(missing_ok=True)


def _is_abandoned_temporary(path: Path) -> bool:
    process = maker_of(path)
    if process is None or not path.exists():
        return False
    running = process.is_running()
    return time.time() - path.stat().st_mtime > SILENT_SECONDS if running is None else not running


def _has_died(path: Path) -> bool:
    try:
        found = read_state(path)
    except StateError:
        return False
    return found is not None and not found.job.is_running(time.time())
