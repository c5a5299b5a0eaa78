"""Clips synthesized with PyAV: small, with noise and an edge, so that codecs have work to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vidcolor.frames import LumaBatch

RATE = 12


@dataclass(frozen=True)
class Clip:
    """A film on disk and the luma codes that went into it, `(N, H, W)`."""

    path: Path
    luma: np.ndarray


def pattern(number: int, width: int, height: int, depth: int = 8) -> np.ndarray:
    """One frame of codes `(H, W)`: a moving ramp with noise, over the whole range of codes."""
    top = (1 << depth) - 1
    x = np.arange(width) + 3 * number
    y = np.arange(height)[:, None]
    noise = np.random.default_rng(number).integers(0, 9, (height, width))
    codes = (x * top // width + y * top // (2 * height) + noise) % (top + 1)
    codes[0, 0], codes[-1, -1] = 0, top
    return codes.astype(np.uint8 if depth == 8 else np.uint16)


def fill(plane: av.video.plane.VideoPlane, codes: np.ndarray) -> None:
    """Write rows of samples into a plane, and junk into the padding of its rows."""
    size = codes.dtype.itemsize
    rows = np.full((plane.height, plane.line_size), 0xA5, np.uint8)
    raw = np.ascontiguousarray(codes).view(np.uint8)
    rows[: codes.shape[0], : codes.shape[1] * size] = raw
    plane.update(rows.tobytes())


def make_frame(pix_fmt: str, luma: np.ndarray, chroma: int = 0) -> av.VideoFrame:
    """A frame with these luma codes; `chroma` is its distance from neutral.

    For RGB formats R' = G' = B' = luma.
    """
    height, width = luma.shape
    if pix_fmt in ("rgb24", "rgb48le", "gbrp"):
        name = "rgb48le" if luma.dtype == np.uint16 else "rgb24"
        frame = av.VideoFrame.from_ndarray(np.repeat(luma[..., None], 3, axis=2), format=name)
        return frame if name == pix_fmt else frame.reformat(format=pix_fmt)
    frame = av.VideoFrame(width, height, pix_fmt)
    fill(frame.planes[0], luma)
    for plane in frame.planes[1:]:
        neutral = 1 << (frame.format.components[0].bits - 1)
        per_row = plane.line_size // luma.dtype.itemsize
        fill(plane, np.full((plane.height, per_row), neutral + chroma, luma.dtype))
    return frame


def encode(
    path: Path,
    codec: str,
    pix_fmt: str,
    lumas: Sequence[np.ndarray],
    *,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, RATE),
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    setup: Callable[[av.video.stream.VideoStream], None] | None = None,
    color_range: int | None = None,
    colorspace: int | None = None,
    chroma: int = 0,
) -> Clip:
    """Write a film of these luma planes."""
    height, width = lumas[0].shape
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = time_base
        if color_range is not None:
            stream.codec_context.color_range = color_range
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
        if setup is not None:
            setup(stream)
        for i, luma in enumerate(lumas):
            frame = make_frame(pix_fmt, luma, chroma)
            frame.pts, frame.time_base = (i if pts is None else pts[i]), time_base
            if color_range is not None:
                frame.color_range = color_range
            if colorspace is not None:
                frame.colorspace = colorspace
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Clip(path, np.stack(lumas))


def frames(count: int, width: int = 64, height: int = 48, depth: int = 8) -> list[np.ndarray]:
    return [pattern(i, width, height, depth) for i in range(count)]


def luma_of(batches: list[LumaBatch]) -> np.ndarray:
    return np.concatenate([b.luma.numpy()[:, 0] for b in batches])


def pts_of(batches: list[LumaBatch]) -> list[int]:
    return [p for b in batches for p in b.pts]


def damage_of(batches: list[LumaBatch]) -> list[str]:
    return [d for b in batches for d in b.damage]
