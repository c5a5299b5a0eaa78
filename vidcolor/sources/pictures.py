"""Read still pictures one by one, keeping what a photo archive must not lose: `PictureSource`."""

from __future__ import annotations

import io
import math
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from ..color.codes import Codes, luma_of_rgb
from ..errors import InputError
from ..frames import LumaBatch, PictureInfo
from .luma import COLOR_THRESHOLD, chroma_of_rgb
from .metadata import Metadata, orientation_of, read_metadata

# Pillow's own limit warns at 89 million pixels, and a 35 mm negative at 8000 dpi has 86. The limit
# here is OpenCV's; `_read` holds it.
Image.MAX_IMAGE_PIXELS = None
MAX_PIXELS = 1 << 30

# What Pillow and OpenCV raise for files that are cut short, damaged, or no pictures at all.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_RESTORE = "restore it from a good copy"


class _Quiet:
    """Pillow's warnings about odd metadata go unheard: the pixels are what counts.

    Filters are the whole process's, so with several readers at once the first one in sets them and
    the last one out restores them. (`catch_warnings` in each would restore them in any order.)
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._filters: warnings.catch_warnings[None] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
            if self._filters is None:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0 and self._filters is not None:
                    self._filters.__exit__(None, None, None)
                    self._filters = None


_quiet = _Quiet()


class _UnsuitableError(Exception):
    """A picture is whole, but cannot be used as it is; the text names cause and remedy."""


@dataclass(frozen=True)
class _Picture:
    pixels: Codes  # (H, W) or (H, W, 3) R'G'B', uint8 or uint16, upright
    alpha: Codes | None  # (H, W), the same type
    metadata: Metadata
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ColorPicture:
    """A picture's colours, for looking at and not for keeping.

    Attributes:
        rgb: `(1, 3, H, W)` float32 R'G'B' in [0, 1], upright.
        opacity: `(1, 1, H, W)` float32, 1 where the picture is not transparent.
    """

    rgb: torch.Tensor
    opacity: torch.Tensor


def read_color(path: Path, most: int = 1 << 20) -> ColorPicture:
    """Read a picture in colour; one of many pixels is cut down to about `most` by block means.

    Raises:
        InputError: it cannot be read; the line names the file, the cause and the remedy.
    """
    try:
        picture = _read(path)
    except (_UnsuitableError, *_UNREADABLE) as error:
        raise InputError(f"{path}: {_complaint(error)}") from error
    pixels = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None]
    rgb = _cut_down(pixels, most).expand(1, 3, -1, -1)
    alpha = picture.alpha
    opaque = torch.ones_like(rgb[:, :1]) if alpha is None else _cut_down(alpha[..., None], most)
    return ColorPicture(rgb, opaque)


def _cut_down(values: Codes, most: int) -> torch.Tensor:
    """Codes `(H, W, C)` to levels in [0, 1], `(1, C, h, w)` float32 of about `most` pixels."""
    height, width, channels = values.shape
    block = max(1, math.isqrt(height * width // most))
    down, across = min(block, height), min(block, width)
    rows, columns = height // down, width // across
    blocks = values[: rows * down, : columns * across]
    blocks = blocks.reshape(rows, down, columns, across, channels)
    means = blocks.mean(axis=(1, 3), dtype=np.float32) / np.iinfo(values.dtype).max
    return torch.from_numpy(means).permute(2, 0, 1)[None]


class PictureSource:
    """Still pictures, one a batch, in the order given.

    Attributes:
        items: pairs of the picture's file and the file its colour version goes to.
    """

    def __init__(self, items: Sequence[tuple[Path, Path]]) -> None:
        self.items = tuple((Path(source), Path(output)) for source, output in items)

    def batches(self, batch_size: int = 1) -> Generator[LumaBatch, None, None]:
        """The pictures in order, each alone whatever `batch_size` says, because they differ in
        size.

        `luma` is `(1, 1, H, W)` uint8, or uint16 codes of 16 bits, at full range, upright, with
        `picture` set and the picture's number as `first_index`. Grey pictures keep their values; of
        color pictures BT.601 luma of the stored values is taken.

        A picture that cannot be read, or only in part, comes as an empty batch (B = 0) with one
        line in `damage`; nothing is raised.
        """
        yield from map(self.read, range(len(self.items)))

    def read(self, index: int) -> LumaBatch:
        """The picture of number `index`, see `batches`; several threads may read at once."""
        path, output = self.items[index]
        try:
            picture = _read(path)
        except (_UnsuitableError, *_UNREADABLE) as error:
            return _empty(path, output, index, f"{path}: {_complaint(error)}")
        pixels = picture.pixels
        grey = luma_of_rgb(pixels) if pixels.ndim == 3 else pixels
        return LumaBatch(
            luma=_tensor(grey)[None, None],
            bit_depth=16 if grey.dtype == np.uint16 else 8,
            full_range=True,
            pts=(0,),
            durations=(0,),
            first_index=index,
            picture=PictureInfo(
                path=path,
                output=output,
                alpha=None if picture.alpha is None else _tensor(picture.alpha),
                **vars(picture.metadata),
            ),
            is_color=pixels.ndim == 3 and chroma_of_rgb(pixels) > COLOR_THRESHOLD,
            notes=picture.notes,
        )

    def count_pixels(self, index: int) -> int:
        """The pixels that `read` would have to hold, by the file's head alone; 0 where it cannot
        be read or is refused."""
        try:
            with _quiet(), Image.open(self.items[index][0]) as image:
                count = image.width * image.height
        except _UNREADABLE:
            return 0
        return count if count <= MAX_PIXELS else 0


def _complaint(error: BaseException) -> str:
    """Cause and remedy; one remedy, the one that fits."""
    if isinstance(error, _UnsuitableError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "no such file; check the name"
    if isinstance(error, UnidentifiedImageError):
        return f"cannot be read (not a picture, or cut short at its very start); {_RESTORE}"
    if isinstance(error, MemoryError):
        return "does not fit into memory; scale it down"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    cause = text.split("\n")[0]
    if isinstance(error, OSError) and error.errno is not None:  # of the system, not of Pillow
        denied = isinstance(error, PermissionError)
        remedy = "check the file's permissions" if denied else "check the disk and the file"
        return f"cannot be read ({cause}); {remedy}"
    return f"cannot be read ({cause}); {_RESTORE}"


def _empty(path: Path, output: Path, index: int, line: str) -> LumaBatch:
    return LumaBatch(
        luma=torch.empty((0, 1, 0, 0), dtype=torch.uint8),
        bit_depth=8,
        full_range=True,
        pts=(),
        durations=(),
        first_index=index,
        picture=PictureInfo(path, output),
        damage=(line,),
    )


def _tensor(values: Codes) -> torch.Tensor:
    return torch.from_numpy(np.array(values, order="C"))  # a copy: numpy views may be read-only


def _read(path: Path) -> _Picture:
    # The bytes are read here, because the C libraries cannot open every name on every system.
    data = path.read_bytes()
    if not data:
        raise _UnsuitableError(f"is empty; {_RESTORE}")
    notes = []
    with _quiet(), Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _UnsuitableError(
                f"{image.width}x{image.height} is over the limit of 2^30 pixels; scale it down"
            )
        if (count := getattr(image, "n_frames", 1)) > 1:
            notes.append(f"{path}: holds {count} pictures; only the first is colorized")
        white = _deep_white(image, data)
        # Pillow decodes every picture whole, because it refuses a file that is cut short, where
        # OpenCV fills the rest with grey. TIFF forgets its orientation then; PNG may have it
        # behind the pixels.
        if image.format != "TIFF":
            image.load()
        orientation = orientation_of(image)
        image.load()
        if orientation is None:
            notes.append(f"{path}: its EXIF block is damaged and left out")
        metadata = read_metadata(image, orientation)
        if image.format == "TIFF":
            orientation = None  # both libraries turn TIFF upright themselves
        pixels, alpha = _deep(data, white) if white else _values(image)
    return _Picture(
        _upright(pixels, orientation),
        None if alpha is None else _upright(alpha, orientation),
        metadata,
        tuple(notes),
    )


def _deep_white(image: Image.Image, data: bytes) -> int:
    """The code of white of a picture of several channels with more than 8 bits, which Pillow cuts
    to 8; 0 for any other picture."""
    if image.format == "PNG":  # IHDR: bit depth, colour type (0 is grey)
        return 65535 if data[24] == 16 and data[25] != 0 else 0
    white = 0
    if image.format == "PPM" and image.mode == "RGB":
        white = _ppm_white(data)
    elif image.format == "JPEG2000" and image.mode in ("RGB", "RGBA"):
        white = (1 << _jpeg2000_bits(data)) - 1
    elif image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (1,))
        white = 65535 if len(bits) >= 3 and max(bits) == 16 else 0
    return white if white > 255 else 0


def _ppm_white(data: bytes) -> int:
    """The code of white in a colour PPM file. Source: Netpbm, ppm(5): the fourth word."""
    words = re.sub(rb"#[^\r\n]*", b" ", data[:4096]).split(maxsplit=4)
    return int(words[3])


def _jpeg2000_bits(data: bytes) -> int:
    """Bits of the first component. Source: ISO/IEC 15444-1, A.5.1 (SIZ follows SOC)."""
    start = data.find(b"\xff\x4f\xff\x51")
    return (data[start + 42] & 0x7F) + 1


def _deep(data: bytes, white: int) -> tuple[Codes, Codes | None]:
    try:
        import cv2  # here, because its wheel needs system libraries that a bare machine lacks
    except ImportError as error:
        raise _UnsuitableError(
            f"16-bit colour needs OpenCV ({error}); on Debian: apt-get install libgl1 libglib2.0-0"
        ) from error
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(str(error)) from error
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise _UnsuitableError("its kind of 16-bit colour is not supported; save it as RGB")
    if white < 65535:  # OpenCV leaves the codes of PPM and JPEG 2000 as they are
        values = ((values.astype(np.uint32) * 65535 + white // 2) // white).astype(np.uint16)
    rgb = np.ascontiguousarray(values[..., 2::-1])
    return rgb, values[..., 3] if values.shape[2] == 4 else None


def _values(image: Image.Image) -> tuple[Codes, Codes | None]:
    """Grey `(H, W)` or R'G'B' `(H, W, 3)`, and alpha, of what Pillow decoded."""
    mode = image.mode
    if mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        # Pillow inverts TIFF's white-is-zero for 8 bits, but not for 16.
        inverted = getattr(image, "tag_v2", {}).get(262) == 0
        return 65535 - values if inverted else values, None
    if mode == "I" and image.format == "PPM":
        return np.asarray(image).astype(np.uint16), None  # Pillow scales to 16 bits
    if mode in ("I", "F", "LAB", "HSV"):
        kind = {"I": "32-bit", "F": "floating-point"}.get(mode, mode)
        raise _UnsuitableError(
            f"{kind} pixels are not supported; save it with 8 or 16 bits as grey or RGB"
        )
    if "A" in mode or "a" in mode or "transparency" in image.info:
        grey = mode in ("L", "LA", "La", "1")
        rgba = np.asarray(image.convert("RGBA"))
        alpha = rgba[..., 3]
        return rgba[..., 0] if grey else rgba[..., :3], alpha
    if mode in ("L", "1"):
        return np.asarray(image.convert("L")), None
    return np.asarray(image.convert("RGB")), None  # RGB, palette, CMYK, YCbCr


def _upright(values: Codes, orientation: int | None) -> Codes:
    """Turn and mirror `(H, W, ...)` as the EXIF orientation says, if one is known.

    Source: EXIF 2.32, tag 274.
    """
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values
