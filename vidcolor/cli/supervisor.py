"""Do the work in a process of its own, and start another if it crashes: `supervise`.

A fault in a codec, or the system's answer to a lack of memory, ends a process without a word. The
process that waits here is small and outlives that. The next one knows by the job's state what was
under way.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

from ..run.job.watch import GAVE_UP, Supervised
from .text import say

# Signals by which a process ends through a fault, or for lack of memory.
_CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGKILL", "SIGILL", "SIGFPE", "SIGTRAP")
_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP")
_BOTH_SECONDS = 0.2  # in which a signal of the terminal has reached both processes


def supervise(*, quiet: bool) -> Supervised | None:
    """Fork. Returns in the new process, which is to work; the old one waits for it and exits as it
    does. If the one that works crashes, another is forked, and returns here too.

    Returns None at once where nothing can be forked, or where this process has threads already.

    Args:
        quiet: print no warning when another process is forked.
    """
    if not hasattr(os, "fork") or "torch" in sys.modules or threading.active_count() > 1:
        return None
    job, restarts = os.urandom(8).hex(), 0
    numbers = [getattr(signal, name) for name in _FORWARDED]
    # what is ignored, as under nohup, stays so
    handlers = {n: old for n in numbers if callable(old := signal.getsignal(n))}
    while True:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()  # or both processes would write what is left
        ready, tell = os.pipe()
        orders, order = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, handlers)
        try:
            child = os.fork()
        except OSError:  # too many processes
            signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)
            return None
        if not child:
            os.close(ready)
            os.close(order)
            _obey(orders, handlers)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)
            return Supervised(job, restarts, _Once(tell))
        os.close(tell)
        os.close(orders)
        for number in handlers:
            signal.signal(number, partial(_forward, order))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.set_blocking(ready, False)
        begun = False
        with suppress(BlockingIOError):
            begun = os.read(ready, 1) != b""
        os.close(ready)
        os.close(order)
        name = signal.Signals(-code).name if code < 0 else ""
        if name in _CRASHES:
            _repair_terminal()
            if not begun:
                say(
                    f"error: the process was ended by {name} before its work began; if it was no "
                    "other program, please report it with the command",
                    err=True,
                )
                sys.exit(1)
            if not quiet:
                say(f"warning: the process was ended by {name}; another one goes on", err=True)
        elif code != GAVE_UP or not begun:
            sys.exit(code if code >= 0 else 128 - code)
        restarts += 1


class _Once:
    """Writes a byte into a pipe when it is first called."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._called = pipe, False

    def __call__(self) -> None:
        if not self._called:
            self._called = True
            os.write(self._pipe, b"1")


def _forward(order: int, number: int, frame: FrameType | None) -> None:
    with suppress(OSError):  # the process has ended
        os.write(order, bytes([number]))


def _obey(orders: int, handlers: dict[int, Callable[..., Any]]) -> None:
    """Take the signals that the waiting process forwards, and end if that is killed."""
    received: dict[int, float] = {}

    def note(number: int, frame: FrameType | None) -> None:
        received[number] = time.monotonic()
        handlers[number](number, frame)

    def listen() -> None:
        while data := os.read(orders, 1):
            time.sleep(_BOTH_SECONDS)
            # Ctrl-C in a terminal is sent to both processes, a signal by `kill` to one
            if time.monotonic() - received.get(data[0], -10.0) > 10 * _BOTH_SECONDS:
                signal.pthread_kill(main, data[0])
        os._exit(128 + signal.SIGKILL)

    main = threading.get_ident()
    for number in handlers:
        signal.signal(number, note)
    threading.Thread(target=listen, name="supervisor", daemon=True).start()


def _repair_terminal() -> None:
    """Show the cursor, which a progress bar hides, and begin a line."""
    with suppress(OSError):
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h\n")
            sys.stderr.flush()
