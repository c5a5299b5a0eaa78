"""How far a result's lightness is from its original's: `LumaTally`."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..color.codes import luma_levels
from ..color.compose import film_lightness
from ..color.convert import gray_to_lightness, luminance_weights, srgb_to_linear
from ..color.lookup import take_1d
from ..frames import LumaBatch, VideoInfo
from .films import ColorFrame
from .finding import Luma

_STEPS = 4095  # of R'G'B', finer than the codes of 10 bits
_PLACE = 16  # pixels of a side over which a difference counts as one of a place
# Encoders' noise stays below these, in L*: measured on films of H.264, HEVC and VP9 with the
# settings of a run. The second is of the mean over a place.
MOST_MEAN, MOST_PLACE = 2.0, 8.0


def lightness_of_rgb(rgb: Tensor) -> Tensor:
    """L* in [0, 100] of R'G'B' `(1, 3, H, W)` in [0, 1], `(1, 1, H, W)` float32, within 0.05."""
    table = srgb_to_linear(torch.linspace(0, 1, _STEPS + 1))
    linear = take_1d(table, (rgb * _STEPS).add_(0.5).to(torch.int32))
    weights = linear.new_tensor(luminance_weights())[:, None, None]
    luminance = (linear * weights).sum(dim=1, keepdim=True)
    # L* of a gray whose luminance this is; `gray_to_lightness` takes the encoded gray
    curve = torch.where(luminance > (6 / 29) ** 3, luminance.clamp_min(0) ** (1 / 3) * 116 - 16,
                        luminance * (29 / 3) ** 3)  # fmt: skip
    return curve.clamp_(0, 100)


class LumaTally:
    """Compares frames pixel by pixel; only sums are kept.

    Args:
        kept: `L*` or `Y'`: what the run has kept.
        source, result: what the codes of both mean; None for pictures.
    """

    def __init__(
        self, kept: str, source: VideoInfo | None = None, result: VideoInfo | None = None
    ) -> None:
        self._kept = kept
        self._comparable = source is not None and result is not None and (
            source.has_luma and result.has_luma
            and (source.bit_depth, source.tags.full_range)
            == (result.bit_depth, result.tags.full_range)
        )  # fmt: skip
        self._pixels = self._equal = 0
        self._sum = self._largest = 0.0

    def add(self, gray: LumaBatch, color: ColorFrame) -> tuple[float, float]:
        """Compare a frame.

        Returns:
            The mean difference of its pixels, and the largest of a place of 16x16 pixels, in L*,
            or where Y' was kept in codes of 8 bits.
        """
        if self._kept == "Y'" and self._comparable:
            black, white = luma_levels(gray.bit_depth, gray.full_range)
            ours = torch.from_numpy(color.luma.astype(np.float32))[None, None]
            difference = (ours - gray.luma.to(torch.float32)) * (219 / (white - black))
        else:
            difference = lightness_of_rgb(color.rgb) - film_lightness(gray)
        if self._comparable:
            self._equal += int((color.luma == gray.luma[0, 0].numpy()).sum())
        amount = difference.abs()
        self._pixels += amount.numel()
        self._sum += float(amount.double().sum())
        self._largest = max(self._largest, float(amount.max()))
        sides = [min(_PLACE, side) for side in amount.shape[-2:]]
        places = F.avg_pool2d(difference, sides, ceil_mode=True, count_include_pad=False)
        return float(amount.mean()), float(places.abs().max())

    @property
    def total(self) -> Luma | None:
        """Of all frames so far; None without any."""
        if not self._pixels:
            return None
        exact = self._equal / self._pixels if self._comparable else None
        unit = self._kept if self._kept == "L*" or self._comparable else "L*"
        return Luma(unit, self._largest, self._sum / self._pixels, exact)
