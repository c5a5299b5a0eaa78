"""A picture's pixels as a libvips image, whatever file they are in: `open_pixels`."""

from __future__ import annotations

import mmap
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from ..system.vips import libvips
from .pillow_files import RESTORE, UNREADABLE, UnsuitableError, decode, open_head, png_head
from .profiles import bands_of, gray_by_profile, gray_of_lightness, is_srgb, of_gamma, usable
from .tiff_kinds import TiffPage, is_tiff, pages

# A file counts as a decompression bomb if it has more pixels than Pillow's own limit, and more of
# them for each byte than scans have. A blank page in Group 4 has about a thousand a byte, and is
# below the first limit.
MOST_PIXELS, MOST_A_BYTE = 178_956_970, 200
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xff\xd9"  # of JPEG
_HEIF = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc")


@dataclass(frozen=True)
class Pixels:
    """What a file's pixels are, before they are decoded.

    Attributes:
        image: a libvips image whose rows can be read once, from the top. Its bands are `colors`
            bands of gray or R'G'B', then, if `by_profile`, one of 16-bit gray codes.
        colors: number of bands of color: 1 for gray, 3 for R'G'B', 0 for gray codes alone.
        by_profile: the last band is the gray of the picture by its color profile.
        alpha: a libvips image of the same type, or None.
        bits: of a sample in the file, 8 or 16.
        profile: ICC profile of the RGB space to write in, empty for sRGB.
        notes: a line for each thing that is left out.
        delays, loop: milliseconds of each picture of an animation, and how often it is shown.
    """

    image: Any
    colors: int
    by_profile: bool
    alpha: Any | None
    bits: int
    profile: bytes
    notes: tuple[str, ...] = ()
    delays: tuple[int, ...] = ()
    loop: int = 0


@dataclass(frozen=True)
class PictureFile:
    """What a picture file is, by its first bytes and its header.

    Attributes:
        path: of the file.
        size: in bytes.
        loader: libvips' name of the format; empty for one that Pillow decodes.
        head: the file as opened by Pillow; None for a TIFF file that Pillow cannot open.
        tiff: pages of a TIFF file; empty for other formats.
        passed_over: number of smaller copies and masks in a TIFF file, which are not read.
    """

    path: Path
    size: int
    loader: str
    head: Image.Image | None
    tiff: tuple[TiffPage, ...] = ()
    passed_over: int = 0

    @property
    def pages(self) -> int:
        """Number of pictures in the file."""
        if self.loader == "tiff":
            return len(self.tiff)
        animated = self.loader in ("webp", "gif")
        return int(getattr(self.head, "n_frames", 1)) if animated else 1

    def shape(self, page: int) -> tuple[int, int]:
        """Width and height of a page in pixels, before it is turned upright."""
        if self.loader == "tiff":
            return self.tiff[page].width, self.tiff[page].height
        return (0, 0) if self.head is None else self.head.size


def check_regular(path: Path) -> None:
    """Refuse a pipe or a device, which may never end.

    Raises:
        UnsuitableError: it is one.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnsuitableError("is not a regular file; copy what it gives into one")


def identify(path: Path, file: IO[bytes]) -> PictureFile:
    """Find out what an open file is.

    Raises:
        UnsuitableError: it is empty.
        UnidentifiedImageError: it is no picture.
    """
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise UnsuitableError(f"is empty; {RESTORE}")
    start = file.read(16)
    file.seek(0)
    loader = _loader(start)
    if is_tiff(start):
        found, passed = pages(file)
        if not found:
            raise UnsuitableError(f"holds no picture, or is cut short; {RESTORE}")
        file.seek(0)
        try:
            head: Image.Image | None = open_head(file)
        except UNREADABLE:
            head = None
        return PictureFile(path, size, "tiff", head, tuple(found), passed)
    return PictureFile(path, size, loader, png_head(file) if loader == "png" else open_head(file))


def _loader(start: bytes) -> str:
    """libvips' name of the format of a file that begins with these bytes; empty for none."""
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if start.startswith(b"\x89PNG"):
        return "png"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "webp"
    if start.startswith(b"GIF8"):
        return "gif"
    return "heif" if start[4:8] == b"ftyp" and start[8:12] in _HEIF else ""


