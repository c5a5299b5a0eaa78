"""Atomic writing: a file appears complete or not at all; whether another program writes a file."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import OutputError
from .processes import Process, this_process

OWN = ".color"  # ends the name of an output that lies beside its input
_LONGEST_NAME = 255  # bytes, on the file systems in use
_LONGEST = 180  # bytes of a name that go into a temporary one; names end at 255
_TEMPORARY = re.compile(r"\..+\.([^.]+)(?:\.tmp|\.part(?:\.[^.]*)?)", re.DOTALL)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, nests too deep, or holds a number of too many digits.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it nests too deep") from error
    except ValueError as error:  # of long numbers Python goes on to advise its programmer
        raise ValueError(str(error).partition(";")[0]) from error


def json_lines(path: Path) -> Iterator[Any]:
    """The values of a file with one in each line, up to the first line that is not whole."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield parse_json(line)
            except ValueError:
                return


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: see `parse_json`.
    """
    return parse_json(path.read_bytes())


def fitting_name(stem: str, rest: str) -> str:
    """`stem` + `rest` as a file's name; a stem that is too long for one is cut at a character."""
    room = _LONGEST_NAME - len(os.fsencode(rest))
    data = os.fsencode(stem)
    end = min(room, len(data))
    while 0 < end < len(data) and data[end] & 0xC0 == 0x80:  # within a character of UTF-8
        end -= 1
    return os.fsdecode(data[:end]) + rest


def temporary_path(path: Path, suffix: str) -> Path:
    """A new hidden path in the folder of `path`, so that a rename to `path` is atomic.

    Its name tells this process, so that it is known as a leftover if the process is killed.

    Args:
        suffix: how it ends: `.tmp`, or `.part` and the suffix of `path`.
    """
    name = os.fsencode(path.name)[:_LONGEST].decode(sys.getfilesystemencoding(), "ignore")
    return path.with_name(f".{name}.{this_process().token()}{suffix}")


def maker_of(path: Path) -> Process | None:
    """The process that a path by `temporary_path` tells; None for any other path."""
    found = _TEMPORARY.fullmatch(path.name)
    return Process.from_token(found[1]) if found else None


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Size, bytes, and time of change, nanoseconds, of a file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block succeeds.

    Otherwise the temporary file is removed. The folder is created if necessary. The file gets the
    permissions that the umask gives to new files.

    Yields:
        The temporary path to write to.

    Raises:
        OutputError: the file cannot be written; an earlier file at `path` is unchanged.
    """
    temporary = temporary_path(path, ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:  # safetensors raises its own error for disks
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{path}: cannot be written ({reason}); free some space, check the folder's "
            "permissions, or choose another folder"
        ) from error
    finally:
        if temporary.is_file():
            temporary.unlink()


def is_being_written(path: Path) -> bool:
    """Whether a program of this machine has a file open for writing; False where nobody can tell.

    Linux grants a lease for reading only if nobody writes. Source: fcntl(2), F_SETLEASE.
    """
    try:
        import fcntl

        with path.open("rb") as file:
            # what announces a writer that comes meanwhile; SIGIO would end the program
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except (ImportError, AttributeError):  # another system
        return False
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
    return False
