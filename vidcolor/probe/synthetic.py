"""A short film to measure on: textured shots that pan, with grain."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from ..frames import ColorBatch, LumaBatch
from ..sinks import EncoderSettings, FilmSink, choose_pixel_format
from ..sources import FilmSource

_RATE = Fraction(24)
_SHOT = 40  # frames
_STEP = 2  # pixels that the picture moves from frame to frame
_GRAIN = 4.0  # standard deviation of the grain, levels of 255: that of a worn 16 mm print
_PIXELS = 40_000_000  # of the whole film
_LEAST, _MOST = 24, 120  # frames


def film_length(width: int, height: int) -> int:
    """Number of frames: fewer of large ones, because they take longer."""
    return max(_LEAST, min(_MOST, _PIXELS // (width * height)))


def _texture(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """`(height, width)` float32 levels of 255, with detail of all sizes."""
    total = np.zeros((height, width), np.float32)
    for power in range(2, 8):
        cell = 1 << power
        grid = random.standard_normal((1, 1, height // cell + 2, width // cell + 2), np.float32)
        wide = interpolate(torch.from_numpy(grid), (height, width), mode="bicubic")
        total += cell**0.7 * wide[0, 0].numpy()
    total -= total.mean()
    return 120 + 40 * total / max(1e-6, float(total.std()))


def frames(count: int, width: int, height: int) -> np.ndarray:
    """Luma codes, `(count, height, width)` uint8, limited range; the same every time."""
    random = np.random.default_rng(0)
    out = np.empty((count, height, width), np.uint8)
    for first in range(0, count, _SHOT):
        wide = _texture(height, width + _STEP * _SHOT, random)
        for number in range(first, min(count, first + _SHOT)):
            left = _STEP * (number - first)
            grain = _GRAIN * random.standard_normal((height, width), np.float32)
            out[number] = np.clip(wide[:, left : left + width] + grain, 16, 235)
    return out


def write_film(folder: Path, width: int, height: int, count: int | None = None) -> FilmSource:
    """A black-and-white H.264 film in Matroska, written by the project's own sink.

    Args:
        folder: for the film, and for the picture that gives the sink the film's properties.
        width, height: of the frames, pixels.
        count: frames; None for a number that suits the size.

    Raises:
        OutputError: the folder cannot be written, or the encoder does not take the size.
    """
    count = count or film_length(width, height)
    codes = torch.from_numpy(frames(count, width, height))
    Image.fromarray(codes[0].numpy()).convert("RGB").save(folder / "0.png")
    facts = FilmSource(folder / "%d.png", rate=_RATE).facts
    settings = EncoderSettings(preset="veryfast")
    format = choose_pixel_format(facts, settings)
    across, down = format.subsampling
    step = round(1 / (_RATE * facts.time_base))
    path = folder / "film.mkv"
    with FilmSink(path, facts, settings, format=format, overwrite=True) as sink:
        for first in range(0, count, 8):
            luma = codes[first : first + 8]
            gray = torch.full((len(luma), -(-height // down), -(-width // across)), 128).byte()
            times = tuple(step * (first + i) for i in range(len(luma)))
            source = LumaBatch(
                luma[:, None], 8, False, times, (step,) * len(luma), first_index=first
            )
            sink.write(ColorBatch((luma, gray, gray), format, source))
        sink.finish()
    return FilmSource(path)
