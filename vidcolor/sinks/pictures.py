"""`PictureSink`: one colour picture in, one picture file out.

PNG and TIFF keep 16 bits and transparency, WebP keeps transparency; JPEG and BMP have neither.
EXIF and XMP are kept where the format has them (not BMP), the resolution too (WebP has it in EXIF
alone), PNG texts in PNG, and a comment in JPEG, PNG and TIFF. An ICC profile is kept only if it
describes RGB: a grey profile on a colour picture is wrong, and without one readers assume sRGB,
which it is.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from ..errors import OutputError
from ..frames import ColorBatch, PictureInfo
from .files import PendingFile, check_output, writing
from .png_tiff import XMP_NAME, add_jpeg_segments, encode_deep_png, encode_tiff, upright_exif

# suffix -> (Pillow's name, holds 16 bits, holds transparency)
_FORMATS = {
    ".png": ("PNG", True, True),
    ".tif": ("TIFF", True, True),
    ".tiff": ("TIFF", True, True),
    ".webp": ("WEBP", False, True),
    ".jpg": ("JPEG", False, False),
    ".jpeg": ("JPEG", False, False),
    ".jpe": ("JPEG", False, False),
    ".jfif": ("JPEG", False, False),
    ".bmp": ("BMP", False, False),
    ".dib": ("BMP", False, False),
}
# Bytes of one JPEG segment, less its length and the name of its content.
_JPEG_LONGEST = {"exif": 65527, "xmp": 65533 - len(XMP_NAME), "comment": 65533}
_LONG_TEXT = 1024  # from here on a PNG text is compressed
_ICC_SPACE = slice(16, 20)  # ICC.1:2022, 7.2: the profile header's data colour space


@dataclass(frozen=True)
class PictureReport:
    """A written picture: its path, size in pixels, bits a channel, bytes of the file, and a line
    for each thing that its format could not hold."""

    path: Path
    width: int
    height: int
    bit_depth: int
    bytes: int
    notes: tuple[str, ...] = ()


def _rescale(codes: NDArray[Any], depth: int, wanted: int) -> NDArray[Any]:
    """Codes of `depth` bits as `wanted` (8 or 16) bits, rounded to the nearest level."""
    dtype = np.uint8 if wanted == 8 else np.uint16
    if depth == wanted:
        return codes.astype(dtype)
    top, wanted_top = (1 << depth) - 1, (1 << wanted) - 1
    return ((codes.astype(np.int64) * wanted_top * 2 + top) // (2 * top)).astype(dtype)


def _rgb_profile(profile: bytes) -> bytes:
    return profile if profile[_ICC_SPACE] == b"RGB " else b""


def _save(pixels: NDArray[Any], name: str, options: dict[str, Any]) -> bytes:
    """A file of Pillow's format `name`; options that are empty are left out."""
    buffer = io.BytesIO()
    kept = {key: value for key, value in options.items() if value}
    Image.fromarray(pixels).save(buffer, name, **kept)
    return buffer.getvalue()


def _description(picture: PictureInfo) -> str:
    """What a format with one comment alone says."""
    if picture.comment:
        return picture.comment.decode(errors="replace")
    texts = dict(picture.text)
    return next((texts[key] for key in ("Comment", "Description", "Title") if key in texts), "")


def _png_texts(picture: PictureInfo) -> PngInfo:
    """The picture's texts, comment and XMP packet as chunks of a PNG file."""
    info = PngInfo()
    for key, value in picture.text:
        info.add_text(key, value, zip=len(value) > _LONG_TEXT)
    if picture.comment and "Comment" not in dict(picture.text):
        info.add_text("Comment", _description(picture))
    if picture.xmp:
        # Uncompressed, as the XMP specification, part 3, section 1.1.5 asks.
        info.add_itxt("XML:com.adobe.xmp", picture.xmp.decode(errors="replace"))
    return info


