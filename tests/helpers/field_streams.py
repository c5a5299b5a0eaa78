"""Streams that no encoder of FFmpeg writes: MPEG-2 with repeated fields, H.264 of single fields."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.helpers.clips import make_frame

FIELD = Fraction(1001, 60000)  # seconds
TICKS = 90_000  # a second


def shown_at(number: int) -> Fraction:
    """When a frame of film is shown that was telecined softly: for three fields, for two, ..."""
    return (5 * number + 1) // 2 * FIELD


def soft_telecine(path: Path, lumas: Sequence[np.ndarray]) -> Path:
    """Film as on a DVD: 24000/1001 coded frames, flagged to be shown as 30000/1001 interlaced ones.

    The encoder's progressive stream gets the flags of ISO/IEC 13818-2, 6.2.2.1 to 6.2.3.1:
    `progressive_sequence` 0, and `top_field_first` and `repeat_first_field` of each picture. The
    sides of `lumas` must be multiples of 32.
    """
    height, width = lumas[0].shape
    context: Any = av.CodecContext.create("mpeg2video", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1001, 24000), Fraction(24000, 1001)
    context.gop_size, context.max_b_frames = 12, 2
    context.options = {"qscale": "2", "flags": "+qscale", "global_quality": "236"}
    coded = []
    for number, luma in enumerate(lumas):
        frame = make_frame("yuv420p", luma)
        frame.pts, frame.time_base = number, context.time_base
        coded += context.encode(frame)
    coded += context.encode(None)
    with av.open(str(path), "w") as output:
        video: Any = output.add_stream("mpeg2video", rate=Fraction(30000, 1001))
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.time_base = Fraction(1, TICKS)
        for order, old in enumerate(coded):
            packet = av.Packet(_flagged(bytes(old), old.pts))
            packet.stream, packet.time_base = video, Fraction(1, TICKS)
            packet.pts = round((shown_at(old.pts) + 4 * FIELD) * TICKS)
            packet.dts = round((shown_at(order) + FIELD) * TICKS)
            packet.duration = round((shown_at(old.pts + 1) - shown_at(old.pts)) * TICKS)
            packet.is_keyframe = old.is_keyframe
            output.mux(packet)
    return path


def _flagged(data: bytes, number: int) -> bytes:
    """A coded picture with the flags of the frame with this number."""
    changed = bytearray(data)
    at = changed.find(b"\0\0\1\xb3")
    if at >= 0:
        changed[at + 7] = changed[at + 7] & 0xF0 | 4  # 30000/1001 frames a second
    at = changed.find(b"\0\0\1\xb5")
    while at >= 0:
        kind = changed[at + 4] >> 4
        if kind == 1:
            changed[at + 5] &= ~0x08
        elif kind == 8:
            top, repeat = number % 4 in (0, 3), number % 2 == 0
            changed[at + 7] = changed[at + 7] & 0x7D | top << 7 | repeat << 1
        at = changed.find(b"\0\0\1\xb5", at + 4)
    return bytes(changed)


class _Bits:
    """Bits in the order of ITU-T H.264, 7.2."""

    def __init__(self) -> None:
        self.text = ""

    def u(self, value: int, count: int = 1) -> _Bits:
        self.text += f"{value:0{count}b}"
        return self

    def ue(self, *values: int) -> _Bits:
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code
        return self

    def aligned(self) -> bytes:
        text = self.text + "0" * (-len(self.text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def _unit(kind: int, payload: bytes) -> bytes:
    """A NAL unit behind its start code, with emulation prevention (7.4.1)."""
    safe = bytearray()
    zeros = 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            safe.append(3)
            zeros = 0
        safe.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\0\0\0\1" + bytes([kind]) + bytes(safe)


def _field(luma: np.ndarray, bottom: bool, number: int) -> bytes:
    """A field `(H, W)` as a picture of its own, its samples as they are (I_PCM)."""
    header = _Bits().ue(0, 7, 0).u(0, 8).u(1).u(bottom)
    if not bottom:  # the first field of an IDR picture; the second is none (7.4.1.2.4)
        header.ue(number % 2)
    header.u(int(bottom), 8).u(0, 1 if bottom else 2).ue(0, 1)
    parts = [header]
    data = b""
    for y in range(0, luma.shape[0], 16):
        for x in range(0, luma.shape[1], 16):
            bits = parts.pop() if parts else _Bits()
            data += bits.ue(25).aligned() + luma[y : y + 16, x : x + 16].tobytes()
            data += bytes([128]) * 128
    return _unit(0x61 if bottom else 0x65, data + b"\x80")


def paff(path: Path, lumas: Sequence[np.ndarray], rate: Fraction = Fraction(25)) -> Path:
    """H.264 whose frames are two pictures of a field each (PAFF), top field first, as broadcasters
    and camcorders write it. The sides of `lumas` must be multiples of 32."""
    height, width = lumas[0].shape
    sps = _Bits().u(77, 8).u(0, 8).u(30, 8).ue(0, 4, 0, 4, 1).u(0)
    sps.ue(width // 16 - 1, height // 32 - 1).u(0).u(0).u(1).u(0).u(0).u(1)
    pps = _Bits().ue(0, 0).u(0).u(0).ue(0, 0, 0).u(0).u(0, 2).ue(0, 0, 0).u(1).u(0).u(0).u(1)
    head = _unit(0x67, sps.aligned()) + _unit(0x68, pps.aligned())
    raw = path.with_suffix(".264")
    with raw.open("wb") as file:
        for number, luma in enumerate(lumas):
            file.write(head + _field(luma[::2], False, number) + _field(luma[1::2], True, number))
    if path == raw:
        return path
    rates = {"framerate": str(rate)}
    with av.open(str(raw), options=rates) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        fields = 0
        for packet in source.demux(video=0):
            if packet.size:
                both = bytes(packet).count(b"\0\0\1\x61") and b"\0\0\1\x65" in bytes(packet)
                packet.time_base = Fraction(1, TICKS)
                packet.pts = packet.dts = round(fields / rate / 2 * TICKS)
                packet.duration = round((2 if both else 1) / rate / 2 * TICKS)
                fields += 2 if both else 1
                packet.stream = stream
                output.mux(packet)
    raw.unlink()
    return path
