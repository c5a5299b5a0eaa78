"""The fastest batch sizes that `vidcolor probe` measured here, kept for `--batch-size auto`.

One small JSON file, `batches.json`, in the folder that `VIDCOLOR_CACHE` names, else in the user's
cache folder of the system. It can be deleted at any time. An entry counts for one device, one set
of weights, one model size, one precision and frames of about one size.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..system.devices import device_name
from ..system.files import replacing
from .colorizer import Colorizer

logger = logging.getLogger(__name__)

_VERSION = 1  # of the file; another one's entries are not read
_MOST = 1 << 14  # a larger batch in the file is a broken file
_NAME = "batches.json"


def cache_file() -> Path:
    """Where the batch sizes lie: in the folder `VIDCOLOR_CACHE`, or in the user's cache folder."""
    own = os.environ.get("VIDCOLOR_CACHE")
    if own:
        return Path(own) / _NAME
    from platformdirs import user_cache_path

    return user_cache_path("vidcolor", appauthor=False) / _NAME


def size_class(width: int, height: int) -> int:
    """Frames of a class have about the same number of pixels: the power of two nearest to it.

    640x480 is in 18, 720x576 in 19, 1280x720 in 20, 1920x1080 in 21, 3840x2160 in 23.
    """
    return round(math.log2(width * height))


def _checksum(colorizer: Colorizer) -> str:
    """Of the weights' file; of the network's shape where a file of one's own has no manifest: the
    values decide nothing about speed."""
    if colorizer.entry.sha256:
        return colorizer.entry.sha256[:16]
    shapes = [(name, tuple(t.shape)) for name, t in colorizer.model.state_dict().items()]
    return hashlib.sha256(repr(shapes).encode()).hexdigest()[:16]


def batch_key(colorizer: Colorizer, width: int, height: int) -> str:
    """What an entry of the cache counts for, as one readable line.

    Args:
        colorizer: its device, weights, model size and precision count.
        width, height: of the frames, pixels.
    """
    return " | ".join(
        (
            device_name(colorizer.device),
            f"{colorizer.entry.architecture} {_checksum(colorizer)}",
            f"size {colorizer.size}",
            colorizer.precision,
            f"2^{size_class(width, height)} pixels",
        )
    )


def _checked(values: Any) -> dict[str, int]:
    """The batch sizes of a file's JSON.

    Raises:
        ValueError: it is not what `store_batch` writes.
    """
    if not isinstance(values, dict) or not isinstance(values.get("batches"), dict):
        raise ValueError("no batches in it")
    if values.get("version") != _VERSION:
        return {}
    for key, batch in values["batches"].items():
        if type(batch) is not int or not 1 <= batch <= _MOST:
            raise ValueError(f"a batch of {batch!r} for {key}")
    found: dict[str, int] = values["batches"]
    return found


@lru_cache(maxsize=4)
def _read_once(path: Path, changed: int, size: int) -> dict[str, int]:
    """The file's batch sizes; a broken file is told of once, and not for every film."""
    try:
        return _checked(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        logger.warning(
            "%s: not readable, so batch sizes are chosen by rule (%s); delete it, then run "
            "'vidcolor probe' again",
            path,
            error,
        )
        return {}


def _read(path: Path) -> dict[str, int]:
    try:
        found = path.stat()
    except OSError:
        return {}  # nothing was measured yet
    return _read_once(path, found.st_mtime_ns, found.st_size)


def cached_batch(colorizer: Colorizer, width: int, height: int) -> int | None:
    """The batch size that was measured as the fastest for such frames, None if none was.

    A file that cannot be read counts as none, with a warning.

    Args:
        colorizer: the model on its device.
        width, height: of the film's frames, pixels.
    """
    known = _read(cache_file())
    return known.get(batch_key(colorizer, width, height)) if known else None


def store_batch(colorizer: Colorizer, width: int, height: int, batch: int) -> bool:
    """Keep the fastest batch size for such frames; replaces what was kept before.

    Returns:
        Whether it was kept; a folder that cannot be written is told of with a warning.

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
