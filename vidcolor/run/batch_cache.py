"""The fastest batch sizes that `vidcolor probe` measured here, stored for `--batch-size auto`.

They are in one JSON file, which can be deleted at any time. An entry is for one device, one set of
weights, one model size, one precision and frames of about one size.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from functools import lru_cache
from pathlib import Path

from ..errors import OutputError
from ..system.devices import device_name
from ..system.files import read_json, replacing
from .colorizer import Colorizer

logger = logging.getLogger(__name__)

_VERSION = 1  # of the file; another one's entries are not read
_MOST = 1 << 14  # a larger batch in the file is a broken file
_NAME = "batches.json"


def cache_file() -> Path:
    """The file: in the folder `VIDCOLOR_CACHE`, or in the user's cache folder."""
    own = os.environ.get("VIDCOLOR_CACHE")
    if own:
        return Path(own) / _NAME
    from platformdirs import user_cache_path

    return user_cache_path("vidcolor", appauthor=False) / _NAME


def size_class(width: int, height: int) -> int:
    """The power of two nearest to the number of pixels: 18 for 640x480, 21 for 1920x1080."""
    return round(math.log2(width * height))


def _checksum(colorizer: Colorizer) -> str:
    """Of the weights' file, or of the network's shapes if the file has no record of one."""
    if colorizer.entry.sha256:
        return colorizer.entry.sha256[:16]
    shapes = [(name, tuple(t.shape)) for name, t in colorizer.model.state_dict().items()]
    return hashlib.sha256(repr(shapes).encode()).hexdigest()[:16]


def batch_key(colorizer: Colorizer, width: int, height: int) -> str:
    """The key of an entry, one readable line. `width` and `height` are the frames', in pixels."""
    return " | ".join(
        (
            device_name(colorizer.device),
            f"{colorizer.entry.architecture} {_checksum(colorizer)}",
            f"size {colorizer.size}",
            colorizer.precision,
            f"2^{size_class(width, height)} pixels",
        )
    )


@lru_cache(maxsize=4)
def _read_once(path: Path, changed: int, size: int) -> dict[str, int]:
    """The file's batch sizes. A broken file is reported once, not for every film."""
    try:
        values = read_json(path)
        if values["version"] != _VERSION:
            return {}
        found: dict[str, int] = values["batches"]
        if not all(type(batch) is int and 1 <= batch <= _MOST for batch in found.values()):
            raise ValueError("a batch size is no number in range")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning(
            "%s: not readable, so batch sizes are chosen by rule (%s); delete it, then run "
            "'vidcolor probe' again",
            path,
            error,
        )
        return {}
    return found


def _read(path: Path) -> dict[str, int]:
    try:
        found = path.stat()
    except OSError:
        return {}  # nothing was measured yet
    return _read_once(path, found.st_mtime_ns, found.st_size)


def cached_batch(colorizer: Colorizer, width: int, height: int) -> int | None:
    """The fastest batch size for frames of `width` x `height` pixels; None if none was measured.

    A file that cannot be read counts as none, with a warning.
    """
    known = _read(cache_file())
    return known.get(batch_key(colorizer, width, height)) if known else None


def store_batch(colorizer: Colorizer, width: int, height: int, batch: int) -> bool:
    """Store the fastest batch size for such frames; it replaces the one stored before.

    Returns:
        False if the file cannot be written, which is also logged as a warning.

    Raises:
        ValueError: `batch` is out of range.
    """
    if not 1 <= batch <= _MOST:
        raise ValueError(f"batch must lie between 1 and {_MOST}, not {batch}")
    path = cache_file()
    batches = {**_read(path), batch_key(colorizer, width, height): batch}
    text = json.dumps({"version": _VERSION, "batches": batches}, indent=1, sort_keys=True)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    except OutputError as error:
        logger.warning("the fastest batch size is not kept: %s", error)
        return False
    return True
