"""Interlaced and telecined films, woven of progressive pictures."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph

from tests.helpers.clips import make_frame

TOP, BOTTOM = 0, 1  # the first row of each field


def weave(first: np.ndarray, second: np.ndarray, order: int = TOP) -> np.ndarray:
    """A frame whose first field is of one picture, its second of another."""
    frame = second.copy()
    frame[order::2] = first[order::2]
    return frame


def interlace(pictures: Sequence[np.ndarray], order: int = TOP) -> list[np.ndarray]:
    """A frame for every two pictures."""
    pairs = zip(pictures[::2], pictures[1::2], strict=True)
    return [weave(first, second, order) for first, second in pairs]


def telecine(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Five frames for every four pictures, top field first: 2:3 pulldown."""
    frames: list[np.ndarray] = []
    for a, b, c, d in zip(*(pictures[i::4] for i in range(4)), strict=True):
        frames += [a, b, weave(b, c), weave(c, d), d]
    return frames


def write(
    path: Path,
    lumas: Sequence[np.ndarray],
    *,
    flag: str = "",
    codec: str = "ffv1",
    pix_fmt: str = "yuv420p",
    rate: Fraction = Fraction(25),
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    sound: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """A film of these luma planes.

    Args:
        path: of it.
        lumas: `(H, W)` codes.
        flag: what its frames say they are: `tff`, `bff` or empty for progressive.
        codec, pix_fmt, rate, options: of the video.
        pts: of the frames in `time_base`, by default their numbers in 1 / `rate`.
        time_base: of the pts.
        sound: silence along with it.
    """
    height, width = lumas[0].shape
    unit = time_base or 1 / rate
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=width, height=height, format=av.VideoFormat(pix_fmt), time_base=unit
        ),
        graph.add("setfield", flag or "prog"),
        graph.add("buffersink"),
    ).configure()
    mov = path.suffix in (".mov", ".mp4")
    scale = {"video_track_timescale": str(unit.denominator)} if mov else {}
    output: Any = av.open(str(path), "w", container_options=scale)
    chosen = {"flags": "+ildct+ilme", **(options or {})} if flag else dict(options or {})
    if flag:
        chosen["field_order"] = {"tff": "tt", "bff": "bb"}[flag]
    video = output.add_stream(codec, rate=rate, options=chosen, width=width, height=height)
    video.pix_fmt, video.codec_context.time_base = pix_fmt, unit
    tone = output.add_stream("pcm_s16le", rate=48000) if sound else None
    output.start_encoding()
    packets = []
    for number, luma in enumerate(lumas):
        frame = make_frame(pix_fmt, luma)
        frame.pts, frame.time_base = number if pts is None else pts[number], unit
        graph.push(frame)
        packets += video.encode(graph.pull())
    packets += video.encode(None)
    if tone is not None:
        for second in range(int(len(lumas) / rate)):
            part = av.AudioFrame(format="s16", layout="stereo", samples=48000)
            part.planes[0].update(bytes(part.planes[0].buffer_size))
            part.sample_rate, part.pts = 48000, second * 48000
            packets += tone.encode(part)
    packets.sort(key=lambda packet: packet.dts * packet.time_base)
    for packet in packets:
        output.mux(packet)
    output.close()
    return path
