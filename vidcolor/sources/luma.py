"""The luma plane and the chroma test of a decoded FFmpeg frame, for every pixel format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import av
import numpy as np
from numpy.typing import NDArray

from ..color.codes import Codes, luma_of_rgb
from ..errors import InputError

# Mean chroma above which a frame counts as colored, of 255. Measured on 8x8 block means, so that
# chroma noise averages out (VHS noise of 6 codes leaves 0.6). A white balance that is slightly off
# stays below 3; a sepia print or a color film, even a faded one, lies above it (5 and more), and
# for both it is right to say that the chroma of the input is replaced.
COLOR_THRESHOLD = 3.0

_BLOCK = 8
_OPAQUE = 0xFF00  # alpha of 16 bits; swscale makes no more of 255

_PLANAR = re.compile(
    r"^(gray(8|9|10|12|14|16)?|yuv[ja]?4\d\dp(9|10|12|14|16)?(msb)?|nv(12|16|20|21|24|42)"
    r"|p[024]1[0246])(le|be)?$"
)
# Packed formats with luma at a fixed step: first sample and step of luma, in samples.
_PACKED = {
    "yuyv422": (0, 2),
    "yvyu422": (0, 2),
    "uyvy422": (1, 2),
    "ya8": (0, 2),
    "ya16le": (0, 2),
    "ya16be": (0, 2),
    "ayuv64le": (1, 4),
    "ayuv64be": (1, 4),
}


@dataclass(frozen=True)
class LumaLayout:
    """Where the luma codes of a pixel format lie.

    Attributes:
        has_luma: a luma plane exists; otherwise luma is computed from R'G'B'.
        bit_depth: bits of a delivered code: the native depth, or 8 or 16 for computed luma.
        subsampling: horizontal and vertical chroma factor, (1, 1) without chroma planes.
        full_range: the range of an untagged stream.
        dtype: numpy type of a stored sample, with its byte order.
        first, step: position of the first luma sample of a row and distance to the next.
        shift: unused low bits of a stored sample.
    """

    has_luma: bool
    bit_depth: int
    subsampling: tuple[int, int]
    full_range: bool
    dtype: str
    first: int = 0
    step: int = 1
    shift: int = 0


@cache
def layout(pix_fmt: str) -> LumaLayout:
    """The layout of the pixel format with FFmpeg's name `pix_fmt`."""
    # 840 is divisible by every chroma factor there is.
    form = av.VideoFormat(pix_fmt, 840, 840)
    depth = max((c.bits for c in form.components), default=8)
    if _PLANAR.match(pix_fmt) or pix_fmt in _PACKED:
        depth = form.components[0].bits
        first, step = _PACKED.get(pix_fmt, (0, 1))
        gray = len(form.components) < 3  # PyAV's `is_chroma` is false for all of 4:4:4
        factors = (840 // form.chroma_width(840), 840 // form.chroma_height(840))
        padded = "msb" in pix_fmt or re.match(r"^p\d1", pix_fmt) is not None
        return LumaLayout(
            has_luma=True,
            bit_depth=depth,
            subsampling=(1, 1) if gray else factors,
            full_range=gray or pix_fmt.startswith(("yuvj", "ya", "gray")),
            dtype=("u1" if depth == 8 else ">u2" if form.is_big_endian else "<u2"),
            first=first,
            step=step,
            shift=16 - depth if padded else 0,
        )
    return LumaLayout(False, 8 if depth <= 8 else 16, (1, 1), True, "u1" if depth <= 8 else "<u2")


def _samples(plane: av.video.plane.VideoPlane, dtype: str) -> Codes:
    """The samples of a plane, `(height, row samples)`, with the padding of its rows."""
    if plane.line_size < 0:
        # PyAV's buffer starts at the last row in memory there and runs past its end.
        raise InputError(
            "its frames are stored bottom up in a luma format; rewrite it with a lossless codec "
            "(ffmpeg -c:v ffv1)"
        )
    rows = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * plane.height)
    return rows.reshape(plane.height, plane.line_size).view(dtype)


