"""Saturation, temperature and tint: hand values, directions, clean ends."""

from __future__ import annotations

import pytest
import torch

from vidcolor import ColorAdjustment
from vidcolor.color.convert import lab_to_rgb
from vidcolor.color.gamut import limit_chroma


def plane(*values: float) -> torch.Tensor:
    """L* of a row of pixels, `(1, 1, 1, n)`."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def chroma(a: float, b: float, count: int) -> torch.Tensor:
    return torch.tensor([a, b], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 1, count)


def test_the_default_changes_nothing() -> None:
    ab = torch.randn(1, 2, 3, 4)
    assert ColorAdjustment().apply(ab, plane(50)) is ab
    assert torch.equal(ColorAdjustment(saturation=0.5).apply(ab, plane(50)), ab / 2)


def test_values_by_hand() -> None:
    adjustment = ColorAdjustment(saturation=2, temperature=50, tint=-100)
    ab = adjustment.apply(chroma(10, -4, 3), plane(50, 75, 10))
    # w is 1, 0.75 and 0.36; a slider at 100 is 20 units
    wanted = torch.tensor([[20 - 20, 20 - 15, 20 - 7.2], [-8 + 10, -8 + 7.5, -8 + 3.6]])
    assert torch.allclose(ab[0, :, 0], wanted, atol=1e-5)


def test_black_and_white_stay_clean() -> None:
    for adjustment in (
        ColorAdjustment(temperature=100, tint=100),
        ColorAdjustment(temperature=-100, tint=-100),
    ):
        ends = adjustment.apply(chroma(0, 0, 4), plane(0, 100, 1, 99))[0, :, 0]
        assert not ends[:, :2].any()
        assert ends.abs().max() < 1  # and their neighbors have next to nothing
        assert torch.isfinite(adjustment.apply(chroma(0, 0, 2), plane(-1, 101))).all()


@pytest.mark.parametrize(
    ("name", "rising", "falling"),
    [("temperature", (0, 1), (2,)), ("tint", (0, 2), (1,))],
)
def test_directions_and_order(name: str, rising: tuple[int, ...], falling: tuple[int, ...]) -> None:
    """Warmer means more red and green and less blue; magenta more red and blue and less green."""
    lightness = plane(55)
    colors = []
    for value in range(-100, 101, 20):
        ab = limit_chroma(
            lightness, ColorAdjustment(**{name: value}).apply(chroma(0, 0, 1), lightness)
        )
        colors.append(lab_to_rgb(torch.cat([lightness, ab], dim=1)).flatten())
    steps = torch.stack(colors).diff(dim=0)
    first = rising[0]
    assert (steps[:, first] > 0).all()
    assert (steps[:, falling[0]] < 0).all()
    neutral = colors[len(colors) // 2]
    assert float(neutral.max() - neutral.min()) < 1e-4
    warm = colors[-1]
    assert warm[list(rising)].min() > warm[list(falling)].max()


def test_a_toned_print_without_color() -> None:
    ab = ColorAdjustment(saturation=0, temperature=60).apply(
        torch.randn(1, 2, 2, 2) * 40, plane(50)
    )
    assert torch.allclose(ab[0], torch.tensor([0.0, 12.0]).view(2, 1, 1).expand(2, 2, 2))


@pytest.mark.parametrize(
    "values",
    [
        {"saturation": -0.1},
        {"saturation": 5.1},
        {"temperature": 101},
        {"tint": -101},
        {"saturation": float("nan")},
        {"temperature": float("nan")},
    ],
)
def test_values_out_of_range(values: dict[str, float]) -> None:
    (name,) = values
    with pytest.raises(ValueError, match=f"{name} must lie between"):
        ColorAdjustment(**values)
