"""How far a result's lightness is from its original's: `LumaTally`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..color.codes import Codes, dequantize_chroma, luma_levels, luma_to_gray
from ..color.compose import film_lightness
from ..color.convert import luminance_weights, rgb_offsets, srgb_to_linear
from ..color.hdr import is_wide
from ..frames import LumaBatch, VideoInfo
from ..system.opencv import opencv
from .films import ColorFrame
from .finding import Luma

_STEPS = 4096  # of R'G'B', finer than the codes of 10 bits
_PLACE = 16  # pixels of a side over which a difference counts as one of a place


def lightness_table(batch: LumaBatch) -> NDArray[np.float32]:
    """L* of every luma code of a batch."""
    codes = torch.arange(1 << batch.bit_depth, dtype=torch.int32)[None, None, None]
    found: NDArray[np.float32] = film_lightness(replace(batch, luma=codes)).flatten().numpy()
    return found


class ColorLightness:
    """Computes L* of the R'G'B' that a player shows, where each chroma sample covers its block.

    Args:
        facts: of the frames.
    """

    def __init__(self, facts: VideoInfo) -> None:
        self._facts = facts
        depth, full = facts.bit_depth, facts.tags.full_range
        codes = torch.arange(1 << depth, dtype=torch.int32)
        level = torch.arange(-_STEPS, 2 * _STEPS + 1) / _STEPS
        linear = srgb_to_linear(level.clamp(0, 1))
        self._linear = [(linear * weight).float().numpy() for weight in luminance_weights()]

        def steps(values: torch.Tensor) -> NDArray[np.int16]:
            return (values * _STEPS).round().to(torch.int16).numpy()

        self._luma = steps(luma_to_gray(codes, depth, full)) + np.int16(_STEPS)
        if facts.has_luma:
            chroma = dequantize_chroma(codes, depth, full)
            none = torch.zeros_like(chroma)

            def offsets(cb: torch.Tensor, cr: torch.Tensor) -> torch.Tensor:
                both = torch.stack([cb, cr])[:, None]
                return rgb_offsets(both, facts.tags.matrix)[:, 0]

            self._of_cb = [steps(each) for each in offsets(chroma, none)]
            self._of_cr = [steps(each) for each in offsets(none, chroma)]

    def __call__(self, frame: ColorFrame) -> NDArray[np.float32]:
        """L* in [0, 100], `(H, W)`."""
        height, width = frame.luma.shape
        luminance = np.zeros((height, width), np.float32)
        if len(frame.planes) == 1:
            luminance = np.sum(self._linear, axis=0)[self._luma[frame.luma]]
        elif not self._facts.has_luma:
            for table, plane in zip(self._linear, frame.planes, strict=True):
                luminance += table[self._luma[plane]]
        else:
            luma, cb, cr = self._luma[frame.planes[0]], *frame.planes[1:]
            down, across = -(-height // cb.shape[0]), -(-width // cb.shape[1])
            for table, of_cb, of_cr in zip(self._linear, self._of_cb, self._of_cr, strict=True):
                offset = (of_cb[cb] + of_cr[cr]).repeat(down, 0).repeat(across, 1)
                luminance += table[luma + offset[:height, :width]]
        # CIE 15:2004, 8.2.1
        curve = 116 * np.cbrt(luminance) - 16
        return np.where(luminance > (6 / 29) ** 3, curve, luminance * np.float32((29 / 3) ** 3))


class LumaTally:
    """Compares the frames of two films pixel by pixel; only sums are kept.

    Args:
        source, result: of the two films.
        exact: the run has kept Y' and not L*.
    """

    def __init__(self, source: VideoInfo, result: VideoInfo, *, exact: bool) -> None:
        one, two = source.tags, result.tags
        self._comparable = source.has_luma and result.has_luma and (
            (source.bit_depth, one.full_range) == (result.bit_depth, two.full_range)
        )  # fmt: skip
        self._exact = self._comparable and (exact or is_wide(two))
        self._lightness = ColorLightness(result)
        self._table: NDArray[np.float32] | None = None
        self._pixels = self._equal = 0
        self._sum = self._largest = 0.0

    def add(self, gray: LumaBatch, color: ColorFrame) -> tuple[float, float]:
        """Compare a frame.

        Returns:
            The mean difference of its pixels, and the largest of a place of 16x16 pixels, in L*,
            or where Y' was kept in codes of 8 bits.
        """
        codes: Codes = gray.luma[0, 0].numpy()
        if self._comparable:
            self._equal += int((color.luma == codes).sum())
        if self._exact:
            black, white = luma_levels(gray.bit_depth, gray.full_range)
            difference = (color.luma.astype(np.float32) - codes) * (219 / (white - black))
        else:
            if self._table is None:
                self._table = lightness_table(gray)
            difference = self._lightness(color) - self._table[codes]
        amount = np.abs(difference)
        self._pixels += amount.size
        self._sum += float(amount.sum(dtype=np.float64))
        self._largest = max(self._largest, float(amount.max()))
        return float(amount.mean()), largest_place(difference)

    @property
    def unit(self) -> str:
        """Of the differences: `L*`, or `Y'` in codes of 8 bits."""
        return "Y'" if self._exact else "L*"

    @property
    def total(self) -> Luma | None:
        """Of all frames so far; None without any."""
        if not self._pixels:
            return None
        share = self._equal / self._pixels if self._comparable else None
        return Luma(self.unit, self._largest, self._sum / self._pixels, share)


def largest_place(difference: NDArray[np.float32]) -> float:
    """The largest mean, without its sign, of a place of 16x16 pixels."""
    sides = [max(1, side // _PLACE) for side in difference.shape]
    places = opencv().resize(difference, sides[::-1], interpolation=opencv().INTER_AREA)
    return float(np.abs(places).max())
