"""A LUT does what the adjustment does, as FFmpeg's `lut3d` applies it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.filter import Graph

from vidcolor.color.adjust import ColorAdjustment
from vidcolor.color.convert import lab_to_rgb, rgb_to_lab
from vidcolor.color.cube import SIZE, cube
from vidcolor.color.gamut import limit_chroma


def by_ffmpeg(lut: Path, rgb: np.ndarray) -> np.ndarray:
    """R'G'B' `(H, W, 3)` uint16 through FFmpeg's filter."""
    graph = Graph()
    height, width = rgb.shape[:2]
    graph.link_nodes(
        graph.add_buffer(width=width, height=height, format=av.VideoFormat("gbrp16le"),
                         time_base=Fraction(1)),
        graph.add("lut3d", f"file={lut}:interp=tetrahedral"),
        graph.add("buffersink"),
    ).configure()  # fmt: skip
    graph.push(av.VideoFrame.from_ndarray(rgb, format="gbrp16le"))
    return np.asarray(graph.pull().to_ndarray())


@pytest.mark.parametrize(
    "adjustment",
    [
        ColorAdjustment(),
        ColorAdjustment(saturation=0.6, temperature=30, tint=-20),
        ColorAdjustment(saturation=1.5, temperature=-40),
    ],
)
def test_ffmpeg_agrees(tmp_path: Path, adjustment: ColorAdjustment) -> None:
    path = tmp_path / "shot.cube"
    path.write_text(cube(adjustment, "shot"))
    rng = np.random.default_rng(0)
    vivid = rng.integers(0, 65536, (64, 64, 3)).astype(np.float64)
    gray = vivid.mean(axis=2, keepdims=True)
    for share, most in ((1.0, None), (0.5, 1.0)):  # of the chroma; in codes of 8 bits
        rgb = (gray + share * (vivid - gray)).astype(np.uint16)
        lab = rgb_to_lab(torch.from_numpy(rgb / 65535).permute(2, 0, 1)[None])
        light = lab[:, :1]
        raw = adjustment.apply(lab[:, 1:], light)
        ab = limit_chroma(light, raw)
        wanted = lab_to_rgb(torch.cat([light, ab], dim=1))[0].permute(1, 2, 0).numpy()
        error = np.abs(by_ffmpeg(path, rgb) / 65535 - wanted) * 255
        # straight between points: exact inside the gamut, near at its edge
        assert error.mean() < 1.0
        if most is not None:
            more = 1.5 * raw  # some way from the edge: there a point of the table lies outside
            inside = (limit_chroma(light, more) == more).all(dim=1)[0].numpy()
            assert inside.mean() > 0.1 and np.quantile(error[inside], 0.99) < most
            assert error[inside].max() < 2 * most
    lines = path.read_text().splitlines()
    assert len(lines) == 2 + SIZE**3 and lines[2] == "0.000000 0.000000 0.000000"
