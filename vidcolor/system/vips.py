"""libvips, made ready for use."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any


@cache
def libvips() -> Any:
    """The module `pyvips`, silent and without a cache of results: what a picture's file gave must
    not be kept in memory when the picture is done."""
    import pyvips

    # Python prints the warnings of a logger that has no handler at all.
    logging.getLogger("pyvips").addHandler(logging.NullHandler())
    pyvips.cache_set_max(0)
    return pyvips
