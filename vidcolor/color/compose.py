"""Combine the film's L with the predicted ab: upsample, limit to the gamut, convert to codes.

Lightness is kept: each output pixel has the L* of the film's pixel within the rounding of its
codes, and a color outside sRGB at that lightness loses chroma. With subsampled chroma this holds
for decoders that repeat each chroma sample over its block, as FFmpeg's and OpenCV's default
conversions do. Decoders that interpolate chroma differ at color edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import OutputError
from ..frames import ColorBatch, LumaBatch, PixelFormat
from .bars import areas, part_of
from .codes import dequantize_chroma, luma_to_gray, quantize_chroma, quantize_luma
from .convert import (
    gray_to_lightness,
    lab_to_rgb,
    lab_to_rgb8,
    lab_to_yuv,
    lightness_to_gray,
    luma_for_luminance,
    rgb_offsets,
    rgb_to_yuv,
    srgb_to_linear,
    yuv_to_rgb,
)
from .gamut import (
    LUMINANCE_TOLERANCE,
    chroma_headroom,
    limit_chroma,
    luminance_range,
    scale_to_fit,
)
from .hdr import is_hdr, is_wide, tone_mapped, wide_chroma
from .lookup import gather_pixels, scatter_pixels, take_1d, true_indices
from .luma_table import LumaTable, luma_table
from .resize import block_means, upsample_bands

LARGE = 1 << 26  # pixels from which a picture is composed in strips


_Table = Callable[[int, bool, int, str], Tensor]  # of bit depth, range, transfer and device


@lru_cache(maxsize=16)
def _signal_table(bit_depth: int, full_range: bool, transfer: int, device: str) -> Tensor:
    """What every luma code stands for, 0 for black to 1 for white, `(2 ** bit_depth,)` float32."""
    return luma_to_gray(torch.arange(1 << bit_depth), bit_depth, full_range).to(device)


@lru_cache(maxsize=16)
def _gray_table(bit_depth: int, full_range: bool, transfer: int, device: str) -> Tensor:
    """sRGB gray level of every luma code, `(2 ** bit_depth,)` float32."""
    signal = _signal_table(bit_depth, full_range, transfer, "cpu")
    return (tone_mapped(signal, transfer) if is_hdr(transfer) else signal).to(device)


@lru_cache(maxsize=16)
def _lightness_table(bit_depth: int, full_range: bool, transfer: int, device: str) -> Tensor:
    """L* of every luma code, `(2 ** bit_depth,)` float32."""
    return gray_to_lightness(_gray_table(bit_depth, full_range, transfer, "cpu")).to(device)


@lru_cache(maxsize=16)
def _luminance_table(bit_depth: int, full_range: bool, transfer: int, device: str) -> Tensor:
    """Relative luminance Y of every luma code, `(2 ** bit_depth,)` float32."""
    return srgb_to_linear(_gray_table(bit_depth, full_range, transfer, "cpu")).to(device)


def _map_codes(batch: LumaBatch, make_table: _Table, codes: Tensor | None = None) -> Tensor:
    """Table values of the batch's luma codes, or of `codes` with its depth and range; float32."""
    codes = batch.luma if codes is None else codes
    table = make_table(batch.bit_depth, batch.full_range, batch.transfer, str(codes.device))
    return take_1d(table, codes.to(torch.int32))


def film_gray(batch: LumaBatch, codes: Tensor | None = None) -> Tensor:
    """Gray levels in [0, 1], `(B, 1, H, W)` float32; PQ and HLG are tone-mapped.

    Args:
        batch: the film's frames.
        codes: luma codes with the batch's bit depth and range, to convert in place of its own.
    """
    return _map_codes(batch, _gray_table, codes)


def film_lightness(batch: LumaBatch) -> Tensor:
    """L* of the batch in [0, 100], `(B, 1, H, W)` float32."""
    return _map_codes(batch, _lightness_table)


