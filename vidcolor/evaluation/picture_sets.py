"""Read color pictures in bulk from folders and zips, for training and evaluation.

All pictures become 8-bit R'G'B'. Metadata and bit depth are not kept; `PictureSource`, which reads
the pictures of a run, keeps them.
"""

from __future__ import annotations

import io
import itertools
import logging
import os
import posixpath
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from ..color.convert import rgb_to_lab
from ..errors import InputError
from ..sources import PICTURE_SUFFIXES

logger = logging.getLogger(__name__)
T = TypeVar("T")
Picture = NDArray[np.uint8]

# Bytes of a picture in a zip. A few bytes in a zip can stand for as many as a machine has.
_LARGEST = 256 << 20


@dataclass(frozen=True, order=True)
class ArchiveMember:
    """A picture file in a folder or zip, not yet read.

    Attributes:
        source: the folder or zip.
        name: path of the file inside `source`, with `/` on every system.
    """

    source: Path
    name: str

    def __str__(self) -> str:
        """Path of the file; in a zip `path:entry`."""
        return (
            str(self.source / self.name) if self.source.is_dir() else f"{self.source}:{self.name}"
        )


def list_pictures(path: Path) -> list[ArchiveMember]:
    """List the picture files of a folder (searched recursively) or zip, sorted by name.

    Files are chosen by suffix and not decoded. Hidden files and folders (`.name`) are skipped.

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
        ArchiveMember(path, name)
        for name in sorted(set(names))
        if posixpath.splitext(name)[1].lower() in PICTURE_SUFFIXES
        # macOS adds a file such as __MACOSX/._picture.jpg for every picture
        and not any(part.startswith(".") for part in name.split("/"))
    ]


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged zip ({error}); copy it again") from error


def _read(file: ArchiveMember, pack: zipfile.ZipFile | None) -> bytes | None:
    """The bytes of a file, which may lie in an open zip; None if it cannot be read."""
    try:
        if pack is None:
            return (file.source / file.name).read_bytes()
        if pack.getinfo(file.name).file_size > _LARGEST:
            return None
        return pack.read(file.name)
    # also raised for encryption, unknown compression and broken streams
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError):
        return None


def decode_picture(data: bytes) -> Picture | None:
    """Decode a picture file to `(H, W, 3)` uint8 R'G'B', upright; None if it is damaged.

    Uses Pillow, because OpenCV fills the missing part of a truncated JPEG with gray.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16-bit gray, which convert("RGB") would clip
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return np.array(upright.convert("RGB"))
    except Exception as error:  # Pillow's formats raise all kinds
        logger.debug("a picture cannot be decoded", exc_info=error)
        return None


def read_pictures(
    files: Iterable[ArchiveMember],
) -> Iterator[tuple[ArchiveMember, Picture | None]]:
    """Decode `files` in threads, in order, at most a few pictures ahead of the consumer.

    Yields:
        Each file with its picture, `(H, W, 3)` uint8 R'G'B', or None if it cannot be read.

    Raises:
        InputError: a zip is missing or damaged.
    """
    return map_pictures(files, lambda picture: picture)


def map_pictures(
    files: Iterable[ArchiveMember], function: Callable[[Picture], T]
) -> Iterator[tuple[ArchiveMember, T | None]]:
    """Decode `files` like `read_pictures` and apply `function` to each, in the same threads.

    If `function` makes the pictures smaller, only a few are in memory at full size.
    """

    def read(file: ArchiveMember, pack: zipfile.ZipFile | None) -> T | None:
        picture = decode_picture(_read(file, pack) or b"")
        return None if picture is None else function(picture)

    # No more threads than cores: decoding is all they do, and each holds a large picture.
    threads = min(32, os.cpu_count() or 1)
    prefetch = 4 * threads
    waiting: deque[tuple[ArchiveMember, Future[T | None]]] = deque()
    with ExitStack() as packs, ThreadPoolExecutor(threads) as pool:
        for source, group in itertools.groupby(files, key=lambda file: file.source):
            pack = None if source.is_dir() else packs.enter_context(_open_zip(source))
            for file in group:
                waiting.append((file, pool.submit(read, file, pack)))
                if len(waiting) > prefetch:
                    first, future = waiting.popleft()
                    yield first, future.result()
        for file, future in waiting:
            yield file, future.result()


def stream_pictures(
    paths: Sequence[Path], unreadable: list[str] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield the pictures of folders and zips; only a few are in memory at a time.

    Args:
        paths: folders (searched recursively) and zips of picture files.
        unreadable: list to which the names of unreadable pictures are appended.

    Yields:
        Name (path of the file; in a zip `path:entry`) and `(3, H, W)` uint8 R'G'B'.

    Raises:
        InputError: a path is neither a folder nor a zip.
    """
    for file, rgb in read_pictures(file for path in paths for file in list_pictures(path)):
        if rgb is not None:
            yield str(file), torch.from_numpy(rgb).permute(2, 0, 1)
        elif unreadable is not None:
            unreadable.append(str(file))


def mean_chroma(picture: Picture) -> float:
    """Mean Lab chroma of an `(H, W, 3)` uint8 R'G'B' picture, on every fourth pixel each way."""
    rgb = torch.from_numpy(picture[::4, ::4].copy()).permute(2, 0, 1).float() / 255
    return float(rgb_to_lab(rgb)[1:].square().sum(0).sqrt().mean())


def square(picture: Tensor, size: int) -> Tensor:
    """Resize R'G'B' `(*, 3, H, W)` uint8 to cover a square and crop its center, `size` x `size`.

    Bicubic with antialiasing; the result is uint8.
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
