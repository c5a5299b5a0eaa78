"""Recordings like those of broadcasts: transport streams with sound, at any time of the clock."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 25
SOUND_RATE = 48000
_TICK = Fraction(1, 90000)


def record(
    path: Path,
    *,
    video: Iterable[int],
    seconds: int,
    start: Fraction = Fraction(0),
    size: tuple[int, int] = (64, 48),
    codec: str = "mpeg2video",
    sound: str = "mp2",
) -> Path:
    """Write a recording.

    Args:
        video: numbers of the frames it has, of `RATE` a second.
        seconds: of the sound.
        start: seconds that its clock stands at.
        size, codec, sound: of the picture and the sound.
    """
    options = {"mpegts_copyts": "1", "muxdelay": "0"} if path.suffix == ".ts" else {}
    output: Any = av.open(str(path), "w", container_options=options)
    picture = output.add_stream(codec, rate=RATE, width=size[0], height=size[1])
    picture.pix_fmt = "yuv420p"
    picture.codec_context.gop_size = 12
    picture.codec_context.max_b_frames = 0
    tone = output.add_stream(sound, rate=SOUND_RATE)
    packets = []
    grain = np.random.default_rng(0)
    for number in video:
        ramp = (np.arange(size[0]) * 2 + number * 5) % 200 + 20
        luma = (ramp + grain.integers(0, 20, size[::-1])).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(luma, "gray").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        packets += picture.encode(frame)
    packets += picture.encode(None)
    length = tone.codec_context.frame_size or 1152
    for number in range(seconds * SOUND_RATE // length):
        layout, format = tone.codec_context.layout.name, tone.codec_context.format.name
        part = av.AudioFrame(format=format, layout=layout, samples=length)
        for plane in part.planes:
            plane.update(bytes(plane.buffer_size))
        part.sample_rate, part.pts = SOUND_RATE, number * length
        part.time_base = Fraction(1, SOUND_RATE)
        packets += tone.encode(part)
    packets += tone.encode(None)
    for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
        for name in ("pts", "dts"):
            setattr(packet, name, round((getattr(packet, name) * packet.time_base + start) / _TICK))
        packet.duration = round(packet.duration * packet.time_base / _TICK)
        packet.time_base = _TICK
        output.mux(packet)
    output.close()
    return path


def record_at(path: Path, *, seconds: int, start: Fraction, **more: Any) -> Path:
    """A recording without gaps whose clock stands at `start` seconds."""
    frames = range(seconds * RATE)
    return record(path, video=frames, seconds=seconds, start=start, **more)
