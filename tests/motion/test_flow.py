"""Flow, warping and visibility of a textured square that moves by known steps."""

from __future__ import annotations

import numpy as np
import pytest

from vidcolor.motion.flow import Array, Preset, flow, visible, warp

PRESETS: tuple[Preset, ...] = ("fast", "medium")


def texture(height: int, width: int, seed: int) -> Array:
    """Smooth gray noise `(height, width)` uint8, whose flow is well defined."""
    import cv2

    noise = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    span = smooth.max() - smooth.min()
    scaled: Array = ((smooth - smooth.min()) / span * 255).astype(np.uint8)
    return scaled


@pytest.mark.parametrize("preset", PRESETS)
def test_flow_of_a_shifted_picture(preset: Preset) -> None:
    wide = texture(120, 160, 0)
    first, second = wide[:, 8:136], wide[:, 5:133]  # what was at x is at x + 3
    found = flow(first, second, preset)
    assert found.shape == (120, 128, 2)
    inner = found[16:-16, 16:-16]
    np.testing.assert_allclose(np.median(inner[..., 0]), 3, atol=0.2)
    np.testing.assert_allclose(np.median(inner[..., 1]), 0, atol=0.2)


def test_warp_follows_the_flow_and_repeats_the_border() -> None:
    image = np.arange(20, dtype=np.float32).reshape(4, 5)
    right = np.zeros((4, 5, 2), np.float32)
    right[..., 0] = 1
    np.testing.assert_allclose(warp(image, right)[:, :4], image[:, 1:], atol=1e-3)
    np.testing.assert_allclose(warp(image, right)[:, 4], image[:, 4], atol=1e-3)
    half = np.zeros((4, 5, 2), np.float32)
    half[..., 1] = 0.5
    np.testing.assert_allclose(warp(image, half)[0], (image[0] + image[1]) / 2, atol=1e-3)


def test_what_a_moving_square_covers_is_not_visible() -> None:
    ground = texture(128, 128, 1)
    square = texture(40, 40, 2)
    first, second = ground.copy(), ground.copy()
    first[44:84, 30:70] = square
    second[44:84, 40:80] = square  # ten pixels to the right: columns 70 to 80 are covered
    forward, backward = flow(first, second, "medium"), flow(second, first, "medium")
    seen = visible(forward, backward)
    assert seen[50:78, 34:66].mean() > 0.9  # the square itself
    assert seen[10:30].mean() > 0.9  # the ground far away
    assert seen[50:78, 71:79].mean() < 0.4


def test_what_leaves_the_picture_is_not_visible() -> None:
    out = np.zeros((8, 8, 2), np.float32)
    out[..., 0] = 3
    seen = visible(out, -out)
    assert seen[:, :5].all()
    assert not seen[:, 5:].any()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(16, 128), (31, 128), (128, 16), (40, 40), (16, 16)])
def test_flow_of_thin_and_small_frames_is_reproducible(
    preset: Preset, shape: tuple[int, int]
) -> None:
    first = texture(*shape, 0)
    second = np.roll(first, 1, axis=1)
    found = [flow(first, second, preset) for _ in range(2)]
    assert found[0].shape == (*shape, 2)
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(found[0], found[1])
    wide = texture(120, 160, 1)
    before = flow(wide, np.roll(wide, 1, axis=1), preset)
    flow(first, second, preset)
    np.testing.assert_array_equal(flow(wide, np.roll(wide, 1, axis=1), preset), before)
