"""Colour pictures in bulk, for training and evaluation: folders and zips of picture files.

Unlike `PictureSource`, which colorizes what a user gives and keeps EXIF, ICC and depth, this reads
any picture as 8-bit R'G'B' and knows nothing of outputs.
"""

from __future__ import annotations

import io
import itertools
import os
import posixpath
import struct
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ..color.convert import rgb_to_lab
from ..errors import InputError
from ..sources import PICTURE_SUFFIXES

T = TypeVar("T")

# what Pillow raises for files that are cut short, damaged or no pictures at all
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass
class PictureSet:
    """Colour pictures in memory, `(H, W, 3)` uint8 R'G'B', and what was left out and why."""

    pictures: list[np.ndarray] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    near_grey: int = 0


@dataclass(frozen=True, order=True)
class PictureFile:
    """A picture file that was found but not read.

    Attributes:
        source: the folder or zip it was found in.
        name: its path inside `source`, with `/` on every system.
    """

    source: Path
    name: str

    def __str__(self) -> str:
        """The file's path; for a zip `path:entry`."""
        return (
            str(self.source / self.name) if self.source.is_dir() else f"{self.source}:{self.name}"
        )


def list_pictures(path: Path) -> list[PictureFile]:
    """The picture files of a folder (searched recursively) or zip by their suffix, sorted by name.

    Nothing is decoded. Hidden files and folders (`.name`) are passed over.

    Raises:
        InputError: `path` is neither a folder nor a zip, or is a damaged zip.
    """
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        names = [file.relative_to(path).as_posix() for file in files]
    elif path.is_file() and zipfile.is_zipfile(path):
        with _open_zip(path) as pack:
            names = [name for name in pack.namelist() if not name.endswith("/")]
    else:
        what = "neither a folder nor a zip" if path.exists() else "no such folder or zip"
        raise InputError(f"{path}: {what} of pictures; give a folder, or a zip of picture files")
    return [
        PictureFile(path, name)
        for name in sorted(set(names))
        if posixpath.splitext(name)[1].lower() in PICTURE_SUFFIXES
        # macOS leaves files such as __MACOSX/._picture.jpg beside every picture
        and not any(part.startswith(".") for part in name.split("/"))
    ]


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: a damaged zip ({error}); copy it again") from error


def _contents(files: Iterable[PictureFile]) -> Iterator[tuple[PictureFile, bytes | None]]:
    """The bytes of `files`, in order; None for what cannot be read. A zip is opened once a run."""
    for source, group in itertools.groupby(files, key=lambda file: file.source):
        with ExitStack() as stack:
            pack = None if source.is_dir() else stack.enter_context(_open_zip(source))
            for file in group:
                try:
                    yield file, pack.read(file.name) if pack else (source / file.name).read_bytes()
                # encrypted, an unknown compression, a broken stream
                except (OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError):
                    yield file, None


def decode_picture(data: bytes) -> np.ndarray | None:
    """Decode a picture file to `(H, W, 3)` uint8 R'G'B', upright; None where it is damaged.

    Pillow and not OpenCV, because OpenCV returns the lower part of a cut-short JPEG as plain grey.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits of grey, which convert("RGB") would clip
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return np.array(upright.convert("RGB"))
    except _DAMAGED:
        return None


def read_pictures(
    files: Iterable[PictureFile],
) -> Iterator[tuple[PictureFile, np.ndarray | None]]:
    """Decode `files` in threads, in order, and at most a few pictures ahead of the consumer.

    Yields:
        Each file with its picture, `(H, W, 3)` uint8 R'G'B', or None where it cannot be read.

    Raises:
        InputError: a zip has gone or is damaged.
    """
    return read_changed(files, lambda picture: picture)


def read_changed(
    files: Iterable[PictureFile], change: Callable[[np.ndarray], T]
) -> Iterator[tuple[PictureFile, T | None]]:
    """As `read_pictures`, but with what `change` makes of each picture, in the same threads.

    Where it makes the pictures smaller, only a few are in memory at their full size.
    """

    def read(data: bytes | None) -> T | None:
        picture = decode_picture(data or b"")
        return None if picture is None else change(picture)

    # no more threads than cores: they only count, and each holds a large picture
    threads = min(32, os.cpu_count() or 1)
    ahead = 4 * threads
    waiting: deque[tuple[PictureFile, Future[T | None]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for file, data in _contents(files):
            waiting.append((file, pool.submit(read, data)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        for file, future in waiting:
            yield file, future.result()


def _decoded(paths: Sequence[Path]) -> Iterator[tuple[str, np.ndarray | None]]:
    """Name and picture of each file of the folders and zips `paths`; None where it is damaged."""
    for file, picture in read_pictures(f for path in paths for f in list_pictures(path)):
        yield str(file), picture


def stream_pictures(
    paths: Sequence[Path], unreadable: list[str] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """The pictures of folders and zips, one after the other; only a few are in memory at a time.

    Args:
        paths: folders (searched recursively) and zips of picture files.
        unreadable: the names of the pictures that could not be read are appended to this list.

    Yields:
        Name (the file's path; for a zip `path:entry`) and `(3, H, W)` uint8 R'G'B'.

    Raises:
        InputError: a path is neither a folder nor a zip.
    """
    for name, rgb in _decoded(paths):
        if rgb is None:
            if unreadable is not None:
                unreadable.append(name)
        else:
            yield name, torch.from_numpy(rgb).permute(2, 0, 1)


def mean_chroma(picture: np.ndarray) -> float:
    """Mean Lab chroma of an `(H, W, 3)` uint8 R'G'B' picture, on every fourth pixel each way."""
    rgb = torch.from_numpy(picture[::4, ::4].copy()).permute(2, 0, 1).float() / 255
    return float(rgb_to_lab(rgb)[1:].square().sum(0).sqrt().mean())


def load_pictures(paths: Sequence[Path], min_chroma: float) -> PictureSet:
    """Decode every picture of the folders and zips `paths` into memory.

    Unreadable files are named in the result and skipped; pictures whose mean Lab chroma is below
    `min_chroma` are counted and skipped.

    Raises:
        InputError: nothing usable is left, or a path is neither a folder nor a zip.
    """
    result = PictureSet()
    for name, rgb in _decoded(paths):
        if rgb is None:
            result.unreadable.append(name)
        elif min_chroma > 0 and mean_chroma(rgb) < min_chroma:
            result.near_grey += 1
        else:
            result.pictures.append(rgb)
    if not result.pictures:
        first = f", first {result.unreadable[0]}" if result.unreadable else ""
        raise InputError(
            f"{', '.join(map(str, paths))}: no usable colour picture "
            f"({len(result.unreadable)} unreadable{first}, {result.near_grey} near-grey); "
            "give a folder or zip of colour PNG, JPEG, WebP, TIFF or BMP files"
        )
    return result


def square(picture: Tensor, size: int) -> Tensor:
    """R'G'B' `(*, 3, H, W)` uint8 resized to cover and centre-cropped to `size` x `size`.

    Bicubic with antialiasing; the result is uint8 too.
    """
    height, width = picture.shape[-2:]
    scale = size / min(height, width)
    resized = F.interpolate(
        picture.reshape(-1, 3, height, width).float(),
        size=(max(size, round(height * scale)), max(size, round(width * scale))),
        mode="bicubic",
        antialias=True,
    )
    top, left = (resized.shape[-2] - size) // 2, (resized.shape[-1] - size) // 2
    cropped = resized[..., top : top + size, left : left + size].round().clamp(0, 255)
    return cropped.to(torch.uint8).reshape(*picture.shape[:-2], size, size)
