"""Metadata put into finished JPEG, PNG and WebP files.

libvips writes EXIF anew from the tags it knows, which breaks maker notes, and no comments, texts or
IPTC; so it writes pixels and color profile alone, and the blocks are put in here as they are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .tags import EXIF_PREFIX

_XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"  # what the JPEG segment of an XMP packet begins with
_PHOTOSHOP_NAME = b"Photoshop 3.0\0"
_IPTC_RESOURCE = b"8BIM\x04\x04\0\0"  # Photoshop's image resource 1028, without a name
_PNG_XMP = b"XML:com.adobe.xmp"
_LONGEST = 65533  # bytes of a JPEG segment, less its length
_LONG_TEXT = 1024  # from here on a PNG text is compressed
_INCH = 0.0254  # meters
_BLOCK = 1 << 24


@dataclass(frozen=True)
class Blocks:
    """What goes into a file beside its pixels; empty for none."""

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    comment: bytes = b""
    texts: tuple[tuple[str, str], ...] = ()
    dpi: tuple[float, float] | None = None

    @property
    def description(self) -> str:
        """What a format with one comment alone says."""
        if self.comment:
            return self.comment.decode(errors="replace")
        texts = dict(self.texts)
        return next((texts[key] for key in ("Comment", "Description", "Title") if key in texts), "")


def _insert(path: Path, at: int, until: int, data: bytes) -> None:
    """Put `data` in the place of the bytes from `at` to before `until`."""
    shift = len(data) - (until - at)
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        if shift > 0:  # from the end, so that nothing is written over before it is read
            for start in range(until + (end - until) // _BLOCK * _BLOCK, until - 1, -_BLOCK):
                _move(file, start, min(start + _BLOCK, end), shift)
        elif shift < 0:
            for start in range(until, end, _BLOCK):
                _move(file, start, min(start + _BLOCK, end), shift)
            file.truncate(end + shift)
        file.seek(at)
        file.write(data)


def _move(file: IO[bytes], start: int, end: int, shift: int) -> None:
    file.seek(start)
    data = file.read(end - start)
    file.seek(start + shift)
    file.write(data)


def embed_jpeg(path: Path, blocks: Blocks) -> list[str]:
    """Put a JFIF head with the resolution, and blocks, at the start of a JPEG file.

    Returns:
        The names of those that are too long for a segment and are left out.

    Sources: ITU-T T.81, B.1.1.4 (segments); JFIF 1.02; Exif 2.32, 4.7.2; XMP specification, part
    3, 1.1.3; Adobe, Photoshop file formats, image resources.
    """
    comment = blocks.comment or blocks.description.encode()
    iptc = blocks.iptc + bytes(len(blocks.iptc) % 2)
    resource = _PHOTOSHOP_NAME + _IPTC_RESOURCE + struct.pack(">I", len(blocks.iptc)) + iptc
    bodies = (
        ("exif", 0xE1, blocks.exif and EXIF_PREFIX + blocks.exif.removeprefix(EXIF_PREFIX)),
        ("xmp", 0xE1, blocks.xmp and _XMP_NAME + blocks.xmp),
        ("iptc", 0xED, blocks.iptc and resource),
        ("comment", 0xFE, comment),
    )
    left_out = [name for name, _, body in bodies if len(body) > _LONGEST]
    segments = b"".join(
        struct.pack(">BBH", 0xFF, mark, len(body) + 2) + body
        for _, mark, body in bodies
        if 0 < len(body) <= _LONGEST
    )
    unit, across, down = 0, 1, 1  # a ratio alone
    if blocks.dpi and max(blocks.dpi) < 65535.5:
        unit, (across, down) = 1, (max(round(each), 1) for each in blocks.dpi)
    # libvips writes no JFIF segment of its own where it keeps no metadata
    head = struct.pack(">BHH", unit, across, down)
    head = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\2" + head + b"\0\0"
    _insert(path, 0, 2, head + segments)
    return left_out


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk. Source: PNG (third edition), 5.3."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_text(key: bytes, value: str) -> bytes:
    """A text in a chunk that can hold it. Source: PNG (third edition), 11.3.3."""
    long = len(value) > _LONG_TEXT
    try:
        plain = value.encode("latin-1")
    except UnicodeEncodeError:
        data = value.encode(errors="replace")
        packed = zlib.compress(data) if long else data
        return png_chunk(b"iTXt", key + bytes((0, long, 0, 0, 0)) + packed)
    if long:
        return png_chunk(b"zTXt", key + b"\0\0" + zlib.compress(plain))
    return png_chunk(b"tEXt", key + b"\0" + plain)


def embed_png(path: Path, blocks: Blocks) -> list[str]:
    """Put blocks before a PNG file's pixels, and the resolution in the place of libvips' own.

    IPTC has no chunk of its own; it goes into a text as ImageMagick and ExifTool do it.
    """
    with path.open("rb") as file:
        kept = file.read(8 + 25)  # the signature and IHDR
        while True:
            at = file.tell()
            length, kind = struct.unpack(">I4s", file.read(8))
            if kind == b"IDAT":
                break
            body = file.read(length + 4)
            if kind == b"iCCP":
                kept += struct.pack(">I", length) + kind + body
    extra = b""
    if blocks.exif:
        extra += png_chunk(b"eXIf", blocks.exif.removeprefix(EXIF_PREFIX))
    if blocks.dpi:
        across, down = (round(each / _INCH) for each in blocks.dpi)
        extra += png_chunk(b"pHYs", struct.pack(">IIB", across, down, 1))  # 1: a meter
    texts: Sequence[tuple[str, str]] = blocks.texts
    if blocks.comment and "Comment" not in dict(texts):
        texts = (*texts, ("Comment", blocks.description))
    extra += b"".join(_png_text(key.encode("latin-1", "replace"), text) for key, text in texts)
    if blocks.iptc:
        resource = _IPTC_RESOURCE + struct.pack(">I", len(blocks.iptc)) + blocks.iptc
        resource += bytes(len(blocks.iptc) % 2)
        lines = "\n".join(resource.hex()[i : i + 72] for i in range(0, 2 * len(resource), 72))
        text = f"\niptc\n{len(resource):8}\n{lines}\n".encode()
        extra += png_chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text))
    if blocks.xmp:  # uncompressed, as the XMP specification, part 3, section 1.1.5 asks
        extra += png_chunk(b"iTXt", _PNG_XMP + bytes(5) + blocks.xmp)
    _insert(path, 0, at, kept + extra)
    return []


def embed_webp(path: Path, blocks: Blocks) -> list[str]:
    """Put EXIF, with the resolution, and XMP behind a WebP file's pixels.

    Returns:
        The names of those that WebP has no place for.

    Source: RFC 9649, 2.7: VP8X has a flag for each.
    """
    data = bytearray(path.read_bytes())
    chunks = ((b"EXIF", 8, blocks.exif.removeprefix(EXIF_PREFIX)), (b"XMP ", 4, blocks.xmp))
    for name, flag, body in chunks:
        if body and data[12:16] == b"VP8X":  # it is there, because a profile is
            data += name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
            data[20] |= flag
    struct.pack_into("<I", data, 4, len(data) - 8)
    path.write_bytes(data)
    return [name for name in ("iptc", "comment", "texts") if getattr(blocks, name)]
