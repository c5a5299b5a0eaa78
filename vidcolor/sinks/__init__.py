"""Where color frames go: films and pictures.

A sink's contract: it refuses an output that exists or is the input before any work; nothing is
under the final name until it is complete and verified; an exception leaves nothing behind.

The names are imported when first used: the command line's help needs `encoder_table` alone, and the
others import PyAV and torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..frames import COPY_ALL, COPY_KINDS

if TYPE_CHECKING:
    from .chroma import ChromaPlan, plan_chroma
    from .container import CopyPlan, check_container
    from .earlier import EarlierFilm, EarlierSequence
    from .encoder_table import ENCODERS, EncoderSettings
    from .encoders import available_encoders, choose_pixel_format, encoder_formats
    from .files import check_output
    from .film import FilmSink
    from .muxing import can_resume
    from .pictures import PictureReport, PictureSink
    from .sequence import SequenceSink
    from .sequence_plan import check_sequence, first_number, is_sequence, plan_sequence
    from .verify import FilmReport

__all__ = [
    "COPY_ALL",
    "COPY_KINDS",
    "ENCODERS",
    "ChromaPlan",
    "CopyPlan",
    "EarlierFilm",
    "EarlierSequence",
    "EncoderSettings",
    "FilmReport",
    "FilmSink",
    "PictureReport",
    "PictureSink",
    "SequenceSink",
    "available_encoders",
    "can_resume",
    "check_container",
    "check_output",
    "check_sequence",
    "choose_pixel_format",
    "encoder_formats",
    "first_number",
    "is_sequence",
    "plan_chroma",
    "plan_sequence",
]

_HOME = {
    "ENCODERS": "encoder_table",
    "ChromaPlan": "chroma",
    "CopyPlan": "container",
    "EarlierFilm": "earlier",
    "EarlierSequence": "earlier",
    "EncoderSettings": "encoder_table",
    "FilmReport": "verify",
    "FilmSink": "film",
    "PictureReport": "pictures",
    "PictureSink": "pictures",
    "available_encoders": "encoders",
    "can_resume": "muxing",
    "check_container": "container",
    "check_output": "files",
    "choose_pixel_format": "encoders",
    "encoder_formats": "encoders",
    "SequenceSink": "sequence",
    "check_sequence": "sequence_plan",
    "first_number": "sequence_plan",
    "is_sequence": "sequence_plan",
    "plan_chroma": "chroma",
    "plan_sequence": "sequence_plan",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