def lacks_end(path: Path) -> bool:
    """Whether a JPEG file has no end marker after its header. Source: ITU-T T.81, B.1.1."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 2
        while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != _START_OF_SCAN:
            filler = data[at + 1 : at + 2] == b"\xff"
            at += 1 if filler else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        return data.find(_END_OF_IMAGE, at) < 0


def check_size(file: PictureFile, page: int, limits: bool) -> None:
    """Refuse a decompression bomb: very many pixels in a file of few bytes.

    Args:
        file: from `identify`.
        page: number of the picture.
        limits: False accepts any size.

    Raises:
        UnsuitableError: it may be one.
    """
    width, height = file.shape(page)
    count = width * height
    if limits and count > MOST_PIXELS and count > MOST_A_BYTE * file.size:
        raise UnsuitableError(
            f"{width}x{height} pixels in {file.size} bytes look like a decompression bomb; if it "
            "is none, give --large-pictures"
        )


def open_pixels(
    file: PictureFile,
    page: int,
    *,
    limits: bool = True,
    strict: bool = True,
    other: bool = False,
    with_end: bool = False,
) -> Pixels:
    """Open the pixels of one picture of a file.

    Args:
        file: from `identify`.
        page: number of the picture.
        limits: keep libvips' limits against decompression bombs.
        strict: treat libvips' warnings as errors.
        other: the file is a TIFF that libvips has failed to read; use Pillow.
        with_end: the file is a JPEG without an end marker; append one.

    Raises:
        UnsuitableError: a kind of picture that is not supported.
        pyvips.Error, or one of `UNREADABLE`: it cannot be decoded.
    """
    if file.loader == "tiff":
        file.tiff[page].check()
    if other:
        return _other_tiff(file)
    if not file.loader:
        return _from_pillow(file)
    pyvips = libvips()
    options: dict[str, Any] = {"access": "sequential", "fail_on": "warning" if strict else "error"}
    if not limits and file.loader not in ("webp", "gif"):
        options["unlimited"] = True
    if file.loader == "tiff":
        options["page"] = file.tiff[page].index
    elif file.loader in ("webp", "gif"):
        options["page"] = page
    if with_end:
        data = file.path.read_bytes().rstrip(b"\xff") + _END_OF_IMAGE
        image = pyvips.Image.jpegload_buffer(data, **options)
    else:
        number = os.open(file.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            source = pyvips.Source.new_from_descriptor(number)  # has a descriptor of its own
        finally:
            os.close(number)
        image = getattr(pyvips.Image, f"{file.loader}load_source")(source, **options)
    pixels = _interpreted(image, file, page)
    if file.pages > 1 and image.get_typeof("delay"):
        pixels = replace(pixels, delays=tuple(image.get("delay")), loop=image.get("loop"))
    return pixels


def _other_tiff(file: PictureFile) -> Pixels:
    """Open a TIFF file with Pillow, because libvips cannot read it."""
    page = file.tiff[0]
    if len(file.tiff) > 1 or file.head is None:
        raise UnsuitableError("its kind of TIFF is not supported; save it with LZW or Deflate")
    if page.bits > 8 and page.samples > 1:
        raise UnsuitableError(
            "16-bit color TIFF of this compression or layout is not supported; save it with LZW or "
            "Deflate, and not in planes"
        )
    return _from_pillow(file)


def _from_pillow(file: PictureFile) -> Pixels:
    assert file.head is not None
    if file.head.format == "TIFF" and file.head.mode == "LAB":
        file.head.load()
        light = np.asarray(file.head)[..., 0].astype(np.float32) * (100 / 255)
        image = gray_of_lightness(libvips().Image.new_from_array(light))
        return Pixels(image, 0, True, None, 8, b"")
    values, alpha, notes = decode(file.head, file.path)
    planes = values if values.ndim == 3 else values[..., None]
    if alpha is not None:
        planes = np.dstack([planes, alpha])
    deep = values.dtype == np.uint16
    spaces = ("grey16", "rgb16") if deep else ("b-w", "srgb")
    image = libvips().Image.new_from_array(
        np.ascontiguousarray(planes), interpretation=spaces[values.ndim == 3]
    )
    profile = file.head.info.get("icc_profile") or b""
    if file.head.mode == "CMYK":  # decoded as R'G'B'
        profile = b""
    pixels = _colored(image, profile, alpha is not None, 16 if deep else 8)
    return replace(pixels, notes=(*notes, *pixels.notes))


def _interpreted(image: Any, file: PictureFile, page: int) -> Pixels:
    """Separate the bands of an image that libvips has opened into colors and alpha."""
    notes: list[str] = []
    space = image.interpretation
    colors = {"b-w": 1, "grey16": 1, "cmyk": 4}.get(space, 3)
    if image.bands < colors:
        colors = 1
    alpha = image.bands > colors
    if file.loader == "tiff" and alpha and file.tiff[page].alpha == "unknown":
        notes.append(
            f"{file.path}: left out the samples beyond its color, which it does not describe "
            "(infrared?)"
        )
        image, alpha = image[:colors] if colors > 1 else image[0], False
    if image.bands > colors + 1:
        image = image[: colors + 1]
    bits = 16 if image.format in ("ushort", "short") else 8
    profile = _blob(image, "icc-profile-data")
    if not profile and file.loader == "png" and file.head is not None:
        info = file.head.info
        if info.get("gamma") and "srgb" not in info:
            profile = of_gamma(info["gamma"], info.get("chromaticity"), colors)
    if space in ("lab", "labs", "labq"):
        lab = image[:3].copy(interpretation=space)
        codes = gray_of_lightness(lab.colourspace("lab")[0])
        return _with_alpha(
            Pixels(codes, 0, True, None, bits, b"", tuple(notes)), image if alpha else None
        )
    pixels = _colored(image, profile, alpha, bits)
    return replace(pixels, notes=(*notes, *(f"{file.path}: {note}" for note in pixels.notes)))


def _colored(image: Any, profile: bytes, alpha: bool, bits: int) -> Pixels:
    """Colors of an image with its color profile. If the profile is not sRGB, the gray codes by it
    are added.

    Args:
        image: gray, R'G'B' or CMYK, and alpha if `alpha`.
        profile: ICC profile, empty for none.
        alpha: the last band is alpha.
        bits: of a sample, 8 or 16.
    """
    notes = []
    colors = image.bands - alpha
    plain = image[:colors] if colors > 1 else image[0]
    if profile and not usable(profile):
        notes.append("its color profile is damaged or of an unknown kind; it is left out")
        profile = b""
    bands = bands_of(profile)
    if bands == 3 and colors == 1:  # gray with an RGB profile means R' = G' = B'
        plain = plain.bandjoin([plain, plain]).copy(
            interpretation="rgb16" if bits == 16 else "srgb"
        )
    elif bands and bands != colors:
        notes.append("its color profile is for other channels than it has; it is left out")
        profile = b""
    if colors == 4 and not profile and bits == 16:
        raise UnsuitableError(
            "16-bit CMYK without a color profile is not supported; save it as RGB"
        )
    if colors == 4 and not profile:
        notes.append("CMYK without a color profile: C, M, Y are taken as complements of R, G, B")
        plain = _complement(plain)
    if not profile or (bands == 3 and is_srgb(profile)):
        keep = profile if bands == 3 else b""
        if bands == 3 and colors == 1:
            plain = plain[0]
        found = Pixels(plain, plain.bands, False, None, bits, keep, tuple(notes))
        return _with_alpha(found, image if alpha else None)
    codes = gray_by_profile(plain, profile)
    keep = profile if bands == 3 else b""
    if bands == 3 and colors == 3:
        wide = plain.cast("ushort")
        joined = (wide * 257 if bits == 8 else wide).cast("ushort").bandjoin(codes)
        found = Pixels(joined, 3, True, None, bits, keep, tuple(notes))
    else:
        found = Pixels(codes, 0, True, None, bits, keep, tuple(notes))
    return _with_alpha(found, image if alpha else None)


def _with_alpha(pixels: Pixels, image: Any) -> Pixels:
    """Add the last band of `image` as alpha, in the type of the samples; None adds nothing."""
    if image is None:
        return pixels
    alpha, kind = image[image.bands - 1], pixels.image.format
    if alpha.format == "uchar" and kind == "ushort":
        alpha = alpha * 257
    elif alpha.format in ("short", "float"):
        alpha = alpha * 2
    return replace(pixels, alpha=alpha.cast(kind))


def _complement(cmyk: Any) -> Any:
    """R'G'B' = (1 - CMY) (1 - K), 8 bits, as Pillow and most viewers compute it."""
    light = cmyk.linear(-1, 255)
    return (light[:3] * light[3] / 255).rint().cast("uchar").copy(interpretation="srgb")


def _blob(image: Any, name: str) -> bytes:
    return bytes(image.get(name)) if image.get_typeof(name) else b""
