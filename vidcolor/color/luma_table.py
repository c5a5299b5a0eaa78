"""A table of Y' for 8-bit films: the output code of each luma code under each pair of chroma codes.

Newton's method for every pixel of every frame costs more than everything else between the network
and the encoder. A film has 256 luma codes and uses a few thousand pairs of chroma codes, so each
entry is computed once. The CPU computes a pair when it first appears. A GPU computes all pairs at
the start, because a check for missing pairs would wait for the GPU at every batch.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..frames import ColorTags
from .codes import dequantize_chroma, luma_to_gray, quantize_chroma, quantize_luma
from .convert import luma_for_luminance, rgb_offsets, srgb_to_linear
from .gamut import LUMINANCE_TOLERANCE, luminance_range, scale_to_fit
from .lookup import gather_pixels, scatter_pixels, take_1d, true_indices

_STEPS = 6  # Newton steps from gray; enough to converge for every pair
_CHUNK = 1024  # pairs computed at a time; intermediate results take 20 MB
_CODES = 256


def _pair_index(chroma: Tensor) -> Tensor:
    """256 Cb + Cr of 8-bit codes: `(B, 2, h, w)` to `(B, h, w)` int32."""
    return chroma[:, 0].to(torch.int32) * _CODES + chroma[:, 1]


class LumaTable:
    """Luma codes that keep a film's luminance under given chroma codes, 8 bits.

    Args:
        full_range: range of the film's luma codes.
        tags: range and matrix of the output.
        device: device of the codes.
    """

    def __init__(self, full_range: bool, tags: ColorTags, device: str = "cpu") -> None:
        self._tags = tags
        gray = luma_to_gray(torch.arange(_CODES), 8, full_range)
        luminance = srgb_to_linear(gray)
        self._gray, self._luminance = gray.to(device), luminance.to(device)
        # 16 MB of address space. On the CPU, pages that are never written take no memory.
        with torch.inference_mode(False):  # else it could be filled in inference mode only
            self._rows = torch.empty(_CODES * _CODES, _CODES, dtype=torch.uint8, device=device)
            self._known = torch.zeros(_CODES * _CODES, dtype=torch.bool, device=device)
            self._min, self._max = (limit.to(device) for limit in self._limits(luminance))
            if not self._fills_on_demand:
                self._fill(true_indices(self._min <= self._max))

    @property
    def _fills_on_demand(self) -> bool:
        return self._known.device.type == "cpu"

    @torch.inference_mode()
    def __call__(self, luma: Tensor, chroma: Tensor, subsampling: tuple[int, int]) -> Tensor:
        """Look up the luma codes to write.

        Args:
            luma: `(B, H, W)` uint8, the film's codes; H and W multiples of the subsampling.
            chroma: `(B, 2, h, w)` uint8, Cb and Cr codes of each block.
            subsampling: horizontal and vertical size of a block.

        Returns:
            `(B, H, W)` uint8.
        """
        across, down = subsampling
        pairs = _pair_index(chroma)
        if self._fills_on_demand and not bool((known := take_1d(self._known, pairs)).all()):
            self._fill(torch.unique(pairs[~known]))
        pairs *= _CODES
        out = torch.empty_like(luma)
        flat = self._rows.view(-1)
        for y in range(down):
            for x in range(across):
                part = pairs + luma[:, y::down, x::across]
                out[:, y::down, x::across] = take_1d(flat, part)
        return out

    @torch.inference_mode()
    def in_gamut(self, darkest: Tensor, brightest: Tensor, chroma: Tensor) -> Tensor:
        """Whether each chroma is in gamut at the luminance of both luma codes. Then it is in gamut
        at every luminance between them.

        Args:
            darkest, brightest: `(B, h, w)` uint8, the film's codes.
            chroma: `(B, 2, h, w)` uint8.

        Returns:
            `(B, h, w)` bool.
        """
        pairs = _pair_index(chroma)
        low, high = (take_1d(limit, pairs) for limit in (self._min, self._max))
        return (darkest >= low) & (brightest <= high)

    @torch.inference_mode()
    def fit(self, darkest: Tensor, brightest: Tensor, chroma: Tensor) -> Tensor:
        """Quantize the chroma of blocks, scaled down where it is out of gamut for some pixel.

        Args:
            darkest, brightest: `(B, h, w)` uint8, the film's codes.
            chroma: `(B, 2, h, w)` Cb, Cr, each in [-0.5, 0.5].

        Returns:
            `(B, 2, h, w)` uint8, all of it in gamut by `in_gamut`.
        """
        codes = self._quantized(chroma)
        outside = true_indices(~self.in_gamut(darkest, brightest, codes))
        if not len(outside):
            return codes
        dark, bright = (gather_pixels(end[:, None], outside)[:, 0] for end in (darkest, brightest))

        def fits(pixels: Tensor) -> Tensor:
            return self.in_gamut(dark, bright, self._quantized(pixels))[:, None]

        scaled = scale_to_fit(gather_pixels(chroma, outside), fits)
        return scatter_pixels(codes, outside, self._quantized(scaled))

    def _quantized(self, chroma: Tensor) -> Tensor:
        return quantize_chroma(chroma, 8, self._tags.full_range)

    def _limits(self, luminance: Tensor) -> tuple[Tensor, Tensor]:
        """Minimum and maximum luma code at which each pair is in gamut, `(65536,)` uint8 each.

        Args:
            luminance: `(256,)` relative luminance of every luma code.
        """
        pairs = torch.arange(_CODES * _CODES)
        minimum, maximum = (plane.flatten() for plane in luminance_range(self._offsets(pairs)))
        low = torch.searchsorted(luminance, minimum - LUMINANCE_TOLERANCE)
        high = torch.searchsorted(luminance, maximum + LUMINANCE_TOLERANCE, right=True) - 1
        return low.clamp_max(_CODES - 1).to(torch.uint8), high.clamp_min(0).to(torch.uint8)

    def _offsets(self, pairs: Tensor) -> Tensor:
        """`rgb_offsets` of pairs `(n,)`, `(1, 3, n, 1)`."""
        codes = torch.stack([pairs // _CODES, pairs % _CODES])[None, :, :, None]
        chroma = dequantize_chroma(codes, 8, self._tags.full_range)
        return rgb_offsets(chroma, self._tags.matrix)

    def _fill(self, pairs: Tensor) -> None:
        """Compute the rows of `pairs`, `(n,)`."""
        for chunk in torch.split(pairs, _CHUNK):
            shape = (1, 1, len(chunk), _CODES)
            estimate, luminance = self._gray.expand(shape), self._luminance.expand(shape)
            luma = luma_for_luminance(luminance, self._offsets(chunk), estimate, steps=_STEPS)
            self._rows[chunk] = quantize_luma(luma[0, 0], 8, self._tags.full_range)
            self._known[chunk] = True  # last, because another thread may be reading


@lru_cache(maxsize=4)
def luma_table(full_range: bool, tags: ColorTags, device: str) -> LumaTable:
    """The table for films of this range, written with these tags; kept for the next batch."""
    return LumaTable(full_range, tags, device)
