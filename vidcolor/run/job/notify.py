"""Tell a command what happens: at the first failure, and at the end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from ..settings import Report

logger = logging.getLogger(__name__)


class Notifier:
    """Runs a shell command with what happened in its environment.

    - `VIDCOLOR_EVENT`: `failed` (the first input that is not as wanted), or at the end `done`,
      `interrupted` (Ctrl-C), `terminated` (another signal) or `stopped` (an error).
    - `VIDCOLOR_DONE`, `VIDCOLOR_SKIPPED`, `VIDCOLOR_INCOMPLETE`, `VIDCOLOR_RENAMED`,
      `VIDCOLOR_FAILED`: how many inputs so far.
    - `VIDCOLOR_INPUT`, `VIDCOLOR_ERROR`: of the first failure, empty without one.
    - `VIDCOLOR_REPORT`: the report that was written, empty without one.

    The command has no standard input, and what it prints to standard output goes to standard
    error. If it takes too long, it is ended. If it fails, a warning says so; the run goes on.

    Args:
        command: for the shell; empty for none.
        seconds: that it may take.
    """

    def __init__(self, command: str, seconds: float = 60.0) -> None:
        self._command, self._seconds = command, seconds
        self._counts: Counter[str] = Counter()
        self._first: Report | None = None
        self._thread: threading.Thread | None = None

    def add(self, report: Report) -> None:
        """Count an input; the command runs beside the work at the first one not as wanted."""
        self._counts[report.status] += 1
        if not report.is_problem or self._first is not None:
            return
        self._first = report
        if self._command and not report.restored:  # else it was told before
            self._thread = threading.Thread(
                target=self._run, args=(self._values("failed"),), daemon=True
            )
            self._thread.start()

    def end(self, event: str, report: str = "") -> None:
        """Run the command and wait for it; then begin anew.

        Args:
            event: see above.
            report: path of the report.
        """
        if self._thread is not None:
            self._thread.join()
        if self._command:
            self._run(self._values(event) | {"VIDCOLOR_REPORT": report})
        self._counts.clear()
        self._first = self._thread = None

    def _values(self, event: str) -> dict[str, str]:
        names = ("done", "skipped", "incomplete", "renamed", "failed")
        first = self._first
        return {
            "VIDCOLOR_EVENT": event,
            "VIDCOLOR_INPUT": str(first.input) if first else "",
            "VIDCOLOR_ERROR": first.error if first else "",
            "VIDCOLOR_REPORT": "",
            **{f"VIDCOLOR_{name.upper()}": str(self._counts[name]) for name in names},
        }

    def _run(self, values: Mapping[str, str]) -> None:
        try:
            # in a session of its own: Ctrl-C ends the run, not what tells of it
            own = {name: text.replace("\0", "") for name, text in values.items()}
            process = subprocess.Popen(
                self._command,
                shell=True,
                stdin=subprocess.DEVNULL,
                stdout=2,
                env={**os.environ, **own},
                start_new_session=True,
            )
        except OSError as error:
            self._warn(error.strerror or str(error))
            return
        try:
            code = process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            self._warn(f"took longer than {self._seconds:g} seconds")
        else:
            if code:
                self._warn(f"exit code {code}")
        finally:
            if process.poll() is None:
                with suppress(OSError, AttributeError):  # Windows has no groups
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
                process.wait()

    def _warn(self, reason: str) -> None:
        logger.warning("--notify: the command failed (%s); the run goes on", reason)
