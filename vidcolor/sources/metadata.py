"""What a picture's file tells beside its pixels, and what is kept of it: `read_metadata`."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from PIL import Image, JpegImagePlugin

from .decode import PictureFile

ORIENTATION = 0x0112
_X_RESOLUTION, _Y_RESOLUTION, _UNIT = 282, 283, 296
_CM_PER_INCH = 2.54
_BIG_ENDIAN_BIGTIFF = b"MM\0+"  # whose EXIF Pillow does not read
_EXIF_HEAD = b"Exif\0\0"
# Tags of a TIFF file that tell of the picture, which go into the kept EXIF block; the others lay
# out its pixels. TIFF 6.0, section 8, and Windows' XPTitle to XPSubject.
_TIFF_TAGS = (
    *(269, 270, 271, 272, 285, 297, 305, 306, 315, 316, 33432),
    *(40091, 40092, 40093, 40094, 40095),
)
_TIFF_FOLDERS = (0x8769, 0x8825)  # Exif and GPS
_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP = 700, 33723, 34377
_PHOTOSHOP_IPTC = 0x0404  # the image resource that holds IPTC records
_PNG_XMP = "XML:com.adobe.xmp"
# What Pillow raises for EXIF blocks that are no TIFF structure.
_BAD_EXIF = (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error)
# ImageMagick's copies of EXIF, IPTC, ICC and XMP as text. They would contradict the blocks that
# are kept.
_RAW_PROFILE = "Raw profile type "
_OWN_COMMENT = b"Created by OpenJPEG"  # written by the encoder, not by a person
# XMP specification, part 2, section 2.4: the TIFF orientation, as an attribute or an element.
_XMP_ORIENTATION = re.compile(rb"""(\btiff:Orientation\s*(?:=\s*["']|>)\s*)[2-8]""")
_STANDARD_SUM = 3688  # of the luminance table of ITU-T T.81, annex K, table K.1


@dataclass(frozen=True)
class Metadata:
    """What is kept; see `PictureInfo`, whose fields these are. `orientation` is how the pixels
    were stored, 1 to 8 by EXIF 2.32, tag 274."""

    orientation: int
    exif: bytes
    dpi: tuple[float, float] | None
    xmp: bytes
    comment: bytes
    text: tuple[tuple[str, str], ...]
    iptc: bytes
    quality: int
    lossless: bool
    compression: str


def read_metadata(file: PictureFile, stream: IO[bytes], page: int) -> tuple[Metadata, list[str]]:
    """What is kept of a picture, as for pixels turned upright, and notes of what is not.

    Args:
        file: from `look`.
        stream: the same file, open.
        page: number of the picture in it.
    """
    notes = []
    image = file.head
    tags: Mapping[int, Any] = file.tiff[page].tags if file.tiff else {}
    exif, orientation = b"", 1
    try:
        block = _exif_of(file, stream, page)
        found = tags if block is None else block
        orientation = int(found.get(ORIENTATION, 1) or 1)
        if file.tiff and block is None:
            notes.append(
                f"{file.path}: left out tags of a big-endian BigTIFF; XMP and IPTC are kept"
            )
        exif = _exif_bytes(file, block)
    except _BAD_EXIF:
        block = None
        notes.append(f"{file.path}: its EXIF block is damaged and left out")
    orientation = orientation if 1 <= orientation <= 8 else 1
    dpi = _dpi(image, block, file.loader)
    info: dict[Any, Any] = {} if image is None or page else image.info
    metadata = Metadata(
        orientation=1 if file.loader == "heif" else orientation,  # libvips turns it by itself
        exif=exif,
        dpi=dpi[::-1] if dpi and orientation in (5, 6, 7, 8) else dpi,
        xmp=_xmp(info, tags),
        comment=_comment(info, file.loader),
        text=_text(image, file.loader),
        iptc=_iptc(info, tags, ">" if getattr(tags, "prefix", b"II") == b"MM" else "<"),
        quality=_jpeg_quality(image),
        lossless=file.loader == "webp" and _is_lossless(stream),
        compression=file.tiff[page].compression if file.tiff else "",
    )
    return metadata, notes


def _dpi(
    image: Image.Image | None, exif: Image.Exif | None, loader: str
) -> tuple[float, float] | None:
    """Pixels an inch across and down; None where the file gives none."""
    info: dict[Any, Any] = {} if image is None else image.info
    pair: Any = ()
    if loader == "jpeg" and info.get("jfif_unit") in (1, 2):
        scale = _CM_PER_INCH if info["jfif_unit"] == 2 else 1
        pair = [each * scale for each in info.get("jfif_density", ())]
    elif loader in ("jpeg", "tiff", "webp"):
        if exif is not None and (unit := exif.get(_UNIT, 2)) in (2, 3):
            scale = _CM_PER_INCH if unit == 3 else 1
            found = (exif.get(_X_RESOLUTION), exif.get(_Y_RESOLUTION))
            pair = [float(each) * scale for each in found if each is not None and _is_number(each)]
    else:
        pair = info.get("dpi", ())
    try:
        across, down = (float(each) for each in pair)
    except (TypeError, ValueError, ArithmeticError):
        return None  # none, or a fraction over zero
    # NaN fails this too; beyond a million no scanner goes, and PNG's 32 bits do not hold it.
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, ArithmeticError):
        return False


def _bytes(value: Any, order: str = "<") -> bytes:
    """A tag's bytes, however Pillow gives them."""
    if isinstance(value, tuple):  # IPTC that is tagged as numbers of 32 bits
        if all(isinstance(each, int) for each in value):
            return struct.pack(f"{order}{len(value)}I", *(each & 0xFFFFFFFF for each in value))
        value = value[0] if value else b""
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""


def _xmp(info: Mapping[Any, Any], tags: Mapping[int, Any]) -> bytes:
    found = info.get("xmp") or info.get(_PNG_XMP) or tags.get(_TIFF_XMP) or b""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", _bytes(found))


def _iptc(info: Mapping[Any, Any], tags: Mapping[int, Any], order: str) -> bytes:
    """IPTC records: of TIFF's own tag, of Photoshop's resources, or as ImageMagick puts them in
    PNG. Source: Adobe, Photoshop file formats, image resources."""
    if _TIFF_IPTC in tags:
        return _bytes(tags[_TIFF_IPTC], order)
    resources = info.get("photoshop")
    if _TIFF_PHOTOSHOP in tags:
        resources = _photoshop(_bytes(tags[_TIFF_PHOTOSHOP]))
    if isinstance(resources, dict) and isinstance(found := resources.get(_PHOTOSHOP_IPTC), bytes):
        return found
    text = info.get(f"{_RAW_PROFILE}iptc", "")
    try:
        data = bytes.fromhex("".join(str(text).split()[2:]))
    except ValueError:
        return b""
    return _photoshop(data).get(_PHOTOSHOP_IPTC, data) if data.startswith(b"8BIM") else data


def _photoshop(data: bytes) -> dict[int, bytes]:
    """Image resources by number."""
    found, at = {}, 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        (number,) = struct.unpack_from(">H", data, at + 4)
        at += 6 + (data[at + 6] // 2 + 1) * 2  # the name, with its length, is even
        (size,) = struct.unpack_from(">I", data.ljust(at + 4, b"\0"), at)
        found[number] = data[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
    return found


def _comment(info: Mapping[Any, Any], loader: str) -> bytes:
    if loader == "png":
        return b""  # any keyword may be "comment" there; see `_text`
    comment = _bytes(info.get("comment") or b"")
    return b"" if comment.startswith(_OWN_COMMENT) else comment


def _text(image: Image.Image | None, loader: str) -> tuple[tuple[str, str], ...]:
    if loader != "png" or image is None:
        return ()
    return tuple(
        (str(key), str(value))
        for key, value in image.info.items()
        if isinstance(value, str) and key != _PNG_XMP and not str(key).startswith(_RAW_PROFILE)
    )


def _jpeg_quality(image: Image.Image | None) -> int:
    """The IJG quality, 1 to 100, whose luminance table the file's comes nearest to by its sum; 0
    for another format. Source: libjpeg, jpeg_quality_scaling."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not image.quantization:
        return 0
    percent = 100 * sum(next(iter(image.quantization.values()))) / _STANDARD_SUM
    quality = (200 - percent) / 2 if percent <= 100 else 5000 / percent
    return min(max(math.ceil(quality), 1), 100)


def _is_lossless(stream: IO[bytes]) -> bool:
    """Whether a WebP file's first picture is lossless. Source: RFC 9649, 2.5 to 2.7."""
    stream.seek(0)
    data = stream.read(1 << 16)
    first = min((at for at in (data.find(b"VP8L"), data.find(b"VP8 ")) if at > 0), default=0)
    return data[first : first + 4] == b"VP8L"


def _exif_of(file: PictureFile, stream: IO[bytes], page: int) -> Image.Exif | None:
    """The tags of EXIF, or of a page of a TIFF file; None for none."""
    if file.tiff:
        stream.seek(0)
        start = stream.read(4)
        if start == _BIG_ENDIAN_BIGTIFF:
            return None
        tags = Image.Exif()
        tags.endian, tags.bigtiff = "<" if start[:2] == b"II" else ">", b"+" in start
        tags.load_from_fp(stream, file.tiff[page].offset)
        return tags
    if file.head is None or page:
        return None
    if raw := file.head.info.get("exif"):
        Image.Exif().load(raw)  # an image that failed at it once says nothing the next time
    return Image.Image.getexif(file.head)  # a PNG file's own would decode its pixels


def _exif_bytes(file: PictureFile, tags: Image.Exif | None) -> bytes:
    """The EXIF block, from `Exif\\0\\0` on; empty if there is none."""
    if tags is None:
        return b""
    if file.tiff:
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
        some = len(kept) or any(kept.get_ifd(each) for each in _TIFF_FOLDERS)
        return kept.tobytes() if some else b""
    assert file.head is not None
    raw: bytes = file.head.info.get("exif") or b""
    if not raw and f"{_RAW_PROFILE}exif" in file.head.info:
        raw = tags.tobytes()
    return _EXIF_HEAD + raw.removeprefix(_EXIF_HEAD) if raw else b""
