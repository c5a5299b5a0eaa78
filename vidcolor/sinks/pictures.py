"""`PictureSink`: one color picture in, one picture file out.

PNG, TIFF and AVIF keep 16 (AVIF 12) bits and transparency, WebP keeps transparency. EXIF, XMP,
IPTC, comments, PNG texts and the resolution are kept where the format has a place for them; what it
has none for is named in a note. A picture is written in the RGB space of its profile, else in sRGB.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..frames import ColorBatch, LumaBatch, PictureInfo
from ..system.vips import libvips
from .embed import Blocks, embed_jpeg, embed_png, embed_webp
from .files import PendingFile, check_output, is_full, writing
from .marking import marked_picture
from .pixels import Canvas, is_opaque, save, save_bmp
from .tags import has_thumbnail, revised_exif
from .tiff import TiffAssembly

_BIG = 3 << 30  # bytes of pixels from which a TIFF file is written as BigTIFF
_AVIF_QUALITY = 90  # of 100, about what 95 is for JPEG
_AVIF_BITS = 12
_PNG_LEVEL, _PNG_FILTER = 3, "sub"  # of zlib; higher levels take twice as long for some percent


@dataclass(frozen=True)
class _Format:
    """A format's name here, and whether it holds 16 bits, transparency and several pictures."""

    name: str
    deep: bool = False
    transparent: bool = False
    pages: bool = False


_JPEG, _BMP = _Format("jpeg"), _Format("bmp")
_TIFF = _Format("tiff", deep=True, transparent=True, pages=True)
_FORMATS = {
    ".png": _Format("png", deep=True, transparent=True),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": _Format("webp", transparent=True, pages=True),
    ".avif": _Format("avif", deep=True, transparent=True),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".jpe": _JPEG,
    ".jfif": _JPEG,
    ".bmp": _BMP,
    ".dib": _BMP,
}


@dataclass(frozen=True)
class PictureReport:
    """A written picture: its path, size in pixels, bits a channel, bytes of the file, and a line
    for each thing that its format could not hold. Of a page, before its file is complete, `bytes`
    is 0; of one that could not be written `failure` says why."""

    path: Path
    width: int
    height: int
    bit_depth: int
    bytes: int
    notes: tuple[str, ...] = ()
    failure: Exception | None = None


