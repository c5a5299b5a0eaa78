"""Pages that libvips wrote, put together into one TIFF file with their tags: `TiffAssembly`."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from ..errors import OutputError
from .embed import Blocks
from .tags import (
    ASCII,
    BYTE,
    EXIF_FOLDER,
    GPS_FOLDER,
    LONG,
    SHORT,
    UNDEFINED,
    Value,
    exif_tags,
    of_bytes,
    of_numbers,
    of_rationals,
    read_directory,
    write_directory,
)

_STRIPS, _TILES = 273, 324
_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT, _XMP, _IPTC = 270, 282, 283, 296, 700, 33723
_PAGE, _PAGE_NUMBER = 254, 297
_INCH = 2  # the unit of a resolution
# Tags of IFD 0 that tell of the picture and not of how its pixels are stored. TIFF 6.0, section 8:
# document name, description, make, model, page name and number, software, date, artist, host,
# copyright; Windows' XPTitle, XPComment, XPAuthor, XPKeywords and XPSubject.
_DESCRIPTIVE = (
    *(269, 270, 271, 272, 285, 297, 305, 306, 315, 316, 33432),
    *(40091, 40092, 40093, 40094, 40095),
)
_MOST = (1 << 32) - (1 << 20)  # bytes of a TIFF file; a larger one is a BigTIFF file


def descriptive_tags(blocks: Blocks) -> dict[int, Value]:
    """The blocks as tags of a TIFF page."""
    found = exif_tags(blocks.exif)
    tags = {tag: found[tag] for tag in (*_DESCRIPTIVE, EXIF_FOLDER, GPS_FOLDER) if tag in found}
    if blocks.description and _DESCRIPTION not in tags:
        tags[_DESCRIPTION] = of_bytes(ASCII, blocks.description.encode())
    if blocks.xmp:
        tags[_XMP] = of_bytes(BYTE, blocks.xmp)
    if blocks.iptc:
        tags[_IPTC] = of_bytes(UNDEFINED, blocks.iptc)
    if blocks.dpi:
        tags[_X_RESOLUTION], tags[_Y_RESOLUTION] = (of_rationals(each) for each in blocks.dpi)
        tags[_UNIT] = of_numbers(SHORT, _INCH)
    return tags


class TiffAssembly:
    """A TIFF file that grows page by page.

    Args:
        path: of the file; where it has no pages yet it is made anew.
        big: it is a BigTIFF file.
    """

    def __init__(self, path: Path, *, big: bool = False) -> None:
        self._path, self._big = path, big
        self._pages: dict[int, dict[int, Value]] = {}

    def take(self, page: int, blocks: Blocks) -> None:
        """The file itself is a page that libvips has written."""
        with (
            self._path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            self._pages[page] = self._tags(data, 0, blocks)

    def append(self, page: int, data: bytes, blocks: Blocks) -> None:
        """Add a page, a whole TIFF file; in any order.

        Raises:
            OutputError: the file would be over 4 GB.
        """
        with self._path.open("r+b") as file:
            base = file.seek(0, 2)
            if base < 8:
                file.write(b"II*\0\0\0\0\0")
                base = 8
            base += base % 2
            if base + len(data) > _MOST:
                raise OutputError(f"{self._path}: its pages take over 4 GB; split it")
            file.seek(base)
            file.write(data)
        self._pages[page] = self._tags(data, base, blocks)

    def _tags(self, data: bytes | mmap.mmap, base: int, blocks: Blocks) -> dict[int, Value]:
        """The page's directory, with strips as they lie in the file."""
        start = struct.unpack_from("<Q" if self._big else "<I", data, 8 if self._big else 4)[0]
        tags, _ = read_directory(data, start, big=self._big)  # type: ignore[arg-type]
        for tag in (_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _DESCRIPTION):
            tags.pop(tag, None)
        for tag in (_STRIPS, _TILES):
            if base and tag in tags:
                tags[tag] = of_numbers(LONG, *(base + each for each in tags[tag].numbers()))
        return tags | descriptive_tags(blocks)

    def finish(self) -> None:
        """Write the directories of all pages, in their order."""
        several = len(self._pages) > 1
        with self._path.open("r+b") as file:
            link = 8 if self._big else 4  # where the offset of the next directory goes
            for number, page in enumerate(sorted(self._pages)):
                tags = dict(self._pages[page])
                if several:
                    tags[_PAGE] = of_numbers(LONG, 2)  # a page of several
                    tags.setdefault(_PAGE_NUMBER, of_numbers(SHORT, number, len(self._pages)))
                at = file.seek(0, 2)
                at += at % 2
                file.seek(at)
                file.write(write_directory(tags, at, self._big))
                file.seek(link)
                file.write(struct.pack("<Q" if self._big else "<I", at))
                entry, head = (20, 8) if self._big else (12, 2)
                link = at + head + entry * len(tags)
