"""What Pillow reads: the heads and metadata of all pictures, and the pixels of those formats that
libvips' wheel does not have."""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import av
import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from ..color.codes import Codes
from ..errors import VidcolorError

RESTORE = "restore it from a good copy"
# What Pillow raises for files that are cut short, damaged, or no pictures at all.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,  # Pillow's reader of AVIF
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


_PIXEL_CHUNKS = (b"IDAT", b"acTL", b"fcTL", b"fdAT", b"IEND")


class UnsuitableError(Exception):
    """A picture is whole, but cannot be used as it is; the text names cause and remedy."""


class _Quiet:
    """Pillow's warnings about odd metadata go unheard: the pixels are what counts. So do its log
    lines, which Python prints where no handler is set.

    Filters are the whole process's, so with several readers at once the first one in sets them and
    the last one out restores them. (`catch_warnings` in each would restore them in any order.)
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._filters: warnings.catch_warnings[None] | None = None
        self._silent = logging.NullHandler()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
            if self._filters is None:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                logging.getLogger("PIL").addHandler(self._silent)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0 and self._filters is not None:
                    self._filters.__exit__(None, None, None)
                    self._filters = None
                    logging.getLogger("PIL").removeHandler(self._silent)


quiet = _Quiet()


def open_head(file: IO[bytes]) -> Image.Image:
    """The picture in an open file, its pixels not yet decoded.

    `Image.open` would refuse large pictures; which of them are too large is decided elsewhere, by
    the size of the file too.

    Raises:
        UnidentifiedImageError: no picture that Pillow knows.
    """
    Image.init()
    prefix = file.read(16)
    for name in Image.ID:
        factory, accept = Image.OPEN[name]
        accepted = not accept or accept(prefix)
        if not accepted or isinstance(accepted, str):
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise UnidentifiedImageError("not a picture")


def png_head(file: IO[bytes]) -> Image.Image:
    """Pillow's view of a PNG file with all of its metadata, also what stands behind the pixels,
    which are not decoded. Source: PNG (third edition), 5.3."""
    kept = [file.read(8)]
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in _PIXEL_CHUNKS:
            file.seek(length + 4, io.SEEK_CUR)
        else:
            kept += [head, file.read(length + 4)]
    kept.append(b"\0\0\0\0IDAT\x35\xaf\x06\x1e")
    return PngImagePlugin.PngImageFile(io.BytesIO(b"".join(kept)))


def decode(image: Image.Image, path: Path) -> tuple[Codes, Codes | None, list[str]]:
    """Gray `(H, W)` or R'G'B' `(H, W, 3)` codes, uint8 or uint16; alpha `(H, W)`, and notes.

    Raises:
        UnsuitableError: a kind of pixels that is not supported.
    """
    notes: list[str] = []
    if deep := _deep_bits(image, path):
        return _decode_with_ffmpeg(path, deep), None, notes
    if image.format in ("BMP", "DIB") and _bmp_hides_alpha(path):
        notes.append(f"{path}: left out what may be transparency, the fourth byte of its pixels")
    image.load()
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PPM", "SGI")):
        return np.asarray(image).astype(np.uint16), None, notes
    if mode == "LAB":
        raise UnsuitableError("Lab pixels of this file are not supported; save it as RGB")
    if mode in ("I", "F", "HSV"):
        kind = {"I": "32-bit", "F": "floating-point"}.get(mode, mode)
        raise UnsuitableError(
            f"{kind} pixels are not supported; save it with 8 or 16 bits as gray or RGB"
        )
    if "A" in mode or "a" in mode or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        gray = mode in ("L", "LA", "La", "1")
        return rgba[..., 0] if gray else rgba[..., :3], rgba[..., 3], notes
    if mode in ("L", "1"):
        return np.asarray(image.convert("L")), None, notes
    return np.asarray(image.convert("RGB")), None, notes  # RGB, palette, CMYK, YCbCr


def _bmp_hides_alpha(path: Path) -> bool:
    """Whether the fourth bytes of a BMP file of 32 bits without masks differ.

    Programs disagree on what they are. Source: Microsoft, BITMAPINFOHEADER: for BI_RGB they are
    not used.
    """
    with path.open("rb") as file:
        head = file.read(54)
        if len(head) < 54:
            return False
        (start,) = struct.unpack_from("<I", head, 10)
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", head, 18)
        if (bits, compression) != (32, 0):
            return False
        file.seek(start)
        fourth = np.frombuffer(file.read(4 * width * abs(height)), np.uint8)[3::4]
    return bool(fourth.size and fourth.min() != fourth.max())


def _deep_bits(image: Image.Image, path: Path) -> int:
    """Bits of a color picture of more than 8, which Pillow cuts to 8; 0 for any other picture."""
    if image.format == "PPM" and image.mode == "RGB":
        words = path.read_bytes()[:4096]
        return 16 if _ppm_white(words) > 255 else 0
    if image.format == "JPEG2000" and image.mode in ("RGB", "RGBA"):
        with path.open("rb") as file:
            data = file.read(1 << 16)
        start = data.find(b"\xff\x4f\xff\x51")  # ISO/IEC 15444-1, A.5.1: SIZ follows SOC
        bits = (data[start + 42] & 0x7F) + 1 if 0 <= start < len(data) - 42 else 8
        return bits if bits > 8 else 0
    return 0


def _ppm_white(data: bytes) -> int:
    """The code of white in a color PPM file. Source: Netpbm, ppm(5): the fourth word."""
    words = b" ".join(line.partition(b"#")[0] for line in data.split(b"\n")).split(maxsplit=4)
    return int(words[3])


def _decode_with_ffmpeg(path: Path, bits: int) -> Codes:
    """R'G'B' of more than 8 bits, `(H, W, 3)` uint16."""
    try:
        with path.open("rb") as file, av.open(file, "r") as container:
            frame = next(container.decode(video=0))
            values = frame.to_ndarray(format="rgb48le")
    except (av.FFmpegError, StopIteration, VidcolorError) as error:
        raise OSError(str(error)) from error
    if bits < 16:  # FFmpeg shifts codes of fewer bits up
        white = ((1 << bits) - 1) << (16 - bits)
        values = np.minimum(values.astype(np.uint32) * 65535 // white, 65535).astype(np.uint16)
    return np.asarray(values)
