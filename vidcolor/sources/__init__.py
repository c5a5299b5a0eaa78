"""Open films, pictures, folders and sequences, and bring their luma to the device."""

from .film import FilmSource
from .film_info import probe_film
from .inputs import (
    FILM_SUFFIXES,
    PICTURE_SUFFIXES,
    FilmInput,
    Input,
    PictureInput,
    SequenceInput,
    expand,
    natural_key,
    output_suffix,
)
from .loader import Source, load
from .pictures import ColorPicture, PictureSource, read_color

__all__ = [
    "FILM_SUFFIXES",
    "PICTURE_SUFFIXES",
    "ColorPicture",
    "FilmInput",
    "FilmSource",
    "Input",
    "PictureInput",
    "PictureSource",
    "SequenceInput",
    "Source",
    "expand",
    "load",
    "natural_key",
    "output_suffix",
    "probe_film",
    "read_color",
]
