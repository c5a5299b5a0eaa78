"""Where colour frames go: films and pictures.

A sink's contract: it refuses an output that exists or is the input before any work; nothing is
under the final name until it is complete and verified; an exception leaves nothing behind.

The names are imported when first used: the command line's help needs `encoder_table` and
`streams` alone, and the others import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .container import CopyPlan, check_container
    from .encoder_table import ENCODERS, EncoderSettings
    from .encoders import available_encoders, choose_pixel_format, encoder_formats
    from .files import check_output
    from .film import FilmReport, FilmSink
    from .pictures import PictureReport, PictureSink
    from .streams import COPY_ALL, COPY_KINDS

__all__ = [
    "COPY_ALL",
    "COPY_KINDS",
    "ENCODERS",
    "CopyPlan",
    "EncoderSettings",
    "FilmReport",
    "FilmSink",
    "PictureReport",
    "PictureSink",
    "available_encoders",
    "check_container",
    "check_output",
    "choose_pixel_format",
    "encoder_formats",
]

_MODULES = ("encoder_table", "streams", "files", "encoders", "container", "pictures", "film")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in (importlib.import_module(f".{each}", __name__) for each in _MODULES):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
