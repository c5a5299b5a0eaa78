"""The measurement of adapted weights."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.adapt import main, pans
from tests.helpers.color_clips import pan


def archive(path: Path, count: int) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for seed in range(count):
            data = io.BytesIO()
            picture = Image.fromarray(pan(40, seed)[0]).resize((300, 240))
            picture.save(data, "PNG")
            file.writestr(f"{seed}.png", data.getvalue())
    return path


def test_a_film_is_four_pans(tmp_path: Path) -> None:
    films = list(pans([archive(tmp_path / "photos.zip", 8)], 2, 0))
    assert [len(film) for film in films] == [4, 4]
    assert len({name for film in films for name, _ in film}) == 8
    for _, frames in films[0]:
        rgb = [frame.rgb.float() for frame in frames]
        assert len(rgb) == 4 and all((rgb[0] - each).abs().mean() > 1 for each in rgb[1:])
        assert np.array_equal(frames[0].luma.shape, (1, 1, 192, 256))


@pytest.mark.slow
def test_a_figure_for_each_shot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, figures = archive(tmp_path / "photos.zip", 4), tmp_path / "figures.json"
    main(["--photos", str(photos), "--films", "1", "--steps", "2", "--json", str(figures)])
    found = json.loads(figures.read_text())
    assert len(found) == 4 and all(each["stills"] > 10 for each in found.values())
    assert "4 shots" in capsys.readouterr().out