def _rgb(frame: av.VideoFrame, bits: int) -> Codes:
    """R'G'B' at full range, `(H, W, 3)` uint8 or uint16."""
    converted = frame.reformat(format="rgb24" if bits == 8 else "rgb48le")
    dtype, size = ("u1", 1) if bits == 8 else ("<u2", 2)
    plane = converted.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * frame.height)
    rows = rows.reshape(frame.height, plane.line_size)[:, : frame.width * 3 * size]
    return np.ascontiguousarray(rows).view(dtype).reshape(frame.height, frame.width, 3)


def luma_plane(frame: av.VideoFrame) -> Codes:
    """The luma codes of a frame, `(H, W)` uint8, or uint16 above 8 bits.

    Luma planes are taken bit for bit. Of RGB, palette and other formats BT.601 luma at full range
    is computed, `Y' = 0.299 R' + 0.587 G' + 0.114 B'` (ITU-R BT.601-7), with 8 or 16 bits; a pixel
    with R' = G' = B' keeps exactly that value.

    Raises:
        InputError: the frame is stored in a way that cannot be read; the message names no file.
    """
    form = layout(frame.format.name)
    if not form.has_luma:
        return luma_of_rgb(_rgb(frame, form.bit_depth))
    rows = _samples(frame.planes[0], form.dtype)
    codes = rows[:, form.first : form.first + frame.width * form.step : form.step]
    codes = codes[: frame.height]
    if form.bit_depth == 8:
        return codes
    return (codes >> form.shift).astype(np.uint16)


def _block_means(plane: Codes) -> NDArray[np.float32]:
    """Means over about 8x8 pixels; the channel axis, if any, is kept."""
    height, width = plane.shape[:2]
    down, across = min(_BLOCK, height), min(_BLOCK, width)
    rows, columns = height // down, width // across
    blocks = plane[: rows * down, : columns * across].reshape(
        rows, down, columns, across, *plane.shape[2:]
    )
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def chroma_of_rgb(rgb: Codes) -> float:
    """Mean of max - min over the channels of R'G'B' `(H, W, 3)`, on the scale of 255."""
    scale = 255 / np.iinfo(rgb.dtype).max
    return float(np.ptp(_block_means(rgb), axis=2).mean()) * scale


def chroma_amount(frame: av.VideoFrame) -> float:
    """How colored a frame is: mean distance of its chroma from neutral, on the scale of 255."""
    form = layout(frame.format.name)
    bits = frame.format.components[0].bits
    if form.has_luma and len(frame.format.components) < 3:
        return 0.0
    if not form.has_luma or form.step > 1:
        return chroma_of_rgb(_rgb(frame, 8))
    neutral, scale = 1 << (bits - 1), 255 / ((1 << bits) - 1)
    amounts = []
    interleaved = sum(c.plane == 1 for c in frame.format.components) == 2
    width = frame.format.chroma_width(frame.width)
    height = frame.format.chroma_height(frame.height)
    for plane in frame.planes[1 : 2 if interleaved else 3]:
        rows = _samples(plane, form.dtype)
        halves = (rows[:, 0::2], rows[:, 1::2]) if interleaved else (rows,)
        for half in halves:
            codes = half[:height, :width] >> form.shift
            amounts.append(float(np.abs(_block_means(codes) - neutral).mean()) * scale)
    return sum(amounts) / len(amounts)


def is_transparent(frame: av.VideoFrame) -> bool:
    """Whether a frame has an alpha channel in which some pixel is not opaque."""
    if not any(c.is_alpha for c in frame.format.components) and frame.format.name != "pal8":
        return False
    alpha = frame.reformat(format="rgba64le").planes[0]
    rows = np.frombuffer(memoryview(alpha), "<u2").reshape(frame.height, -1)
    return bool((rows[:, 3 : frame.width * 4 : 4] < _OPAQUE).any())
