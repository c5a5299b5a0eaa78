"""Make `old_film.mp4`: six seconds of made-up old film, from public-domain photographs.

    pip install ".[samples]" && python samples/make_sample.py samples/old_film.mp4

The photographs come with scikit-image (see README.md beside this file for their licenses). Three
shots with a pan or a zoom, two hard cuts, grain, flicker and gate weave; a soft melody over a
projector's hum. The random numbers are seeded, so a second run draws the same film.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data

WIDTH, HEIGHT, RATE, SAMPLE_RATE = 640, 480, 24, 44100
H264 = {"crf": "24", "preset": "veryslow", "tune": "grain"}  # keeps the grain, within 1.5 MB


@dataclass(frozen=True)
class Shot:
    """A photograph, its length in frames, and the camera's first and last view.

    A view is (center x, center y, width), all as shares of the photograph's width or height.
    """

    photograph: str
    frames: int
    first: tuple[float, float, float]
    last: tuple[float, float, float]


SHOTS = (
    Shot("astronaut", 52, (0.50, 0.40, 0.98), (0.44, 0.30, 0.62)),
    Shot("coffee", 46, (0.36, 0.50, 0.66), (0.62, 0.52, 0.66)),
    Shot("rocket", 46, (0.52, 0.62, 0.60), (0.52, 0.48, 0.88)),
)


def view(picture: np.ndarray, x: float, y: float, width: float, weave: np.ndarray) -> np.ndarray:
    """Cut a 4:3 view out of gray `(H, W)`, moved by `weave` (two pixels), `(480, 640)` float."""
    height, full = picture.shape
    scale = min(width * full, height * WIDTH / HEIGHT) / WIDTH
    half = np.array([WIDTH, HEIGHT]) * scale / 2
    size = np.array([full, height])
    center = np.clip(np.array([x, y]) * size, half, size - half) + weave * scale
    matrix = np.array([[scale, 0, center[0] - half[0]], [0, scale, center[1] - half[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        picture.astype(np.float32),
        matrix,
        (WIDTH, HEIGHT),
        flags=flags,
        borderMode=cv2.BORDER_REFLECT,
    )


def age(frame: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Grain, flicker, vignette and a shorter tonal range, `(480, 640)` float to uint8."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    vignette = 1 - 0.12 * (x**2 + y**2)
    grain = cv2.GaussianBlur(random.standard_normal(frame.shape).astype(np.float32), (0, 0), 0.8)
    tone = 14 + 0.90 * cv2.GaussianBlur(frame, (0, 0), 0.7)
    flicker = 1 + 0.018 * random.standard_normal()
    return np.clip(tone * vignette * flicker + 9 * grain, 0, 255).round().astype(np.uint8)


def draw_frames(random: np.random.Generator) -> list[np.ndarray]:
    """All frames of the film, `(480, 640)` uint8, full range."""
    frames = []
    for shot in SHOTS:
        picture = cv2.cvtColor(getattr(skimage.data, shot.photograph)(), cv2.COLOR_RGB2GRAY)
        for number in range(shot.frames):
            t = number / (shot.frames - 1)
            ease = (1 - math.cos(math.pi * t)) / 2
            x, y, width = (a + (b - a) * ease for a, b in zip(shot.first, shot.last, strict=True))
            frames.append(age(view(picture, x, y, width, random.normal(0, 0.25, 2)), random))
    return frames


def play(seconds: float, random: np.random.Generator) -> np.ndarray:
    """A slow arpeggio over a projector's hum and ticks, `(1, N)` float32 in [-1, 1]."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros_like(time)
    notes = (57, 60, 64, 69, 67, 64, 60, 64, 55, 59, 62, 67, 65, 62, 59, 57)  # MIDI numbers
    for index, note in enumerate(notes):
        begin = index * seconds / len(notes)
        local = np.clip(time - begin, 0, None)
        envelope = np.minimum(local / 0.02, 1) * np.exp(-2.2 * local)
        pitch = 440 * 2 ** ((note - 69) / 12)
        for harmonic, level in ((1, 1.0), (2, 0.35), (3, 0.12)):
            sound += 0.16 * level * envelope * np.sin(2 * np.pi * harmonic * pitch * local)
    hum = 0.02 * np.sin(2 * np.pi * 50 * time) + 0.004 * random.standard_normal(time.size)
    tick = 0.05 * np.exp(-400 * (time % (1 / RATE))) * random.standard_normal(time.size)
    fade = np.clip(np.minimum(time / 0.1, (seconds - time) / 0.3), 0, 1)
    return np.clip((sound + hum + tick) * fade, -1, 1).astype(np.float32)[None]


def write(path: Path, frames: list[np.ndarray], sound: np.ndarray) -> None:
    """Encode H.264 (yuv420p, neutral chroma) and AAC into an MP4."""
    with av.open(path, "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", RATE, options=H264)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.time_base = Fraction(1, RATE)
        audio = container.add_stream("aac", SAMPLE_RATE, layout="mono", bit_rate=64000)
        step = round(SAMPLE_RATE / RATE)
        for pts, gray in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(gray, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = pts, Fraction(1, RATE)
            container.mux(video.encode(frame))
            last = sound.shape[1] if pts == len(frames) - 1 else (pts + 1) * step
            part = av.AudioFrame.from_ndarray(sound[:, pts * step : last], "fltp", "mono")
            part.sample_rate, part.pts = SAMPLE_RATE, pts * step
            part.time_base = Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(part))
        for stream in (video, audio):
            container.mux(stream.encode(None))


def main() -> None:
    """Write the film to the path given on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python samples/make_sample.py OUTPUT.mp4")
    random = np.random.default_rng(1925)
    frames = draw_frames(random)
    write(Path(sys.argv[1]), frames, play(len(frames) / RATE, random))


if __name__ == "__main__":
    main()
