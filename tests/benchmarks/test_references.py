"""The measurement of references."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.references import CASES, darker, gray_blocks, main, moved
from tests.helpers.color_clips import pan, write_clip


def test_stills_are_degraded() -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (320, 320, 3)).astype(np.uint8)
    gray = (np.ptp(gray_blocks(rgb), axis=2) == 0).mean()
    assert 0.2 < gray < 0.45
    assert np.array_equal(
        gray_blocks(rgb)[np.ptp(gray_blocks(rgb), axis=2) > 0],
        rgb[np.ptp(gray_blocks(rgb), axis=2) > 0],
    )
    point = np.zeros((100, 100, 3), np.uint8)
    point[50, 50] = 255
    y, x, _ = np.unravel_index(moved(point).argmax(), point.shape)
    assert (int(x), int(y)) == (54, 51)
    assert darker(rgb).max() == round(0.8 * rgb.max())


@pytest.mark.slow
def test_a_table_of_all_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(tmp_path / "clip.mkv", pan(13))
    main([str(clip), "--json", str(tmp_path / "figures.json")])
    found = json.loads((tmp_path / "figures.json").read_text())["psnr"]
    assert list(found) == [case.name for case in CASES]
    assert found["whole"]["clip 1.1"] > found["no still"]["clip 1.1"] + 1
    assert "no still" in capsys.readouterr().out
