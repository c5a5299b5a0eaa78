"""What is measured of a frame's colors, at a small size: `View`, `Blob`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..color.codes import Codes, dequantize_chroma, luma_to_gray
from ..color.convert import rgb_to_lab, yuv_to_rgb
from ..frames import NO_BARS, Bars, VideoInfo
from ..motion.flow import Array
from ..system.opencv import opencv

SIDE = 192  # longer side, pixels
_LEAST = 16  # optical flow needs it
_DARK, _BRIGHT = 8.0, 96.0  # L* beyond which no color shows
# A blob: distance in a*b* from what is around it; share of the picture; and how far, in L*, its
# inside may differ from what is around, as a thing of its own would
_APART, _SMALLEST, _LARGEST, _SAME = 20.0, 0.004, 0.08, 3.5
# L* a pixel along its border, as the edge of a thing has it; and that beside the edges near it
_EDGE, _EDGIER = 1.6, 1.1
_RING = 3  # pixels


@dataclass(frozen=True)
class View:
    """A small frame without the black bars.

    Attributes:
        gray: the original, `(h, w)` uint8.
        lightness: L* of the original, `(h, w)`.
        ab: a*, b* of the result, `(h, w, 2)`.
        shown: `(h, w)` bool: where colors can be seen, as it is neither black nor white.
    """

    gray: Array
    lightness: Array
    ab: Array
    shown: Array

    @property
    def chroma(self) -> float:
        """Mean chroma of what is shown, in Lab; 0 for a blank picture."""
        return float(np.hypot(*self.ab[self.shown].T).mean()) if self.shown.any() else 0.0


def small_rgb(
    planes: Sequence[Codes], facts: VideoInfo, bars: Bars = NO_BARS, side: int = SIDE
) -> Tensor:
    """R'G'B' in [0, 1] of a frame of a film, `(1, 3, h, w)`, by means over areas.

    Args:
        planes: of a `ColorFrame`, or the luma alone.
        facts: of the film.
        bars: black bars to leave out.
        side: the longer side at most, pixels.
    """
    cv2 = opencv()
    height, width = planes[0].shape
    top, bottom, left, right = bars
    inside = height - top - bottom, width - left - right
    scale = min(1.0, side / max(inside))
    size = [max(_LEAST, round(length * scale)) for length in inside]
    shrunk = []
    for plane in planes:
        down, across = height / plane.shape[0], width / plane.shape[1]
        rows = slice(round(top / down), round((height - bottom) / down))
        columns = slice(round(left / across), round((width - right) / across))
        values = plane[rows, columns].astype(np.float32)
        shrunk.append(cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA))
    codes = torch.from_numpy(np.stack(shrunk))[None]
    depth, full = facts.bit_depth, facts.tags.full_range
    luma = luma_to_gray(codes, depth, full)
    if len(planes) == 1:
        return luma.expand(1, 3, -1, -1)
    if not facts.has_luma:
        return luma
    chroma = dequantize_chroma(codes[:, 1:], depth, full)
    return yuv_to_rgb(torch.cat([luma[:, :1], chroma], dim=1), facts.tags.matrix).clamp_(0, 1)


def view(gray: Tensor, rgb: Tensor) -> View:
    """Make the view of two small pictures R'G'B' `(1, 3, h, w)`, the first of them gray."""
    lightness = rgb_to_lab(gray)[0, 0].numpy()
    lab = rgb_to_lab(rgb)[0].numpy()
    return View(
        (gray[0, 0] * 255).round().to(torch.uint8).numpy(),
        lightness,
        np.ascontiguousarray(lab[1:].transpose(1, 2, 0)),
        (lightness > _DARK) & (lightness < _BRIGHT),
    )


@dataclass(frozen=True)
class Blob:
    """A patch of color that belongs to no thing.

    Attributes:
        x, y: its middle, as shares of the picture's width and height.
        share: of the picture that it covers.
        apart: its distance in a*b* from what is around it.
    """

    x: float
    y: float
    share: float
    apart: float


def find_blobs(seen: View) -> list[Blob]:
    """Patches of another color than all around them, where the picture has no edge and no other
    lightness."""
    cv2 = opencv()
    height, width = seen.gray.shape
    ab = cv2.GaussianBlur(seen.ab, (0, 0), 1)
    side = max(3, min(height, width) // 3) | 1
    around = (
        np.stack(
            [
                cv2.medianBlur(np.clip(ab[..., i] + 128, 0, 255).astype(np.uint8), side)
                for i in (0, 1)
            ],
            axis=2,
        ).astype(np.float32)
        - 128
    )
    mask = (np.hypot(*(ab - around).transpose(2, 0, 1)) > _APART / 2).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    smooth = cv2.GaussianBlur(seen.lightness.astype(np.float32), (0, 0), 1.5)
    edges = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / 8
    count, labels, stats, middles = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    kernel = np.ones((2 * _RING + 1, 2 * _RING + 1), np.uint8)
    for i in range(1, count):
        share = stats[i, cv2.CC_STAT_AREA] / (height * width)
        if not _SMALLEST < share < _LARGEST:
            continue
        own = (labels == i).astype(np.uint8)
        wide, narrow = cv2.dilate(own, kernel), cv2.erode(own, np.ones((3, 3), np.uint8))
        ring = (cv2.dilate(wide, kernel) - wide).astype(bool) & seen.shown
        border = (wide - narrow).astype(bool)
        inside = own.astype(bool)
        if ring.sum() < 8 or seen.shown[inside].mean() < 0.5:
            continue
        apart = float(np.hypot(*(ab[inside].mean(axis=0) - ab[ring].mean(axis=0))))
        step = abs(float(smooth[inside].mean() - smooth[ring].mean()))
        rest = (inside | ring) & ~border  # its texture has edges too
        usual = float(edges[rest].mean()) if rest.any() else 0.0
        edge = max(_EDGE, _EDGIER * usual)
        if apart > _APART and step < _SAME and float(edges[border].mean()) < edge:
            x, y = middles[i]
            found.append(Blob(float(x / width), float(y / height), float(share), apart))
    return found
