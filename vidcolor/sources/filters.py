"""FFmpeg's filters on decoded frames, whose luma keeps its bits on the way: `chain`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph

from ..color.codes import Codes
from .luma import layout, luma_plane

NTSC_RATE = Fraction(30000, 1001)


def chain(frame: av.VideoFrame, *filters: tuple[str, str]) -> Graph:
    """Filters, each with its arguments, for frames like this one; the result has its pixel
    format. Frames go in `numbered`."""
    graph = Graph()
    graph.link_nodes(
        # `decimate` needs a rate, which PyAV's `add_buffer` does not set.
        graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:"
            f"time_base={1 / NTSC_RATE}:frame_rate={NTSC_RATE}",
        ),
        *(graph.add(name, arguments) for name, arguments in filters),
        graph.add("format", frame.format.name),
        graph.add("buffersink"),
    ).configure()
    return graph


def pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    """The frames that a graph has ready."""
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        yield frame


def numbered(frame: av.VideoFrame, number: int) -> av.VideoFrame:
    """The frame, with its number as pts."""
    frame.pts, frame.time_base = number, 1 / NTSC_RATE
    return frame


def carried(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame in a format that the filters take without changing its luma."""
    form = layout(frame.format.name)
    odd_gray = frame.format.name.startswith("gray") and form.bit_depth not in (8, 16)
    if form.has_luma and not odd_gray:
        return frame
    return luma_frame(luma_plane(frame), form.bit_depth)


def luma_frame(luma: Codes, depth: int) -> av.VideoFrame:
    """A frame of this luma in a format that the filters take as it is. Gray is 8 or 16 bits."""
    height, width = luma.shape
    name = {8: "gray", 16: "gray16le"}.get(depth, f"yuv420p{depth}le")
    frame = av.VideoFrame(width, height, name)
    for number, plane in enumerate(frame.planes):
        dtype = np.uint8 if depth == 8 else np.uint16
        rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
        rows[:, : plane.width] = 1 << (depth - 1) if number else luma
    return frame
