"""Black-and-white films to measure on: made from numbers, the same every time.

A film is what an archive's MP4 is like: H.264 with grain, neutral chroma, an AAC sound track. Each
shot is a texture that the camera pans over, with patches of another texture that move across it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 24  # frames a second
SHOTS_EVERY = 1.5  # seconds
# standard deviation, levels of 255; x264 then needs as many bits a pixel as for archive film
GRAIN = 3.0
_CRF, _PRESET = "20", "veryfast"
_SOUND_RATE = 48_000
_PATCHES = 3
_OCTAVES = (4, 16, 64)  # sizes of a texture's details, pixels at 480 lines

SIZES = {"480p": (640, 480), "720p": (1280, 720), "1080p": (1920, 1080)}


@dataclass(frozen=True)
class FilmSize:
    """A frame's size, with the name it has in the tables."""

    name: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


def film_size(text: str) -> FilmSize:
    """A name of `SIZES`, or `WIDTHxHEIGHT` with even numbers from 32 on.

    Raises:
        ValueError: it is neither.
    """
    if text in SIZES:
        return FilmSize(text, *SIZES[text])
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"'{text}' is no size; use {', '.join(SIZES)} or 640x480")
    if min(int(width), int(height)) < 32 or int(width) % 2 or int(height) % 2:
        raise ValueError(f"the size '{text}' must be even, and at least 32x32")
    return FilmSize(text, int(width), int(height))


def texture(height: int, width: int, scale: float, random: np.random.Generator) -> np.ndarray:
    """A gray texture `(height, width)` uint8 with coarse and fine detail."""
    import cv2

    total = np.zeros((height, width), np.float32)
    for octave in _OCTAVES:
        step = max(1.0, octave * scale)
        small = (max(2, round(height / step)), max(2, round(width / step)))
        noise = random.standard_normal(small, dtype=np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * octave**0.5
    low, high = np.percentile(total, (2, 98))
    gray: np.ndarray = (np.clip((total - low) / (high - low), 0, 1) * 200 + 25).astype(np.uint8)
    return gray


class _Shot:
    """A texture the camera moves over, and patches that move on their own."""

    def __init__(self, size: FilmSize, frames: int, random: np.random.Generator) -> None:
        self.size = size
        scale = size.height / 480
        # pixels a frame, as the eye would follow them at any size
        self.pan = (random.uniform(-3, 3, 2) * scale).round().astype(int)
        self.origin = np.maximum(-self.pan * frames, 0)
        height, width = np.array([size.height, size.width]) + np.abs(self.pan[::-1]) * frames
        self.ground = texture(int(height), int(width), scale, random)
        side = max(8, size.height // 5)
        self.patches = [texture(side, side, scale, random) for _ in range(_PATCHES)]
        room = np.array([size.width - side, size.height - side])
        self.places = random.uniform(0, 1, (_PATCHES, 2)) * room
        self.moves = random.uniform(-6, 6, (_PATCHES, 2)) * scale
        self.room = room

    def frame(self, number: int) -> np.ndarray:
        x, y = self.origin + self.pan * number
        picture = self.ground[y : y + self.size.height, x : x + self.size.width].copy()
        for patch, place, move in zip(self.patches, self.places, self.moves, strict=True):
            # to and fro between the borders
            at = np.abs((place + move * number + self.room) % (2 * self.room) - self.room)
            left, top = at.astype(int)
            picture[top : top + len(patch), left : left + len(patch)] = patch
        return picture


def pictures(size: FilmSize, count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """The frames `(H, W)` uint8 of a film, grain included, in the range 16 to 235."""
    random = np.random.default_rng(seed)
    shape = (size.height, size.width)
    grain = (random.standard_normal(shape, dtype=np.float32) * GRAIN).round().astype(np.int16)
    length = round(SHOTS_EVERY * RATE)
    for first in range(0, count, length):
        frames = min(length, count - first)
        shot = _Shot(size, frames, random)
        for number in range(frames):
            # moved at random, further than an encoder looks, one field serves for all frames
            shift = tuple(int(each) for each in random.integers(0, shape))
            noisy = shot.frame(number) + np.roll(grain, shift, axis=(0, 1))
            yield np.clip(noisy, 16, 235).astype(np.uint8)


def make_film(path: Path, size: FilmSize, count: int, seed: int = 0) -> Path:
    """Write a film of `count` frames, with an equally long sound track, and return its path.

    Args:
        path: of an MP4 file; the folder must exist.
        size: of its frames.
        count: frames, at least 1.
        seed: another seed gives another film of the same kind.
    """
    part = path.with_suffix(f".part{path.suffix}")
    with av.open(str(part), "w") as container:
        options = {"crf": _CRF, "preset": _PRESET}
        video: Any = container.add_stream("libx264", rate=RATE, options=options)
        video.width, video.height, video.pix_fmt = size.width, size.height, "yuv420p"
        sound: Any = container.add_stream("aac", rate=_SOUND_RATE, layout="mono")
        neutral = np.full((size.height // 2, size.width), 128, np.uint8)
        for index, picture in enumerate(pictures(size, count, seed)):
            planes = np.concatenate([picture, neutral])  # Y, then Cb and Cr, as `from_ndarray` has
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(video.encode(frame))
            container.mux(sound.encode(_sound(index)))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    os.replace(part, path)  # a film that is there is whole
    return path


def _sound(index: int) -> av.AudioFrame:
    """The hum that goes with one frame."""
    samples = _SOUND_RATE // RATE
    moments = (np.arange(samples) + index * samples) / _SOUND_RATE
    wave = (0.2 * np.sin(2 * np.pi * 220 * moments)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = _SOUND_RATE, index * samples
    frame.time_base = Fraction(1, _SOUND_RATE)
    return frame


class FilmShelf:
    """The films of one run of the benchmarks, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def film(self, size: FilmSize, count: int) -> Path:
        """A film of `count` frames of `size`."""
        path = self.folder / f"film_{size.width}x{size.height}_{count}.mp4"
        return path if path.exists() else make_film(path, size, count)
