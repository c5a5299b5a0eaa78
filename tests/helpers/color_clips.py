"""Color clips with known motion, without loss."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.motion.test_flow import texture

HEIGHT, WIDTH = 64, 96


def pan(count: int, seed: int = 0, step: int = 1) -> list[np.ndarray]:
    """Frames `(H, W, 3)` of a colored picture that moves `step` pixels to the left in each.

    Fine gray texture for the flow to hold on to, and smooth colors that move along.
    """
    width = WIDTH + count * step
    gray = 70 + texture(HEIGHT, width, seed).astype(float) * 0.45
    x = np.arange(width) / 24 + seed
    y = np.arange(HEIGHT)[:, None] / 24
    tint = np.stack([np.sin(x + y), np.sin(x - y + 2), np.cos(y + x + 4)], axis=2) * 30
    picture = np.clip(gray[..., None] + tint, 0, 255).round().astype(np.uint8)
    return [picture[:, i * step : i * step + WIDTH] for i in range(count)]


def write_clip(path: Path, pictures: Sequence[np.ndarray]) -> Path:
    """A film of R'G'B' frames at 10 a second, in 4:4:4 at full range."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        stream.codec_context.color_range = 2
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv444p", dst_colorspace="ITU601", dst_color_range=2)
            frame.pts, frame.time_base, frame.color_range = i, Fraction(1, 10), 2
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
