"""Numbered sequences: files of one name but for a number, written `frames/%05d.png`."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InputError

_PATTERN = re.compile(r"%(0?)(\d*)d")


def is_pattern(path: str | Path) -> bool:
    """Whether a path names a numbered sequence: a file name with one `%d` or `%05d`."""
    return len(_PATTERN.findall(Path(path).name)) == 1


def sequence_file(path: Path, number: int) -> Path:
    """One file of a numbered sequence."""
    return path.with_name(_PATTERN.sub(lambda found: found[0] % number, path.name))


def existing_numbers(path: Path) -> set[int]:
    """The numbers of a numbered sequence that have a file; none if its folder does not exist.

    Raises:
        OSError: the folder cannot be read.
    """
    match = _PATTERN.search(path.name)
    assert match is not None, "no numbered sequence"
    head, tail = path.name[: match.start()], path.name[match.end() :]
    name = re.compile(re.escape(head) + r"(\d+)" + re.escape(tail))
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except FileNotFoundError:
        return set()
    numbers = {int(found[1]) for found in map(name.fullmatch, names) if found}
    there = set(names)
    return {each for each in numbers if sequence_file(path, each).name in there}


def sequence_numbers(path: Path) -> list[int]:
    """The numbers of the files of a numbered sequence, ascending, without gaps.

    Raises:
        InputError: no file matches, or a number is missing between the first and the last.
    """
    if not is_pattern(path):
        raise InputError(f"{path}: not a numbered sequence; name it like frames/%05d.png")
    try:
        numbers = existing_numbers(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; check the folder's name") from error
    if not numbers:
        raise InputError(f"{path}: no file of this numbered sequence exists; check the pattern")
    first = min(numbers)
    for number in range(first, max(numbers)):
        if number not in numbers:
            raise InputError(
                f"{sequence_file(path, number)}: missing from the numbered sequence; add it or "
                "renumber the files"
            )
    return sorted(numbers)
