"""The word "Colorized" in a corner of the picture: `Label`.

It is drawn into the luma before the colors are composed. White has no room for color, so the
letters stay white; around them lies a dark edge, so that they can be read on white. Only there the
luma is changed.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..frames import LumaBatch

TEXT = "Colorized"
_HEIGHT, _MARGIN = 1 / 28, 1 / 36  # of the letters and of the margin, of the picture's shorter side
_LEAST = 9  # pixels of the letters' height
_WIDEST = 0.6  # of the picture's width
_WHITE, _DARK = 0.95, 0.55  # how far letters and edge cover the picture
# Graphics white of a signal. Source: ITU-R BT.2408, 2.1: 203 cd/m2 in PQ, 75 % in HLG.
_LEVEL = {16: 0.58, 18: 0.75}


@lru_cache(maxsize=8)
def _masks(height: int, width: int, rotation: int, aspect: Fraction) -> tuple[Tensor, Tensor]:
    """How much of each pixel letters and edge cover, `(height, width)` float32 in [0, 1], for a
    picture that is shown turned clockwise by `rotation` degrees, of pixels `aspect` wide."""
    turned = rotation % 180 == 90
    # Its size upright, in square pixels: `aspect` is that of a pixel as it is stored.
    across, down = round(width * aspect), height
    if turned:
        across, down = down, across
    side = min(across, down)
    size = max(_LEAST, round(side * _HEIGHT))
    while True:
        font = ImageFont.load_default(size)
        left, _, right, bottom = font.getbbox(TEXT)
        if right - left <= across * _WIDEST or size <= 4:
            break
        size -= 1
    edge = max(1, size // 12)
    margin = max(edge + 1, round(side * _MARGIN))
    place = (across - margin - right, down - margin - bottom)
    layers = []
    for stroke in (0, edge):
        layer = Image.new("L", (across, down))
        ImageDraw.Draw(layer).text(place, TEXT, fill=255, font=font, stroke_width=stroke)
        stored = layer.rotate(rotation, expand=True).resize((width, height))
        layers.append(torch.from_numpy(np.asarray(stored, np.float32) / 255))
    return layers[0] * _WHITE, layers[1] * _DARK


class Label:
    """Draws the word into luma.

    Args:
        frames: of a film that get it, from its first on; None for all.
        aspect: width of a pixel divided by its height.
    """

    def __init__(self, frames: int | None = None, aspect: Fraction | None = None) -> None:
        self._frames, self._aspect = frames, aspect or Fraction(1)

    def __call__(self, batch: LumaBatch) -> LumaBatch:
        """The batch with the word drawn into the luma of the frames that get it."""
        count = len(batch)
        if self._frames is not None:
            count = min(max(self._frames - batch.first_index, 0), count)
        if not count:
            return batch
        height, width = batch.luma.shape[-2:]
        letters, edge = _masks(height, width, batch.rotation, self._aspect)
        rows, columns = (torch.nonzero(edge.amax(dim=axis)).flatten() for axis in (1, 0))
        if not len(rows):
            return batch
        area = (
            slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        )  # fmt: skip
        unit = 1 << (batch.bit_depth - 8)
        black, top = (0, (256 * unit) - 1) if batch.full_range else (16 * unit, 235 * unit)
        white = black + _LEVEL.get(batch.transfer, 1.0) * (top - black)
        letters, edge = (each[area].to(batch.device) for each in (letters, edge))
        luma = batch.luma.clone()
        part = luma[:count, :, area[0], area[1]].to(torch.int32).float()
        part = part + edge * (black - part)
        part = part + letters * (white - part)
        luma[:count, :, area[0], area[1]] = part.round().to(torch.int32).to(luma.dtype)
        return replace(batch, luma=luma)
