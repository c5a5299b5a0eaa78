"""Input L plus predicted ab: upsampling, gamut, and back to the sink's pixel format.

Lightness is never traded for colour. A pixel of the output has the L* of the film's pixel within
the rounding of its codes; a colour that sRGB cannot show at that lightness loses chroma. With
subsampled chroma this holds for decoders that repeat each chroma sample over its block (as
FFmpeg's and OpenCV's plain conversions do); smoother chroma upsampling differs at colour edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import OutputError
from ..frames import ColorBatch, LumaBatch, PixelFormat
from .codes import dequantize_chroma, luma_to_grey, quantize_chroma, quantize_luma
from .convert import (
    grey_to_lightness,
    lab_to_levels,
    lab_to_rgb,
    lab_to_yuv,
    lightness_to_grey,
    luma_for_luminance,
    rgb_offsets,
    rgb_to_yuv,
    srgb_to_linear,
    yuv_to_rgb,
)
from .gamut import ROUNDING, chroma_headroom, limit_chroma, luminance_span, scaled_to_fit
from .lookup import look_up, pick, put, where
from .luma_table import LumaTable, luma_table
from .resize import bands, block_means

LARGE = 1 << 26  # pixels from which a picture is composed in strips


@lru_cache(maxsize=16)
def _grey_table(bit_depth: int, full_range: bool, device: str) -> Tensor:
    """Grey level of every luma code, `(2 ** bit_depth,)` float32."""
    return luma_to_grey(torch.arange(1 << bit_depth), bit_depth, full_range).to(device)


@lru_cache(maxsize=16)
def _lightness_table(bit_depth: int, full_range: bool, device: str) -> Tensor:
    """L* of every luma code, `(2 ** bit_depth,)` float32."""
    return grey_to_lightness(_grey_table(bit_depth, full_range, "cpu")).to(device)


@lru_cache(maxsize=16)
def _luminance_table(bit_depth: int, full_range: bool, device: str) -> Tensor:
    """Relative luminance Y of every luma code, `(2 ** bit_depth,)` float32."""
    return srgb_to_linear(_grey_table(bit_depth, full_range, "cpu")).to(device)


def _look_up(
    batch: LumaBatch, tables: Callable[[int, bool, str], Tensor], codes: Tensor | None = None
) -> Tensor:
    """The table's value of each of the batch's luma codes, or of `codes` of its kind; float32."""
    codes = batch.luma if codes is None else codes
    table = tables(batch.bit_depth, batch.full_range, str(codes.device))
    return look_up(table, codes.to(torch.int32))


def film_grey(batch: LumaBatch, codes: Tensor | None = None) -> Tensor:
    """Grey levels in [0, 1], `(B, 1, H, W)` float32, of the batch or of `codes` of its kind."""
    return _look_up(batch, _grey_table, codes)


def film_lightness(batch: LumaBatch) -> Tensor:
    """The batch's L* in [0, 100], `(B, 1, H, W)` float32."""
    return _look_up(batch, _lightness_table)


def _pad_to(x: Tensor, subsampling: tuple[int, int]) -> Tensor:
    """Repeat the last column and row so that the size is a multiple of the subsampling, 1 or 2."""
    if x.shape[-1] % subsampling[0]:
        x = torch.cat([x, x[..., -1:]], dim=-1)
    if x.shape[-2] % subsampling[1]:
        x = torch.cat([x, x[..., -1:, :]], dim=-2)
    return x


def _repeat(x: Tensor, subsampling: tuple[int, int]) -> Tensor:
    """Each sample over its block."""
    if subsampling == (1, 1):
        return x
    return F.interpolate(x, scale_factor=(float(subsampling[1]), float(subsampling[0])))


