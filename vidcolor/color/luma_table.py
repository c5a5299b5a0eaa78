"""Y' of 8-bit films by table: what a luma code becomes under each pair of chroma codes.

Newton's method for every pixel of every frame costs more than all else between the network and the
encoder. A film has 256 luma codes and uses a few thousand pairs of chroma codes, so each answer is
worked out once: on the CPU when its pair first appears, on a GPU, which would have to be asked
and waited for, all of them at the start.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..frames import ColorTags
from .codes import dequantize_chroma, luma_to_grey, quantize_chroma, quantize_luma
from .convert import luma_for_luminance, rgb_offsets, srgb_to_linear
from .gamut import ROUNDING, luminance_span, scaled_to_fit
from .lookup import look_up, pick, put, where

_STEPS = 6  # of Newton's method, from grey: converged for every pair
_AT_ONCE = 1024  # pairs worked out in one piece: 20 MB in between
_CODES = 256


def _pairs(chroma: Tensor) -> Tensor:
    """One number, int32, for the two codes of each pixel of `(B, 2, h, w)`."""
    return chroma[:, 0].to(torch.int32) * _CODES + chroma[:, 1]


class LumaTable:
    """The luma codes that keep a film's luminance under given chroma codes, 8 bit.

    Args:
        full_range: of the film's luma codes.
        tags: range and matrix of what is written.
        device: where the codes are.
    """

    def __init__(self, full_range: bool, tags: ColorTags, device: str = "cpu") -> None:
        self._tags = tags
        grey = luma_to_grey(torch.arange(_CODES), 8, full_range)
        luminance = srgb_to_linear(grey)
        self._grey, self._luminance = grey.to(device), luminance.to(device)
        # 16 MB, on the CPU of address space: pages that are never written take no memory
        with torch.inference_mode(False):  # whoever makes it, anyone may fill it
            self._rows = torch.empty(_CODES * _CODES, _CODES, dtype=torch.uint8, device=device)
            self._known = torch.zeros(_CODES * _CODES, dtype=torch.bool, device=device)
            self._least, self._most = (limit.to(device) for limit in self._limits(luminance))
            if not self._fills_on_demand:
                self._fill(where(self._least <= self._most))

    @property
    def _fills_on_demand(self) -> bool:
        return self._known.device.type == "cpu"

    @torch.inference_mode()
    def __call__(self, luma: Tensor, chroma: Tensor, subsampling: tuple[int, int]) -> Tensor:
        """Luma codes to write.

        Args:
            luma: `(B, H, W)` uint8, the film's codes; H and W multiples of the subsampling.
            chroma: `(B, 2, h, w)` uint8, Cb and Cr codes of each block.
            subsampling: horizontal and vertical size of a block.

        Returns:
            `(B, H, W)` uint8.
        """
        across, down = subsampling
        pairs = _pairs(chroma)
        if self._fills_on_demand and not bool((known := look_up(self._known, pairs)).all()):
            self._fill(torch.unique(pairs[~known]))
        pairs *= _CODES
        out = torch.empty_like(luma)
        flat = self._rows.view(-1)
        for y in range(down):
            for x in range(across):
                part = pairs + luma[:, y::down, x::across]
                out[:, y::down, x::across] = look_up(flat, part)
        return out

    @torch.inference_mode()
    def shows(self, darkest: Tensor, brightest: Tensor, chroma: Tensor) -> Tensor:
        """Where R'G'B' has the colour of these chroma codes at the luminance of both luma codes,
        and so at all luminances in between.

        Args:
            darkest, brightest: `(B, h, w)` uint8, the film's codes.
            chroma: `(B, 2, h, w)` uint8.

        Returns:
            `(B, h, w)` bool.
        """
        pairs = _pairs(chroma)
        least, most = (look_up(limit, pairs) for limit in (self._least, self._most))
        return (darkest >= least) & (brightest <= most)

    @torch.inference_mode()
    def fit(self, darkest: Tensor, brightest: Tensor, chroma: Tensor) -> Tensor:
        """The chroma codes of blocks, scaled down where not all their pixels could be shown.

        Args:
            darkest, brightest: `(B, h, w)` uint8, the film's codes.
            chroma: `(B, 2, h, w)` wanted Cb, Cr, each in [-0.5, 0.5].

        Returns:
            `(B, 2, h, w)` uint8, of which `shows` is true everywhere.
        """
        codes = self._quantized(chroma)
        tight = where(~self.shows(darkest, brightest, codes))
        if not len(tight):
            return codes
        dark, bright = (pick(end[:, None], tight)[:, 0] for end in (darkest, brightest))

        def fits(some: Tensor) -> Tensor:
            return self.shows(dark, bright, self._quantized(some))[:, None]

        return put(codes, tight, self._quantized(scaled_to_fit(pick(chroma, tight), fits)))

    def _quantized(self, chroma: Tensor) -> Tensor:
        return quantize_chroma(chroma, 8, self._tags.full_range)

    def _limits(self, luminance: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest luma code that each pair can be shown at, `(65536,)` uint8, by
        the relative luminance of every luma code, `(256,)`."""
        every = torch.arange(_CODES * _CODES)
        codes = torch.stack([every // _CODES, every % _CODES])[None, :, :, None]
        chroma = dequantize_chroma(codes, 8, self._tags.full_range)
        offsets = rgb_offsets(chroma, self._tags.matrix)
        darkest, brightest = (plane.flatten() for plane in luminance_span(offsets))
        least = torch.searchsorted(luminance, darkest - ROUNDING)
        most = torch.searchsorted(luminance, brightest + ROUNDING, right=True) - 1
        return least.clamp_max(_CODES - 1).to(torch.uint8), most.clamp_min(0).to(torch.uint8)

    def _fill(self, pairs: Tensor) -> None:
        grey, target = self._grey, self._luminance
        for some in pairs.split(_AT_ONCE):
            codes = torch.stack([some // _CODES, some % _CODES])[None, :, :, None]
            chroma = dequantize_chroma(codes, 8, self._tags.full_range)
            offsets = rgb_offsets(chroma, self._tags.matrix)  # (1, 3, pairs, 1)
            guess, luminance = (x.expand(1, 1, len(some), _CODES) for x in (grey, target))
            luma = luma_for_luminance(luminance, offsets, guess, steps=_STEPS)
            self._rows[some] = quantize_luma(luma[0, 0], 8, self._tags.full_range)
            self._known[some] = True  # last: another thread may be reading


@lru_cache(maxsize=4)
def luma_table(full_range: bool, tags: ColorTags, device: str) -> LumaTable:
    """The table for films of this range, written with these tags; kept for the next batch."""
    return LumaTable(full_range, tags, device)
