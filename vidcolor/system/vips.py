"""libvips, made ready for use."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


class Turns:
    """Threads that read pictures at once, or one of them alone.

    libvips keeps the errors of all threads in one buffer: only alone is an error known to be one's
    own.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._ended = threading.Condition()
        self._under_way = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Wait until no thread is alone."""
        with self._gate, self._ended:
            self._under_way += 1
        try:
            yield
        finally:
            with self._ended:
                self._under_way -= 1
                self._ended.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other thread is under way; those that come wait."""
        with self._gate, self._ended:
            self._ended.wait_for(lambda: not self._under_way)
            yield


turns = Turns()


@cache
def libvips() -> Any:
    """The module `pyvips`, silent and without a cache of results: what a picture's file gave must
    not be kept in memory when the picture is done."""
    import pyvips

    # Python prints the warnings of a logger that has no handler at all.
    logging.getLogger("pyvips").addHandler(logging.NullHandler())
    pyvips.cache_set_max(0)
    return pyvips
