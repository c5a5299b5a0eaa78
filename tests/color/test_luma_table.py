"""The table gives what Newton's method gives, for any pair, whoever asks first."""

from __future__ import annotations

import pytest
import torch

from vidcolor.color.codes import dequantize_chroma, luma_to_gray, quantize_chroma, quantize_luma
from vidcolor.color.convert import luma_for_luminance, rgb_offsets, srgb_to_linear
from vidcolor.color.luma_table import LumaTable
from vidcolor.frames import ColorTags


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("block", [(1, 1), (2, 1), (2, 2)])
def test_it_is_newtons_answer(full_range: bool, matrix: str, block: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(5)
    luma = torch.randint(0, 256, (2, 12, 16), dtype=torch.uint8, generator=generator)
    size = (2, 2, 12 // block[1], 16 // block[0])
    chroma = torch.randint(60, 196, size, dtype=torch.uint8, generator=generator)
    tags = ColorTags(full_range, matrix)
    found = LumaTable(full_range, tags)(luma, chroma, block)

    wide = chroma.repeat_interleave(block[1], -2).repeat_interleave(block[0], -1)
    offsets = rgb_offsets(dequantize_chroma(wide, 8, full_range), matrix)
    gray = luma_to_gray(luma, 8, full_range)[:, None]
    wanted = luma_for_luminance(srgb_to_linear(gray), offsets, gray, steps=12)
    assert torch.equal(found, quantize_luma(wanted[:, 0], 8, full_range))
    assert not torch.equal(found, luma)


@pytest.mark.parametrize("full_range", [False, True])
def test_what_can_be_shown_is_inside_rgb(full_range: bool) -> None:
    """At every luma code of some pairs of chroma codes, against R'G'B' itself."""
    generator = torch.Generator().manual_seed(6)
    pairs = torch.randint(0, 256, (1, 2, 300, 1), dtype=torch.uint8, generator=generator)
    pairs[..., :150, :] = 128 + (pairs[..., :150, :].int() - 128).div(8).round().to(torch.uint8)
    chroma = pairs.expand(1, 2, 300, 256).contiguous()
    luma = torch.arange(256, dtype=torch.uint8).expand(1, 300, 256).contiguous()
    table = LumaTable(full_range, ColorTags(full_range, "bt709"))
    shown = table.in_gamut(luma, luma, chroma)

    offsets = rgb_offsets(dequantize_chroma(chroma, 8, full_range), "bt709").double()
    gray = luma_to_gray(luma, 8, full_range)[:, None].double()
    found = luma_for_luminance(srgb_to_linear(gray), offsets, gray, steps=30)
    outside = (found + offsets - 0.5).abs().amax(dim=1) - 0.5
    assert 0.2 < shown.float().mean() < 0.9
    assert not shown[outside > 0.002].any()  # half a code
    missed = luma_for_luminance(srgb_to_linear(gray), offsets, gray, steps=40) - found
    assert missed.abs().max() < 1e-3  # Newton's method had ended
    assert shown[outside < -0.002].all()


def test_both_ends_of_a_block_must_be_shown() -> None:
    table = LumaTable(True, ColorTags(True, "bt709"))
    codes = torch.tensor([[0, 120, 0, 120], [120, 255, 255, 120]], dtype=torch.uint8)[:, None, None]
    chroma = torch.full((1, 2, 1, 4), 150, dtype=torch.uint8)
    assert table.in_gamut(codes[0], codes[1], chroma).tolist() == [[[False, False, False, True]]]


@pytest.mark.parametrize("full_range", [False, True])
def test_chroma_is_scaled_until_it_can_be_shown_and_no_further(full_range: bool) -> None:
    generator = torch.Generator().manual_seed(8)
    ends = torch.randint(0, 256, (2, 3, 20, 30), generator=generator).sort(dim=0).values
    darkest, brightest = ends.to(torch.uint8)
    wanted = torch.rand(3, 2, 20, 30, generator=generator) - 0.5
    wanted[:, :, :10] /= 10
    table = LumaTable(full_range, ColorTags(full_range, "bt709"))
    found = table.fit(darkest, brightest, wanted)
    assert found.dtype == torch.uint8 and bool(table.in_gamut(darkest, brightest, found).all())

    plain = quantize_chroma(wanted, 8, full_range)
    free = table.in_gamut(darkest, brightest, plain)
    assert 0.02 < free.float().mean() < 0.9
    assert bool((found == plain)[free[:, None].expand_as(found)].all())
    # on the way from gray to what was wanted, and one step further would be too much
    span = 255 if full_range else 224
    scaled = (found.float() - 128) / span
    length = wanted.norm(dim=1)
    along = (scaled * wanted).sum(dim=1) / length
    assert (scaled - along[:, None] * wanted / length[:, None]).norm(dim=1).max() < 1 / span
    more = quantize_chroma((along + 2.5 / span)[:, None] * wanted / length[:, None], 8, full_range)
    assert table.in_gamut(darkest, brightest, more)[~free & (length > 0.1)].float().mean() < 0.02


def test_it_can_be_made_inside_inference_mode_and_used_outside() -> None:
    tags = ColorTags(False, "bt709")
    luma = torch.full((1, 2, 2), 120, dtype=torch.uint8)
    with torch.inference_mode():
        table = LumaTable(False, tags)
        table(luma, torch.full((1, 2, 1, 1), 130, dtype=torch.uint8), (2, 2))
    gray = table(luma, torch.full((1, 2, 1, 1), 128, dtype=torch.uint8), (2, 2))
    assert torch.equal(gray, luma)


@pytest.mark.parametrize("full_range", [False, True])
def test_dequantize_inverts_quantize(full_range: bool) -> None:
    codes = torch.arange(16, 241, dtype=torch.uint8)
    assert torch.equal(
        quantize_chroma(dequantize_chroma(codes, 8, full_range), 8, full_range), codes
    )
