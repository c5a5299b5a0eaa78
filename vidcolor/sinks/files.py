"""The output files of sinks: checked first, written under a temporary name, renamed when complete.

A sink never opens the final name. It writes a hidden temporary file in the same folder (so that
the rename is atomic) with the same suffix (which tells FFmpeg the format); `commit` renames it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from av.error import FFmpegError

from ..errors import OutputError
from ..system.files import temporary_path


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, through symbolic or hard links too."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return one.absolute() == other.absolute()


def check_output(output: Path, source: Path, *, overwrite: bool) -> None:
    """Refuse an output that is the input, is a folder, or exists without leave to replace it.

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


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Turn the system's (and so PyAV's) errors of writing `output` into an `OutputError`."""
    try:
        yield
    except (OSError, FFmpegError) as error:
        if error.errno == errno.ENOSPC:
            raise OutputError(
                f"{output}: the disk is full; free some space or choose another folder with -o"
            ) from error
        reason = error.strerror or str(error)
        raise OutputError(
            f"{output}: cannot be written ({reason}); check the folder and its permissions, "
            "or choose another with -o"
        ) from error


class PendingFile:
    """An output file that exists only under a temporary name until `commit`.

    Attributes:
        output: the final path.
        source: the input, never to be replaced.
        path: the temporary path, in the same folder and with the same suffix, hidden and unique.
    """

    def __init__(self, output: Path, source: Path, *, overwrite: bool) -> None:
        """Check the output and make its folder.

        Raises:
            OutputError: the output is refused (`check_output`) or its folder cannot be written.
        """
        check_output(output, source, overwrite=overwrite)
        self.output = output
        self.source = source
        self.overwrite = overwrite
        self.path = temporary_path(output.absolute(), f".part{output.suffix}")
        with writing(output):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(exist_ok=False)  # shows now, not hours later, that we may write here

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
            os.replace(self.path, target)
        return target

    def _marked(self, mark: str) -> Path:
        number = 1
        while True:
            word = mark if number == 1 else f"{mark}-{number}"
            target = self.output.with_name(f"{self.output.stem}.{word}{self.output.suffix}")
            if not os.path.lexists(target):
                return target
            if self.overwrite and not same_file(target, self.source) and not target.is_dir():
                return target
            number += 1

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        self.path.unlink(missing_ok=True)