class PictureSink:
    """Writes pictures, each beside its name first and renamed when read back.

    Args:
        overwrite: replace existing outputs.
        quality: of JPEG (4:4:4) and WebP, 1 to 100. PNG, TIFF and BMP are lossless.
    """

    def __init__(self, *, overwrite: bool = False, quality: int = 95) -> None:
        if not 1 <= quality <= 100:
            raise OutputError(f"picture quality {quality} is not in 1 to 100")
        self._overwrite = overwrite
        self._quality = quality

    def check(self, picture: PictureInfo) -> None:
        """Refuse an output before the work: see `write`.

        Raises:
            OutputError: it exists, is the input, or its suffix is not one of a picture.
        """
        self._format(picture.output)
        check_output(picture.output, picture.path, overwrite=self._overwrite)

    def write(self, batch: ColorBatch) -> PictureReport:
        """Write a batch of one still picture to `batch.source.picture.output`.

        Args:
            batch: planes R, G, B, each `(1, H, W)`, full range.

        Raises:
            OutputError: the output is refused or cannot be written or read back.
        """
        picture = batch.source.picture
        if picture is None or not batch.format.rgb:
            raise ValueError("a picture sink takes RGB batches of one still picture")
        name, deep, transparent = self._format(picture.output)
        depth = 16 if deep and batch.format.bit_depth > 8 else 8
        planes = [_rescale(each[0].numpy(), batch.format.bit_depth, depth) for each in batch.planes]
        if transparent and picture.alpha is not None:
            alpha = picture.alpha.numpy()
            planes.append(_rescale(alpha, 8 * alpha.dtype.itemsize, depth))
        pixels = np.stack(planes, axis=-1)
        data, notes = self._encode(pixels, name, picture)
        file = PendingFile(picture.output, picture.path, overwrite=self._overwrite)
        try:
            with writing(picture.output):
                file.path.write_bytes(data)
            self._verify(file.path, picture.output, pixels.shape)
            path = file.commit()
        finally:
            file.discard()
        height, width = pixels.shape[:2]
        return PictureReport(path, width, height, depth, len(data), tuple(notes))

    @staticmethod
    def _format(output: Path) -> tuple[str, bool, bool]:
        try:
            return _FORMATS[output.suffix.lower()]
        except KeyError:
            raise OutputError(
                f"{output}: pictures are written as {', '.join(_FORMATS)}; choose one of these"
            ) from None

    def _encode(
        self, pixels: NDArray[Any], name: str, picture: PictureInfo
    ) -> tuple[bytes, list[str]]:
        """The file, and a line for each thing it cannot hold."""
        profile = _rgb_profile(picture.icc_profile)
        exif = upright_exif(picture.exif)
        dpi = picture.dpi
        if name == "TIFF":
            about = _description(picture)
            data = encode_tiff(pixels, exif, profile, dpi=dpi, xmp=picture.xmp, description=about)
            return data, []
        if pixels.dtype == np.uint16:
            chunks = [(kind, data) for kind, data, *_ in _png_texts(picture).chunks]
            return encode_deep_png(pixels, exif, profile, dpi=dpi, texts=chunks), []
        if name == "JPEG":
            return self._encode_jpeg(pixels, exif, profile, picture)
        options: dict[str, Any] = {"dpi": dpi}
        if name != "BMP":
            options |= {"exif": exif, "icc_profile": profile}
        if name == "WEBP":
            options |= {"xmp": picture.xmp, "quality": self._quality, "method": 4}
        elif name == "PNG":
            options["pnginfo"] = _png_texts(picture)
        return _save(pixels, name, options), []

    def _encode_jpeg(
        self, pixels: NDArray[Any], exif: bytes, profile: bytes, picture: PictureInfo
    ) -> tuple[bytes, list[str]]:
        options = {"quality": self._quality, "subsampling": "4:4:4", "optimize": True}
        if picture.dpi and max(picture.dpi) <= 65535:
            options["dpi"] = picture.dpi
        blocks = {
            "exif": exif,
            "xmp": picture.xmp,
            "comment": picture.comment or _description(picture).encode(),
        }
        notes = []
        for name, longest in _JPEG_LONGEST.items():
            if len(blocks[name]) > longest:
                blocks[name] = b""
                notes.append(f"{picture.output}: left out the {name}, too long for JPEG")
        data = _save(pixels, "JPEG", options)
        return add_jpeg_segments(data, profile=profile, **blocks), notes

    @staticmethod
    def _verify(path: Path, output: Path, shape: tuple[int, ...]) -> None:
        try:
            with Image.open(path) as image:
                found = image.size
        except (UnidentifiedImageError, OSError) as error:
            raise OutputError(f"{output}: the written picture cannot be read back") from error
        if found != (shape[1], shape[0]):
            raise OutputError(f"{output}: the written picture is {found[0]}x{found[1]}, "
                              f"not {shape[1]}x{shape[0]}")  # fmt: skip
