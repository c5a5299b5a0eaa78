"""Colour pictures in bulk, for training and evaluation: folders and zips of picture files.

Unlike `PictureSource`, which colorizes what a user gives and keeps EXIF, ICC and depth, this reads
any picture as 8-bit R'G'B' and knows nothing of outputs.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ..color import rgb_to_lab
from ..errors import InputError

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}

# what Pillow raises for files that are cut short, damaged or no pictures at all
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass
class PictureSet:
    """Colour pictures in memory, `(H, W, 3)` uint8 R'G'B', and what was left out and why."""

    pictures: list[np.ndarray] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    near_grey: int = 0


def _entries(path: Path) -> Iterator[tuple[str, bytes | None]]:
    """Name and content of each picture file, sorted by name; None for what cannot be read."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file():
                try:
                    yield str(file), file.read_bytes()
                except OSError:
                    yield str(file), None
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as pack:
            for name in sorted(pack.namelist()):
                if Path(name).suffix.lower() in PICTURE_SUFFIXES:
                    try:
                        yield f"{path}:{name}", pack.read(name)
                    except (OSError, zipfile.BadZipFile, RuntimeError):  # RuntimeError: encrypted
                        yield f"{path}:{name}", None
    else:
        what = "neither a folder nor a zip" if path.exists() else "no such folder or zip"
        raise InputError(f"{path}: {what} of pictures; give a folder, or a zip of picture files")


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


def _decoded(paths: Sequence[Path]) -> Iterator[tuple[str, np.ndarray | None]]:
    """Decode in threads, in order, and at most a few pictures ahead of the consumer."""
    ahead = 4 * (os.cpu_count() or 1)
    waiting: deque[tuple[str, Future[np.ndarray | None]]] = deque()
    with ThreadPoolExecutor() as pool:
        for path in paths:
            for name, data in _entries(path):
                waiting.append((name, pool.submit(decode_picture, data or b"")))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
        for name, future in waiting:
            yield name, future.result()


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
    """R'G'B' `(3, H, W)` uint8 resized to cover and centre-cropped to `(3, size, size)` uint8.

    Bicubic with antialiasing.
    """
    height, width = picture.shape[-2:]
    scale = size / min(height, width)
    resized = F.interpolate(
        picture[None].float(),
        size=(max(size, round(height * scale)), max(size, round(width * scale))),
        mode="bicubic",
        antialias=True,
    )
    top, left = (resized.shape[-2] - size) // 2, (resized.shape[-1] - size) // 2
    return resized[0, :, top : top + size, left : left + size].round().clamp(0, 255).to(torch.uint8)
