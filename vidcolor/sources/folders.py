"""Search a folder to the bottom: `search_folder`."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)

# What network storage and systems put into folders: previews and deleted files. In lower case.
_LITTER = frozenset((
    "@eadir", "#recycle", "#snapshot", "$recycle.bin", "recycler", "system volume information",
    "lost+found", "__macosx", "found.000", "@recycle", "@recently-snapshot",
))  # fmt: skip


@dataclass
class Found:
    """What a search has found.

    Attributes:
        files: regular files, not hidden, in no order.
        problems: paths that could not be searched or read, each with the reason.
    """

    files: list[Path] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)


def is_regular(path: Path) -> bool:
    """Whether a path is a file that can be read to an end: no pipe, socket or device.

    Raises:
        OSError: it does not exist, or cannot be asked.
    """
    return stat.S_ISREG(path.stat().st_mode)


def search_folder(root: Path) -> Found:
    """Find all files of a folder and its subfolders.

    Hidden files and folders, and folders of previews and deleted files (`@eaDir`, `$RECYCLE.BIN`),
    are passed over. A link to a folder is followed if that is not searched anyway. Pipes, sockets
    and devices are never opened. What is passed over for its kind is logged as a warning.
    """
    found = Found()
    seen: set[tuple[int, int]] = set()
    links: list[Path] = [root]
    top = root.resolve()
    while links:  # after the folders themselves, so that these keep their own names
        link = links.pop(0)
        if link != root:
            target = link.resolve()
            if _key(target) in seen:
                logger.warning("%s: links to a folder that is searched already; skipped", link)
                continue
            if top not in target.parents:
                logger.warning("%s: links to %s, out of the folder; searched too", link, target)
        for folder in _folders(link, seen, links, found):
            _add_files(folder, found)
    return found


def _key(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _folders(
    top: Path, seen: set[tuple[int, int]], links: list[Path], found: Found
) -> Iterator[tuple[Path, list[str]]]:
    """The folders under `top` with the names in them; those that are links go into `links`."""

    def failed(error: OSError) -> None:
        found.problems.append((Path(os.fsdecode(error.filename)), error.strerror or str(error)))

    for place, folders, names in os.walk(top, onerror=failed):
        folder = Path(place)
        try:
            seen.add(_key(folder))
        except OSError as error:
            failed(error)
            continue
        kept = [n for n in folders if not n.startswith(".") and n.lower() not in _LITTER]
        links += [folder / name for name in kept if (folder / name).is_symlink()]
        folders[:] = [name for name in kept if not (folder / name).is_symlink()]
        yield folder, names


def _add_files(entry: tuple[Path, list[str]], found: Found) -> None:
    folder, names = entry
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        try:
            if is_regular(path):
                found.files.append(path)
            else:
                logger.warning("%s: is a pipe, a socket or a device; skipped", path)
        except OSError as error:
            found.problems.append((path, error.strerror or str(error)))
