"""Marks of numbered pictures: in each PNG and TIFF file as XMP, and for all of them in a sidecar.

The input's SHA-256 is known when all pictures are written, so the sidecar alone has it. DPX and EXR
files have no place for XMP that others read.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from ..marks import Marks
from ..system.files import replacing
from ..system.xmp import merged_xmp
from .embed import png_chunk
from .tags import BYTE, of_bytes, read_directory, write_directory

_PNG_HEAD = 8 + 25  # bytes of the signature and IHDR
_PNG_XMP = b"XML:com.adobe.xmp" + bytes(5)  # XMP specification, part 3, 1.1.5
_TIFF_XMP = 700


def marked_file(data: bytes, codec: str, packet: bytes) -> bytes:
    """One picture's file with an XMP packet; as it is where its format has no place for one.

    Args:
        data: the file, as FFmpeg's encoder makes it.
        codec: the encoder.
        packet: may be empty.
    """
    if packet and codec == "png":
        chunk = png_chunk(b"iTXt", _PNG_XMP + packet)
        return data[:_PNG_HEAD] + chunk + data[_PNG_HEAD:]
    if packet and codec == "tiff" and data[:4] == b"II*\0":
        (at,) = struct.unpack_from("<I", data, 4)
        tags, after = read_directory(data, at)
        tags[_TIFF_XMP] = of_bytes(BYTE, packet)
        end = len(data) + len(data) % 2
        directory = write_directory(tags, end, after=after)
        return data[:4] + struct.pack("<I", end) + data[8:].ljust(end - 8, b"\0") + directory
    return data


def sidecar_of_sequence(pattern: Path) -> Path:
    """Where the marks of numbered pictures lie: `out/shot_all.xmp` for `out/shot_%04d.dpx`."""
    return pattern.with_name(re.sub(r"%\d*d", "all", pattern.stem) + ".xmp")


def write_sidecar(pattern: Path, marks: Marks, *, overwrite: bool) -> list[str]:
    """Write the marks of numbered pictures; one line where that is not done.

    Raises:
        OutputError: it cannot be written.
    """
    path = sidecar_of_sequence(pattern)
    if os.path.lexists(path) and not overwrite:
        return [f"{path}: already exists, so the marks of {pattern.name} are not written into it"]
    with replacing(path) as made:
        made.write_bytes(merged_xmp(b"", marks))
    return []
