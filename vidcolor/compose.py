"""Input L plus predicted ab: guided upsampling, gamut, and back to the sink's pixel format.

Lightness is never traded for colour. A pixel of the output has the L* of the film's pixel within
the rounding of its codes; a colour that sRGB cannot show at that lightness loses chroma. With
subsampled chroma this holds for decoders that repeat each chroma sample over its block (as
FFmpeg's and OpenCV's plain conversions do); smoother chroma upsampling differs at colour edges.
Where black and white pixels share a block of strong colour, a few in ten thousand of them are off
by two codes (0.8 of L* at most), because a block has one chroma for all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from .color import (
    chroma_headroom,
    grey_to_lightness,
    lab_to_rgb,
    lightness_to_grey,
    limit_chroma,
    luma_for_luminance,
    luma_to_grey,
    quantize_chroma,
    quantize_luma,
    rgb_offsets,
    rgb_to_yuv,
    srgb_to_linear,
    yuv_to_rgb,
)
from .errors import OutputError
from .frames import ColorBatch, LumaBatch, PixelFormat
from .luma_table import dequantize_chroma, luma_table

_GUIDE_RADIUS = 2  # in pixels of the predicted chroma
_GAMUT_PASSES = 4  # on noise of full contrast: 2 leave an error of 4.7 of L*, 4 of 0.8, 6 of 0.5
_CPU_BAND, _GPU_BAND = 1 << 17, 1 << 24  # pixels that RGB is composed of at a time, a thread
_GUIDE_EPSILON = 25.0  # variance of L* below which a region counts as flat


def _box(x: Tensor, radius: int) -> Tensor:
    """Mean over a (2 radius + 1) square window, borders counted without padding."""
    return F.avg_pool2d(x, 2 * radius + 1, 1, radius, count_include_pad=False)


def upsample_chroma(ab: Tensor, lightness: Tensor) -> Tensor:
    """Upsample ab to the size of `lightness` along its edges.

    A fast guided filter (He and Sun 2015, "Fast Guided Filter"): ab is fitted as a linear function
    of L* in small windows at ab's own size, and the coefficients are upsampled.

    Args:
        ab: `(B, 2, h, w)`.
        lightness: `(B, 1, H, W)` L* in [0, 100], H >= h or W >= w.

    Returns:
        `(B, 2, H, W)`, within the range ab has in its neighbourhood.
    """
    if ab.shape[-2:] == lightness.shape[-2:]:
        return ab
    planes = F.interpolate(_fit_lines(ab, lightness), size=lightness.shape[-2:], mode="bilinear")
    return _on_lines(planes, lightness)


def _fit_lines(ab: Tensor, lightness: Tensor) -> Tensor:
    """`upsample_chroma`'s lines and their limits at ab's size: slope, offset, least and most of a*
    and b*, `(B, 8, h, w)`."""
    guide = F.interpolate(lightness, size=ab.shape[-2:], mode="area")
    mean_guide, mean_ab = _box(guide, _GUIDE_RADIUS), _box(ab, _GUIDE_RADIUS)
    variance = _box(guide * guide, _GUIDE_RADIUS) - mean_guide**2
    covariance = _box(guide * ab, _GUIDE_RADIUS) - mean_guide * mean_ab
    slope = covariance / (variance + _GUIDE_EPSILON)
    offset = mean_ab - slope * mean_guide
    most, least = F.max_pool2d(ab, 3, 1, 1), -F.max_pool2d(-ab, 3, 1, 1)
    return torch.cat([_box(slope, 1), _box(offset, 1), least, most], dim=1)


def _on_lines(planes: Tensor, lightness: Tensor) -> Tensor:
    """The ab that the lines, brought to the size of `lightness`, give there."""
    slope, offset, least, most = planes.split(2, dim=1)
    # a line goes on beyond the window's own L*: a scratch or a speck must not gain colour by it
    return (slope * lightness + offset).clamp(least, most)


def _rows(planes: Tensor, first: int, last: int, size: tuple[int, int]) -> Tensor:
    """Rows `first` to before `last` of `F.interpolate(planes, size, mode="bilinear")`."""
    height, width = size
    if planes.shape[-2:] == size:
        return planes[..., first:last, :]
    small = planes.shape[-2]
    at = torch.arange(first, last, device=planes.device, dtype=torch.float32) + 0.5
    at = (at * (small / height) - 0.5).clamp_min(0)
    upper = at.floor().to(torch.int64)
    lower = (upper + 1).clamp_max(small - 1)
    share = (at - upper)[:, None]
    rows = torch.lerp(planes[..., upper, :], planes[..., lower, :], share)
    return F.interpolate(rows, size=(last - first, width), mode="bilinear")


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
    return table.index_select(0, codes.to(torch.int32).flatten()).view(codes.shape)


def film_grey(batch: LumaBatch) -> Tensor:
    """The batch's grey levels in [0, 1], `(B, 1, H, W)` float32."""
    return _look_up(batch, _grey_table)


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
    parts = [luma[..., y::down, x::across] for y in range(down) for x in range(across)]
    return reduce(torch.minimum, parts), reduce(torch.maximum, parts)


