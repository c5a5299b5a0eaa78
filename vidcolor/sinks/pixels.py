"""Composed strips to a libvips image, in the picture's own RGB space, and that to a file."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..frames import ColorBatch, LumaBatch, PictureInfo
from ..system.memory import release_freed_memory
from ..system.vips import libvips
from .embed import png_chunk

_THUMBNAIL = 160  # pixels of the longer side, as EXIF 2.32, 4.5.5, advises
_SAMPLED = 640  # pixels, at least, from which a thumbnail is made
_SHARES = (0.75, 0.5, 0.25, 0.0)  # of a chroma that a small RGB space does not hold
_CLOSE = 0.5  # of L*
_HELD = 4  # strips whose freed memory the process may keep
Codes = NDArray[Any]


def _rescale(codes: Codes, depth: int, wanted: int) -> Codes:
    """Codes of `depth` bits as `wanted` (8 or 16) bits, rounded to the nearest level."""
    dtype = np.uint8 if wanted == 8 else np.uint16
    if depth == wanted:
        return codes.astype(dtype)
    top, wanted_top = (1 << depth) - 1, (1 << wanted) - 1
    return ((codes.astype(np.int64) * wanted_top * 2 + top) // (2 * top)).astype(dtype)


class Canvas:
    """A picture that arrives in strips.

    Args:
        source: its luma and `picture`.
        strips: R, G, B planes, each `(1, h, W)`, that follow each other from the top; one whole
            picture, or one at a time of a large picture.
        depth: 8 or 16 bits a channel to write.
        transparent: the format holds alpha.
        with_thumbnail: make `thumbnail`.

    Attributes:
        image: a libvips image in the space to write; its rows can be taken once, from the top.
        whole: it came at once, so it is not too large to be held.
        thumbnail: a small JPEG file, when all rows have been taken.
    """

    def __init__(
        self,
        source: LumaBatch,
        strips: Iterable[ColorBatch],
        *,
        depth: int,
        transparent: bool,
        with_thumbnail: bool,
    ) -> None:
        picture = source.picture
        assert picture is not None
        self._source, self._depth = source, depth
        self._alpha = picture.alpha if transparent else None
        self._open_alpha = picture.open_alpha if transparent else None
        self._profile = picture.icc_profile
        self._converts = picture.wide
        self._bits = 16 if self._converts else depth
        self.height, self.width = source.luma.shape[-2:]
        self._step = max(1, max(self.height, self.width) // _SAMPLED)
        self._samples: list[Codes] = []
        self._with_thumbnail = with_thumbnail
        self.failure: BaseException | None = None
        rows = self._rows(strips)
        first = next(rows)
        pyvips = libvips()
        space = "rgb16" if self._bits == 16 else "srgb"
        self.whole = len(first) == self.height
        if self.whole:
            image = pyvips.Image.new_from_array(first, interpretation=space)
        else:
            # A picture as it is made reaches libvips as a PNG file of uncompressed blocks: its
            # only format with a reader that needs no file and keeps 16 bits.
            self._feed = _PngFeed(self.height, first, rows)
            self._reader = pyvips.SourceCustom()  # libvips does not keep it alive
            self._reader.on_read(self._read)
            image = pyvips.Image.pngload_source(
                self._reader, access="sequential", unlimited=True, fail_on="truncated"
            )
            image = image.bandfold(factor=first.shape[2]).copy(interpretation=space)
        self.image = self._in_space(image)

    def _read(self, count: int) -> bytes:
        try:
            return self._feed.read(count)
        except BaseException as error:  # raised again by who encodes
            self.failure = error
            return b""

    def _rows(self, strips: Iterable[ColorBatch]) -> Iterator[Codes]:
        """Each strip's samples `(rows, W, bands)`: R, G, B, the gray code where the space is not
        sRGB, and alpha."""
        top = 0
        for number, strip in enumerate(strips):
            if number % _HELD == _HELD - 1:  # libvips asks from several threads
                release_freed_memory()
            depth = strip.format.bit_depth
            planes = [_rescale(each[0].numpy(), depth, self._bits) for each in strip.planes]
            end = top + planes[0].shape[0]
            if self._with_thumbnail:
                lines = slice(-top % self._step, None, self._step)
                some = np.stack([each[lines, :: self._step] for each in planes], axis=-1)
                self._samples.append(_rescale(some, self._bits, 8))
            if self._converts:
                luma = self._source.luma[0, 0, top:end].numpy()
                planes.append(_rescale(luma, self._source.bit_depth, 16))
            if self._alpha is not None:
                alpha = self._alpha[top:end].numpy()
                planes.append(_rescale(alpha, 8 * alpha.dtype.itemsize, self._bits))
            top = end
            yield np.stack(planes, axis=-1)

    def _in_space(self, image: Any) -> Any:
        pyvips = libvips()
        if self._converts:
            alpha = image[4] if self._alpha is not None else None
            image = _converted(image, self._profile, self._depth)
            if alpha is not None:
                image = image.bandjoin(_of_depth(alpha, self._depth))
        if self._open_alpha is not None:
            image = image.bandjoin(_of_depth(self._open_alpha(), self._depth))
        image = image.copy()
        profile = self._profile or _srgb_profile()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
        return image

    @property
    def thumbnail(self) -> bytes:
        """A small JPEG file; empty where none is wanted."""
        if not self._samples:
            return b""
        image = libvips().Image.new_from_array(np.concatenate(self._samples), interpretation="srgb")
        small = image.thumbnail_image(_THUMBNAIL, height=_THUMBNAIL, size="down")
        return bytes(small.jpegsave_buffer(Q=85, keep="none"))


class _PngFeed:
    """A PNG file of rows that are still being made, read from the start to the end. Its samples
    are gray: those of one pixel follow each other in the row.

    Source: PNG (third edition), 5.3 and 11.2; RFC 1951, 3.2.4 (blocks that are not compressed).
    """

    _STORED = 65535  # bytes of a block

    def __init__(self, height: int, first: Codes, rest: Iterator[Codes]) -> None:
        width = first.shape[1] * first.shape[2]
        head = struct.pack(">IIBBBBB", width, height, 8 * first.dtype.itemsize, 0, 0, 0, 0)
        self._parts = self._file(head, first, rest)
        self._left = memoryview(b"")

    def _file(self, head: bytes, first: Codes, rest: Iterator[Codes]) -> Iterator[bytes]:
        yield b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head)
        check, start = 1, b"\x78\x01"
        rows: Codes | None = first
        while rows is not None:
            lines = rows.reshape(len(rows), -1)
            lines = lines.astype(">u2").view(np.uint8) if rows.dtype == np.uint16 else lines
            data = np.pad(lines, ((0, 0), (1, 0))).tobytes()  # each row begins with its filter, 0
            check = zlib.adler32(data, check)
            blocks = [start]
            for at in range(0, len(data), self._STORED):
                part = data[at : at + self._STORED]
                blocks += [struct.pack("<BHH", 0, len(part), len(part) ^ 0xFFFF), part]
            yield png_chunk(b"IDAT", b"".join(blocks))
            rows, start = next(rest, None), b""
        end = struct.pack("<BHH", 1, 0, 0xFFFF) + struct.pack(">I", check)
        yield png_chunk(b"IDAT", end) + png_chunk(b"IEND", b"")

    def read(self, count: int) -> bytes:
        """At most `count` bytes; none at the end."""
        if not self._left:
            self._left = memoryview(next(self._parts, b""))
        part, self._left = self._left[:count], self._left[count:]
        return bytes(part)


@lru_cache(maxsize=1)
def _srgb_profile() -> bytes:
    return bytes(libvips().Operation.call("profile_load", "srgb"))


def _with(image: Any, profile: bytes) -> Any:
    image = image.copy()
    image.set_type(libvips().GValue.blob_type, "icc-profile-data", profile)
    return image


def _lab(image: Any) -> Any:
    return image.icc_import(embedded=True, pcs="lab", intent="relative")


@lru_cache(maxsize=1)
def _srgb_cube() -> Any:
    """The Lab of colors all over sRGB."""
    steps = np.linspace(0, 65535, 9).astype(np.uint16)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    image = libvips().Image.new_from_array(cube, interpretation="rgb16")
    return _lab(_with(image, _srgb_profile()))


@lru_cache(maxsize=64)
def _holds_srgb(profile: bytes) -> bool:
    """Whether all colors of sRGB are in an RGB space."""
    lab = _srgb_cube()
    back = _lab(_exported(lab, profile, 16))
    return bool((back - lab)[0].abs().max() < _CLOSE)


def _of_depth(image: Any, depth: int) -> Any:
    """Codes of 8 or 16 bits as `depth` bits."""
    if (image.format == "ushort") == (depth == 16):
        return image
    return (image * 257).cast("ushort") if depth == 16 else (image / 257).rint().cast("uchar")


def _exported(lab: Any, profile: bytes, depth: int) -> Any:
    return _with(lab, profile).icc_export(intent="relative", pcs="lab", depth=depth)


@lru_cache(maxsize=1)
def _lightness_table() -> Any:
    """L* of each gray code of 16 bits. Sources: IEC 61966-2-1:1999; CIE 15:2004, 8.2.1."""
    level = np.arange(65536) / 65535
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    f = np.where(linear > (6 / 29) ** 3, np.cbrt(linear), linear / (3 * (6 / 29) ** 2) + 4 / 29)
    return libvips().Image.new_from_array((116 * f - 16).astype(np.float32)[None])


def _converted(image: Any, profile: bytes, depth: int) -> Any:
    """sRGB of 16 bits, with gray codes as fourth band, in another RGB space.

    L* is that of the gray codes, as that space's profile shows it. A color that the space does not
    hold loses chroma.
    """
    rgb = _with(image[:3].copy(interpretation="rgb16"), _srgb_profile())
    light, ab = image[3].maplut(_lightness_table()), _lab(rgb)[1:3]

    def export(share: float) -> Any:
        lab = light.bandjoin(ab * share).copy(interpretation="lab")
        return _exported(lab, profile, depth)

    found = export(1.0)
    if not _holds_srgb(profile):
        for share in _SHARES:
            near = (_lab(_with(found, profile))[0] - light).abs() <= _CLOSE
            found = near.ifthenelse(found, export(share))
    return found


def is_opaque(picture: PictureInfo) -> bool:
    """Whether no pixel of a picture is transparent."""
    if picture.open_alpha is not None:
        alpha = picture.open_alpha()
        return bool(alpha.min() == (65535 if alpha.format == "ushort" else 255))
    if picture.alpha is None:
        return True
    codes = picture.alpha.numpy()
    return bool((codes == np.iinfo(codes.dtype).max).all())


def save(image: Any, path: Path, saver: str, **options: Any) -> None:
    """Write a libvips image, with its profile and no other metadata, to an existing file.

    Raises:
        pyvips.Error: it cannot be encoded or written.
        OSError: the file cannot be opened.
    """
    pyvips = libvips()
    with path.open("r+b") as file:
        target = pyvips.Target.new_to_descriptor(file.fileno())
        getattr(image, f"{saver}save_target")(target, keep="icc", **options)


def save_bmp(image: Any, path: Path, dpi: tuple[float, float] | None) -> None:
    """Write R, G, B of 8 bits as BMP, which libvips does not."""
    buffer = io.BytesIO()
    pixels = image.numpy().reshape(image.height, image.width, image.bands)
    options = {"dpi": dpi} if dpi else {}
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "BMP", **options)
    path.write_bytes(buffer.getvalue())
