"""OpenCV: whether it can be loaded, and its number of threads."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any


def load_problem() -> str:
    """Say in one line why OpenCV cannot be loaded, with the remedy; empty if it can."""
    try:
        import cv2  # noqa: F401  its wheel needs system libraries that a bare machine lacks
    except ImportError as error:
        return f"OpenCV cannot be loaded ({error}); on Debian: apt-get install libgl1 libglib2.0-0"
    return ""


@cache
def opencv() -> Any:
    """The module `cv2`, or None if it cannot be loaded."""
    return None if load_problem() else importlib.import_module("cv2")


def set_opencv_threads(count: int) -> int:
    """Set OpenCV's number of threads and return the previous one; -1 if OpenCV cannot be loaded."""
    try:
        import cv2

        before = cv2.getNumThreads()
        cv2.setNumThreads(count)
    except Exception:  # a build for another numpy fails in many ways; `load_problem` reports it
        return -1
    return before