def _fit_chroma(
    chroma: Tensor, luma: tuple[Tensor, Tensor], luminance: tuple[Tensor, Tensor], matrix: str
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Scale each block's Cb, Cr so that all its pixels can be shown at their luminance.

    The brightest pixel meets R'G'B' = 1 first and the darkest 0, so these two stand for all. Less
    chroma moves Y', so what did not fit is tried again.

    Args:
        chroma: `(B, 2, h, w)` Cb, Cr.
        luma: first guesses of Y' of the darkest and the brightest pixel, `(B, 1, h, w)` each.
        luminance: their relative luminance Y.
        matrix: of Y'CbCr.

    Returns:
        The chroma, and Y' of the two pixels.
    """
    offsets = rgb_offsets(chroma, matrix)
    dark, bright = (
        luma_for_luminance(target, offsets, guess, steps=2)
        for target, guess in zip(luminance, luma, strict=True)
    )
    room = chroma_headroom(dark, bright, offsets)
    chroma = chroma * room
    tight = torch.nonzero((room < 1).flatten())[:, 0]
    if not len(tight):
        return chroma, (dark, bright)

    def of_tight(plane: Tensor) -> Tensor:  # as a row of pixels
        return plane.transpose(0, 1).flatten(1)[:, tight][None, :, None]

    some, low, high = of_tight(chroma), of_tight(dark), of_tight(bright)
    least, most = (of_tight(each) for each in luminance)
    for _ in range(_GAMUT_PASSES - 1):
        offsets = rgb_offsets(some, matrix)
        low = luma_for_luminance(least, offsets, low)
        high = luma_for_luminance(most, offsets, high)
        some = some * chroma_headroom(low, high, offsets)
    shape = chroma.transpose(0, 1).shape
    chroma = chroma.transpose(0, 1).flatten(1).index_copy(1, tight, some[0, :, 0])
    return chroma.view(shape).transpose(0, 1), (dark, bright)


def _compose_yuv(
    batch: LumaBatch, ab: Tensor, format: PixelFormat, exact: bool
) -> tuple[Tensor, Tensor, Tensor]:
    height, width = batch.luma.shape[-2:]
    ratio, tags, depth = format.subsampling, format.tags, format.bit_depth
    film = batch.luma if batch.bit_depth == 8 else batch.luma.to(torch.int32)
    film = _pad_to(film, ratio)
    lightness = F.avg_pool2d(_look_up(batch, _lightness_table, film), (ratio[1], ratio[0]))
    ab = limit_chroma(lightness, upsample_chroma(ab, lightness))
    yuv = rgb_to_yuv(lab_to_rgb(torch.cat([lightness, ab], dim=1)), tags.matrix)
    chroma = yuv[:, 1:]
    ends = _extremes(film, ratio)
    dark, bright = (_look_up(batch, _grey_table, codes) for codes in ends)
    if exact:
        room = chroma_headroom(dark, bright, rgb_offsets(chroma, tags.matrix))
        codes = quantize_chroma(chroma * room, depth, tags.full_range)
        out = batch.luma[:, 0] if depth == 8 else batch.luma[:, 0].to(torch.int32)
        return out, codes[:, 0], codes[:, 1]
    # a first guess: the film's grey, moved by what colour does to Y' in the block
    moved = yuv[:, :1] - lightness_to_grey(lightness)
    low, high = (_look_up(batch, _luminance_table, codes) for codes in ends)
    chroma, found = _fit_chroma(chroma, (dark + moved, bright + moved), (low, high), tags.matrix)
    codes = quantize_chroma(chroma, depth, tags.full_range)
    if depth == batch.bit_depth == 8 and batch.luma.device.type == "cpu":
        out = luma_table(batch.full_range, tags)(film[:, 0], codes, ratio)
    else:
        moved = (found[0] - dark + found[1] - bright) / 2
        offsets = rgb_offsets(dequantize_chroma(codes, depth, tags.full_range), tags.matrix)
        guess = _look_up(batch, _grey_table, film) + _repeat(moved, ratio)
        luminance = _look_up(batch, _luminance_table, film)
        luma = luma_for_luminance(luminance, _repeat(offsets, ratio), guess, steps=2)
        out = quantize_luma(luma, depth, tags.full_range)[:, 0]
    return out[:, :height, :width], codes[:, 0], codes[:, 1]


def _compose_rgb(
    batch: LumaBatch, ab: Tensor, format: PixelFormat, exact: bool
) -> tuple[Tensor, Tensor, Tensor]:
    height, width = batch.luma.shape[-2:]
    lightness = film_lightness(batch)
    full = ab.shape[-2:] == lightness.shape[-2:]
    planes = ab if full else _fit_lines(ab, lightness)
    kind = torch.uint8 if format.bit_depth == 8 else torch.int32
    codes = torch.empty((len(ab), 3, height, width), dtype=kind, device=ab.device)
    # in bands of rows: they stay in the processor's cache, and a scan of 100 million pixels would
    # take many gigabytes as a whole
    pixels = _CPU_BAND * torch.get_num_threads() if ab.device.type == "cpu" else _GPU_BAND
    step = max(1, pixels // max(1, width * len(ab)))
    for first in range(0, height, step):
        last = min(first + step, height)
        light = lightness[..., first:last, :]
        chroma = _rows(planes, first, last, (height, width))
        chroma = limit_chroma(light, chroma if full else _on_lines(chroma, light))
        rgb = lab_to_rgb(torch.cat([light, chroma], dim=1))
        if exact:
            grey = _look_up(batch, _grey_table, batch.luma[..., first:last, :])
            chroma = rgb_to_yuv(rgb, format.tags.matrix)[:, 1:]
            room = chroma_headroom(grey, grey, rgb_offsets(chroma, format.tags.matrix))
            rgb = yuv_to_rgb(torch.cat([grey, chroma * room], dim=1), format.tags.matrix)
        codes[..., first:last, :] = quantize_luma(rgb, format.bit_depth, full_range=True)
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
