"""Handle Ctrl-C, SIGTERM and SIGHUP between two steps, never within one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..system.signals import ENDING

_TWICE = 2.0  # seconds; a terminal and torchrun may both send the same Ctrl-C


class Interruption:
    """Keeps a signal until `check` is called.

    Attributes:
        forced: a second Ctrl-C interrupted a step; what is in memory may be half of a step.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.noted = 0.0
        self.forced = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if number == signal.SIGINT and self.signal and time.monotonic() - self.noted > _TWICE:
            self.forced = True
            raise KeyboardInterrupt
        self.signal, self.noted = self.signal or number, time.monotonic()

    def check(self) -> None:
        """Raise KeyboardInterrupt for a noted SIGINT, SystemExit(128 + number) for another."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal:
            raise SystemExit(128 + self.signal)


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Handle the signals in this block, but for SIGHUP under nohup; does nothing outside the main
    thread."""
    noted = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    handled = [n for n in ENDING if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
    before = {n: signal.signal(n, noted.note) for n in handled}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
