"""ICC profiles of one curve, made by the specification. Source: ICC.1:2001-04, 6 (version 2)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

# XYZ of red, green and blue, adapted to D50
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PRO_PHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))
_WHITE = (0.9642, 1.0, 0.8249)


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))


def _curve(gamma: float, curve: np.ndarray | None) -> bytes:
    if curve is None:
        return b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    codes = [round(float(v) * 65535) for v in curve]
    return b"curv\0\0\0\0" + struct.pack(f">I{len(codes)}H", len(codes), *codes)


def _profile(space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = [(b"desc", name), (b"cprt", b"text\0\0\0\0none\0"), (b"wtpt", _xyz(_WHITE)), *tags]
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for key, data in tags:
        table += key + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4xI", start + len(body), 0x02400000) + b"mntr" + space + b"XYZ "
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(_WHITE)[8:]
    return head.ljust(128, b"\0") + table + body


def gray_profile(*, gamma: float = 2.2, curve: np.ndarray | None = None) -> bytes:
    """Of gray, with an exponent or the light of each code in equal steps."""
    return _profile(b"GRAY", [(b"kTRC", _curve(gamma, curve))])


def rgb_profile(primaries: Sequence[Sequence[float]], gamma: float) -> bytes:
    """Of an RGB space, with an exponent."""
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags = [(name, _xyz(p)) for name, p in zip(names, primaries, strict=True)]
    return _profile(b"RGB ", tags + [(n, _curve(gamma, None)) for n in (b"rTRC", b"gTRC", b"bTRC")])
