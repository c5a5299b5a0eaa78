"""PQ, HLG and BT.2020: known points of the curves, the view for the network, colors beside kept
luma."""

from __future__ import annotations

import pytest
import torch

from vidcolor.color.compose import compose, film_lightness
from vidcolor.color.convert import gray_to_lightness, yuv_to_rgb
from vidcolor.color.hdr import _to_light, _to_signal, tone_mapped
from vidcolor.errors import OutputError
from vidcolor.frames import ColorTags, LumaBatch, PixelFormat

PQ, HLG = 16, 18


def batch_of(transfer: int, codes: torch.Tensor) -> LumaBatch:
    count = codes.shape[0]
    return LumaBatch(
        codes.to(torch.uint16), 10, False, (0,) * count, (1,) * count, transfer=transfer
    )


def test_known_points_of_the_curves() -> None:
    """ITU-R BT.2408-7, table 1: diffuse white of 203 cd/m2 is 58 % PQ and 75 % HLG."""
    signal = torch.tensor([0.58, 1.0])
    assert torch.allclose(_to_light(signal, PQ) * 10000, torch.tensor([203.0, 10000.0]), rtol=0.02)
    nits = 1000 * _to_light(torch.tensor([0.75]), HLG) ** 1.2
    assert float(nits) == pytest.approx(203, rel=0.01)


@pytest.mark.parametrize("transfer", [PQ, HLG, 1])
def test_signals_come_back_from_light(transfer: int) -> None:
    signal = torch.linspace(0, 1, 101)
    assert torch.allclose(_to_signal(_to_light(signal, transfer), transfer), signal, atol=1e-4)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_tone_mapping_rises_and_spreads_over_the_range(transfer: int) -> None:
    signal = torch.linspace(0, 1, 257)
    gray = tone_mapped(signal, transfer)
    assert (gray.diff() >= 0).all() and gray[0] < 1e-6 and gray[-1] > 1 - 1e-6
    white = 0.58 if transfer == PQ else 0.75
    lightness = gray_to_lightness(tone_mapped(torch.tensor([white]), transfer))
    assert 75 < float(lightness) < 95  # a white shirt looks white to the network


@pytest.mark.parametrize(("transfer", "primaries"), [(PQ, 9), (HLG, 9), (14, 9), (PQ, 1)])
def test_colors_keep_the_luma_and_their_hue(transfer: int, primaries: int) -> None:
    codes = torch.linspace(200, 600, 32).round().expand(2, 1, 32, 32)
    matrix = "bt2020nc" if primaries == 9 else "bt709"
    tags = ColorTags(False, matrix, primaries, transfer)
    format = PixelFormat("yuv444p10le", 10, (1, 1), False, tags)
    batch = batch_of(transfer, codes)
    ab = torch.tensor([20.0, 30.0])[None, :, None, None].expand(2, 2, 8, 8)
    color = compose(batch, ab, format)
    assert torch.equal(color.planes[0], batch.luma[:, 0].to(torch.int32))
    assert color.format.tags == tags
    yuv = torch.stack(color.planes, dim=1).float()
    yuv = torch.cat([(yuv[:, :1] - 64) / 876, (yuv[:, 1:] - 512) / 896], dim=1)
    red, green, blue = _to_light(yuv_to_rgb(yuv, matrix), transfer).unbind(1)
    assert (red > green).all() and (green > blue).all()  # orange: a* 20, b* 30
    gray = compose(batch, ab * 0, format)
    assert all((plane == 512).all() for plane in gray.planes[1:])


def test_the_network_sees_light_not_codes() -> None:
    codes = torch.full((1, 1, 4, 4), 64 + round(0.58 * 876))
    assert float(film_lightness(batch_of(PQ, codes)).mean()) > 75
    assert float(film_lightness(batch_of(1, codes)).mean()) < 65


def test_luma_of_another_depth_is_refused() -> None:
    tags = ColorTags(False, "bt2020nc", 9, PQ)
    batch = batch_of(PQ, torch.full((1, 1, 4, 4), 300))
    with pytest.raises(OutputError):
        compose(batch, torch.zeros(1, 2, 4, 4), PixelFormat("yuv420p", 8, (2, 2), False, tags))
