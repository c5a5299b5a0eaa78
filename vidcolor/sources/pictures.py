"""Read still pictures one by one, keeping what a photo archive must not lose: `PictureSource`."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from ..color.codes import Codes
from ..errors import InputError
from ..frames import LumaBatch, PictureInfo
from ..system.memory import release_freed_memory
from ..system.vips import libvips, turns
from .decode import PictureFile, Pixels, check_regular, check_size, identify, lacks_end, open_pixels
from .luma import COLOR_THRESHOLD, chroma_of_rgb
from .metadata import read_metadata
from .orientation import upright
from .pillow_files import RESTORE, UNREADABLE, UnsuitableError, quiet
from .profiles import gray_of_srgb

_WHOLE = 1 << 26  # pixels of a picture that is decoded at once, in several threads
_STRIP = 1 << 22  # pixels of a strip, and of a larger picture at once
_ROWS = 8  # a strip has a multiple of these rows, as `chroma_of_rgb` wants it
# libjpeg's warning for bytes that it skips: common, and harmless
_HARMLESS = "extraneous bytes"
_NO_END = f"lacks its end marker, and perhaps its last rows or fine detail; {RESTORE}"
# libtiff's and libvips' words for a compression or layout that they do not have
_NOT_BUILT_IN = ("not configured", "not supported")


@dataclass(frozen=True)
class ColorPicture:
    """A picture's colors, for looking at and not for keeping.

    Attributes:
        rgb: `(1, 3, H, W)` float32 R'G'B' in [0, 1], upright.
        opacity: `(1, 1, H, W)` float32, 1 where the picture is not transparent.
    """

    rgb: torch.Tensor
    opacity: torch.Tensor


@dataclass(frozen=True)
class _Decoded:
    """A picture's planes, as stored: gray codes, alpha or how to read it again, R'G'B' where asked
    for."""

    gray: Codes
    alpha: Codes | None
    open_alpha: Callable[[], Any] | None
    rgb: Codes | None
    chroma: float
    pixels: Pixels
    damage: str = ""


def read_color(path: Path, most: int = 1 << 20, *, limits: bool = True) -> ColorPicture:
    """Read a picture in color; one of many pixels is cut down to about `most` by block means.
    Without `limits` also one that may be a decompression bomb.

    Raises:
        InputError: it cannot be read; the line names the file, the cause and the remedy.
    """
    try:
        with path.open("rb") as stream, quiet():
            check_regular(path)
            file = identify(path, stream)
            check_size(file, 0, limits=limits)
            metadata, _ = read_metadata(file, stream, 0)
            found = _decode(file, 0, limits=limits, with_rgb=True)
    except (UnsuitableError, libvips().Error, *UNREADABLE) as error:
        raise InputError(f"{path}: {_complaint(error)}") from error
    pixels = found.gray[..., None] if found.rgb is None else found.rgb
    pixels = upright(pixels, metadata.orientation)
    rgb = _cut_down(pixels, most).expand(1, 3, -1, -1)
    opaque = torch.ones_like(rgb[:, :1])
    if found.alpha is not None:
        opaque = _cut_down(upright(found.alpha, metadata.orientation)[..., None], most)
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

    Args:
        items: pairs of the picture's file and the file its color version goes to.
        limits: refuse what looks like a decompression bomb, and keep libvips' own limits.
    """

    def __init__(self, items: Sequence[tuple[Path, Path]], *, limits: bool = True) -> None:
        self.items = tuple((Path(source), Path(output)) for source, output in items)
        self._limits = limits

    def batches(
        self, batch_size: int = 1, worker: int = 0, workers: int = 1
    ) -> Iterator[LumaBatch]:
        """The first picture of each file of one worker: every `workers`-th, from number `worker`.

        `batch_size` is not used, because pictures differ in size: each comes alone, as `(1, 1, H,
        W)` uint8, or uint16 codes of 16 bits, at full range, upright, with `picture` set and its
        number as `first_index`. The codes are those of the sRGB gray with the picture's L*: gray
        pictures without a color profile keep their values.

        A picture that cannot be read, or only in part, comes as an empty batch (B = 0) with one
        line in `damage`; nothing is raised.
        """
        if not 0 <= worker < workers:
            raise ValueError(f"worker {worker} of {workers}")
        for index in range(worker, len(self.items), workers):
            yield self.read(index)

    def read(self, index: int, page: int = 0) -> LumaBatch:
        """The picture of number `index`, or another `page` of its file, see `batches`; several
        threads may read at once. A picture that was decoded with errors has `damage` too."""
        path, output = self.items[index]
        pages = 1
        try:
            check_regular(path)
            with path.open("rb") as stream, quiet():
                file = identify(path, stream)
                pages = file.pages
                return self._read(file, stream, index, page)
        except (UnsuitableError, libvips().Error, *UNREADABLE) as error:
            where = f"{path}: page {page + 1} " if pages > 1 else f"{path}: "
            return _empty(path, output, index, where + _complaint(error), page, pages)

    def _read(self, file: PictureFile, stream: IO[bytes], index: int, page: int) -> LumaBatch:
        path, output = self.items[index]
        check_size(file, page, self._limits)
        metadata, notes = read_metadata(file, stream, page)
        found = _decode(file, page, limits=self._limits, turned=metadata.orientation > 1)
        luma = _tensor(upright(found.gray, metadata.orientation))
        kept = {**vars(metadata)}
        del kept["orientation"]
        if file.pages > 1 and not page:
            notes.append(f"{path}: holds {file.pages} pictures; each is colorized")
        if file.passed_over and not page:
            notes.append(f"{path}: left out {file.passed_over} smaller copies or masks of it")
        return LumaBatch(
            luma=luma[None, None],
            bit_depth=16 if luma.dtype == torch.uint16 else 8,
            full_range=True,
            pts=(0,),
            durations=(0,),
            first_index=index,
            picture=PictureInfo(
                path=path,
                output=output,
                icc_profile=found.pixels.profile,
                wide=found.pixels.by_profile and bool(found.pixels.profile),
                alpha=None
                if found.alpha is None
                else _tensor(upright(found.alpha, metadata.orientation)),
                open_alpha=found.open_alpha,
                bit_depth=found.pixels.bits,
                page=page,
                pages=file.pages,
                delays=found.pixels.delays,
                loop=found.pixels.loop,
                **kept,
            ),
            is_color=found.chroma > COLOR_THRESHOLD,
            damage=(f"{path}: {found.damage}",) if found.damage else (),
            notes=(*notes, *found.pixels.notes),
        )

    def info(self, index: int, page: int, pages: int) -> PictureInfo:
        """What is known of a picture that is not read."""
        return PictureInfo(*self.items[index], page=page, pages=pages)

    def page_sizes(self, index: int) -> list[int]:
        """The pixels of each picture of a file, by its head alone; 0 where it cannot be read or
        is refused."""
        path = self.items[index][0]
        try:
            check_regular(path)
            with path.open("rb") as stream, quiet():
                file = identify(path, stream)
                return [math.prod(file.shape(page)) for page in range(file.pages)]
        except (UnsuitableError, *UNREADABLE):
            return [0]

    def count_pixels(self, index: int) -> int:
        """The pixels of the largest picture of a file; see `page_sizes`."""
        return max(self.page_sizes(index))


