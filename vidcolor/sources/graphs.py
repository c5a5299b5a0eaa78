"""Build FFmpeg filter graphs for frames: `frame_graph`."""

from __future__ import annotations

from fractions import Fraction

import av
from av.filter import Graph


def frame_graph(frame: av.VideoFrame, *filters: tuple[str, str]) -> Graph:
    """A chain of filters that takes frames like this one.

    Args:
        frame: gives size, pixel format and time base.
        filters: of each its name and its arguments, as FFmpeg writes them.
    """
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, av.time_base),
    )
    chain = [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(source, *chain, graph.add("buffersink")).configure()
    return graph
