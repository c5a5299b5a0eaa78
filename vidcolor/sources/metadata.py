"""What a picture's file tells beside its pixels, and what is kept of it: `read_metadata`."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from PIL import Image

ORIENTATION = 0x0112
_EXIF_HEAD = b"Exif\0\0"
# Descriptive tags of a TIFF file that go into the kept EXIF block; the others lay out its pixels.
_TIFF_TAGS = (270, 271, 272, 305, 306, 315, 316, 33432)
_TIFF_FOLDERS = (0x8769, 0x8825)  # Exif and GPS
_TIFF_XMP = 700
_PNG_XMP = "XML:com.adobe.xmp"
# What Pillow raises for EXIF blocks that are no TIFF structure.
_BAD_EXIF = (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error)
# ImageMagick's copies of EXIF, ICC and XMP as text. They would contradict the blocks that are kept.
_RAW_PROFILE = "Raw profile type "
_OWN_COMMENT = b"Created by OpenJPEG"  # written by the encoder, not by a person
# XMP specification, part 2, section 2.4: the TIFF orientation, as an attribute or an element.
_XMP_ORIENTATION = re.compile(rb"""(\btiff:Orientation\s*(?:=\s*["']|>)\s*)[2-8]""")


@dataclass(frozen=True)
class Metadata:
    """What is kept; see `PictureInfo`, whose fields these are."""

    exif: bytes
    icc_profile: bytes
    dpi: tuple[float, float] | None
    xmp: bytes
    comment: bytes
    text: tuple[tuple[str, str], ...]


def orientation_of(image: Image.Image) -> int | None:
    """The EXIF orientation, 1 to 8; 1 where there is none, None where EXIF is damaged."""
    try:
        if raw := image.info.get("exif"):
            Image.Exif().load(raw)  # an image that failed at it once says nothing the next time
        return int(image.getexif().get(ORIENTATION, 1) or 1)
    except _BAD_EXIF:
        return None


def read_metadata(image: Image.Image, orientation: int | None) -> Metadata:
    """What is kept of a loaded picture, as for pixels turned upright.

    Args:
        image: its pixels are loaded, because PNG may hold text behind them.
        orientation: how the pixels were stored, by EXIF; None leaves EXIF out.
    """
    icc = image.info.get("icc_profile") or b""
    dpi = _dpi(image)
    return Metadata(
        exif=b"" if orientation is None else _exif(image),
        # The output is RGB; a profile of grey or CMYK values would be wrong in it.
        icc_profile=icc if icc[16:20] == b"RGB " else b"",
        dpi=dpi[::-1] if dpi and orientation in (5, 6, 7, 8) else dpi,
        xmp=_xmp(image),
        comment=_comment(image),
        text=_text(image),
    )


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = (float(each) for each in image.info.get("dpi", ()))
    except (TypeError, ValueError, ArithmeticError):
        return None  # none, or a fraction over zero
    # NaN fails this too; beyond a million no scanner goes, and PNG's 32 bits do not hold it.
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def _xmp(image: Image.Image) -> bytes:
    xmp = image.info.get("xmp") or image.info.get(_PNG_XMP) or b""
    if not xmp and image.format == "TIFF":
        xmp = getattr(image, "tag_v2", {}).get(_TIFF_XMP, b"")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if not isinstance(xmp, bytes):
        return b""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def _comment(image: Image.Image) -> bytes:
    if image.format == "PNG":
        return b""  # any keyword may be "comment" there; see `_text`
    comment = image.info.get("comment") or b""
    if isinstance(comment, str):
        comment = comment.encode()
    return b"" if comment.startswith(_OWN_COMMENT) else comment


def _text(image: Image.Image) -> tuple[tuple[str, str], ...]:
    found = getattr(image, "text", None)
    if image.format != "PNG" or not found:
        return ()
    return tuple(
        (str(key), str(value))
        for key, value in found.items()
        if key != _PNG_XMP and not key.startswith(_RAW_PROFILE)
    )


def _exif(image: Image.Image) -> bytes:
    """The EXIF block with orientation 1, from `Exif\\0\\0` on; empty if there is none."""
    raw = image.info.get("exif") or b""
    if image.format == "TIFF":
        tags = image.getexif()
        kept = Image.Exif()
        for tag in _TIFF_TAGS:
            if tag in tags:
                value = tags[tag]
                # Pillow reads text as Latin-1 and writes it as ASCII, with question marks. As bytes
                # it stays what it was.
                kept[tag] = value.encode("latin-1") if isinstance(value, str) else value
        for folder in _TIFF_FOLDERS:
            if entries := tags.get_ifd(folder):
                kept.get_ifd(folder).update(entries)
        raw = kept.tobytes() if len(kept) or any(kept.get_ifd(f) for f in _TIFF_FOLDERS) else b""
    elif not raw and f"{_RAW_PROFILE}exif" in image.info:
        raw = image.getexif().tobytes()
    if not raw:
        return b""
    body = bytearray(raw.removeprefix(_EXIF_HEAD))
    _reset_orientation(body)
    return _EXIF_HEAD + bytes(body)


def _reset_orientation(body: bytearray) -> None:
    """Set the orientation to 1 in place, so that all else (maker notes hold offsets) stays.

    Source: TIFF 6.0, section 2: byte order, offset of the first folder, twelve-byte entries.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(body[:2]))
    if order is None or len(body) < 10:
        return
    (start,) = struct.unpack_from(order + "I", body, 4)
    if start + 2 > len(body):
        return
    (count,) = struct.unpack_from(order + "H", body, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(body) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", body, at)
        if tag == ORIENTATION:
            struct.pack_into(order + ("I" if kind == 4 else "H"), body, at + 8, 1)
