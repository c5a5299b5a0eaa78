"""Bound the pictures under way: windows of a job, and the room for those inside."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator


class Room:
    """Bounds the pictures under way, by their number and pixels.

    Args:
        pixels: of all of them at most; a larger picture enters when no other is inside.
        count: of pictures at most.
    """

    def __init__(self, pixels: int, count: int) -> None:
        self.pixels, self._count = pixels, count
        self._inside: list[int] = []  # pixels of each
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, pixels: int) -> bool:
        """Wait until a picture fits in; False if the room was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._fits(pixels))
            if not self._closed:
                self._inside.append(pixels)
            return not self._closed

    def _fits(self, pixels: int) -> bool:
        fits = len(self._inside) < self._count and sum(self._inside) + pixels <= self.pixels
        return fits or not self._inside

    def leave(self, pixels: int) -> None:
        """A picture is done."""
        with self._changed:
            self._inside.remove(pixels)
            self._changed.notify_all()

    def is_closed(self) -> bool:
        """Whether no more pictures are let in."""
        return self._closed

    def close(self) -> None:
        """Let no more pictures in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def windows(sizes: Iterable[int], count: int, pixels: int) -> Iterator[tuple[int, bool]]:
    """Divide pictures into windows of at most `count` pictures and `pixels`, in order.

    Args:
        sizes: pixels of each picture.

    Yields:
        The pixels of each picture, and whether it is the last of its window.
    """
    held: list[int] = []  # of the window so far
    for size in sizes:
        if held:
            ends = len(held) >= count or sum(held) + size > pixels
            yield held[-1], ends
            if ends:
                held = []
        held.append(size)
    if held:
        yield held[-1], True
