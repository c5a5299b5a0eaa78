"""What FFmpeg says of a file while it is read: `Listener`.

FFmpeg goes on after most errors, and only its messages tell. PyAV can pass them to Python's
`logging`, for the whole process alone; here they are sorted out again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.logging

_LOGGER = logging.getLogger("libav")
_SILENT = logging.NullHandler()  # without any handler Python prints to stderr
_lock = threading.Lock()
_listeners = 0
_before: tuple[int | None, bool, bool] | None = None  # of level, repeated lines, propagation


def _begin() -> None:
    global _listeners, _before
    with _lock:
        if _listeners == 0:
            level = av.logging.get_level()
            _before = level, av.logging.get_skip_repeated(), _LOGGER.propagate
            # The same words about two films, or two places of one, count twice.
            av.logging.set_skip_repeated(False)
            if level is None:
                _LOGGER.propagate = False  # nobody asked for them
                _LOGGER.addHandler(_SILENT)
            if level is None or level < av.logging.ERROR:
                av.logging.set_level(av.logging.ERROR)
        _listeners += 1


def _end() -> None:
    global _listeners
    with _lock:
        _listeners -= 1
        if _listeners == 0 and _before is not None:
            av.logging.set_level(_before[0])
            av.logging.set_skip_repeated(_before[1])
            _LOGGER.propagate = _before[2]
            _LOGGER.removeHandler(_SILENT)


class Listener(logging.Handler):
    """Keeps FFmpeg's error messages while one thread reads a file.

    A decoder's own threads are none of Python's; what they say is known by the decoder's name.
    Before a decoder with threads is freed, `flush_buffers` must have stopped them: a thread that
    has something to say waits for Python's lock, which the one that frees it holds.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._thread = threading.get_ident()
        self._heard: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        foreign = (record.threadName or "").startswith("Dummy-")
        if foreign or record.thread == self._thread:
            name = record.name.removeprefix("libav.")
            self._heard.append((name, " ".join(record.getMessage().split())))

    def take(self, *names: str) -> list[str]:
        """What was said since the last call by these demuxers or decoders, by FFmpeg's names; call
        it from the thread that reads."""
        self._thread = threading.get_ident()
        heard, self._heard = self._heard, []
        return [line for name, line in heard if name in names]

    def __enter__(self) -> Listener:
        _begin()
        _LOGGER.addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        _LOGGER.removeHandler(self)
        _end()


@contextmanager
def audible(level: int = av.logging.ERROR) -> Iterator[None]:
    """Let FFmpeg's messages up to a level of `av.logging` through, while the block runs."""
    _begin()
    before = av.logging.get_level()
    try:
        if before is None or before < level:
            av.logging.set_level(level)
        yield
    finally:
        if before is not None:
            av.logging.set_level(before)
        _end()
