"""Find how a colored still lies on the film's own gray frame, and lay it there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...system.opencv import opencv

Plane = NDArray[np.float32]

_SIDE = 512  # longer side at which frames are compared, pixels
_STEPS, _PRECISION = 200, 1e-6  # of the iteration
_BLUR = 5  # pixels, against grain
_MOST = 0.2  # of a side: a larger displacement is taken for a failure
_STILL = 0.3  # pixels of the compared frames below which nothing is moved
_SAME = 0.998  # correlation of a still that was not moved
_BETTER = 0.002  # gain of correlation that a movement must bring


@dataclass(frozen=True)
class Registration:
    """Where a still lies on the frame.

    Attributes:
        matrix: `(2, 3)`: a place of the frame, in shares of its width and height, to the place of
            the still that shows the same, in shares of the still's.
        shift: largest displacement of a corner, as a share of the longer side; 0 if it fits.
        correlation: of the two lightnesses after it, -1 to 1.
    """

    matrix: NDArray[np.float64]
    shift: float
    correlation: float

    @property
    def fits(self) -> bool:
        """Whether the still lies on the frame as it is."""
        return self.shift == 0


def register(frame: Plane, still: Plane) -> Registration:
    """Find the affine movement from a frame to its still, by Evangelidis and Psarakis' ECC.

    ECC ("Parametric image alignment using enhanced correlation coefficient maximization", 2008)
    does not mind other brightness and contrast. Phase correlation gives its beginning.

    Args:
        frame, still: `(H, W)` lightness, of any sizes.
    """
    cv2 = opencv()

    scale = min(1.0, _SIDE / max(frame.shape))
    size = (max(16, round(frame.shape[1] * scale)), max(16, round(frame.shape[0] * scale)))
    one, two = (
        cv2.resize(each, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        for each in (frame, still)
    )
    plain = _correlation(one, two)
    none = Registration(np.eye(2, 3), 0.0, plain)
    window = cv2.createHanningWindow(size, cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(one * window, two * window)
    if plain > _SAME and math.hypot(dx, dy) < _STILL:
        return none
    best = none
    for start in ((0.0, 0.0), (dx, dy)):
        warp = np.array([[1, 0, start[0]], [0, 1, start[1]]], np.float32)
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, _PRECISION)
        try:
            _, warp = cv2.findTransformECC(one, two, warp, cv2.MOTION_AFFINE, criteria, None, _BLUR)
        except cv2.error:  # it does not converge: nothing in common
            continue
        shift = _corner_shift(warp, size)
        if not _STILL <= shift <= _MOST * max(size):
            continue
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        inside = cv2.warpAffine(np.ones_like(two), warp, size, flags=flags) > 0.99
        moved = cv2.warpAffine(two, warp, size, flags=flags)
        found = _correlation(one[inside], moved[inside])
        if found > max(best.correlation, plain + _BETTER):
            best = Registration(_shares(warp, size), shift / max(size), found)
    return best


def lay(still: NDArray[np.float32], place: Registration, size: tuple[int, int]) -> Plane:
    """The still as the frame would show it.

    Args:
        still: `(H, W, C)`.
        place: of it.
        size: height and width of the result.

    Returns:
        `(h, w, C)`; 0 where the still shows nothing of the frame.
    """
    cv2 = opencv()

    height, width = size
    to_frame = np.array([[width, 0, 0], [0, height, 0]])  # from shares to pixels
    grown = np.vstack([place.matrix, [0, 0, 1]])
    across = np.diag([still.shape[1], still.shape[0], 1.0])
    back = np.linalg.inv(np.vstack([to_frame, [0, 0, 1]]))
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # centers of pixels
    matrix = (np.linalg.inv(half) @ across @ grown @ back @ half)[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid: Plane = cv2.warpAffine(still, matrix, (width, height), flags=flags)
    return laid.reshape(height, width, -1)


def _shares(warp: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float64]:
    """A movement of pixels' centers as one of shares of width and height."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    scale = np.diag([size[0], size[1], 1.0])
    whole = np.vstack([warp.astype(np.float64), [0, 0, 1]])
    return np.asarray((np.linalg.inv(scale) @ half @ whole @ np.linalg.inv(half) @ scale)[:2])


def _corner_shift(warp: NDArray[np.float32], size: tuple[int, int]) -> float:
    """Largest displacement of a corner, pixels."""
    corners = np.array([[x, y, 1] for x in (0, size[0]) for y in (0, size[1])], np.float64)
    moved = corners @ warp.astype(np.float64).T
    return float(max(math.dist(a, b) for a, b in zip(moved, corners[:, :2], strict=True)))


def _correlation(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    a, b = one - one.mean(), two - two.mean()
    norm = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / norm if norm > 1e-3 * one.size else 0.0  # of an even plane
