"""Crops, degradation and the order of samples: all fixed by seed, epoch and index."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from vidcolor.color import rgb_to_lab
from vidcolor.training.data import CropDataset, StepSampler, degrade
from vidcolor.training.losses import LOSSES, huber, mse


@pytest.fixture
def dataset() -> CropDataset:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (70, 90, 3), dtype=np.uint8) for _ in range(3)]
    return CropDataset(pictures, crop=64, min_scale=0.5, degraded=0.5, seed=3)


def test_a_sample_depends_on_its_key_alone(dataset: CropDataset) -> None:
    first = dataset[(2, 1)]
    state = torch.random.get_rng_state()
    torch.manual_seed(99)
    dataset[(0, 0)]
    again = dataset[(2, 1)]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], dataset[(3, 1)][1])

    torch.random.set_rng_state(state)
    dataset[(2, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody else's dice are thrown


def test_samples_have_lab_ranges(dataset: CropDataset) -> None:
    for epoch, index in itertools.product(range(8), range(3)):
        lightness, ab = dataset[(epoch, index)]
        assert lightness.shape == (1, 64, 64)
        assert ab.shape == (2, 64, 64)
        assert 0 <= float(lightness.min()) <= float(lightness.max()) <= 100.001
        assert float(ab.abs().max()) < 128


def test_undegraded_lightness_is_the_lab_or_the_luma_of_the_crop() -> None:
    picture = np.full((64, 64, 3), (200, 40, 40), dtype=np.uint8)
    dataset = CropDataset([picture], crop=64, min_scale=1.0, degraded=0.0, seed=0)
    found = {round(float(dataset[(epoch, 0)][0].mean()), 1) for epoch in range(16)}
    lab = rgb_to_lab(torch.tensor([200, 40, 40]).float()[:, None, None] / 255)
    luma = (0.2989 * 200 + 0.587 * 40 + 0.114 * 40) / 255
    grey = rgb_to_lab(torch.full((3, 1, 1), luma))
    assert found == {round(float(lab[0]), 1), round(float(grey[0]), 1)}


def test_degrade_keeps_the_range_and_the_picture() -> None:
    torch.manual_seed(0)
    lightness = torch.linspace(0, 100, 64).expand(1, 64, 64)
    for _ in range(20):
        old = degrade(lightness)
        assert old.shape == lightness.shape
        assert float(old.min()) >= 0
        assert float(old.max()) <= 100
        both = torch.stack([old.flatten(), lightness.flatten()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.9


def test_each_epoch_holds_each_picture_once() -> None:
    length, batch = 7, 3
    keys = list(itertools.chain(*itertools.islice(iter(StepSampler(length, batch, seed=5)), 14)))
    assert len(keys) == 6 * length
    orders = []
    for epoch in range(6):
        part = keys[epoch * length : (epoch + 1) * length]
        assert {e for e, _ in part} == {epoch}
        orders.append([index for _, index in part])
        assert sorted(orders[-1]) == list(range(length))
    assert len({tuple(order) for order in orders}) > 1


def test_the_order_resumes_at_any_step() -> None:
    whole = list(itertools.islice(iter(StepSampler(7, 3, seed=5)), 12))
    for start in (0, 1, 2, 5, 7):
        rest = list(itertools.islice(iter(StepSampler(7, 3, seed=5, start=start)), 12 - start))
        assert rest == whole[start:]
    assert list(itertools.islice(iter(StepSampler(7, 3, seed=6)), 12)) != whole


def test_a_batch_may_be_larger_than_the_set() -> None:
    (batch,) = itertools.islice(iter(StepSampler(2, 5, seed=0)), 1)
    assert [epoch for epoch, _ in batch] == [0, 0, 1, 1, 2]


def test_losses_by_hand() -> None:
    prediction, target = torch.zeros(1, 2, 1, 1), torch.tensor([4.0, 30.0])[None, :, None, None]
    # huber: 4^2 / 2 = 8 and 10 (30 - 5) = 250, mean 129, over 10
    assert float(huber(prediction, target)) == pytest.approx(12.9)
    assert float(mse(prediction, target)) == pytest.approx((16 + 900) / 2 / 100)
    assert set(LOSSES) >= {"huber", "mse"}
