"""Flips, rotations and crops of known pictures, and the look of old film."""

from __future__ import annotations

import pytest
import torch

from vidcolor.errors import TrainingError
from vidcolor.training.data.augment import Augment, Draws, apply, draw


def augment(picture: torch.Tensor, settings: Augment, generator: torch.Generator) -> torch.Tensor:
    """Draw the choices and apply them."""
    return apply(picture, draw(len(picture), settings, generator))


def _dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(6, 3, 8, 8, generator=_dice(1))


def test_nothing_asked_for_is_nothing_done(pictures: torch.Tensor) -> None:
    generator = _dice()
    before = generator.get_state()
    assert augment(pictures, Augment(), generator) is pictures
    assert torch.equal(generator.get_state(), before)


def test_a_flip_moves_pixels_unchanged(pictures: torch.Tensor) -> None:
    made = augment(pictures.repeat(10, 1, 1, 1), Augment(flip=True), _dice())
    mirrored = [
        torch.equal(new, old.flip(-1))
        for new, old in zip(made, pictures.repeat(10, 1, 1, 1), strict=True)
    ]
    plain = [torch.equal(made[i], pictures[i % 6]) for i in range(60)]
    assert all(a != b for a, b in zip(mirrored, plain, strict=True))
    assert 15 < sum(mirrored) < 45


def test_a_quarter_turn_is_exact(pictures: torch.Tensor) -> None:
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]).expand(6, 2, 3)
    made = apply(pictures, Draws(theta=quarter))
    assert torch.allclose(made, pictures.rot90(1, (2, 3)), atol=1e-5)


def test_a_crop_is_a_part_of_the_picture_enlarged() -> None:
    ramp = torch.linspace(0, 1, 64).expand(200, 3, 64, 64)  # across
    made = augment(ramp, Augment(min_scale=0.25), _dice())
    width = (made[:, 0, 32, 48] - made[:, 0, 32, 16]) / (ramp[0, 0, 32, 48] - ramp[0, 0, 32, 16])
    assert 0.5 <= float(width.min()) < 0.6
    assert 0.95 < float(width.max()) <= 1.0001
    left, right = made[:, 0, 32, 0], made[:, 0, 32, 63]
    assert float(left.min()) >= 0
    assert float(left.max()) > 0.3  # crops lie everywhere
    assert float(right.min()) < 0.7


def test_rotations_stay_inside_their_angle_and_bring_in_no_black() -> None:
    draws = draw(500, Augment(rotate=30), _dice())
    assert draws.theta is not None
    degrees = torch.rad2deg(torch.atan2(draws.theta[:, 1, 0], draws.theta[:, 0, 0]))
    assert -30 <= float(degrees.min()) < -28
    assert 28 < float(degrees.max()) <= 30
    assert torch.allclose(draws.theta[:, :, 2], torch.zeros(500, 2))  # about the center
    made = augment(torch.full((20, 3, 16, 16), 0.7), Augment(rotate=180), _dice())
    assert torch.allclose(made, torch.full_like(made, 0.7), atol=1e-5)


def test_each_picture_has_its_own_dice_and_the_seed_decides(pictures: torch.Tensor) -> None:
    settings = Augment(flip=True, rotate=15, min_scale=0.5)
    same = pictures[:1].expand(6, 3, 8, 8)
    made = augment(same, settings, _dice(4))
    assert len({tuple(picture.flatten().tolist()) for picture in made}) == 6
    assert torch.equal(made, augment(same, settings, _dice(4)))
    assert not torch.equal(made, augment(same, settings, _dice(5)))


def test_rows_of_the_choices_are_the_choices_of_the_rows(pictures: torch.Tensor) -> None:
    draws = draw(6, Augment(flip=True, rotate=15), _dice())
    rows = slice(1, None, 2)
    assert torch.equal(apply(pictures, draws)[rows], apply(pictures[rows], draws.rows(rows)))


@pytest.mark.parametrize(
    ("key", "value"), [("rotate", -1), ("rotate", 181), ("min_scale", 0), ("old_film_share", 1.5)]
)
def test_bad_values_are_named(key: str, value: float) -> None:
    with pytest.raises(TrainingError, match=rf"^{key}: .* is outside of [^\n]*$"):
        Augment(**{key: value})  # type: ignore[arg-type]
