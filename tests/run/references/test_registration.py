"""Stills that are moved, scaled, squeezed or brighter lie on their frame again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.motion.test_flow import texture
from vidcolor.run.references.registration import lay, register


def picture(height: int = 240, width: int = 320) -> np.ndarray:
    gray = cv2.resize(texture(height // 4, width // 4, 7), (width, height)).astype(np.float32)
    return 20 + gray * 60 / 255


def moved(plane: np.ndarray, zoom: float, dx: float, dy: float) -> np.ndarray:
    matrix = np.array([[zoom, 0, dx], [0, zoom, dy]])
    return cv2.warpAffine(plane, matrix, plane.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize(("zoom", "dx", "dy"), [(1.02, 3, 0), (0.97, -4, 6), (1.0, 12.5, -9)])
def test_a_moved_still_is_laid_back(zoom: float, dx: float, dy: float) -> None:
    frame = picture()
    still = moved(frame, zoom, dx, dy)
    found = register(frame, np.float32(0.8) * still + np.float32(3))  # darker
    largest = max(
        np.hypot((zoom - 1) * x + dx, (zoom - 1) * y + dy) for x in (0, 320) for y in (0, 240)
    )
    assert found.shift * 320 == pytest.approx(largest, abs=0.5)
    back = lay(still[..., None], found, frame.shape)[..., 0]
    inner = np.s_[20:-20, 20:-20]
    before = float(np.abs(still - frame)[inner].mean())
    assert float(np.abs(back - frame)[inner].mean()) < 0.15 * before


def test_a_still_of_another_size_fits() -> None:
    frame = picture()
    for size in ((640, 480), (200, 200), (317, 241)):
        still = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        found = register(frame, still.astype(np.float32))
        assert found.fits and found.correlation > 0.97
        assert np.array_equal(found.matrix, np.eye(2, 3))


def test_what_has_nothing_in_common_stays_where_it_is() -> None:
    other = cv2.resize(texture(60, 80, 99), (320, 240)).astype(np.float32)
    assert register(picture(), other).fits
    assert register(picture(), np.full((240, 320), 50, np.float32)).fits


def test_where_the_still_shows_nothing_there_is_zero() -> None:
    still = np.ones((100, 100, 1), np.float32)
    place = register(picture(), moved(picture(), 1.0, 16, 0))
    laid = lay(still, place, (100, 100))
    assert laid[:, 96:].max() < 0.5 and laid[:, :90].min() > 0.99
