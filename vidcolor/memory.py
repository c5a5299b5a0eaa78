"""Memory that a process keeps from step to step, so that it is not fetched anew each time."""

from __future__ import annotations

import ctypes
import sys

# parameters of mallopt(3), from glibc's malloc.h
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_MAX = -4
_ARENA_MAX = -8

_PAD_BYTES = 1 << 28


def keep_memory() -> bool:
    """Let this process keep the memory that it frees, and use it again.

    glibc maps each large block by itself and unmaps it when it is freed. A training frees its
    activations at every step, so that at every step the system hands them out again page by page,
    zeroed: at batch 128 more than a third of the time of `skip_cnn`. Kept in the heap they stay in
    place. The price is memory: the process stays at its largest size, and blocks of different sizes
    leave gaps. Measured on `skip_cnn`, that added nothing at batch 16, a third at 128 and at least
    two thirds at 256; in 200 steps the process stopped growing after 40 (benchmarks/README.md).

    A film's frames are all of one size, so there it costs little: 50 to 75 MB more, for a tenth
    less processor time (640x480, `fast`).

    It works for memory that is asked for later, for the rest of the process. It does nothing where
    the C library is another one than glibc.

    Returns:
        Whether the setting was made.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl, bionic
        return False
    settings = (
        (_MMAP_MAX, 0),  # no block is mapped by itself
        (_TRIM_THRESHOLD, -1),  # the heap's free end is never given back
        (_TOP_PAD, _PAD_BYTES),  # it grows in large pieces
        (_ARENA_MAX, 1),  # and is shared by all threads: those of their own are small and mapped
    )
    return all(library.mallopt(name, value) == 1 for name, value in settings)