def _decode(
    file: PictureFile, page: int, *, limits: bool, turned: bool = False, with_rgb: bool = False
) -> _Decoded:
    """The planes of a picture. What libvips only warns of is told, but does not stop it."""
    pyvips = libvips()
    again = bool(file.loader) and not turned and not with_rgb

    def read(**options: Any) -> _Decoded:
        with turns.shared():
            return _planes(
                file, partial(open_pixels, file, page, limits=limits, **options), with_rgb, again
            )

    if file.loader == "jpeg" and lacks_end(file.path):  # of which libvips does not always tell
        try:
            return replace(read(with_end=True), damage=_NO_END)
        except pyvips.Error:
            raise OSError("premature end of JPEG data") from None
    try:
        return read()
    except pyvips.Error:
        text = _failure(file, page, limits)
    if file.loader == "tiff" and (
        any(words in text for words in _NOT_BUILT_IN) or file.tiff[page].is_lab8
    ):
        again = False
        return read(other=True)
    try:
        found = read(strict=False)
    except pyvips.Error as error:
        raise OSError(text) from error
    cause = f"was decoded with errors ({_cause(text)})"
    odd_tags = file.loader == "tiff" and not _told(text)  # libtiff warned of them without a word
    if _HARMLESS in text or odd_tags:
        note = f"{file.path}: {cause}; compare it with its original"
        return replace(found, pixels=replace(found.pixels, notes=(*found.pixels.notes, note)))
    return replace(found, damage=f"{cause}; {RESTORE}")


def _failure(file: PictureFile, page: int, limits: bool) -> str:
    """What libvips says of a file that it fails at.

    Its errors of all threads go into one buffer, so another thread may have taken this one's. So
    the file is tried again while no other is read.
    """
    with turns.alone():
        try:
            _planes(file, partial(open_pixels, file, page, limits=limits), False, True)
        except libvips().Error as error:
            return str(error)
    return ""