@dataclass
class _Book:
    """A file of several pictures that is being written."""

    file: PendingFile
    left: int
    pages: dict[int, Any] = field(default_factory=dict)  # their libvips images, or None
    tiff: TiffAssembly | None = None
    blocks: Blocks = field(default_factory=Blocks)
    lost: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class PictureSink:
    """Writes pictures, each beside its name first and renamed when read back.

    Args:
        overwrite: replace existing outputs, or these alone.
        quality: of JPEG (4:4:4), WebP and AVIF, 1 to 100; a JPEG file of higher quality keeps its
            own. PNG, TIFF and BMP are lossless, and WebP where the input is.
        keep_times: give the output the input's time of modification.
    """

    def __init__(
        self,
        *,
        overwrite: bool | Collection[Path] = False,
        quality: int = 95,
        keep_times: bool = False,
    ) -> None:
        if not 1 <= quality <= 100:
            raise OutputError(f"picture quality {quality} is not in 1 to 100")
        self._overwrite, self._quality, self._keep_times = overwrite, quality, keep_times
        self._books: dict[Path, _Book] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Discard the files of several pictures of which not all came."""
        with self._lock:
            books, self._books = list(self._books.values()), {}
        for book in books:
            book.file.discard()

    def check(self, picture: PictureInfo) -> None:
        """Refuse an output before the work: see `write`.

        Raises:
            OutputError: it exists, is the input, or its suffix is not one of a picture.
        """
        self._format(picture.output)
        check_output(picture.output, picture.path, overwrite=self._may_replace(picture.output))

    def _may_replace(self, output: Path) -> bool:
        return self._overwrite if isinstance(self._overwrite, bool) else output in self._overwrite

    def write(self, batch: ColorBatch) -> PictureReport:
        """Write a batch of one still picture to `batch.source.picture.output`.

        Args:
            batch: planes R, G, B, each `(1, H, W)`, full range.

        Raises:
            OutputError: the output is refused or cannot be written or read back.
        """
        if not batch.format.rgb:
            raise ValueError("a picture sink takes RGB batches of one still picture")
        return self.write_strips(batch.source, [batch], batch.format.bit_depth)

    def write_strips(
        self, source: LumaBatch, strips: Iterable[ColorBatch], bit_depth: int
    ) -> PictureReport:
        """Write a picture that comes in strips from the top, so that it is never held as a whole.

        Of a file of several pictures the output is complete when `write`, `write_strips` or `lose`
        was called for each. One that cannot be written is left out, and its report has `failure`.

        Args:
            source: the picture's luma, with `picture`.
            strips: its R, G, B planes, each `(1, h, W)`, full range.
            bit_depth: of the planes.

        Raises:
            OutputError: as `write`.
        """
        picture = source.picture
        if picture is None:
            raise ValueError("a picture sink takes batches of one still picture")
        form = self._format(picture.output)
        picture, lost = marked_picture(picture, form.name)
        several = picture.pages > 1 and form.pages
        bits = 16 if form.deep and min(bit_depth, picture.bit_depth or bit_depth) > 8 else 8
        height, width = source.luma.shape[-2:]
        report = PictureReport(
            picture.output, width, height, bits, 0, (*_losses(picture, form), *lost)
        )
        book = self._open(picture, form)
        try:
            canvas = Canvas(
                source,
                strips,
                depth=bits,
                transparent=form.transparent,
                with_thumbnail=has_thumbnail(picture.exif) and form.name != "tiff",
            )
            with self._encoding(picture.output, canvas):
                left_out = self._add(book, form, canvas, picture)
        except BaseException as error:
            if several and isinstance(error, Exception):
                return self._turn(book, picture, replace(report, failure=error), lost=True)
            self._close(picture.output, book)
            raise
        why = "too long for JPEG" if form is _JPEG else f"for which {form.name} has no place"
        notes = tuple(f"{picture.output}: left out the {name}, {why}" for name in left_out)
        return self._turn(book, picture, replace(report, notes=report.notes + notes))

    def lose(self, picture: PictureInfo) -> PictureReport | None:
        """Go on without one picture of a file of several; None where nothing is written by it.

        Raises:
            OutputError: it was the last, and the file cannot be written.
        """
        form = self._format(picture.output)
        if picture.pages == 1 or not form.pages:
            return None
        book = self._open(picture, form)
        report = PictureReport(picture.output, 0, 0, 0, 0)
        report = self._turn(book, picture, report, lost=True)
        return report if report.bytes else None

    def _open(self, picture: PictureInfo, form: _Format) -> _Book:
        """The file that a picture goes to, new or begun with another picture."""
        with self._lock:
            book = self._books.get(picture.output)
            if book is None:
                overwrite = self._may_replace(picture.output)
                file = PendingFile(picture.output, picture.path, overwrite=overwrite)
                book = _Book(file, picture.pages if form.pages else 1)
                if book.left > 1:
                    self._books[picture.output] = book
            return book

    def _close(self, output: Path, book: _Book) -> None:
        with self._lock:
            self._books.pop(output, None)
        book.file.discard()

    @staticmethod
    def _format(output: Path) -> _Format:
        try:
            return _FORMATS[output.suffix.lower()]
        except KeyError:
            raise OutputError(
                f"{output}: pictures are written as {', '.join(_FORMATS)}; choose one of these"
            ) from None

    @contextmanager
    def _encoding(self, output: Path, canvas: Canvas | None = None) -> Iterator[None]:
        """Errors of libvips and the system as an `OutputError`; those of the strips as they are."""
        pyvips = libvips()
        with writing(output):
            error = None
            try:
                yield
            except pyvips.Error as found:
                error = found
            if canvas is not None and canvas.failure is not None:
                raise canvas.failure from None
            if error is not None:
                text = str(error)
                if os.strerror(errno.ENOSPC) in text or is_full(output):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                lines = [line.strip() for line in text.split("\n") if line.strip()]
                raise OutputError(
                    f"{output}: cannot be encoded ({lines[-1][:200]}); choose another format"
                ) from error

    def _add(self, book: _Book, form: _Format, canvas: Canvas, picture: PictureInfo) -> list[str]:
        """Encode a picture into its file; the names of metadata that had to be left out."""
        several = picture.pages > 1 and form.pages
        path, image = book.file.path, canvas.image
        blocks = Blocks(
            picture.exif, picture.xmp, picture.iptc, picture.comment, picture.text, picture.dpi
        )
        if form.name == "tiff":
            self._add_tiff(book, canvas, picture, blocks)
            return []
        if several:  # frames of one size, which are encoded together
            image = image.copy_memory()
            with book.lock:
                book.pages[picture.page] = image
                if not picture.page:
                    book.blocks = blocks
            return []
        if form.name == "bmp":
            save_bmp(image, path, picture.dpi)
            return []
        if form.name == "avif":
            return self._add_avif(path, canvas, picture)
        if form.name == "jpeg":
            quality = max(self._quality, picture.quality)
            # to fit its code tables to a picture, libjpeg holds all of it
            options: dict[str, Any] = {"subsample_mode": "off", "optimize_coding": canvas.whole}
            save(image, path, "jpeg", Q=quality, **options)
        elif form.name == "webp":
            self._save_webp(image, path, picture)
        else:
            save(image, path, "png", compression=_PNG_LEVEL, filter=_PNG_FILTER)
        exif = revised_exif(picture.exif, canvas.width, canvas.height, canvas.thumbnail)
        return _EMBED[form.name](path, replace(blocks, exif=exif))

    def _add_tiff(self, book: _Book, canvas: Canvas, picture: PictureInfo, blocks: Blocks) -> None:
        image = canvas.image
        kind = picture.compression or "deflate"
        options: dict[str, Any] = {"compression": kind}
        if kind in ("lzw", "deflate"):
            options["predictor"] = "horizontal"
        size = canvas.width * canvas.height * image.bands * (1 + (image.format == "ushort"))
        exif = revised_exif(picture.exif, canvas.width, canvas.height)
        blocks = replace(blocks, exif=exif)
        if picture.pages == 1:
            big = size > _BIG
            save(image, book.file.path, "tiff", bigtiff=big, **options)
            book.tiff = TiffAssembly(book.file.path, big=big)
            book.tiff.take(0, blocks)
        else:
            data = image.tiffsave_buffer(keep="icc", **options)
            with book.lock:
                book.tiff = book.tiff or TiffAssembly(book.file.path)
                book.tiff.append(picture.page, data, blocks)
        with book.lock:
            book.pages[picture.page] = None

    def _add_avif(self, path: Path, canvas: Canvas, picture: PictureInfo) -> list[str]:
        pyvips, image = libvips(), canvas.image.copy()
        quality = self._quality if self._quality < _AVIF_QUALITY else _AVIF_QUALITY
        exif = revised_exif(picture.exif, canvas.width, canvas.height)
        for name, block in (("exif-data", exif), ("xmp-data", picture.xmp)):
            if block:
                image.set_type(pyvips.GValue.blob_type, name, block)
        deep = image.format == "ushort"
        with path.open("r+b") as file:
            image.heifsave_target(
                pyvips.Target.new_to_descriptor(file.fileno()),
                compression="av1", Q=quality, bitdepth=_AVIF_BITS if deep else 8, keep="all",
            )  # fmt: skip
        return [name for name in ("iptc", "comment", "text") if getattr(picture, name)]

    def _save_webp(self, image: Any, path: Path, picture: PictureInfo, **options: Any) -> None:
        if picture.lossless:
            options |= {"lossless": True, "exact": True}
        save(image, path, "webp", Q=self._quality, **options)

    def _turn(
        self, book: _Book, picture: PictureInfo, report: PictureReport, *, lost: bool = False
    ) -> PictureReport:
        """A picture is through; with the last of its file the file appears under its name."""
        with book.lock:
            book.left -= 1
            book.lost += lost
            if book.left:
                return report
        output = picture.output
        try:
            if book.lost and not book.pages:
                return report
            with self._encoding(output):
                if book.tiff is not None:
                    book.tiff.finish()
                elif book.pages:
                    self._animate(book, picture)
                size = book.file.path.stat().st_size
            self._verify(book.file.path, output)
            if self._keep_times:
                with writing(output):
                    times = picture.path.stat()
                    os.utime(book.file.path, ns=(times.st_atime_ns, times.st_mtime_ns))
            path = book.file.commit("incomplete" if book.lost else "")
            return replace(report, path=path, bytes=size)
        finally:
            self._close(output, book)

    def _animate(self, book: _Book, picture: PictureInfo) -> None:
        """Write the frames of an animation."""
        pyvips = libvips()
        frames = [book.pages[number] for number in sorted(book.pages)]
        image = pyvips.Image.arrayjoin(frames, across=1).copy()
        image.set_type(pyvips.GValue.gint_type, "page-height", frames[0].height)
        if picture.delays:
            image.set_type(pyvips.GValue.array_int_type, "delay", list(picture.delays))
        image.set_type(pyvips.GValue.gint_type, "loop", picture.loop)
        self._save_webp(image, book.file.path, picture, page_height=frames[0].height)
        embed_webp(book.file.path, book.blocks)

    @staticmethod
    def _verify(path: Path, output: Path) -> None:
        """Open what was written."""
        pyvips = libvips()
        try:
            if output.suffix.lower() in (".bmp", ".dib"):
                return
            with path.open("rb") as file:
                pyvips.Image.new_from_source(
                    pyvips.Source.new_from_descriptor(file.fileno()), "", access="sequential"
                )
        except (pyvips.Error, OSError) as error:
            raise OutputError(f"{output}: the written picture cannot be read back") from error


def _losses(picture: PictureInfo, form: _Format) -> Iterator[str]:
    """A line for each thing that a format has no place for."""
    lost = []
    if not form.transparent and not is_opaque(picture):
        lost.append("transparency")
    if form.name == "bmp":
        lost += [name for name in ("exif", "xmp", "iptc", "comment") if getattr(picture, name)]
    for name in lost:
        yield f"{picture.output}: left out the {name}, which {form.name.upper()} does not hold"


_EMBED: dict[str, Callable[[Path, Blocks], list[str]]] = {
    "jpeg": embed_jpeg,
    "png": embed_png,
    "webp": embed_webp,
}
