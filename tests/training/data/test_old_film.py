"""Old film: what each step does to a picture, and that the whole stays a picture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from vidcolor.training.data import old_film as film

SEEDS = range(12)


@pytest.fixture(autouse=True)
def _random_numbers() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def photograph(side: int = 64) -> Tensor:
    """A smooth color picture: red to the right, green downwards, blue along the diagonal."""
    ramp = torch.linspace(0.1, 0.9, side)
    across, down = torch.meshgrid(ramp, ramp, indexing="xy")
    return torch.stack([across, down, (across + down) / 2])


def test_every_picture_stays_a_picture_and_depends_on_the_seed_alone() -> None:
    rgb = photograph()
    plain = rgb.mean(dim=0).flatten()
    seen = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        old = film.old_film(rgb)
        assert old.shape == (1, 64, 64)
        assert float(old.min()) >= 0 and float(old.max()) <= 100
        assert float(torch.corrcoef(torch.stack([old.flatten(), plain]))[0, 1]) > 0.6
        torch.manual_seed(seed)
        assert torch.equal(film.old_film(rgb), old)
        seen.append(old)
    assert not torch.equal(seen[0], seen[1])


def test_exposure_makes_red_darker_and_blue_lighter_or_is_luma() -> None:
    red, blue = torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)
    red[0], blue[2] = 1, 1
    white = torch.ones(3, 4, 4)
    reds, blues = [], []
    for seed in range(60):
        torch.manual_seed(seed)
        reds.append(float(film.expose(red).mean()))
        torch.manual_seed(seed)
        blues.append(float(film.expose(blue).mean()))
        assert float(film.expose(white).mean()) == pytest.approx(1, abs=1e-5)
    assert max(reds) == pytest.approx(0.299)  # panchromatic
    assert 0.5 < sum(r == max(reds) for r in reds) / 60 < 0.85
    assert min(reds) < 0.1
    assert max(blues) > 0.4


def test_blur_lowers_contrast_of_fine_detail() -> None:
    stripes = torch.zeros(1, 32, 32)
    stripes[..., ::2] = 1
    for seed in SEEDS:
        torch.manual_seed(seed)
        soft = film.soften(stripes)
        assert soft.shape == stripes.shape
        assert float(soft[..., 4:-4, 4:-4].std()) < float(stripes.std())


def test_development_keeps_the_order_of_tones() -> None:
    ramp = torch.linspace(0, 1, 64).expand(1, 4, 64)
    for seed in SEEDS:
        torch.manual_seed(seed)
        made = film.develop(ramp)
        assert float(made.min()) >= 0 and float(made.max()) <= 1
        assert (made.diff(dim=-1) >= 0).all()
        assert float(made[0, 0, -1] - made[0, 0, 0]) > 0.65


def test_corners_lose_light_and_the_middle_none() -> None:
    made = film.darken_corners(torch.ones(1, 33, 33))
    assert float(made[0, 16, 16]) == pytest.approx(1)
    assert float(made[0, 0, 0]) == pytest.approx(float(made.min()))
    assert 0.6 <= float(made.min()) < 1


def test_grain_has_no_mean_and_bounded_strength() -> None:
    gray = torch.full((1, 128, 128), 0.5)
    for seed in SEEDS:
        torch.manual_seed(seed)
        grain = film.add_grain(gray) - gray
        assert abs(float(grain.mean())) < 0.005
        assert float(grain.std()) < 0.075


def test_scratches_are_few_and_leave_the_input_alone() -> None:
    gray = torch.full((1, 64, 64), 0.5)
    for seed in SEEDS:
        torch.manual_seed(seed)
        share = float((film.scratch(gray) != gray).float().mean())
        assert share < 0.15
    assert torch.equal(gray, torch.full((1, 64, 64), 0.5))
    torch.manual_seed(0)
    assert not torch.equal(film.scratch(gray), gray)


def test_compression_changes_little_and_levels_alone() -> None:
    gray = photograph()[:1]
    made = film.compress(gray)
    assert made.shape == gray.shape
    assert 0 < float((made - gray).abs().mean()) < 0.05


def test_a_bad_copy_changes_little_and_levels_alone() -> None:
    gray = photograph()[:1]
    for seed in SEEDS:
        torch.manual_seed(seed)
        made = film.copy_film(gray)
        assert made.shape == gray.shape
        assert 0 < float((made - gray).abs().mean()) < 0.1
        assert abs(float(made.mean() - gray.mean())) < 0.02
        torch.manual_seed(seed)
        assert torch.equal(film.copy_film(gray), made)
