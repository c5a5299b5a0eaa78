"""Gray places of a reference: left over, or really gray."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.shot_folders import chroma_of, distance, lightness_of
from tests.helpers.tiny_encoder import save, scene
from vidcolor.color.convert import lab_to_rgb
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.references.gray_places import decide_gray, left_gray
from vidcolor.run.references.palette import Places

SIDE = 16
COLORS = torch.tensor([[30.0, 10], [-20, 25], [5, -40], [0.5, 0.5]])  # the last thing is gray
GRAY_THING = 3


def things() -> Tensor:
    """Which of four things each place `(SIDE, SIDE)` shows: each a quarter of the picture."""
    rows = torch.arange(SIDE) // (SIDE // 2)
    return rows[:, None] * 2 + rows


def picture(gray: Tensor, predicted: Tensor | None = None, seed: int = 0) -> Places:
    """A picture of the four things that was left gray where the mask `(SIDE, SIDE)` is set."""
    random = torch.Generator().manual_seed(3)
    looks = torch.randn(4, 24, generator=random)
    grain = torch.randn(SIDE * SIDE, 24, generator=random.manual_seed(seed + 10))
    features = (looks[things().flatten()] + 0.3 * grain).T.contiguous()
    colors = COLORS[things().flatten()]
    shown = colors * ~gray.flatten()[:, None]
    all_known = torch.ones(SIDE * SIDE, dtype=torch.bool)
    own = torch.zeros_like(colors) if predicted is None else predicted
    share = (shown.norm(dim=1) < 3).float()
    return Places((SIDE, SIDE), (features, features), shown, own, all_known, share, shown)


def blocks() -> Tensor:
    """A third of the blocks of 2x2 places."""
    random = torch.rand(SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(4))
    return (random < 1 / 3).repeat_interleave(2, 0).repeat_interleave(2, 1)


NONE = torch.zeros(SIDE, SIDE, dtype=torch.bool)


def test_blocks_left_gray_are_found_and_filled() -> None:
    still = picture(blocks())
    (left,) = left_gray([still])
    colored = things() != GRAY_THING
    assert torch.equal(left.view(SIDE, SIDE), blocks() & colored)
    (filled,) = decide_gray([still], "auto")
    truth = picture(NONE)
    assert float((filled.colors - truth.colors).norm(dim=1).max()) < 2
    (kept,) = decide_gray([still], "keep")
    assert torch.equal(kept.colors, still.colors)


def test_a_gray_thing_beside_colored_ones_is_gray() -> None:
    still = picture(NONE)
    assert not left_gray([still])[0].any()
    assert torch.equal(decide_gray([still], "auto")[0].colors, still.colors)
    (ignored,) = decide_gray([still], "ignore")  # as the user says
    assert float(ignored.colors.view(SIDE, SIDE, 2)[9:, 9:].norm(dim=2).min()) > 3


def test_a_gray_picture_is_gray() -> None:
    assert not left_gray([picture(~NONE)])[0].any()


@pytest.mark.parametrize("right", [True, False])
def test_the_model_contradicts_gray_only_where_it_is_right_elsewhere(right: bool) -> None:
    mask = things() == 0  # nothing else looks like this
    predicted = COLORS[things().flatten()].clone()
    if not right:  # about all the others
        predicted[things().flatten() != 0] *= -1
    (left,) = left_gray([picture(mask, predicted)])
    assert torch.equal(left.view(SIDE, SIDE), mask & right)


def test_other_stills_of_the_shot_count() -> None:
    mask = things() == 0
    left, other = left_gray([picture(mask), picture(NONE, seed=1)])
    assert torch.equal(left.view(SIDE, SIDE), mask) and not other.any()


def test_a_border_place_takes_the_color_of_its_colored_part() -> None:
    still = picture(blocks())
    row = int(blocks()[:, 0].int().diff().ne(0).nonzero()[0])  # above it gray, or below
    place = (row if not blocks()[row, 0] else row + 1) * SIDE
    colors, gray = still.colors.clone(), still.gray.clone()
    colors[place], gray[place] = still.colors[place] * 0.5, 0.5
    halved = Places(
        still.grid, still.features, colors, still.predicted, still.known, gray, still.vivid
    )
    (filled,) = decide_gray([halved], "auto")
    assert torch.allclose(filled.colors[place], still.colors[place])


def test_gray_blocks_of_a_picture_file(tmp_path: Path) -> None:
    rgb = scene(1, hue=0.5, height=192, width=192)
    keep = 1 - blocks().float().repeat_interleave(12, 0).repeat_interleave(12, 1)
    still = lab_to_rgb(torch.cat([lightness_of(rgb), chroma_of(rgb) * keep], dim=1))
    path = save(tmp_path / "r.png", still)
    truth = chroma_of(rgb)

    def error(how: str) -> float:
        model = Colorizer("fast", device="cpu", references=path, reference_gray=how)
        return distance(model.predict_full_size(lightness_of(rgb)), truth)

    found = {how: error(how) for how in ("auto", "keep")}
    assert found["auto"] < 0.6 * found["keep"], found
