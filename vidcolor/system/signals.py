"""Signals that end the program: Ctrl-C, SIGTERM and SIGHUP become exceptions, so that files are put
away.

Only the console script installs these handlers. Nothing is imported here that takes time.
"""

from __future__ import annotations

import _thread
import signal
import sys
import time
from types import FrameType
from typing import Any

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_TOGETHER = 1.0  # seconds; a terminal and a program that started this one may both send a signal
_LATER = 0.05  # seconds


class Ending:
    """What has asked this process to end. There is one for the process, `ending`.

    Attributes:
        number: of the first signal that came; 0 before one.
    """

    def __init__(self) -> None:
        self.number = 0
        self._last = 0.0
        self._kept = False  # a signal waits for its exception
        self._main = 0  # the main thread

    @property
    def code(self) -> int:
        """The exit code of a process that a signal has ended, as shells count; 0 without one."""
        return 128 + self.number if self.number else 0

    def install(self) -> None:
        """Handle the signals from now on; those that the parent had ignored (nohup) stay so."""
        self._main = _thread.get_ident()
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.handle)
        sys.unraisablehook = self._lost

    def ignore(self) -> None:
        """Ignore the signals from now on: the work is done, and Python, while it ends, would show
        an exception."""
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: it is SIGINT.
            SystemExit: it is another, with 128 + its number.
        """
        now = time.monotonic()
        if not self._kept and self.number and now - self._last < _TOGETHER:
            return
        self.number, self._last = self.number or number, now
        self._kept = _is_importing(frame)
        if self._kept:
            self._handle_later(number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    def _handle_later(self, number: int) -> None:
        def wait() -> None:
            time.sleep(_LATER)
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(self._main, number)  # wakes it where it waits
            else:
                _thread.interrupt_main(signal.Signals(number))

        self._kept = True
        _thread.start_new_thread(wait, ())

    def _lost(self, found: Any) -> None:
        """The hook for exceptions of destructors and callbacks, which Python drops."""
        if self.number and issubclass(found.exc_type, KeyboardInterrupt | SystemExit):
            self._handle_later(self.number)
        else:
            sys.__unraisablehook__(found)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported. An exception there may be lost in a callback, or taken
    for the import's own failure by C code."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


ending = Ending()
