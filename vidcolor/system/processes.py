"""Which process made something, and whether it still runs: `Process`."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_TOKEN = re.compile(r"([0-9a-f]{16})-(\d+)-([0-9a-f]+)-[0-9a-f]{4}")


@dataclass(frozen=True)
class Process:
    """A process, on this machine or another.

    Attributes:
        host: name of its machine; empty if only `code` is known.
        code: 16 hexadecimal digits: 6 for the machine's name, 6 for the start of its system, and 4
            for the name space that the process's number belongs to, such as a container's.
        pid: its number.
        started: when it started: on Linux in clock ticks since the system's start (which no change
            of the clock alters), elsewhere in hundredths of a second.
    """

    host: str
    code: str
    pid: int
    started: int

    def is_running(self) -> bool | None:
        """Whether it runs. None if that cannot be seen from here: it belongs to another machine or
        container."""
        here = this_process().code
        if self.code == here:
            return _start_of(self.pid) == self.started
        rebooted = self.code[:6] == here[:6] and self.code[6:12] != here[6:12]
        return False if rebooted else None

    def token(self) -> str:
        """A new name that tells the process; see `from_token`."""
        return f"{self.code}-{self.pid}-{self.started:x}-{secrets.token_hex(2)}"

    @classmethod
    def from_token(cls, token: str) -> Process | None:
        """The process that a name tells, None if it tells none."""
        found = _TOKEN.fullmatch(token)
        return found and cls("", found[1], int(found[2]), int(found[3], 16))


def this_process() -> Process:
    """The process that calls."""
    return _describe(os.getpid())


def boot_id() -> str:
    """An identifier of the system's start; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@lru_cache(maxsize=1)  # a forked process has another number
def _describe(pid: int) -> Process:
    host, boot, space = socket.gethostname(), boot_id(), ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    parts = zip((host, boot, space), (6, 6, 4), strict=True)
    code = "".join(hashlib.sha256(part.encode()).hexdigest()[:size] for part, size in parts)
    return Process(host, code, pid, _start_of(pid) or 0)


def _start_of(pid: int) -> int | None:
    """When a process started, see `Process`; None if there is none or it has ended."""
    try:
        # the fields after the name, which may hold anything; source: proc_pid_stat(5)
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, IndexError, ValueError):
        return None
    import psutil  # takes a while

    try:
        return round(psutil.Process(pid).create_time() * 100)
    except psutil.Error:
        return None
