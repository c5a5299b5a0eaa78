"""Tags as TIFF stores them, in EXIF blocks and in TIFF files themselves.

Source: TIFF 6.0, section 2: byte order, offset of the first directory, entries of twelve bytes,
values of more than four bytes elsewhere. BigTIFF has entries of twenty bytes, and eight for values.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

EXIF_PREFIX = b"Exif\0\0"  # of JPEG's APP1 segment; not part of the TIFF structure behind it
EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER = 0x8769, 0x8825, 0xA005
_FOLDERS = (EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER)
_WIDTH, _HEIGHT, _COMPRESSION, _ORIENTATION = 0x0100, 0x0101, 0x0103, 0x0112
_THUMBNAIL, _THUMBNAIL_SIZE = 0x0201, 0x0202
_EXIF_WIDTH, _EXIF_HEIGHT = 0xA002, 0xA003
_JPEG = 6  # the compression of a thumbnail that is a JPEG file
# type -> bytes of a unit and units a value; TIFF 6.0 and BigTIFF
_UNITS = {1: (1, 1), 2: (1, 1), 3: (2, 1), 4: (4, 1), 5: (4, 2), 6: (1, 1), 7: (1, 1), 8: (2, 1),
          9: (4, 1), 10: (4, 2), 11: (4, 1), 12: (8, 1), 13: (4, 1), 16: (8, 1), 17: (8, 1),
          18: (8, 1)}  # fmt: skip
SHORT, LONG, LONG8, UNDEFINED, ASCII, BYTE, RATIONAL = 3, 4, 16, 7, 2, 1, 5
_MOST_DEPTH = 3


@dataclass(frozen=True)
class Value:
    """A tag's type, count and little-endian bytes; or the tags of a directory it points to."""

    kind: int
    count: int
    data: bytes
    folder: dict[int, Value] | None = None

    def numbers(self) -> tuple[int, ...]:
        """Its whole numbers."""
        letter = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(self.kind, "B")
        return struct.unpack(f"<{self.count}{letter}", self.data)


def of_numbers(kind: int, *numbers: int) -> Value:
    """A value of SHORT, LONG or LONG8 numbers."""
    letter = {SHORT: "H", LONG: "I", LONG8: "Q"}[kind]
    return Value(kind, len(numbers), struct.pack(f"<{len(numbers)}{letter}", *numbers))


def of_bytes(kind: int, data: bytes) -> Value:
    """A value of BYTE, ASCII or UNDEFINED."""
    data = data.rstrip(b"\0") + b"\0" if kind == ASCII else data
    return Value(kind, len(data), data)


def of_rationals(*numbers: float) -> Value:
    """A value of RATIONAL numbers, to a ten-thousandth."""
    pairs = [(round(each * 10_000), 10_000) for each in numbers]
    return Value(RATIONAL, len(pairs), b"".join(struct.pack("<2I", *pair) for pair in pairs))


def _order(data: bytes | bytearray) -> str:
    return {b"II": "<", b"MM": ">"}.get(bytes(data[:2]), "")


def read_directory(
    data: bytes, at: int, order: str = "<", big: bool = False, depth: int = 0
) -> tuple[dict[int, Value], int]:
    """The tags of the directory at `at`, with those it points to, and where the next one begins.

    Entries that point outside `data` are left out.
    """
    head, entry, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    size = struct.calcsize(order + entry) + inline
    found: dict[int, Value] = {}
    if at <= 0 or at + struct.calcsize(order + head) > len(data):
        return found, 0
    (count,) = struct.unpack_from(order + head, data, at)
    at += struct.calcsize(order + head)
    for place in range(at, min(at + size * count, len(data) - size + 1), size):
        tag, kind, values = struct.unpack_from(order + entry, data, place)
        unit, units = _UNITS.get(kind, (0, 0))
        length = unit * units * values
        spot = place + size - inline
        if length > inline:
            (spot,) = struct.unpack_from(order + ("Q" if big else "I"), data, spot)
        if not unit or spot + length > len(data):
            continue
        raw = bytes(data[spot : spot + length])
        if order == ">" and unit > 1:  # the bytes of each unit the other way round
            raw = b"".join(raw[i : i + unit][::-1] for i in range(0, len(raw), unit))
        value = Value(kind, values, raw)
        if tag in _FOLDERS and depth < _MOST_DEPTH and value.count == 1:
            inner, _ = read_directory(data, value.numbers()[0], order, big, depth + 1)
            value = Value(kind, 1, raw, inner)
        found[tag] = value
    end = at + size * count
    if end + inline > len(data):
        return found, 0
    return found, struct.unpack_from(order + ("Q" if big else "I"), data, end)[0]


