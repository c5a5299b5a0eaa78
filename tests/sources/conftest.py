"""Clips that several tests read; what they are made with is in `clips.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clips import Clip, encode, frames


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def gray_film(clips: Path) -> Clip:
    """Twelve frames, lossless, yuv420p, in Matroska (whose header counts no frames)."""
    return encode(clips / "gray film é.mkv", "ffv1", "yuv420p", frames(12))


@pytest.fixture(scope="session")
def long_gop(clips: Path) -> Clip:
    """96 frames of HEVC, lossless, with B-frames and key frames 24 apart, in MP4.

    x264 has no lossless B-frames, x265 has.

    Its first frame is shown late, as B-frames need, which MP4 mends with an edit list.
    """
    options = {
        "preset": "veryfast",
        "x265-params": "lossless=1:keyint=24:min-keyint=24:scenecut=0:bframes=3:b-adapt=0:"
        "log-level=none",
    }
    return encode(clips / "gop.mp4", "libx265", "yuv420p", frames(96), options=options)


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
