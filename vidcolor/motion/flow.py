"""Optical flow between two frames, warping along a flow, and occlusion.

A flow is `(H, W, 2)` float32, in pixels: the point (x, y) of the first frame moves to
(x + flow[..., 0], y + flow[..., 1]) in the second. All functions take and return numpy arrays on
the CPU. OpenCV is imported on first use.
"""

from __future__ import annotations

import math
import threading
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Preset = Literal["fast", "medium"]

# Each thread has its own estimators, because an estimator owns its working memory.
_estimators = threading.local()


def _estimator(preset: str, height: int, width: int) -> Any:
    """This thread's DIS estimator for frames of one size."""
    import cv2  # here, because its wheel needs system libraries that a bare machine lacks

    known: dict[str, Any] = _estimators.__dict__
    key = f"{preset} {height} {width}"
    if key not in known:
        number: int = getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}")
        made = known[key] = getattr(cv2, "DISOpticalFlow_create")(number)  # noqa: B009 - untyped
        # For small frames OpenCV lowers the finest scale after the first flow and keeps it, so the
        # second flow would differ from the first. For thin frames it does not, and crashes.
        patch = made.getPatchSize()
        coarsest = min(
            int(math.log2(max(height, width) / (4 * patch)) + 0.5),
            int(math.log2(min(height, width) / patch)),
        )
        made.setFinestScale(max(0, min(made.getFinestScale(), coarsest)))
    return known[key]


def flow(first: Array, second: Array, preset: Preset = "fast") -> Array:
    """Estimate dense optical flow from `first` to `second`, `(H, W, 2)` float32, in pixels.

    Source: Kroeger, Timofte, Dai and Van Gool 2016, "Fast optical flow using dense inverse search".

    Args:
        first, second: gray `(H, W)` uint8, both sides at least 16.
        preset: OpenCV's preset of speed against quality.
    """
    estimator = _estimator(preset, *first.shape)
    found: Array = estimator.calc(np.ascontiguousarray(first), np.ascontiguousarray(second), None)
    return found


def warp(image: Array, to_image: Array) -> Array:
    """Warp `image` backward along a flow: sample it where the flow ends.

    Args:
        image: `(H, W)` or `(H, W, C)`, uint8 or float32, C up to 4.
        to_image: `(H, W, 2)` flow from the target frame to `image`.

    Returns:
        `image` sampled bilinearly, borders repeated; same shape and type.
    """
    import cv2

    height, width = to_image.shape[:2]
    x = np.arange(width, dtype=np.float32) + to_image[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + to_image[..., 1]
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def squared_norm(vectors: Array) -> Array:
    """Squared norm of `(H, W, 2)`, `(H, W)`; `np.sum` over so short an axis is 20 times slower."""
    norm: Array = np.square(vectors[..., 0]) + np.square(vectors[..., 1])
    return norm


def visible(
    forward: Array, backward: Array, relative: float = 0.01, absolute: float = 0.5
) -> Array:
    """Find the pixels of the first frame that are visible in the second, `(H, W)` bool.

    Checks forward-backward consistency: |f + b'|^2 < 0.01 (|f|^2 + |b'|^2) + 0.5, where b' is the
    backward flow at the end of the forward flow f. Pixels that leave the picture are not visible.
    Source: Sundaram, Brox and Keutzer 2010, "Dense point trajectories by GPU-accelerated large
    displacement optical flow", section 3.

    Args:
        forward: flow from the first frame to the second.
        backward: flow from the second frame to the first.
        relative: factor on the squared norms, 0.01 in the source.
        absolute: constant term, 0.5 in the source, squared pixels.
    """
    height, width = forward.shape[:2]
    back = warp(backward, forward)
    error = squared_norm(forward + back)
    norms = squared_norm(forward) + squared_norm(back)
    x = np.arange(width, dtype=np.float32) + forward[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + forward[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    consistent: Array = (error < relative * norms + absolute) & inside
    return consistent


def normalize_contrast(gray: Array) -> Array:
    """Scale a gray picture to mean 128 and standard deviation 50, `(H, W)` uint8, clipped.

    This removes the flicker of the light and of old film. A standard deviation below 12 counts as
    12, so that noise is not amplified.
    """
    import cv2

    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(gray))
    scale = 50 / max(deviation, 12.0)
    table = np.clip((np.arange(256) - mean) * scale + 128.5, 0, 255).astype(np.uint8)
    return cv2.LUT(gray, table)
