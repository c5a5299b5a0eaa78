"""Run `vidcolor` in processes forked from this one, so that none waits for imports.

The parent imports torch, PyAV and the command line once, uses none of them for work in threads, and
stays single-threaded, so that a fork is safe. `Real` starts the program from the beginning instead,
imports and all.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Arguments = list[str | Path]
DOCUMENTED = (0, 1, 2, 129, 130, 143)  # exit codes
_GROUP_SECONDS = 10.0  # that processes may outlive the one that started them
LINES = 20  # on standard error; more is no clear line
_CHARACTERS = 800  # of a line


def preload() -> None:
    """Import all that a run needs; before the first fork."""
    import av  # noqa: F401

    import vidcolor.cli.evaluate
    import vidcolor.cli.probe
    import vidcolor.cli.run
    import vidcolor.cli.screen
    import vidcolor.evaluation
    import vidcolor.probe
    import vidcolor.run.pipeline
    import vidcolor.run.preview
    import vidcolor.training.trainer  # noqa: F401


@dataclass(frozen=True)
class Ended:
    """How a run has ended.

    Attributes:
        arguments: of the command.
        code: exit code; negative for a signal.
        out, err: what it printed.
        seconds: that it took.
        peak_bytes: of main memory.
        hung: it was killed because it did not end in time.
        orphans: processes that it had started went on without it.
    """

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float
    peak_bytes: int
    hung: bool = False
    orphans: bool = False

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out + self.err

    @property
    def said(self) -> str:
        """Its last line on standard error."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""

    @property
    def has_traceback(self) -> bool:
        """Whether it printed one."""
        return "Traceback (most recent call last)" in self.text

    def problems(self, lines: int = LINES) -> list[str]:
        """What is wrong with the way it ended, whatever it was to do."""
        found = []
        if self.has_traceback:
            found.append("traceback")
        if "by a fault of vidcolor" in self.text or "error: a fault of vidcolor" in self.text:
            found.append("an unexpected error")
        if self.hung:
            found.append(f"no end after {self.seconds:.0f} s")
        elif self.code not in DOCUMENTED:
            found.append(f"exit code {self.code}")
        if self.orphans:
            found.append("processes are left")
        printed = [line for line in self.err.splitlines() if line.strip()]
        if len(printed) > lines:
            found.append(f"{len(printed)} lines")
        if any(len(line) > _CHARACTERS for line in printed):
            found.append(f"a line of {max(map(len, printed))} characters")
        return found


class Run:
    """A command under way, in a process and a group of its own."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        logs: Path,
        *,
        limits: Mapping[int, int] | None = None,
        stdout: str = "",
        stderr: str = "",
        environment: Mapping[str, str] | None = None,
        group: Path | None = None,
    ) -> None:
        """Start `vidcolor` with `arguments`.

        Args:
            arguments: of the command line.
            logs: folder for what it prints.
            limits: by `resource.RLIMIT_...`.
            stdout, stderr: a device, or `closed`, instead of a file.
            environment: variables to set.
            group: a control group for it.
        """
        self.arguments = tuple(str(each) for each in arguments)
        self._logs = (logs / "stdout.txt", logs / "stderr.txt")
        for log in self._logs:
            log.write_bytes(b"")
        self._group = group
        self._began = time.monotonic()
        self.pid = self._start(dict(limits or {}), (stdout, stderr), dict(environment or {}))

    def _start(
        self, limits: dict[int, int], streams: tuple[str, str], environment: dict[str, str]
    ) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 70  # of no meaning to vidcolor: the child's own fault
        try:
            self._become(limits, streams, environment)
            from vidcolor.__main__ import main

            main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException as error:  # Python itself would print it
            traceback.print_exception(error)
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _become(
        self, limits: dict[int, int], streams: tuple[str, str], environment: dict[str, str]
    ) -> None:
        os.setsid()
        self._join()
        os.environ.update(environment)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        python: list[Any] = []
        for number, (wanted, log) in enumerate(zip(streams, self._logs, strict=True), start=1):
            if wanted == "closed":
                os.close(number)
                python.append(None)
            else:
                os.dup2(os.open(wanted or log, os.O_WRONLY | os.O_APPEND), number)
                python.append(open(number, "w", buffering=1, closefd=False))  # noqa: SIM115
        sys.stdout, sys.stderr = python  # None for a closed one, as Python has it
        for kind, value in limits.items():
            resource.setrlimit(kind, (value, value))
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["vidcolor", *self.arguments]

    def _join(self) -> None:
        if self._group is not None:
            (self._group / "cgroup.procs").write_text(str(os.getpid()))

    def send(self, number: int) -> bool:
        """Send a signal to the process, or as a terminal does to its whole group; False if it has
        ended."""
        send = os.killpg if number in (signal.SIGINT, signal.SIGHUP) else os.kill
        try:
            send(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def sleep(self, seconds: float) -> bool:
        """Wait so long since the start; False if the process has ended before."""
        while (left := self._began + seconds - time.monotonic()) > 0:
            if self._is_over():
                return False
            time.sleep(min(left, 0.01))
        return not self._is_over()

    def _is_over(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait_for_handlers(self) -> None:
        """Wait until the program has its handlers of signals. Before, Python itself begins, which
        answers signals in its own ways."""
        status = Path(f"/proc/{self.pid}/status")
        while not self._is_over():
            (caught,) = re.findall(r"SigCgt:\s*(\w+)", status.read_text("ascii")) or ["0"]
            if int(caught, 16) >> (signal.SIGHUP - 1) & 1:
                break
            time.sleep(0.001)
        self._began = time.monotonic()

    def wait(self, seconds: float = 120) -> Ended:
        """Wait for the end, at most so long since the start; then kill it."""
        hung = self.sleep(seconds)
        if hung:
            os.killpg(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        out, err = (log.read_text("utf-8", errors="backslashreplace") for log in self._logs)
        return Ended(
            self.arguments,
            os.waitstatus_to_exitcode(status),
            out,
            err,
            time.monotonic() - self._began,
            usage.ru_maxrss * 1024,
            hung,
            not self._group_ends(),
        )

    def _group_ends(self) -> bool:
        """Whether all processes of the group end soon; they are killed otherwise."""
        until = time.monotonic() + _GROUP_SECONDS
        while time.monotonic() < until:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.01)
        os.killpg(self.pid, signal.SIGKILL)
        return False


class Real(Run):
    """The program from its start, imports and all."""

    def _start(
        self, limits: dict[int, int], streams: tuple[str, str], environment: dict[str, str]
    ) -> int:
        def limit() -> None:
            self._join()
            for kind, value in limits.items():
                resource.setrlimit(kind, (value, value))
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it

        with self._logs[0].open("a") as out, self._logs[1].open("a") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "vidcolor", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **environment},
                start_new_session=True,
                preexec_fn=limit,
            )
        process.returncode = 0  # it is waited for here, not there
        return process.pid
