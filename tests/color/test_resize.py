"""Upsampled chroma: drawn toward L*'s edges, nothing smoothed away, no colour out of nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vidcolor.color.resize import _rows, bands, upsample_chroma


def test_upsampled_chroma_follows_the_edge_of_lightness():
    lightness = torch.full((1, 1, 128, 128), 20.0)
    lightness[..., 61:] = 80.0  # the edge lies inside a pixel of the small chroma
    ab = torch.zeros(1, 2, 32, 32)
    ab[:, 0] = torch.where(torch.arange(32) < 15, -20.0, 40.0)
    ab[:, 0, :, 15] = -20 * 0.25 + 40 * 0.75
    drawn = upsample_chroma(ab, lightness)[0, 0, 64]
    plain = F.interpolate(ab, size=(128, 128), mode="bilinear")[0, 0, 64]
    truth = torch.where(torch.arange(128) < 61, -20.0, 40.0)
    near = slice(56, 66)
    assert (drawn - truth)[near].abs().mean() < 0.55 * (plain - truth)[near].abs().mean()
    flat = torch.full((1, 1, 128, 128), 50.0)
    constant = upsample_chroma(torch.full((1, 2, 32, 32), 12.5), flat)
    assert torch.allclose(constant, torch.tensor(12.5), atol=1e-3)


def test_upsampling_smooths_nothing_away() -> None:
    """Where L* is even it is bilinear interpolation, whatever the chroma does."""
    ab = 30 * torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(4))
    plain = F.interpolate(ab, size=(64, 64), mode="bilinear")
    found = upsample_chroma(ab, torch.full((1, 1, 64, 64), 40.0))
    assert torch.allclose(found, plain, atol=1e-3)


def test_a_scratch_gains_no_colour():
    """A bright line beside an edge lies beyond what the window's line was fitted to."""
    lightness = torch.full((1, 1, 128, 128), 20.0)
    lightness[..., 64:] = 60.0
    lightness[..., 70] = 98.0
    ab = torch.where(torch.arange(32) < 16, 5.0, 30.0).expand(1, 2, 32, 32).contiguous()
    assert upsample_chroma(ab, lightness).max() <= 30.0


def test_bands_are_parts_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(5)
    lightness = 100 * torch.rand(2, 1, 33, 47, generator=generator)
    ab = 30 * torch.randn(2, 2, 9, 12, generator=generator)
    whole = upsample_chroma(ab, lightness)
    monkeypatch.setattr("vidcolor.color.resize._CPU_BAND", 300)
    found = list(bands(ab, lightness))
    assert [rows.start for rows, _, _ in found][1:] == [rows.stop for rows, _, _ in found][:-1]
    assert len(found) > 3
    assert found[-1][0].stop == 33
    for rows, light, part in found:
        assert torch.equal(light, lightness[..., rows, :])
        assert torch.allclose(part, whole[..., rows, :], atol=1e-3)


@pytest.mark.parametrize("size", [(65, 97), (12, 97), (17, 97), (17, 25), (1, 1)], ids=str)
def test_rows_are_those_of_the_whole(size):
    planes = torch.randn(2, 8, 17, 25, generator=torch.Generator().manual_seed(3))
    whole = F.interpolate(planes, size=size, mode="bilinear")
    for first in range(0, size[0], 5):
        last = min(first + 5, size[0])
        rows = _rows(planes, first, last, size)
        assert torch.allclose(rows, whole[..., first:last, :], atol=1e-4)
