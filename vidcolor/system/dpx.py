"""The headers of DPX files beside the picture: timecode, number of the frame, meaning of the codes.

FFmpeg writes none of them. Source: SMPTE ST 268-1 (DPX 2.0), whose fields stand at fixed places.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

_MAGIC = {b"SDPX": ">", b"XPDS": "<"}
# The generic header's fields that tell where the picture begins, how long the headers and the file
# are; the first element's transfer characteristic, colorimetric specification and picture offset.
_OFFSET, _FILE_SIZE, _GENERIC_SIZE, _INDUSTRY_SIZE = 4, 16, 24, 28
_TRANSFER, _COLORIMETRIC, _PICTURE = 801, 802, 808
_GENERIC, _INDUSTRY = 1664, 384  # bytes of both headers
_POSITION, _FILM_RATE = 1712, 1724  # film header: number of the frame; frames a second
_TIMECODE, _VIDEO_RATE = 1920, 1940  # television header
_EMPTY = ((1664, 48), (1732, 188))  # places and sizes of the film header's texts
_UNDEFINED = 0xFFFFFFFF
_DROP = 0x40  # flag of drop frame counting, above the tens of the frames
_MOST_FRAMES = 39  # of a second: their tens have two bits
_BT709 = 6  # of transfer and colorimetric


@dataclass(frozen=True)
class DpxHeader:
    """What a DPX file says beside its pixels.

    Attributes:
        timecode: `01:00:00:00`, with a semicolon if it drops frames; empty for none.
        position: number of the frame in its film, None for none.
        transfer, colorimetric: what the codes mean, by the numbers of the standard.
    """

    timecode: str = ""
    position: int | None = None
    transfer: int = _BT709
    colorimetric: int = _BT709


def read_header(path: Path) -> DpxHeader | None:
    """The header of a DPX file; None if it is none or cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_GENERIC + _INDUSTRY)
    except OSError:
        return None
    order = _MAGIC.get(data[:4])
    if order is None or len(data) <= _COLORIMETRIC:
        return None

    def number(place: int) -> int:
        whole = len(data) >= place + 4 <= struct.unpack_from(f"{order}I", data, _OFFSET)[0]
        return int(struct.unpack_from(f"{order}I", data, place)[0]) if whole else _UNDEFINED

    position, code = number(_POSITION), number(_TIMECODE)
    return DpxHeader(
        "" if code == _UNDEFINED else _decoded(code),
        None if position == _UNDEFINED else position,
        data[_TRANSFER],
        data[_COLORIMETRIC],
    )


def with_header(data: bytes, header: DpxHeader, rate: float) -> bytes:
    """A DPX file of FFmpeg's, which has a generic header alone, with `header`.

    Args:
        data: the file.
        header: to write.
        rate: frames a second.
    """
    order = _MAGIC[data[:4]]
    assert struct.unpack_from(f"{order}I", data, _OFFSET)[0] == _GENERIC
    head = bytearray(data[:_GENERIC]) + bytearray(b"\xff" * _INDUSTRY)

    def put(kind: str, place: int, value: float) -> None:
        struct.pack_into(order + kind, head, place, value)

    put("I", _OFFSET, len(head))
    put("I", _FILE_SIZE, len(data) + _INDUSTRY)
    put("I", _GENERIC_SIZE, _GENERIC)
    put("I", _INDUSTRY_SIZE, _INDUSTRY)
    put("I", _PICTURE, len(head))
    put("B", _TRANSFER, header.transfer)
    put("B", _COLORIMETRIC, header.colorimetric)
    put("I", _POSITION, _UNDEFINED if header.position is None else header.position)
    put("f", _FILM_RATE, rate)
    put("I", _TIMECODE, _encoded(header.timecode))
    put("f", _VIDEO_RATE, rate)
    for place, size in _EMPTY:
        head[place : place + size] = bytes(size)
    return bytes(head) + data[_GENERIC:]


def _decoded(code: int) -> str:
    """A timecode of two decimal digits a byte. Source: SMPTE ST 12-1."""
    hours, minutes, seconds, frames = code.to_bytes(4, "big")
    drop = ";" if frames & _DROP else ":"
    parts = hours & 0x3F, minutes & 0x7F, seconds & 0x7F, frames & 0x3F
    if any(part & 0xF > 9 for part in parts):
        return ""
    texts = [f"{part:02x}" for part in parts]
    return ":".join(texts[:3]) + drop + texts[3]


def _encoded(timecode: str) -> int:
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d\d)", timecode)
    if found is None or int(found[5]) > _MOST_FRAMES:
        return _UNDEFINED
    parts = bytes(int(found[i], 16) for i in (1, 2, 3, 5))
    return int.from_bytes(parts, "big") | (_DROP if found[4] != ":" else 0)