def _pad_to(x: Tensor, subsampling: tuple[int, int]) -> Tensor:
    """Repeat the last column and row until the size is a multiple of the subsampling, 1 or 2."""
    if x.shape[-1] % subsampling[0]:
        x = torch.cat([x, x[..., -1:]], dim=-1)
    if x.shape[-2] % subsampling[1]:
        x = torch.cat([x, x[..., -1:, :]], dim=-2)
    return x


def _repeat(x: Tensor, subsampling: tuple[int, int]) -> Tensor:
    """Repeat each sample over its block."""
    if subsampling == (1, 1):
        return x
    return F.interpolate(x, scale_factor=(float(subsampling[1]), float(subsampling[0])))


def _extremes(luma: Tensor, subsampling: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Minimum and maximum code of each block, of `luma`'s type."""
    across, down = subsampling
    low = high = luma
    if down == 2:
        upper, lower = luma[..., ::2, :], luma[..., 1::2, :]
        low, high = torch.minimum(upper, lower), torch.maximum(upper, lower)
    if across == 2:
        low = torch.minimum(low[..., ::2], low[..., 1::2])
        high = torch.maximum(high[..., ::2], high[..., 1::2])
    return low, high


def _fit_chroma(chroma: Tensor, luminance: Tensor, matrix: str) -> Tensor:
    """Scale each block's Cb, Cr until all its pixels are in gamut at their luminance.

    Args:
        chroma: `(B, 2, h, w)` Cb, Cr.
        luminance: `(2, B, 1, h, w)` relative luminance Y of each block's darkest and brightest
            pixel. The pixels between these two fit where both fit.
        matrix: name of the Y'CbCr matrix.
    """

    def fits(chroma: Tensor, ends: Tensor) -> Tensor:
        minimum, maximum = luminance_range(rgb_offsets(chroma, matrix))
        above = ends[0] >= minimum - LUMINANCE_TOLERANCE
        return above & (ends[1] <= maximum + LUMINANCE_TOLERANCE)

    outside = true_indices(~fits(chroma, luminance))
    if not len(outside):
        return chroma
    ends = torch.stack([gather_pixels(end, outside) for end in luminance])
    scaled = scale_to_fit(gather_pixels(chroma, outside), lambda pixels: fits(pixels, ends))
    return scatter_pixels(chroma, outside, scaled)


def _code_dtype(format: PixelFormat) -> torch.dtype:
    """Type of the format's codes."""
    return torch.uint8 if format.bit_depth == 8 else torch.int32


def _compose_yuv(
    batch: LumaBatch, ab: Tensor, format: PixelFormat, exact: bool
) -> tuple[Tensor, Tensor, Tensor]:
    height, width = batch.luma.shape[-2:]
    ratio, tags, depth = format.subsampling, format.tags, format.bit_depth
    film = batch.luma if batch.bit_depth == 8 else batch.luma.to(torch.int32)
    film = _pad_to(film, ratio)
    codes_of_blocks = block_means(film, ratio)
    lightness = _map_codes(batch, _lightness_table, codes_of_blocks)
    wide = is_wide(tags)
    exact = exact or wide
    use_table = depth == batch.bit_depth == 8 and not exact
    table = luma_table(batch.full_range, tags, str(ab.device)) if use_table else None
    luma = torch.empty(film[:, 0].shape, dtype=_code_dtype(format), device=ab.device)
    chroma = torch.empty((len(ab), 2, *lightness.shape[-2:]), dtype=luma.dtype, device=ab.device)
    for rows, light, color in upsample_bands(ab, lightness):
        luma_rows = slice(rows.start * ratio[1], rows.stop * ratio[1])
        fitted = limit_chroma(light, color)
        if wide:
            signal = _map_codes(batch, _signal_table, codes_of_blocks[..., rows, :])
            yuv = torch.cat([signal, wide_chroma(signal, light, fitted, tags)], dim=1)
        else:
            yuv = lab_to_yuv(light, fitted, tags.matrix)
        blocks = _Blocks(batch, film[..., luma_rows, :], light, yuv, format)
        if exact:
            codes = blocks.keep_luma()
        elif table is not None:
            codes = blocks.keep_lightness_by_table(table)
        else:
            codes = blocks.keep_lightness_by_newton()
        luma[..., luma_rows, :], chroma[..., rows, :] = codes
    return luma[:, :height, :width], chroma[:, 0], chroma[:, 1]


class _Blocks:
    """Blocks of pixels that share one chroma sample; computes their luma and chroma codes.

    Args:
        batch: the frames, for the meaning of their codes.
        film: `(B, 1, H, W)` the film's codes, uint8 or int32; whole blocks.
        lightness: `(B, 1, h, w)` L* of the blocks.
        yuv: `(B, 3, h, w)` color of the blocks, in gamut.
        format: the output format.
    """

    def __init__(
        self, batch: LumaBatch, film: Tensor, lightness: Tensor, yuv: Tensor, format: PixelFormat
    ) -> None:
        self.batch, self.film, self.lightness, self.yuv = batch, film, lightness, yuv
        self.format, self.tags = format, format.tags
        self.ends = _extremes(film, format.subsampling)

    def keep_luma(self) -> tuple[Tensor, Tensor]:
        """Keep the film's luma codes; scale chroma to fit."""
        dark, bright = (_map_codes(self.batch, _signal_table, codes) for codes in self.ends)
        chroma = self.yuv[:, 1:]
        room = chroma_headroom(dark, bright, rgb_offsets(chroma, self.tags.matrix))
        return self.film[:, 0], self._quantized(chroma * room)

    def keep_lightness_by_table(self, table: LumaTable) -> tuple[Tensor, Tensor]:
        """Keep the film's luminance; 8 bits in and out."""
        darkest, brightest = (end[:, 0] for end in self.ends)
        codes = table.fit(darkest, brightest, self.yuv[:, 1:])
        return table(self.film[:, 0], codes, self.format.subsampling), codes

    def keep_lightness_by_newton(self) -> tuple[Tensor, Tensor]:
        """Keep the film's luminance, at any bit depth."""
        batch, ratio = self.batch, self.format.subsampling
        ends = torch.stack([_map_codes(batch, _luminance_table, codes) for codes in self.ends])
        codes = self._quantized(_fit_chroma(self.yuv[:, 1:], ends, self.tags.matrix))
        chroma = dequantize_chroma(codes, self.format.bit_depth, self.tags.full_range)
        change = self.yuv[:, :1] - lightness_to_gray(self.lightness)  # of Y' by the block's color
        luma = luma_for_luminance(
            _map_codes(batch, _luminance_table, self.film),
            _repeat(rgb_offsets(chroma, self.tags.matrix), ratio),
            _map_codes(batch, _gray_table, self.film) + _repeat(change, ratio),
            steps=4,  # with 2, noise under strong colors leaves an error of 20 in L*
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
        return _map_codes(self._batch, _lightness_table, self._batch.luma[..., rows, :])


def _rgb_bands(
    batch: LumaBatch, ab: Tensor, format: PixelFormat, exact: bool
) -> Iterator[tuple[slice, Tensor]]:
    """Rows, and their R'G'B' codes `(B, 3, h, W)`, from the top."""
    large = batch.luma.numel() > LARGE
    lightness = _Rows(batch) if large else film_lightness(batch)
    for rows, light, chroma in upsample_bands(ab, lightness):
        chroma = limit_chroma(light, chroma)
        if format.bit_depth == 8 and not exact:
            yield rows, lab_to_rgb8(light, chroma)
            continue
        rgb = lab_to_rgb(torch.cat([light, chroma], dim=1))
        if exact:
            gray = _map_codes(batch, _gray_table, batch.luma[..., rows, :])
            chroma = rgb_to_yuv(rgb, format.tags.matrix)[:, 1:]
            room = chroma_headroom(gray, gray, rgb_offsets(chroma, format.tags.matrix))
            rgb = yuv_to_rgb(torch.cat([gray, chroma * room], dim=1), format.tags.matrix)
        yield rows, quantize_luma(rgb, format.bit_depth, full_range=True)


def _compose_rgb(
    batch: LumaBatch, ab: Tensor, format: PixelFormat, exact: bool
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (len(ab), 3, *batch.luma.shape[-2:])
    codes = torch.empty(shape, dtype=_code_dtype(format), device=ab.device)
    for rows, some in _rgb_bands(batch, ab, format, exact):
        codes[..., rows, :] = some
    r, g, b = codes.unbind(1)
    return r, g, b


def check_exact_luma(format: PixelFormat, bit_depth: int, full_range: bool) -> None:
    """Check that a luma plane of this bit depth and range can be written unchanged.

    An RGB format passes: it keeps Y' within rounding.

    Raises:
        OutputError: the format has another bit depth or range.
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
    """Combine predicted chroma with the batch's luma.

    Args:
        batch: the luma, on any device.
        ab: `(B, 2, h, w)` a*b* on the same device, any size, of the picture between the bars. The
            bars get no color.
        format: pixel format of the sink.
        exact_luma: keep the film's Y' codes bit for bit instead of its L*. Needs a Y'CbCr format
            of the batch's bit depth and range; with an RGB format Y' is kept within rounding. A
            Y'CbCr format tagged as PQ, HLG or BT.2020 always keeps them.

    Returns:
        The composed batch, planes on the CPU.

    Raises:
        OutputError: `exact_luma` with a format of another bit depth or range.
    """
    if exact_luma or (is_wide(format.tags) and not format.rgb):
        check_exact_luma(format, batch.bit_depth, batch.full_range)
    ab = ab.to(torch.float32)
    if any(batch.bars):
        first, second, third = _compose_areas(batch, ab, format, exact_luma)
        return ColorBatch((first, second, third), format, batch)
    compose_planes = _compose_rgb if format.rgb else _compose_yuv
    planes = compose_planes(batch, ab, format, exact_luma)
    first, second, third = (plane.cpu() for plane in planes)
    return ColorBatch((first, second, third), format, batch)


def _compose_areas(batch: LumaBatch, ab: Tensor, format: PixelFormat, exact: bool) -> list[Tensor]:
    """The planes of frames with bars, on the CPU; bars begin and end at whole chroma samples."""
    height, width = batch.luma.shape[-2:]
    across, down = format.subsampling
    planes = [
        torch.empty(len(batch), -(-height // y), -(-width // x), dtype=_code_dtype(format))
        for x, y in ((1, 1), (across, down), (across, down))
    ]
    none = ab.new_zeros(len(ab), 2, 2, 2)
    for number, (rows, columns) in enumerate(areas(batch)):
        part = part_of(batch, (rows, columns))
        color = compose(part, none if number else ab, format, exact_luma=exact)
        for plane, values in zip(planes, color.planes, strict=True):
            top = rows.start * plane.shape[1] // height  # both even, or whole planes
            left = columns.start * plane.shape[2] // width
            plane[:, top : top + values.shape[1], left : left + values.shape[2]] = values
    return planes


def compose_strips(
    batch: LumaBatch, ab: Tensor, format: PixelFormat, *, exact_luma: bool = False
) -> Iterator[ColorBatch]:
    """`compose` a still picture in strips from the top, so that a scan of hundreds of millions of
    pixels is never held in color.

    Args:
        batch, ab, format, exact_luma: as of `compose`; of an RGB format.

    Yields:
        The rows of a strip; its `source` is the whole batch.
    """
    strips = _rgb_bands(batch, ab.to(torch.float32), format, exact_luma)
    while True:
        with torch.inference_mode():  # not around `yield`: the mode is the thread's
            _, codes = next(strips, (None, None))
        if codes is None:
            return
        r, g, b = codes.cpu().unbind(1)
        yield ColorBatch((r, g, b), format, batch)
