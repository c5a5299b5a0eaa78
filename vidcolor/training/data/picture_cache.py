"""Keep decoded pictures in memory, or in memory-mapped files that later trainings reuse.

A mapped file needs no memory of its own: the system reads its pages on demand, shares them between
processes, and drops them when memory is short.
"""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from ...errors import OutputError, TrainingError
from ...evaluation.picture_sets import ArchiveMember
from ...system.files import read_json, replacing

_FORMAT = 1  # version of the files; others are ignored


class Store(Protocol):
    """Stores pictures, from several threads, and returns them by number."""

    def add(self, picture: np.ndarray) -> int:
        """Store `(H, W, 3)` uint8 R'G'B'; returns its number."""
        ...

    def pictures(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """The pictures of these numbers."""
        ...


class MemoryStore:
    """Stores pictures in memory."""

    def __init__(self) -> None:
        self._pictures: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def add(self, picture: np.ndarray) -> int:
        """See `Store.add`."""
        with self._lock:
            number = len(self._pictures)
            self._pictures[number] = picture
        return number

    def pictures(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """See `Store.pictures`."""
        return [self._pictures[number] for number in numbers]


class _Writer:
    """Appends pictures to an open file and keeps their offsets."""

    def __init__(self, file: BinaryIO) -> None:
        self.places: list[tuple[int, int, int]] = []  # offset, height, width
        self.size = 0
        self._file, self._lock = file, threading.Lock()

    def add(self, picture: np.ndarray) -> int:
        """See `Store.add`."""
        with self._lock:
            self._file.write(np.ascontiguousarray(picture).data)
            self.places.append((self.size, picture.shape[0], picture.shape[1]))
            self.size += picture.nbytes
            return len(self.places) - 1

    def pictures(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """Empty: the file is mapped when it is complete."""
        return []


@dataclass
class Decoded:
    """The decoded pictures of a part.

    Attributes:
        names: of the usable ones, in the part's order.
        numbers: their numbers in the store.
        near_gray: number of pictures left out for their low chroma.
        unreadable: names of those that could not be read.
        pictures: the usable ones, `(H, W, 3)` uint8 R'G'B'.
    """

    names: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    near_gray: int = 0
    unreadable: list[str] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)


class PictureCache:
    """A folder of decoded pictures: `HASH.pictures` and `HASH.json` for each part of a data set.

    The hash depends on the pictures' names and contents and on `label`. The files can be deleted
    while no training uses them.

    Args:
        folder: of the files; created if it does not exist.
        label: describes what is kept of each picture, such as `crop-320`.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self.folder, self.label = folder, label

    def part(
        self,
        pictures: Iterable[tuple[str, ArchiveMember | np.ndarray]],
        settings: Sequence[float],
        decode: Callable[[Store], Decoded],
    ) -> Decoded:
        """Read a part from its file, or decode and write it.

        Args:
            pictures: every picture by name, usable or not, in order.
            settings: numbers that decide which pictures are usable.
            decode: decodes the usable ones into a store.

        Raises:
            TrainingError: the files cannot be written.
        """
        listed = list(pictures)
        if not listed:
            return decode(MemoryStore())
        path = self.folder / f"{self._key(listed, settings)}.pictures"
        found = _load(path)
        if found is not None:
            return found
        try:
            with replacing(path) as temporary, open(temporary, "wb") as file:
                writer = _Writer(file)
                made = decode(writer)
            with replacing(path.with_suffix(".json")) as text:
                text.write_text(json.dumps(_index(made, writer)) + "\n", encoding="utf-8")
        except OutputError as error:
            raise TrainingError(f"the cache of decoded pictures: {error}") from error
        made.pictures = _mapped(path, [writer.places[number] for number in made.numbers])
        return made

    def _key(
        self, listed: Sequence[tuple[str, ArchiveMember | np.ndarray]], settings: Sequence[float]
    ) -> str:
        files = [content for _, content in listed if isinstance(content, ArchiveMember)]
        contents = _contents(files)
        digest = hashlib.sha256(json.dumps([_FORMAT, self.label, list(settings)]).encode())
        for name, content in listed:
            said = contents[content] if isinstance(content, ArchiveMember) else _digest(content)
            digest.update(f"{name}\n{said}\n".encode(errors="backslashreplace"))
        return digest.hexdigest()[:20]


def _digest(picture: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(picture).data).hexdigest()


def _contents(files: Sequence[ArchiveMember]) -> dict[ArchiveMember, str]:
    """A text for each file that changes with its content: size and checksum in a zip, size and time
    in a folder."""
    found: dict[ArchiveMember, str] = {}
    for source in {file.source for file in files}:
        if source.is_dir():
            for file in (f for f in files if f.source == source):
                facts = (source / file.name).stat()
                found[file] = f"{facts.st_size} {facts.st_mtime_ns}"
        else:
            with zipfile.ZipFile(source) as pack:
                entries = {info.filename: f"{info.file_size} {info.CRC}" for info in pack.filelist}
            found |= {f: entries[f.name] for f in files if f.source == source}
    return found


def _index(made: Decoded, writer: _Writer) -> dict[str, Any]:
    return {
        "names": made.names,
        "places": [writer.places[number] for number in made.numbers],
        "near_gray": made.near_gray,
        "unreadable": made.unreadable,
        "bytes": writer.size,
    }


def _load(path: Path) -> Decoded | None:
    """Read what `part` wrote; None if a file is missing or not valid."""
    try:
        index = read_json(path.with_suffix(".json"))
        if path.stat().st_size != index["bytes"]:
            return None
        names, places = index["names"], index["places"]
        pictures = _mapped(path, places)
        return Decoded(
            names, list(range(len(names))), index["near_gray"], index["unreadable"], pictures
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _mapped(path: Path, places: Sequence[tuple[int, int, int]]) -> list[np.ndarray]:
    """Views of a mapped file; writing to them does not change the file."""
    if not places:
        return []
    whole = np.asarray(np.memmap(path, dtype=np.uint8, mode="c"))
    return [
        whole[offset : offset + 3 * height * width].reshape(height, width, 3)
        for offset, height, width in places
    ]