def _planes(
    file: PictureFile, opened: Callable[[], Pixels], with_rgb: bool, again: bool
) -> _Decoded:
    """Decode strip by strip, so that of a color picture only the gray codes are held; its alpha
    is not, of a large one that can be opened `again`."""
    pixels = opened()
    image = pixels.image
    width, height = image.width, image.height
    deep = image.format == "ushort"
    gray = np.empty((height, width), np.uint16 if deep else np.uint8)
    alpha, open_alpha = None, None
    if pixels.alpha is not None and again and width * height > _WHOLE:

        def open_alpha() -> Any:
            try:
                return opened().alpha
            except (libvips().Error, OSError) as error:
                raise InputError(
                    f"{file.path}: cannot be read again ({error}); {RESTORE}"
                ) from error

    elif pixels.alpha is not None:
        alpha = np.empty((height, width), np.uint8)
        image = image.bandjoin(pixels.alpha)
    rgb = np.empty((height, width, 3), gray.dtype) if with_rgb and pixels.colors == 3 else None
    chroma = 0.0
    for rows, values in _strips(image):
        if pixels.colors == 3:
            colors = values[..., :3]
            chroma += chroma_of_rgb(colors) * len(values) / height
            codes = values[..., 3] if pixels.by_profile else gray_of_srgb(colors)
            if rgb is not None:
                rgb[rows] = colors
        else:
            codes = values[..., 0]
        if codes.dtype != gray.dtype:  # the first color among grays of 8 bits
            gray = gray.astype(np.uint16)
            gray *= 257
        gray[rows] = codes if codes.dtype == gray.dtype else codes.astype(np.uint16) * 257
        if alpha is not None:
            veil = values[..., -1]
            if alpha.dtype != veil.dtype:  # of 16 bits, perhaps the first that 8 do not hold
                if (veil % 257).any():
                    alpha = alpha.astype(np.uint16)
                    alpha *= 257
                else:
                    veil = veil // 257
            alpha[rows] = veil
    if gray.size > _WHOLE:
        release_freed_memory()
    return _Decoded(gray, alpha, open_alpha, rgb, chroma, pixels)


def _strips(image: Any) -> Iterator[tuple[slice, Codes]]:
    """The rows of a libvips image from the top, and their samples `(rows, W, bands)`."""
    width, height, bands = image.width, image.height, image.bands
    step = max(_STRIP // width // _ROWS, 1) * _ROWS
    whole = image.numpy().reshape(height, width, bands) if width * height <= _WHOLE else None
    region = libvips().Region.new(image) if whole is None else None
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        if whole is not None:
            yield rows, whole[rows]
        elif region is not None:
            kind = np.uint16 if image.format == "ushort" else np.uint8
            data = region.fetch(0, top, width, rows.stop - top)
            yield rows, np.frombuffer(data, kind).reshape(-1, width, bands)


def _told(text: str) -> list[str]:
    """The lines of libvips' error that say more than that a step failed."""
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith(("unable to", "tiffload: load"))]


def _cause(text: str) -> str:
    """The first line of libvips' error that says something of the picture."""
    told = _told(text) or ["odd tags or an unknown error"]
    useful = [line for line in told if "bad seek" not in line and "read error" not in line]
    return (useful or told)[0][:200].replace(";", ",")


def _complaint(error: BaseException) -> str:
    """Cause and remedy; one remedy, the one that fits."""
    if isinstance(error, UnsuitableError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "no such file; check the name"
    if isinstance(error, UnidentifiedImageError) or isinstance(
        error.__cause__ or error, struct.error
    ):
        return f"cannot be read (not a picture, or cut short at its very start); {RESTORE}"
    if isinstance(error, Image.DecompressionBombError):
        return f"looks like a decompression bomb ({error}); scale it down"
    if isinstance(error, MemoryError):
        return "does not fit into memory; scale it down"
    if isinstance(error, OSError) and error.errno is not None:  # of the system, not of Pillow
        denied = isinstance(error, PermissionError)
        remedy = "check the file's permissions" if denied else "check the disk and the file"
        return f"cannot be read ({error.strerror}); {remedy}"
    cause = _cause(str(error) or type(error).__name__)
    remedy = "save it as PNG or TIFF" if cause.startswith("Unsupported") else RESTORE
    return f"cannot be read ({cause}); {remedy}"


def _empty(
    path: Path, output: Path, index: int, line: str, page: int = 0, pages: int = 1
) -> LumaBatch:
    return LumaBatch(
        luma=torch.empty((0, 1, 0, 0), dtype=torch.uint8),
        bit_depth=8,
        full_range=True,
        pts=(),
        durations=(),
        first_index=index,
        picture=PictureInfo(path, output, page=page, pages=pages),
        damage=(line,),
    )


def _tensor(values: Codes) -> torch.Tensor:
    # A turned large picture stays as it was stored; the copy would take as much memory again.
    return torch.from_numpy(values if values.size > _WHOLE else np.ascontiguousarray(values))
