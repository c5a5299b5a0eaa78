"""Orthochromatic gray: blind to red to a degree, white stays white, the target keeps its color."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from vidcolor.color.convert import gray_to_lightness, rgb_to_lab
from vidcolor.training.data.augment import Augment
from vidcolor.training.data.dataset import Part
from vidcolor.training.data.emulsion import emulsion_weights, orthochromatic, seen_lightness
from vidcolor.training.data.loaders import CropLoader

REC709 = torch.tensor([0.2126, 0.7152, 0.0722])


@pytest.fixture(autouse=True)
def _dice() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_weights_lie_between_rec709_and_blue_and_green() -> None:
    weights = torch.stack([emulsion_weights() for _ in range(400)])
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(400))
    red, green, blue = weights.unbind(dim=1)
    assert float(weights.min()) >= 0 and float(red.max()) <= 0.2126
    assert float(red.min()) < 0.01 and float(red.max()) > 0.2  # from blind to all but an eye's
    assert float(blue.max()) > 0.8 and float(green.max()) > 0.7
    far = 1 - red / 0.2126
    floor = (1 - far) * 0.0722 + far * 0.25  # at most three quarters of what is left are green
    assert bool((blue >= floor - 1e-5).all())


def test_red_goes_dark_and_white_stays() -> None:
    white = torch.ones(3, 4, 4)
    torch.testing.assert_close(orthochromatic(white), torch.ones(1, 4, 4))
    red = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 4, 4)
    seen = [float(orthochromatic(red).mean()) for _ in range(100)]
    assert max(seen) <= 0.2127 < 0.299 and min(seen) < 0.02


def test_the_share_is_kept_and_the_others_see_luma_or_themselves() -> None:
    rgb = torch.tensor([0.8, 0.2, 0.2])[:, None, None].expand(3, 4, 4)
    lab = rgb_to_lab(rgb)
    known = {round(float(lab[0].mean()), 3)}
    luma = gray_to_lightness(torch.full((1, 4, 4), 0.2989 * 0.8 + 0.7011 * 0.2))
    known.add(round(float(luma.mean()), 3))
    darker = 0
    for _ in range(400):
        value = float(seen_lightness(rgb, lab, 0.0, 0.25).mean())
        darker += value < min(known) - 0.5
        assert value < max(known) + 0.01
    assert 70 < darker < 125
    assert {round(float(seen_lightness(rgb, lab, 0.0, 0.0).mean()), 1) for _ in range(40)} == {
        round(value, 1) for value in known
    }


def test_no_share_throws_no_dice() -> None:
    rgb = torch.rand(3, 32, 32)
    torch.manual_seed(3)
    plain = seen_lightness(rgb, rgb_to_lab(rgb), 1.0, 0.0)
    torch.manual_seed(3)
    torch.rand(1)  # the die for the damage
    from vidcolor.training.data.old_film import old_film

    assert torch.equal(old_film(rgb), plain)


def test_crops_keep_their_true_colors() -> None:
    part = Part(["red"], [np.full((32, 32, 3), (200, 40, 40), dtype=np.uint8)])
    feed = CropLoader(
        part,
        size=32,
        batch_size=16,
        augment=Augment(ortho=1.0),
        seed=0,
        workers=0,
        epoch_size=16,
    )
    ((batch, _),) = feed.batches(0)
    truth = rgb_to_lab(torch.tensor([200.0, 40, 40])[:, None, None].expand(3, 32, 32) / 255)
    torch.testing.assert_close(batch.lab, truth.expand(16, 3, 32, 32), atol=1e-3, rtol=0)
    seen = batch.lightness.mean(dim=(1, 2, 3))
    assert float(seen.max()) < float(truth[0].mean())  # 43 of 100; luma gives 38
    assert len({round(value, 3) for value in seen.tolist()}) == 16
