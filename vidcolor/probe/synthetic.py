"""A short film to measure on, made here: textured shots that pan, under a film's grain."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from ..frames import ColorBatch, LumaBatch, PixelFormat
from ..sinks import EncoderSettings, FilmSink, choose_pixel_format
from ..sources import FilmSource

_RATE = Fraction(24)
_SHOT = 40  # frames
_STEP = 2  # pixels that the picture moves from frame to frame
_GRAIN = 4.0  # standard deviation of the grain, levels of 255: that of a worn 16 mm print
_FIELDS = 8  # of grain, which are shifted at random: fresh noise for each frame is slow
_PIXELS = 40_000_000  # of the whole film
_LEAST, _MOST = 24, 120  # frames


def film_length(width: int, height: int) -> int:
    """Frames of a film to measure on: fewer of large ones, because they take longer."""
    return max(_LEAST, min(_MOST, _PIXELS // (width * height)))


def _texture(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """`(height, width)` float32 levels of 255: detail of all sizes, as pictures have it."""
    import cv2

    total = np.zeros((height, width), np.float32)
    for power in range(2, 8):
        cell = 1 << power
        grid = random.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
        total += cell**0.7 * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    total -= total.mean()
    return 120 + 40 * total / max(1e-6, float(total.std()))


def frames(count: int, width: int, height: int) -> np.ndarray:
    """Luma codes of a film, `(count, height, width)` uint8, limited range; the same every time."""
    random = np.random.default_rng(0)
    margin = 16  # of the grain, which is shifted within it
    fields = random.standard_normal((_FIELDS, height + margin, width + margin)).astype(np.float32)
    fields *= _GRAIN
    out = np.empty((count, height, width), np.uint8)
    for first in range(0, count, _SHOT):
        wide = _texture(height, width + _STEP * _SHOT, random)
        for number in range(first, min(count, first + _SHOT)):
            left = _STEP * (number - first)
            x, y = random.integers(0, margin, 2)
            grain = fields[random.integers(_FIELDS), y : y + height, x : x + width]
            levels = wide[:, left : left + width] + grain
            out[number] = np.clip(levels, 16, 235)
    return out


def write_film(folder: Path, width: int, height: int, count: int | None = None) -> FilmSource:
    """A black-and-white H.264 film in Matroska, written by the project's own sinks.

    Args:
        folder: for the film, and for the picture that it is made from.
        width, height: of the frames, pixels.
        count: frames; None for a number that suits the size.

    Raises:
        OutputError: the folder cannot be written, or the encoder does not take the size.
    """
    import cv2

    count = count or film_length(width, height)
    codes = torch.from_numpy(frames(count, width, height))
    still = folder / "0.png"
    cv2.imwrite(str(still), cv2.cvtColor(codes[0].numpy(), cv2.COLOR_GRAY2BGR))
    # the sink wants a film to take its other streams from: a sequence of one picture has none
    facts = FilmSource(folder / "%d.png", rate=_RATE).facts
    settings = EncoderSettings(preset="veryfast")
    format = choose_pixel_format(facts, settings)
    path = folder / "film.mkv"
    step = round(1 / (_RATE * facts.time_base))
    with FilmSink(path, facts, settings, format=format, overwrite=True) as sink:
        for first in range(0, count, 8):
            sink.write(_colored(codes[first : first + 8], format, first, step))
        sink.finish()
    return FilmSource(path)


def _colored(codes: torch.Tensor, format: PixelFormat, first: int, step: int) -> ColorBatch:
    """Gray frames as a sink takes them."""
    number, height, width = codes.shape
    across, down = format.subsampling
    gray = torch.full((number, -(-height // down), -(-width // across)), 128, dtype=torch.uint8)
    times = tuple(step * (first + i) for i in range(number))
    source = LumaBatch(codes[:, None], 8, False, times, (step,) * number, first_index=first)
    return ColorBatch((codes, gray, gray), format, source)