def _extremes(luma: Tensor, subsampling: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The darkest and the brightest code of each block, of `luma`'s type."""
    across, down = subsampling
    least = most = luma
    if down == 2:
        upper, lower = luma[..., ::2, :], luma[..., 1::2, :]
        least, most = torch.minimum(upper, lower), torch.maximum(upper, lower)
    if across == 2:
        least = torch.minimum(least[..., ::2], least[..., 1::2])
        most = torch.maximum(most[..., ::2], most[..., 1::2])
    return least, most


def _fit_chroma(chroma: Tensor, luminance: Tensor, matrix: str) -> Tensor:
    """Scale each block's Cb, Cr so that all its pixels can be shown at their luminance.

    Args:
        chroma: `(B, 2, h, w)` Cb, Cr.
        luminance: relative luminance Y of each block's darkest and brightest pixel,
            `(2, B, 1, h, w)`: these two stand for all.
        matrix: of Y'CbCr.
    """

    def fits(some: Tensor, ends: Tensor) -> Tensor:
        least, most = luminance_span(rgb_offsets(some, matrix))
        return (ends[0] >= least - ROUNDING) & (ends[1] <= most + ROUNDING)

    tight = where(~fits(chroma, luminance))
    if not len(tight):
        return chroma
    ends = torch.stack([pick(end, tight) for end in luminance])
    return put(chroma, tight, scaled_to_fit(pick(chroma, tight), lambda some: fits(some, ends)))


def _integers(format: PixelFormat) -> torch.dtype:
    """The type of the format's codes."""
    return torch.uint8 if format.bit_depth == 8 else torch.int32


def _compose_yuv(
    batch: LumaBatch, ab: Tensor, format: PixelFormat, exact: bool
) -> tuple[Tensor, Tensor, Tensor]:
    height, width = batch.luma.shape[-2:]
    ratio, tags, depth = format.subsampling, format.tags, format.bit_depth
    film = batch.luma if batch.bit_depth == 8 else batch.luma.to(torch.int32)
    film = _pad_to(film, ratio)
    lightness = _look_up(batch, _lightness_table, block_means(film, ratio))
    by_table = depth == batch.bit_depth == 8 and not exact
    table = luma_table(batch.full_range, tags, str(ab.device)) if by_table else None
    luma = torch.empty(film[:, 0].shape, dtype=_integers(format), device=ab.device)
    chroma = torch.empty((len(ab), 2, *lightness.shape[-2:]), dtype=luma.dtype, device=ab.device)
    for rows, light, colour in bands(ab, lightness):
        whole = slice(rows.start * ratio[1], rows.stop * ratio[1])
        yuv = lab_to_yuv(light, limit_chroma(light, colour), tags.matrix)
        blocks = _Blocks(batch, film[..., whole, :], light, yuv, format)
        if exact:
            codes = blocks.exact()
        else:
            codes = blocks.by_newton() if table is None else blocks.by_table(table)
        luma[..., whole, :], chroma[..., rows, :] = codes
    return luma[:, :height, :width], chroma[:, 0], chroma[:, 1]


class _Blocks:
    """Blocks of pixels that have one chroma each: their luma and chroma codes, three ways.

    Args:
        batch: what the film's codes mean.
        film: `(B, 1, H, W)` the film's codes, uint8 or int32; whole blocks.
        lightness: `(B, 1, h, w)` L* of the blocks.
        yuv: `(B, 3, h, w)` their colour, in gamut.
        format: what is wanted.
    """

    def __init__(
        self, batch: LumaBatch, film: Tensor, lightness: Tensor, yuv: Tensor, format: PixelFormat
    ) -> None:
        self.batch, self.film, self.lightness, self.yuv = batch, film, lightness, yuv
        self.format, self.tags = format, format.tags
        self.ends = _extremes(film, format.subsampling)

    def exact(self) -> tuple[Tensor, Tensor]:
        """Under the film's own codes."""
        dark, bright = (_look_up(self.batch, _grey_table, codes) for codes in self.ends)
        chroma = self.yuv[:, 1:]
        room = chroma_headroom(dark, bright, rgb_offsets(chroma, self.tags.matrix))
        return self.film[:, 0], self._quantized(chroma * room)

    def by_table(self, table: LumaTable) -> tuple[Tensor, Tensor]:
        """Of the film's luminance, 8 bit."""
        darkest, brightest = (end[:, 0] for end in self.ends)
        codes = table.fit(darkest, brightest, self.yuv[:, 1:])
        return table(self.film[:, 0], codes, self.format.subsampling), codes

    def by_newton(self) -> tuple[Tensor, Tensor]:
        """Of the film's luminance, any depth."""
        batch, ratio = self.batch, self.format.subsampling
        ends = torch.stack([_look_up(batch, _luminance_table, codes) for codes in self.ends])
        codes = self._quantized(_fit_chroma(self.yuv[:, 1:], ends, self.tags.matrix))
        chroma = dequantize_chroma(codes, self.format.bit_depth, self.tags.full_range)
        moved = self.yuv[:, :1] - lightness_to_grey(self.lightness)  # by colour, on the whole
        luma = luma_for_luminance(
            _look_up(batch, _luminance_table, self.film),
            _repeat(rgb_offsets(chroma, self.tags.matrix), ratio),
            _look_up(batch, _grey_table, self.film) + _repeat(moved, ratio),
            steps=4,  # of noise under strong colours 2 leave an error of 20 of L*
        )
        return quantize_luma(luma, self.format.bit_depth, self.tags.full_range)[:, 0], codes

    def _quantized(self, chroma: Tensor) -> Tensor:
        return quantize_chroma(chroma, self.format.bit_depth, self.tags.full_range)


class _Rows:
    """The L* of a batch, as many rows at a time as are asked for."""

    def __init__(self, batch: LumaBatch) -> None:
        self._batch, self.shape = batch, tuple(batch.luma.shape)

    def rows(self, rows: slice) -> Tensor:
        """`(B, 1, h, W)`."""
        return _look_up(self._batch, _lightness_table, self._batch.luma[..., rows, :])


def _rgb_bands(
    batch: LumaBatch, ab: Tensor, format: PixelFormat, exact: bool
) -> Iterator[tuple[slice, Tensor]]:
    """Rows, and their R'G'B' codes `(B, 3, h, W)`, from the top."""
    large = batch.luma.numel() > LARGE
    for rows, light, chroma in bands(ab, _Rows(batch) if large else film_lightness(batch)):
        chroma = limit_chroma(light, chroma)
        if format.bit_depth == 8 and not exact:
            yield rows, lab_to_levels(light, chroma)
            continue
        rgb = lab_to_rgb(torch.cat([light, chroma], dim=1))
        if exact:
            grey = _look_up(batch, _grey_table, batch.luma[..., rows, :])
            chroma = rgb_to_yuv(rgb, format.tags.matrix)[:, 1:]
            room = chroma_headroom(grey, grey, rgb_offsets(chroma, format.tags.matrix))
            rgb = yuv_to_rgb(torch.cat([grey, chroma * room], dim=1), format.tags.matrix)
        yield rows, quantize_luma(rgb, format.bit_depth, full_range=True)


def _compose_rgb(
    batch: LumaBatch, ab: Tensor, format: PixelFormat, exact: bool
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (len(ab), 3, *batch.luma.shape[-2:])
    codes = torch.empty(shape, dtype=_integers(format), device=ab.device)
    for rows, some in _rgb_bands(batch, ab, format, exact):
        codes[..., rows, :] = some
    r, g, b = codes.unbind(1)
    return r, g, b


def check_exact_luma(format: PixelFormat, bit_depth: int, full_range: bool) -> None:
    """Whether a luma plane of this bit depth and range can be written unchanged.

    Raises:
        OutputError: it cannot; an RGB format is let pass, it keeps Y' within rounding.
    """
    if format.rgb or (bit_depth, full_range) == (format.bit_depth, format.tags.full_range):
        return
    ranges = ("limited", "full")
    raise OutputError(
        f"a luma plane of {bit_depth} bit, {ranges[full_range]} range, cannot be kept exactly in "
        f"{format.name}, {ranges[format.tags.full_range]} range: choose a --pix-fmt of "
        f"{bit_depth} bit, or --luma lightness"
    )


@torch.inference_mode()
def compose(
    batch: LumaBatch,
    ab: Tensor,
    format: PixelFormat,
    *,
    exact_luma: bool = False,
) -> ColorBatch:
    """Put predicted chroma under a batch's own luma.

    Args:
        batch: the luma, on any device.
        ab: `(B, 2, h, w)` a*b* on the same device, any size.
        format: what the sink takes.
        exact_luma: keep the film's Y' codes bit for bit instead of its L*. Needs a Y'CbCr format
            of the batch's bit depth and range; with an RGB format Y' is kept within rounding.

    Returns:
        Planes on the CPU.

    Raises:
        OutputError: `exact_luma` with a format of another bit depth or range.
    """
    if exact_luma:
        check_exact_luma(format, batch.bit_depth, batch.full_range)
    work = _compose_rgb if format.rgb else _compose_yuv
    planes = work(batch, ab.to(torch.float32), format, exact_luma)
    first, second, third = (plane.cpu() for plane in planes)
    return ColorBatch((first, second, third), format, batch)


def compose_strips(
    batch: LumaBatch, ab: Tensor, format: PixelFormat, *, exact_luma: bool = False
) -> Iterator[ColorBatch]:
    """`compose` of one still picture in strips from the top, so that a scan of hundreds of millions
    of pixels is never held in color.

    Args:
        batch, ab, format, exact_luma: as of `compose`; of an RGB format.

    Yields:
        The rows of a strip, whose `source` is the batch.
    """
    strips = _rgb_bands(batch, ab.to(torch.float32), format, exact_luma)
    while True:
        with torch.inference_mode():  # not around `yield`: it is the thread's
            codes = next(strips, (None, None))[1]
        if codes is None:
            return
        r, g, b = codes.cpu().unbind(1)
        yield ColorBatch((r, g, b), format, batch)
