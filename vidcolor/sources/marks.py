"""Read what a film or picture says of its own origin: `read_marks`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from ..errors import InputError
from ..system.files import parse_json
from ..system.film_marks import read_film_marks
from ..system.xmp import read_xmp
from .decode import check_regular, identify
from .inputs import PICTURE_SUFFIXES
from .metadata import read_metadata
from .pillow_files import UNREADABLE, UnsuitableError, quiet


def settings_of(marks: Mapping[str, str]) -> dict[str, Any]:
    """The settings that marks name; empty if they name none.

    Raises:
        ValueError: they cannot be read.
    """
    found = parse_json(marks.get("settings") or "{}")
    if not isinstance(found, dict):
        raise ValueError("its settings are no object")
    return found


def read_marks(path: Path) -> dict[str, str]:
    """The marks of a file, by the names of `Marks`; empty if it has none.

    Raises:
        InputError: it cannot be read; the line names the file and the cause.
    """
    try:
        check_regular(path)
        if path.suffix.lower() == ".xmp":  # of numbered pictures
            return read_xmp(path.read_bytes())
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            return read_film_marks(path)
        with path.open("rb") as stream, quiet():
            packet = read_metadata(identify(path, stream), stream, 0)[0].xmp
        return read_xmp(packet) if packet else {}
    except (UnsuitableError, FFmpegError, *UNREADABLE) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{path}: its marks cannot be read ({reason}); check the file") from error
