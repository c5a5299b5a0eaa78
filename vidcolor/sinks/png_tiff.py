"""Pictures that Pillow cannot write: 16 bits a channel in colour, and TIFF with an EXIF block
that did not come from a TIFF. Both carry EXIF, ICC, XMP, resolution and text."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..errors import OutputError

_EXIF_PREFIX = b"Exif\0\0"  # of JPEG's APP1 segment; not part of the TIFF structure behind it
_PNG_HEADER = 8 + 25  # the signature and the IHDR chunk

_ORIENTATION, _EXIF_IFD, _GPS_IFD, _ICC = 0x0112, 0x8769, 0x8825, 0x8773
_DESCRIPTION, _XMP = 270, 700
XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"  # what the JPEG segment of an XMP packet begins with
_ICC_PART = 65519  # bytes of a profile in one JPEG segment
_INCH = 0.0254  # metres
# TIFF 6.0 tags of IFD 0 that tell of the picture and not of how its pixels are stored:
# description, make, model, software, date, artist, host, copyright.
_DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 316, 33432)
_STRIP_BYTES = 1 << 18


def upright_exif(exif: bytes) -> bytes:
    """The same EXIF block with its orientation set to 1: the pixels are upright already.

    Only those two bytes change, so that maker notes, which hold offsets, stay readable.
    """
    start = len(_EXIF_PREFIX) if exif.startswith(_EXIF_PREFIX) else 0
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2])
    if order is None or len(exif) < start + 8:
        return exif
    block = bytearray(exif)
    (offset,) = struct.unpack_from(order + "I", block, start + 4)
    place = start + offset
    if place + 2 > len(block):
        return exif
    (count,) = struct.unpack_from(order + "H", block, place)
    for entry in range(place + 2, min(place + 2 + 12 * count, len(block) - 11), 12):
        if struct.unpack_from(order + "H", block, entry)[0] == _ORIENTATION:
            struct.pack_into(order + "H", block, entry + 8, 1)
    return bytes(block)


def _chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk. Source: PNG (third edition), 5.3."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode_deep_png(
    pixels: NDArray[np.uint16],
    exif: bytes,
    profile: bytes,
    *,
    dpi: tuple[float, float] | None = None,
    texts: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """`(H, W, 3 or 4)` R, G, B and alpha codes of 16 bits as a PNG file.

    Args:
        pixels: the codes.
        exif: a block to carry, empty for none.
        profile: ICC, empty for none.
        dpi: pixels an inch across and down.
        texts: names and contents of tEXt, zTXt and iTXt chunks.

    Raises:
        OutputError: OpenCV could not encode it.
    """
    try:
        import cv2  # here, because its wheel needs system libraries that a bare machine lacks
    except ImportError as error:
        raise OutputError(f"{error}; on Debian: apt-get install libgl1 libglib2.0-0") from error

    order = [2, 1, 0, 3][: pixels.shape[2]]
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, order]))
    if not done:
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise OutputError(f"a picture of {size} cannot be written as PNG; use .tif")
    data = encoded.tobytes()
    extra = b""
    if profile:
        extra += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if exif:
        extra += _chunk(b"eXIf", exif.removeprefix(_EXIF_PREFIX))
    if dpi:
        across, down = (round(each / _INCH) for each in dpi)
        extra += _chunk(b"pHYs", struct.pack(">IIB", across, down, 1))  # 1: the unit is a metre
    extra += b"".join(_chunk(kind, data) for kind, data in texts)
    return data[:_PNG_HEADER] + extra + data[_PNG_HEADER:]


def add_jpeg_segments(
    data: bytes, exif: bytes, profile: bytes, xmp: bytes, comment: bytes
) -> bytes:
    """A JPEG file with these blocks behind its JFIF head; each but the profile within 65533 bytes.

    Pillow can write them too, but hands libjpeg a buffer that they may fill, which is an error.

    Sources: ITU-T T.81, B.1.1.4 (segments); Exif 2.32, 4.7.2; XMP specification, part 3, 1.1.3;
    ICC.1:2022, B.4.
    """
    bodies = []
    if exif:
        bodies.append((b"\xff\xe1", _EXIF_PREFIX + exif.removeprefix(_EXIF_PREFIX)))
    if xmp:
        bodies.append((b"\xff\xe1", XMP_NAME + xmp))
    parts = [profile[at : at + _ICC_PART] for at in range(0, len(profile), _ICC_PART)]
    for number, part in enumerate(parts, 1):
        bodies.append((b"\xff\xe2", b"ICC_PROFILE\0" + bytes((number, len(parts))) + part))
    if comment:
        bodies.append((b"\xff\xfe", comment))
    segments = [mark + struct.pack(">H", len(body) + 2) + body for mark, body in bodies]
    (length,) = struct.unpack_from(">H", data, 4)  # of the JFIF head, behind the start and its mark
    return data[: 4 + length] + b"".join(segments) + data[4 + length :]


def encode_tiff(
    pixels: NDArray[Any],
    exif: bytes,
    profile: bytes,
    *,
    dpi: tuple[float, float] | None = None,
    xmp: bytes = b"",
    description: str = "",
) -> bytes:
    """`(H, W, 3 or 4)` R, G, B and alpha codes, uint8 or uint16, as a TIFF file with Deflate.

    Args:
        pixels: the codes.
        exif: a block to carry, empty for none.
        profile: ICC, empty for none.
        dpi: pixels an inch across and down.
        xmp: a packet to carry, empty for none.
        description: used where `exif` has none.

    Source: TIFF 6.0, sections 8 and 14 (horizontal differencing), and Adobe's technical note of
    2002 for Deflate.
    """
    height, width, channels = pixels.shape
    rows = max(_STRIP_BYTES // (width * channels * pixels.itemsize), 1)
    differences = pixels.copy()
    differences[:, 1:] -= pixels[:, :-1]  # modulo the type, as the predictor asks
    strips = [
        zlib.compress(differences[top : top + rows].astype(f"<u{pixels.itemsize}").tobytes())
        for top in range(0, height, rows)
    ]
    directory: Any = ImageFileDirectory_v2(ifh=b"II\x2a\0\0\0\0\0")
    directory[256], directory[257] = width, height
    directory[258] = (8 * pixels.itemsize,) * channels  # bits per sample
    directory[259] = 8  # Deflate
    directory[262] = 2  # RGB
    directory[273] = tuple(int(each) for each in np.cumsum([0, *map(len, strips[:-1])]))
    directory[277], directory[278] = channels, rows
    directory[279] = tuple(len(each) for each in strips)
    directory[317] = 2  # horizontal differencing
    if channels == 4:
        directory[338] = 2  # unassociated alpha
    if dpi:
        directory[282], directory[283] = dpi
        directory[296] = 2  # the unit is an inch
    if xmp:
        directory.tagtype[_XMP] = 1
        directory[_XMP] = xmp
    if description:
        directory[_DESCRIPTION] = description.encode()
    if profile:
        directory.tagtype[_ICC] = 7
        directory[_ICC] = profile
    if exif:
        block = Image.Exif()
        block.load(exif)
        for tag in _DESCRIPTIVE:
            if tag in block:
                value = block[tag]
                # Pillow reads text as Latin-1 and writes it as ASCII, with question marks. As bytes
                # it stays what it was.
                directory[tag] = value.encode("latin-1") if isinstance(value, str) else value
        for tag in (_EXIF_IFD, _GPS_IFD):
            if inner := block.get_ifd(tag):
                directory[tag] = dict(inner)
    buffer = io.BytesIO()
    directory.save(buffer)  # moves the strips' offsets behind itself
    buffer.write(b"".join(strips))
    return buffer.getvalue()
