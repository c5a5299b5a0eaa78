"""A moment of film as H.264 gives it back: what bad copies do to a picture, to train on."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np


def h264_copy(frames: Sequence[np.ndarray], crf: int) -> np.ndarray:
    """The last of some frames after libx264 and back, in memory.

    Args:
        frames: `(H, W)` uint8 each, of one size; the first is coded alone, the others from those
            before them.
        crf: 0 (lossless) to 51; films of poor quality have 30 and more.

    Returns:
        `(H, W)` uint8.
    """
    coder = av.CodecContext.create("libx264", "w")
    coder.height, coder.width = frames[0].shape
    coder.pix_fmt, coder.time_base = "gray", Fraction(1, 25)
    # one thread, because the processes that load pictures have the cores
    coder.options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "bf": "0"}
    packets = []
    for number, levels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(levels), format="gray")
        frame.pts = number
        packets += coder.encode(frame)
    packets += coder.encode(None)
    reader = av.CodecContext.create("h264", "r")
    reader.thread_count = 1
    shown = [frame for packet in packets for frame in reader.decode(packet)]
    shown += reader.decode(None)
    plane = shown[-1].planes[0]  # as it is: to_ndarray would take its range for limited
    levels = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return levels[: coder.height, : coder.width].copy()
