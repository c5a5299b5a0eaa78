"""vidcolor: colorize black-and-white films and photographs.

    from vidcolor import Colorizer, colorize

    colorize("old_film.mp4", "color.mp4")                      # a film, with its sound
    colorize("photos/", "color/")                              # a folder, mirrored
    rgb = Colorizer(device="cpu").colorize(gray)               # one numpy picture

The names are imported when first used, so that `import vidcolor` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .color.adjust import ColorAdjustment
    from .errors import VidcolorError
    from .run.colorizer import Colorizer
    from .run.pipeline import colorize
    from .run.settings import ColorizerOptions, Report, Settings
    from .sinks import EncoderSettings

__version__ = "0.1.0"
__all__ = [
    "ColorAdjustment",
    "Colorizer",
    "ColorizerOptions",
    "EncoderSettings",
    "Report",
    "Settings",
    "VidcolorError",
    "colorize",
]

_HOME = {
    "ColorAdjustment": "color.adjust",
    "Colorizer": "run.colorizer",
    "ColorizerOptions": "run.settings",
    "EncoderSettings": "sinks",
    "Report": "run.settings",
    "Settings": "run.settings",
    "VidcolorError": "errors",
    "colorize": "run.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vidcolor' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
