"""Free space: how much there is, how much must stay, and a pause while there is less."""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import OutputError

logger = logging.getLogger(__name__)

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MARGIN = 1.1  # of the reserve must be free to go on, so that a run does not stop and go
# File systems whose files other machines change too; the kernel does not see that.
_NETWORK = frozenset((
    "9p", "afs", "afpfs", "ceph", "cifs", "davfs", "drvfs", "fuse", "glusterfs", "lustre", "ncpfs",
    "nfs", "nfs4", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "webdav",
))  # fmt: skip


class Space(NamedTuple):
    """Bytes of a file system, and how many of them are free to this user."""

    total: int
    free: int


def existing_folder(path: Path) -> Path | None:
    """The folder that `path` lies in; if it does not exist yet, the nearest one above that does."""
    return next((each for each in path.absolute().parents if each.is_dir()), None)


def disk_space(path: Path) -> Space | None:
    """The space of the disk where `path` lies or will lie; None if unknown."""
    folder = existing_folder(path)
    try:
        found = None if folder is None else shutil.disk_usage(folder)
    except OSError:
        return None
    return found and Space(found.total, found.free)


def file_systems() -> list[tuple[Path, str]]:
    """The folders where file systems are mounted, and their kinds."""
    import psutil

    return [(Path(e.mountpoint), e.fstype) for e in psutil.disk_partitions(all=True)]


def is_network(path: Path, mounts: Callable[[], Sequence[tuple[Path, str]]] = file_systems) -> bool:
    """Whether a folder lies on a network drive, or on another that other machines may change.

    Args:
        path: of the folder.
        mounts: tells what is mounted where.
    """
    path = path.resolve()
    over = [(len(at.parts), kind.lower()) for at, kind in mounts() if path.is_relative_to(at)]
    kind = max(over, default=(0, ""))[1]
    return kind.partition(".")[0] in _NETWORK  # sshfs is fuse.sshfs


def as_size(count: float) -> str:
    """Bytes with their unit, such as `2.0 GB`."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


@dataclass(frozen=True)
class Reserve:
    """What must stay free on a disk: of `bytes` and a share of the disk the smaller one.

    Attributes:
        bytes: None for no such limit.
        share: of the disk's size, 0 to 1; None for no such limit.
        least: bytes of a disk that has a reserve. A smaller one may never have had that much free,
            and a run would wait in vain.
    """

    bytes: int | None = 2 * 10**9
    share: float | None = 0.02
    least: int = 0

    def of(self, total: int) -> int:
        """The bytes that must stay free on a disk of `total` bytes."""
        if total < self.least:
            return 0
        limits = [] if self.bytes is None else [self.bytes]
        if self.share is not None:
            limits.append(int(self.share * total))
        return min(limits, default=0)

    @classmethod
    def parse(cls, text: str) -> Reserve:
        """`auto`, a size (`2GB`, `500M`, `0`) or a share of the disk (`5%`).

        Raises:
            ValueError: the text is none of them.
        """
        if text == "auto":
            return DEFAULT_RESERVE
        found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?) ?(?:(%)|([KMGT]?)B?)", text.upper())
        if found is None or (found[2] and float(found[1]) > 100):
            raise ValueError(f"'{text}' is neither a size nor a share; write 2GB, 500MB or 5%")
        number = float(found[1])
        if found[2]:
            return cls(None, number / 100)
        return cls(round(number * _UNITS[found[3]]), None)


DEFAULT_RESERVE = Reserve(least=10**9)


class DiskGuard:
    """Keeps a reserve free: whoever is about to write waits until there is room.

    The first one that waits writes a warning, and the last one another when there is room again.

    Args:
        reserve: what must stay free.
        space: tells a disk's space.
        interval: seconds between two looks while waiting.
        around: makes a context for the waiting.
    """

    def __init__(
        self,
        reserve: Reserve,
        space: Callable[[Path], Space | None] = disk_space,
        interval: float = 1.0,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.reserve, self._space, self._interval, self._around = reserve, space, interval, around
        self._lock = threading.Lock()
        self._promised = 0  # bytes that are being written
        self._waiting, self._since, self._paused = 0, 0.0, 0.0

    @property
    def is_paused(self) -> bool:
        """Whether somebody waits."""
        return self._waiting > 0

    def paused_seconds(self) -> float:
        """How long the run has been paused so far."""
        with self._lock:
            return self._paused + (time.monotonic() - self._since if self._waiting else 0.0)

    def working_seconds(self) -> float:
        """A clock that stands still during a pause."""
        return time.monotonic() - self.paused_seconds()

    def wait(self, output: Path) -> None:
        """Return when the disk of the file `output` has its reserve free."""
        with self.room(output, 0):
            pass

    @contextmanager
    def room(
        self, output: Path, need: int, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """As `wait`, for a file of about `need` bytes that the block writes.

        Args:
            output: the file.
            need: its bytes, about.
            stopped: ends the waiting.

        Raises:
            OutputError: `stopped` while it waited.
        """
        if not self._take(output, need, 1.0):
            self._pause(output, need, stopped)
        try:
            yield
        finally:
            with self._lock:
                self._promised -= need

    def _take(self, output: Path, need: int, margin: float) -> bool:
        """Promise `need` bytes if they are there."""
        space = self._space(output)
        with self._lock:
            reserve = 0 if space is None else self.reserve.of(space.total)
            if space and reserve and space.free < need + self._promised + margin * reserve:
                return False
            self._promised += need
            return True

    def _pause(self, output: Path, need: int, stopped: Callable[[], bool]) -> None:
        with self._lock:
            self._waiting += 1
            if self._waiting == 1:
                self._since = time.monotonic()
                self._say(output, need)
        taken = False
        try:
            with self._around():
                while not taken:
                    time.sleep(self._interval)
                    if stopped():
                        raise OutputError(f"{output}: is not written, because the run was stopped")
                    taken = self._take(output, need, _MARGIN)
        finally:
            with self._lock:
                self._waiting -= 1
                if not self._waiting:
                    self._paused += time.monotonic() - self._since
                    if taken:
                        logger.warning("there is room again; the run goes on")

    def _say(self, output: Path, need: int) -> None:
        space = self._space(output) or Space(0, 0)
        also = f", and {output.name} needs about {as_size(need)}" if need else ""
        logger.warning(
            "%s: %s are free on this disk, and %s must stay free (--min-free)%s; the run pauses, "
            "and goes on when there is room",
            existing_folder(output),
            as_size(space.free),
            as_size(self.reserve.of(space.total)),
            also,
        )
