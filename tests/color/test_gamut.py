"""The gamut: nothing outside sRGB, nothing lost inside it."""

from __future__ import annotations

import pytest
import torch

from vidcolor.color.convert import (
    lab_to_linear,
    lab_to_rgb,
    luma_for_luminance,
    rgb_offsets,
    rgb_to_lab,
)
from vidcolor.color.gamut import (
    chroma_headroom,
    gamut_table,
    limit_chroma,
    luminance_range,
    scale_to_fit,
)


@pytest.mark.parametrize("chroma", [5.0, 30.0, 80.0, 200.0])
def test_limit_chroma_keeps_lightness_and_hue(chroma: float) -> None:
    lightness = torch.linspace(0, 100, 201)[None, None, :, None].expand(1, 1, 201, 721)
    hue = torch.linspace(-torch.pi, torch.pi, 721).expand(201, 721)
    ab = chroma * torch.stack([hue.cos(), hue.sin()])[None]
    limited = limit_chroma(lightness, ab)
    lab = torch.cat([lightness, limited], dim=1)

    assert float((limited.norm(dim=1) - ab.norm(dim=1)).max()) < 1e-3  # never more chroma
    cross = limited[:, 0] * ab[:, 1] - limited[:, 1] * ab[:, 0]
    dot = (limited * ab).sum(1)
    assert float(dot.min()) >= 0
    assert float((cross.abs() / chroma).max()) < 1e-4  # the same hue angle

    linear = lab_to_linear(lab.double())
    assert float(linear.min()) > -1e-6
    assert float(linear.max()) < 1 + 1e-6
    codes_8_bit = (lab_to_rgb(lab) * 255).round().double()
    back = rgb_to_lab(codes_8_bit / 255)
    # half a code in all three channels at once moves L* by up to a quarter
    assert float((back[:, :1] - lightness).abs().max()) < 0.26


def test_limit_chroma_leaves_photographic_colors_alone() -> None:
    lab = rgb_to_lab(torch.tensor([200, 120, 40.0]).view(1, 3, 1, 1) / 255 * 0.8 + 0.1)
    torch.testing.assert_close(limit_chroma(lab[:, :1], lab[:, 1:]), lab[:, 1:])
    gray = torch.zeros(1, 2, 4, 4)
    assert torch.equal(limit_chroma(torch.full((1, 1, 4, 4), 50.0), gray), gray)


@pytest.mark.parametrize("spread", [2.0, 12.0, 60.0])  # none, some and most near a limit
def test_pale_chroma_is_limited_like_vivid_chroma(spread: float) -> None:
    """Pale pixels skip the search for their limit, unless most of the batch is vivid."""
    generator = torch.Generator().manual_seed(3)
    lightness = 100 * torch.rand(3, 1, 40, 50, generator=generator)
    lightness[0, 0, 0, :2] = torch.tensor([0.0, 100.0])
    ab = spread * torch.randn(3, 2, 40, 50, generator=generator)
    found = limit_chroma(lightness, ab)
    vivid = torch.cat([ab, 200 + ab, -200 - ab])
    searched = limit_chroma(lightness.repeat(3, 1, 1, 1), vivid)
    torch.testing.assert_close(found, searched[:3], rtol=1e-4, atol=1e-4)
    limited = float((found != ab).float().mean())
    assert limited < 0.05 if spread < 5 else 0.05 < limited < 0.95


def test_gamut_table_holds_the_primaries() -> None:
    table = gamut_table()
    assert table.shape == (1, 1, 257, 361)
    assert float(table[0, 0, 0].max()) == pytest.approx(0, abs=1e-3)
    assert float(table[0, 0, -1].max()) < 0.05
    # the bluest blue has a chroma of 133.8; the table is lowered to the least neighbor
    assert 125 < float(table.max()) <= 133.82
    # the hue circle closes, but for the neighbor that each end lacks
    torch.testing.assert_close(table[..., 0], table[..., -1], atol=1.0, rtol=0)


def test_chroma_headroom_stops_at_the_cube() -> None:
    luma = torch.tensor([0.25, 0.5, 0.9])[None, None, None]
    chroma = torch.tensor([[0.4, 0.4, 0.4], [-0.2, 0.0, 0.1]])[None, :, None]
    offsets = rgb_offsets(chroma, "bt709")
    rgb = luma + chroma_headroom(luma, luma, offsets) * offsets
    assert float(rgb.min()) > -1e-6
    assert float(rgb.max()) < 1 + 1e-6
    touches = torch.minimum(rgb.amin(1), 1 - rgb.amax(1)).abs()
    assert float(touches.max()) < 1e-6
    assert float(chroma_headroom(luma, luma, offsets * 0.01).min()) == 1


def test_limits_of_chroma_have_no_steps() -> None:
    """Along a highlight of strong yellow, where the gamut's edge is steepest."""
    lightness = torch.linspace(85, 99, 4000).view(1, 1, 1, -1)
    ab = torch.tensor([-15.0, 60.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4000)
    found = limit_chroma(lightness, ab)
    assert (found[..., 1:] - found[..., :-1]).abs().max() < 0.6


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_luminances_in_range_are_inside_rgb(matrix: str) -> None:
    """Against Y' itself: the luma of a luminance keeps all components within 0 and 1."""
    generator = torch.Generator().manual_seed(7)
    chroma = 0.5 * (torch.rand(1, 2, 50, 80, generator=generator) - 0.5).double()
    luminance = torch.rand(1, 1, 50, 80, generator=generator).double()
    offsets = rgb_offsets(chroma, matrix)
    low, high = luminance_range(offsets)
    luma = luma_for_luminance(luminance, offsets, luminance.sqrt(), steps=30)
    outside = ((luma + offsets - 0.5).abs() - 0.5).amax(dim=1, keepdim=True)
    inside = (luminance >= low) & (luminance <= high)
    assert 0.3 < inside.float().mean() < 0.95
    assert outside[inside].max() < 1e-6
    assert outside[~inside].min() > -1e-6


def test_chroma_that_never_fits_has_an_empty_range() -> None:
    low, high = luminance_range(rgb_offsets(torch.full((1, 2, 1, 1), 0.5), "bt709"))
    assert float(low) > 1 and float(high) < 0


def test_chroma_is_scaled_by_the_largest_share_that_fits() -> None:
    chroma = torch.tensor([[0.4, -0.3], [0.0, 0.4]])[None, :, None]
    found = scale_to_fit(chroma, lambda some: some.norm(dim=1, keepdim=True) <= 0.1)
    lengths = found.norm(dim=1)
    assert (lengths <= 0.1).all() and (lengths > 0.095).all()
    torch.testing.assert_close(found / lengths[:, None], chroma / chroma.norm(dim=1)[:, None])
    assert not scale_to_fit(chroma, lambda some: some.norm(dim=1, keepdim=True) < 0).any()
