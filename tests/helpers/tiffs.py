"""Uncompressed TIFF files of any layout. Source: TIFF 6.0, sections 2 and 8."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

_SHORT, _LONG = 3, 4


def write_tiff(
    path: Path,
    samples: np.ndarray,
    *,
    photometric: int = 1,
    bits: int = 0,
    sample_format: int = 1,
    extra: Sequence[int] = (),
    planar: bool = False,
    order: Literal["<", ">"] = "<",
) -> None:
    """Write `(H, W)` or `(H, W, C)` unsigned samples as one strip (a plane each with `planar`).

    Args:
        bits: told for a sample; 0 for those of its type.
    """
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, count = samples.shape
    stored = np.moveaxis(samples, 2, 0) if planar else samples
    data = stored.astype(samples.dtype.newbyteorder(order)).tobytes()
    strips = count if planar else 1
    bits = bits or 8 * samples.dtype.itemsize
    tags: dict[int, tuple[int, Sequence[int]]] = {
        256: (_LONG, (width,)),
        257: (_LONG, (height,)),
        258: (_SHORT, (bits,) * count),
        259: (_SHORT, (1,)),
        262: (_SHORT, (photometric,)),
        273: (_LONG, (0,) * strips),
        277: (_SHORT, (count,)),
        278: (_LONG, (height,)),
        279: (_LONG, (len(data) // strips,) * strips),
        284: (_SHORT, (2 if planar else 1,)),
        339: (_SHORT, (sample_format,) * count),
    }
    if extra:
        tags[338] = (_SHORT, tuple(extra))
    values_at = 8 + 2 + 12 * len(tags) + 4

    def pack(kind: int, values: Sequence[int]) -> bytes:
        return struct.pack(f"{order}{len(values)}{'H' if kind == _SHORT else 'I'}", *values)

    sizes = [len(pack(*entry)) for entry in tags.values()]
    start = values_at + sum(size + size % 2 for size in sizes if size > 4)
    tags[273] = (_LONG, [start + i * (len(data) // strips) for i in range(strips)])
    entries, rest = b"", b""
    for tag in sorted(tags):
        kind, values = tags[tag]
        packed = pack(kind, values)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", values_at + len(rest))
            rest += packed + bytes(len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + place
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HIH", 42, 8, len(tags))
    path.write_bytes(head + entries + bytes(4) + rest + data)
