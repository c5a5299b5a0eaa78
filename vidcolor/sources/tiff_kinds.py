"""What a TIFF file holds, by its tags: pages, their layout, and what is not read and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .pillow_files import UnsuitableError

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_SAMPLES, _EXTRA, _FORMAT = 277, 338, 339
_OLD_SUBFILE = 255
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType, TIFF 6.0, section 8
_THUMBNAIL = 2  # SubfileType
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}  # samples by photometric interpretation
_LAB = (8, 9, 10)
_NAMES = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab"}
# TIFF 6.0 and its supplements -> libvips' name; lossy kinds are written without loss
_COMPRESSIONS = {1: "none", 5: "lzw", 8: "deflate", 32773: "packbits", 32946: "deflate"}
_MOST_PAGES = 10_000
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class TiffPage:
    """One picture of a TIFF file.

    Attributes:
        index: its number among all directories of the file, as libvips counts.
        width, height: as stored.
        bits, samples, extra: bits a sample, samples a pixel, meaning of those beyond the color.
        photometric, sample_format: by TIFF 6.0.
        compression: by libvips' name.
        tags: all of them.
        offset: of its directory in the file.
    """

    index: int
    width: int
    height: int
    bits: int
    samples: int
    extra: tuple[int, ...]
    photometric: int
    sample_format: int
    compression: str
    tags: Any
    offset: int

    @property
    def alpha(self) -> str:
        """`yes`, `no`, or `unknown` for a sample that the file does not describe (infrared)."""
        colors = _COLORS.get(self.photometric, self.samples)
        if self.samples <= colors:
            return "no"
        return "yes" if self.extra[:1] in ((1,), (2,)) else "unknown"

    @property
    def is_lab8(self) -> bool:
        """Lab of 8 bits, which libvips does not read."""
        return self.photometric in _LAB and self.bits == 8

    def check(self) -> None:
        """Raise an UnsuitableError for a kind of pixels that is not read."""
        name = _NAMES.get(self.photometric)
        if name is None:
            kind = "camera raw" if self.photometric in (32803, 34892) else "such"
            raise UnsuitableError(
                f"{kind} pixels (photometric interpretation {self.photometric}) are not "
                "supported; save it as RGB with 8 or 16 bits"
            )
        if self.sample_format in (3, 6):
            half = "half-float: " if self.bits == 16 else ""
            raise UnsuitableError(
                f"{half}floating-point pixels are not supported; save it with 8 or 16 bits"
            )
        if self.sample_format in (2, 5) and self.photometric not in _LAB:
            raise UnsuitableError(
                f"signed {self.bits}-bit pixels are not supported; save it with unsigned samples"
            )
        if self.bits > 16:
            raise UnsuitableError(
                f"{self.bits}-bit pixels are not supported; save it with 8 or 16 bits"
            )
        if self.bits not in (1, 2, 4, 8, 16):
            raise UnsuitableError(
                f"{self.bits}-bit {name} TIFF is not supported; save it as 16-bit"
            )


def _page(index: int, tags: Any, offset: int) -> TiffPage:
    get = tags.get
    return TiffPage(
        index=index,
        width=int(get(_WIDTH, 0)),
        height=int(get(_HEIGHT, 0)),
        bits=max(_tuple(get(_BITS, 1)), default=1),
        samples=int(get(_SAMPLES, 1)),
        extra=_tuple(get(_EXTRA, ())),
        photometric=int(get(_PHOTOMETRIC, 1)),
        sample_format=max(_tuple(get(_FORMAT, 1)), default=1),
        compression=_COMPRESSIONS.get(get(_COMPRESSION, 1), "deflate"),
        tags=tags,
        offset=offset,
    )


def _tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (int(value),)


def pages(file: IO[bytes]) -> tuple[list[TiffPage], int]:
    """The pictures of an open TIFF file in their order, and how many smaller copies and masks were
    passed over, wherever they stand.

    Source: TIFF 6.0, section 2 and NewSubfileType; BigTIFF has offsets of 64 bits.
    """
    found = list(_directories(file))
    kept = [page for page in found if not _is_reduced(page)]
    kept = kept or found
    return kept, len(found) - len(kept)


def _directories(file: IO[bytes]) -> Iterator[TiffPage]:
    file.seek(0)
    head = file.read(16)
    order = head[:2]
    # Pillow takes no big-endian BigTIFF for one, but its directories
    head = b"II+\0" + head[4:] if b"+" in head[2:4] else head[:8]
    at = ImageFileDirectory_v2(head, order).next
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.add(at)
        here = ImageFileDirectory_v2(head, order, group=0)  # values as they are
        file.seek(at)
        here.load(file)
        yield _page(len(seen) - 1, here, at)
        at = here.next


def _is_reduced(page: TiffPage) -> bool:
    kind = page.tags.get(_SUBFILE, 0)
    return bool(kind & (_REDUCED | _MASK)) or page.tags.get(_OLD_SUBFILE) == _THUMBNAIL


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a TIFF file."""
    return head[:4] in SIGNATURES
