"""SHA-256 of files, in a thread beside the work: `Digest`."""

from __future__ import annotations

import hashlib
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

_BLOCK = 1 << 20
_PATIENCE = 5.0  # seconds


def sha256_of(paths: Sequence[Path], stop: threading.Event | None = None) -> str:
    """SHA-256 of files one after another, hexadecimal. Python lets other threads run meanwhile.

    Args:
        paths: of the files.
        stop: ends it early, with a wrong sum.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while (block := file.read(_BLOCK)) and not (stop and stop.is_set()):
                digest.update(block)
    return digest.hexdigest()


class Digest:
    """The SHA-256 of files, computed while the work on them goes on.

    Args:
        paths: of the files. There is none for what is not a regular file, such as a pipe, which
            can be read once only.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths, self._sum, self._error = tuple(paths), "", ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="digest", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            if all(stat.S_ISREG(path.stat().st_mode) for path in self._paths):
                self._sum = sha256_of(self._paths, self._stop)
        except OSError as error:
            self._error = error.strerror or str(error)

    def result(self) -> tuple[str, str]:
        """The sum in hexadecimal, empty if there is none, and why there is none. Waits for it."""
        self._thread.join()
        return self._sum, self._error

    def close(self) -> None:
        """End it, done or not; a disk that does not answer is not waited for."""
        self._stop.set()
        self._thread.join(_PATIENCE)
