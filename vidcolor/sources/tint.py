"""Tinted and toned prints: films whose every frame is of one hue, such as sepia: `TintFinder`."""

from __future__ import annotations

import math

import av
import numpy as np
import torch

from ..color.convert import rgb_to_lab, yuv_to_rgb
from ..frames import VideoInfo
from .luma import COLOR_THRESHOLD

_SIZE = 48, 36  # pixels that a frame is shrunk to
_SPREAD = 0.35  # of a tint's strength, by which single pixels stray from its hue
_NOISE = 1.0  # codes; what may be added to that
_TURN = math.radians(25)  # by which single frames stray from its hue


class TintFinder:
    """Finds the one hue that all frames of a sample have; black and white ones do not count.

    Args:
        facts: of the film.
    """

    def __init__(self, facts: VideoInfo) -> None:
        self._matrix = facts.tags.matrix if facts.has_luma else "smpte170m"
        self._means: list[complex] = []  # Cb + i Cr of each frame, codes from neutral
        self._one_hue = True

    def add(self, frame: av.VideoFrame) -> None:
        """Take a frame."""
        width, height = _SIZE
        small = frame.reformat(width=width, height=height, format="yuv444p", interpolation="AREA")
        luma, cb, cr = small.to_ndarray().astype(np.float32)
        # Neither black nor white takes a color.
        chroma = (cb + 1j * cr - (128 + 128j))[(luma > 50) & (luma < 205)]
        if chroma.size < width * height // 20:
            return
        mean = complex(chroma.mean())
        self._means.append(mean)
        across = np.abs((chroma * np.conj(mean) / max(abs(mean), 1e-6)).imag)
        self._one_hue &= bool(across.mean() <= _SPREAD * abs(mean) + _NOISE)

    def found(self) -> tuple[float, float] | None:
        """The tint as a*, b* at middle gray; None if there is none."""
        if not self._means or not self._one_hue:
            return None
        mean = sum(self._means) / len(self._means)
        if abs(mean) <= COLOR_THRESHOLD:
            return None
        for each in self._means:
            turn = abs(np.angle(each * mean.conjugate()))
            if abs(each) <= COLOR_THRESHOLD / 2 or turn > _TURN:
                return None
        yuv = torch.tensor([0.5, mean.real / 224, mean.imag / 224])[:, None, None]
        _, a, b = rgb_to_lab(yuv_to_rgb(yuv, self._matrix).clamp(0, 1)).flatten().tolist()
        return a, b
