"""Optical flow between two frames, warping along it, and where it can be trusted.

A flow is `(H, W, 2)` float32: what stands at (x, y) in the first frame stands at
(x + flow[..., 0], y + flow[..., 1]) in the second, in pixels. All functions take and return numpy
arrays on the CPU; OpenCV is imported on first use.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

PRESETS = ("fast", "medium")

_own = threading.local()  # an estimator keeps its working memory: each thread needs its own


def _estimator(preset: str, height: int, width: int) -> Any:
    import cv2  # here, because its wheel needs system libraries that a bare machine lacks

    known: dict[Any, Any] = _own.__dict__
    key = f"{preset} {height} {width}"
    if key not in known:
        number: int = getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}")
        made = known[key] = getattr(cv2, "DISOpticalFlow_create")(number)  # noqa: B009 - untyped
        # Of small frames OpenCV lowers this by itself, for good, after the first flow, which makes
        # that one different from the next; of thin ones it does not, and crashes.
        patch = made.getPatchSize()
        coarsest = min(
            int(math.log2(max(height, width) / (4 * patch)) + 0.5),
            int(math.log2(min(height, width) / patch)),
        )
        made.setFinestScale(max(0, min(made.getFinestScale(), coarsest)))
    return known[key]


def flow(first: np.ndarray, second: np.ndarray, preset: str = "fast") -> np.ndarray:
    """Dense optical flow from `first` to `second`, `(H, W, 2)` float32, pixels.

    Dense inverse search (Kroeger, Timofte, Dai and Van Gool 2016, "Fast optical flow using dense
    inverse search").

    Args:
        first, second: grey `(H, W)` uint8, both sides at least 16.
        preset: one of `PRESETS`, quickest first.
    """
    estimator = _estimator(preset, *first.shape)
    return estimator.calc(np.ascontiguousarray(first), np.ascontiguousarray(second), None)


def warp(image: np.ndarray, to_image: np.ndarray) -> np.ndarray:
    """Bring `image` into the frame that `to_image` starts from.

    Args:
        image: `(H, W)` or `(H, W, C)`, uint8 or float32, C up to 4.
        to_image: flow from the wanted frame to `image`, `(H, W, 2)`.

    Returns:
        `image` sampled bilinearly at the flow's ends, borders repeated; shape and type kept.
    """
    import cv2

    height, width = to_image.shape[:2]
    x = np.arange(width, dtype=np.float32) + to_image[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + to_image[..., 1]
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def squared_length(vectors: np.ndarray) -> np.ndarray:
    """Of `(H, W, 2)`, `(H, W)`. (numpy's sum over so short an axis takes twenty times as long.)"""
    return np.square(vectors[..., 0]) + np.square(vectors[..., 1])


def visible(
    forward: np.ndarray, backward: np.ndarray, relative: float = 0.01, absolute: float = 0.5
) -> np.ndarray:
    """Which pixels of the first frame are seen in the second too, `(H, W)` bool.

    There and back again must end where it began: |f + b'|^2 < 0.01 (|f|^2 + |b'|^2) + 0.5, with b'
    the backward flow where the forward one ends; what leaves the picture is not seen. Source:
    Sundaram, Brox and Keutzer 2010, "Dense point trajectories by GPU-accelerated large
    displacement optical flow", section 3.

    Args:
        forward: flow from the first frame to the second.
        backward: flow from the second to the first.
        relative, absolute: the 0.01, and the 0.5 in squared pixels, of the rule.
    """
    height, width = forward.shape[:2]
    back = warp(backward, forward)
    gap = squared_length(forward + back)
    length = squared_length(forward) + squared_length(back)
    x = np.arange(width, dtype=np.float32) + forward[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + forward[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return (gap < relative * length + absolute) & inside


def level(grey: np.ndarray) -> np.ndarray:
    """The same picture at mean 128 and deviation 50, `(H, W)` uint8, values beyond 0 to 255 cut.

    Two frames that differ by the flicker of the light or of old film are equal then. A picture
    whose deviation is below 12 is not stretched further than one of 12: that would be its noise.
    """
    import cv2

    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    gain = 50 / max(deviation, 12.0)
    table = np.clip((np.arange(256) - mean) * gain + 128.5, 0, 255).astype(np.uint8)
    return cv2.LUT(grey, table)
