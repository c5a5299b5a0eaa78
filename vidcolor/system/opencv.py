"""NEW."""

from __future__ import annotations


def unavailable() -> str:
    """Why there is no optical flow here, with the remedy; empty where there is."""
    try:
        import cv2  # noqa: F401  its wheel needs system libraries that a bare machine lacks
    except ImportError as error:
        return f"OpenCV cannot be loaded ({error}); on Debian: apt-get install libgl1 libglib2.0-0"
    return ""


def set_opencv_threads(count: int) -> int:
    """Give OpenCV so many threads; how many it had, -1 where it cannot be loaded."""
    try:
        import cv2

        before = cv2.getNumThreads()
        cv2.setNumThreads(count)
    except Exception:  # one made for another numpy fails in many ways; whoever needs it says so
        return -1
    return before
