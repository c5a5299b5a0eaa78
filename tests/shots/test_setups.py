"""Look-alike shots are grouped."""

from __future__ import annotations

import torch

from tests.helpers.shot_folders import lightness_of, moving
from vidcolor.run.colorizer import Colorizer
from vidcolor.shots.setups import describe_view, group


def test_shots_of_one_view_are_one_setup() -> None:
    model = Colorizer("fast", device="cpu", size=128, precision="fp32")
    a, b, c = (moving(6, seed, hue=0.0) for seed in (1, 2, 3))
    # the camera of `a` has moved a little, and its light has changed
    order = [a[0], b[0], a[3], c[0], b[2], a[5]]
    views = [describe_view(model.describe(lightness_of(rgb) * 0.9 + 2)[1]) for rgb in order]
    assert group(views) == [1, 2, 1, 3, 2, 1]


def test_few_stills() -> None:
    assert group([]) == []
    assert group([torch.randn(40, 64)]) == [1]
