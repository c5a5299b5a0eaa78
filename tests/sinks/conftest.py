"""The fixture `film`; what it is made with is in `films.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.films import FilmMaker, FilmSpec, build_film, read_facts
from vidcolor.frames import VideoInfo


@pytest.fixture
def film(tmp_path: Path) -> FilmMaker:
    """`film(**spec)` builds a film and gives its path and facts."""

    def make(**changes: Any) -> tuple[Path, VideoInfo]:
        folder = tmp_path / "input"
        folder.mkdir(exist_ok=True)
        path = build_film(folder, replace(FilmSpec(), **changes))
        return path, read_facts(path)

    return make
