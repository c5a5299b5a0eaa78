"""The output files of sinks: checked first, written under a temporary name, renamed when complete.

A sink never opens the final name. It writes a hidden temporary file in the same folder (so that
the rename is atomic) with the same suffix (which tells FFmpeg the format); `commit` renames it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from av.error import FFmpegError

from ..errors import OutputError
from ..system.files import fitting_name, temporary_path

# What a disk or a network share says. FFmpeg has these numbers too, and others of its own.
_SYSTEM_ERRORS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS,
     errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ENAMETOOLONG, errno.ESTALE, errno.EBUSY)
)  # fmt: skip

_LEAST = 1 << 16  # bytes that a disk has free if it is not full


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, through symbolic or hard links too."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return one.absolute() == other.absolute()


def check_output(output: Path, source: Path, *, overwrite: bool) -> None:
    """Refuse an output that is the input, is a folder, exists without leave to replace it, or lies
    in a folder that cannot be written.

    Raises:
        OutputError: with the reason and the remedy.
    """
    if same_file(output, source):
        raise OutputError(f"{output}: the output is the input itself; choose another name with -o")
    if output.is_dir():
        raise OutputError(f"{output}: this is a folder; give a file name with -o")
    if not overwrite and os.path.lexists(output):
        raise OutputError(
            f"{output}: already exists; give --overwrite to replace it or --skip-existing"
        )
    _check_folder(output)


def _check_folder(output: Path) -> None:
    """Raise OutputError where the folder of `output`, or the one to create it in, cannot be
    written. The line names that folder alone, so that it is the same for all its files."""
    folder = next((each for each in output.absolute().parents if each.exists()), None)
    if folder is None or os.access(folder, os.W_OK | os.X_OK):
        return
    reason = errno.EACCES if folder.is_dir() else errno.ENOTDIR
    if hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY:
        reason = errno.EROFS
    raise OutputError(
        f"{folder}: cannot be written ({os.strerror(reason)}); check the folder and its "
        "permissions, or choose another with -o"
    )


def is_system_error(error: OSError | FFmpegError) -> bool:
    """Whether the system could not write; else FFmpeg refused what it was to write."""
    return error.errno in _SYSTEM_ERRORS or not isinstance(error, FFmpegError)


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Turn the system's and FFmpeg's errors of writing `output` into an `OutputError`."""
    try:
        yield
    except (OSError, FFmpegError) as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"{output}: the disk is full; free some space or choose another folder with -o"
            ) from error
        reason = error.strerror or str(error)
        if is_system_error(error):
            raise OutputError(
                f"{output}: cannot be written ({reason}); check the folder and its permissions, "
                "or choose another with -o"
            ) from error
        other = "use another --encoder"
        if output.suffix != ".mkv":
            other = f"use -o {output.with_suffix('.mkv')}"
        raise OutputError(
            f"{output}: {output.suffix} refuses what is to be written ({reason}); {other}"
        ) from error


def is_full(output: Path) -> bool:
    """Whether the disk has hardly any space left."""
    try:
        state = os.statvfs(output.parent)
    except (OSError, AttributeError):
        return False
    return state.f_bavail * state.f_frsize < _LEAST


class PendingFile:
    """An output file that exists only under a temporary name until `commit`.

    Attributes:
        output: the final path.
        source: the input, never to be replaced.
        path: the temporary path, in the same folder and with the same suffix, hidden and unique.
    """

    def __init__(
        self, output: Path, source: Path, *, overwrite: bool, path: Path | None = None
    ) -> None:
        """Check the output and make its folder.

        Args:
            output: the final path.
            source: the input.
            overwrite: an existing output may be replaced.
            path: the temporary path, on the same file system; None for a new one.

        Raises:
            OutputError: the output is refused (`check_output`) or its folder cannot be written.
        """
        check_output(output, source, overwrite=overwrite)
        self.output = output
        self.source = source
        self.overwrite = overwrite
        self.path = path or temporary_path(output.absolute(), f".part{output.suffix}")
        with writing(output):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(exist_ok=False)  # shows now, not hours later, that we may write here
            self._inode = self.path.stat().st_ino

    def check(self) -> None:
        """See that the temporary file is still the one that was made.

        Raises:
            OutputError: another program removed or replaced it.
        """
        try:
            there = self.path.stat().st_ino == self._inode
        except OSError:
            there = False
        if not there:
            raise OutputError(
                f"{self.output}: another program removed the unfinished file {self.path.name} "
                "while it was written, so nothing is left of it; run it again"
            )

    def commit(self, mark: str = "") -> Path:
        """Rename the temporary file to the final name and return that.

        Args:
            mark: for a file that is not the wanted one: `incomplete` gives
                `<stem>.incomplete<suffix>`. Such a name is only known at the end, so it never
                replaces a file without leave: it is numbered instead.

        Raises:
            OutputError: the file cannot be renamed, or the final name was taken meanwhile; then
                the work of hours is kept as `<stem>.second<suffix>`.
        """
        if not mark:
            # The check at the start may be hours old.
            try:
                check_output(self.output, self.source, overwrite=self.overwrite)
            except OutputError as error:
                kept = self._rename(self._marked("second"))
                raise OutputError(
                    f"{self.output}: another run or program made it while this run worked; "
                    f"this run's file is kept as {kept.name}; delete one of the two"
                ) from error
        return self._rename(self._marked(mark) if mark else self.output)

    def _rename(self, target: Path) -> Path:
        with writing(target):
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(self.path, target)
            if os.name == "posix":  # the name too is on the disk, before anybody is told of it
                folder = os.open(target.parent, os.O_RDONLY)
                try:
                    with suppress(OSError):  # a file system that cannot
                        os.fsync(folder)
                finally:
                    os.close(folder)
        return target

    def _marked(self, mark: str) -> Path:
        number = 1
        while True:
            word = mark if number == 1 else f"{mark}-{number}"
            rest = f".{word}{self.output.suffix}"
            target = self.output.with_name(fitting_name(self.output.stem, rest))
            if not os.path.lexists(target):
                return target
            if self.overwrite and not same_file(target, self.source) and not target.is_dir():
                return target
            number += 1

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        self.path.unlink(missing_ok=True)