def write_directory(tags: dict[int, Value], at: int, big: bool = False, after: int = 0) -> bytes:
    """A little-endian directory that will stand at `at` (even), with all that it points to."""
    head, entry, inline, pointer = ("<Q", "<HHQ", 8, "<Q") if big else ("<H", "<HHI", 4, "<I")
    size = struct.calcsize(entry) + inline
    start = at + struct.calcsize(head) + size * len(tags) + inline
    entries, values = struct.pack(head, len(tags)), b""
    for tag in sorted(tags):
        value, place = tags[tag], start + len(values)
        data, kind = value.data, value.kind
        if value.folder is not None:
            inner = write_directory(value.folder, place, big)
            data, kind = struct.pack(pointer, place), LONG8 if big else LONG
            values += inner + bytes(len(inner) % 2)
        elif len(data) > inline:
            values += data + bytes(len(data) % 2)
            data = struct.pack(pointer, place)
        entries += struct.pack(entry, tag, kind, value.count) + data.ljust(inline, b"\0")
    return entries + struct.pack(pointer, after) + values


def exif_tags(exif: bytes) -> dict[int, Value]:
    """The tags of an EXIF block; none of a damaged one."""
    body = exif.removeprefix(EXIF_PREFIX)
    order = _order(body)
    if not order or len(body) < 8:
        return {}
    (at,) = struct.unpack_from(order + "I", body, 4)
    return read_directory(body, at, order)[0]


def has_thumbnail(exif: bytes) -> bool:
    """Whether an EXIF block holds a small copy of the picture."""
    body = exif.removeprefix(EXIF_PREFIX)
    order = _order(body)
    if not order or len(body) < 8:
        return False
    (at,) = struct.unpack_from(order + "I", body, 4)
    return bool(read_directory(body, at, order)[1])


def revised_exif(exif: bytes, width: int, height: int, thumbnail: bytes = b"") -> bytes:
    """The same EXIF block for a picture of this size that stands upright.

    Only the values that change are written, in place, so that maker notes, which hold offsets,
    stay readable. A thumbnail is replaced, or unlinked where there is no new one.

    Args:
        exif: with or without its prefix; a damaged one is returned as it is.
        width, height: of the picture.
        thumbnail: a JPEG file.
    """
    start = len(EXIF_PREFIX) if exif.startswith(EXIF_PREFIX) else 0
    block = bytearray(exif[start:])
    order = _order(block)
    if not order or len(block) < 8:
        return exif
    (first,) = struct.unpack_from(order + "I", block, 4)
    places, end = _places(block, first, order)
    _set(block, places, order, {_ORIENTATION: 1, _WIDTH: width, _HEIGHT: height})
    if EXIF_FOLDER in places:
        (at,) = struct.unpack_from(order + "I", block, places[EXIF_FOLDER] + 8)
        inner, _ = _places(block, at, order)
        _set(block, inner, order, {_EXIF_WIDTH: width, _EXIF_HEIGHT: height})
    if end and (second := struct.unpack_from(order + "I", block, end)[0]):
        _replace_thumbnail(block, second, end, order, thumbnail)
    return exif[:start] + bytes(block)


def _places(block: bytearray, at: int, order: str) -> tuple[dict[int, int], int]:
    """Where the entries of a directory stand, and where the offset of the next one does."""
    if at <= 0 or at + 2 > len(block):
        return {}, 0
    (count,) = struct.unpack_from(order + "H", block, at)
    end = at + 2 + 12 * count
    if end + 4 > len(block):
        return {}, 0
    return {
        struct.unpack_from(order + "H", block, place)[0]: place for place in range(at + 2, end, 12)
    }, end


def _set(block: bytearray, places: dict[int, int], order: str, values: dict[int, int]) -> None:
    """Change numbers that are there."""
    for tag, value in values.items():
        if tag in places:
            (kind,) = struct.unpack_from(order + "H", block, places[tag] + 2)
            if kind == LONG or value < 1 << 16:
                form = "I" if kind == LONG else "H"
                struct.pack_into(order + form, block, places[tag] + 8, value)


def _replace_thumbnail(block: bytearray, at: int, link: int, order: str, thumbnail: bytes) -> None:
    places, _ = _places(block, at, order)
    known = _THUMBNAIL in places and _THUMBNAIL_SIZE in places
    if known:
        spot, size = (
            struct.unpack_from(order + "I", block, places[tag] + 8)[0]
            for tag in (_THUMBNAIL, _THUMBNAIL_SIZE)
        )
        if spot + size <= len(block):
            block[spot : spot + size] = bytes(size)
    if not (known and thumbnail):
        struct.pack_into(order + "I", block, link, 0)
        return
    if len(thumbnail) > size or spot + size > len(block):
        spot = len(block)
        block.extend(thumbnail)
    else:
        block[spot : spot + len(thumbnail)] = thumbnail
    _set(block, places, order, {_ORIENTATION: 1, _COMPRESSION: _JPEG})
    for tag, value in ((_THUMBNAIL, spot), (_THUMBNAIL_SIZE, len(thumbnail))):
        struct.pack_into(order + "HI", block, places[tag] + 2, LONG, 1)
        struct.pack_into(order + "I", block, places[tag] + 8, value)
