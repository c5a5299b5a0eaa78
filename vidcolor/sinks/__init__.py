"""Where colour frames go: films and pictures.

A sink's contract: it refuses an output that exists or is the input before any work; nothing is
under the final name until it is complete and verified; an exception leaves nothing behind.
"""

from __future__ import annotations

from .container import CopyPlan, check_container
from .encoder_table import ENCODERS, EncoderSettings
from .encoders import (
    available_encoders,
    choose_pixel_format,
    encoder_formats,
)
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
