"""The fastest batch sizes: kept for one device, model and size of frames, and used by `auto`."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.clips import encode, frames
from tests.helpers.films import read_frames
from tests.helpers.readback import planes_of
from vidcolor import Colorizer, EncoderSettings, Settings, colorize
from vidcolor.frames import LumaBatch
from vidcolor.motion.stabilizer import Stabilizer
from vidcolor.run.batch_cache import batch_key, cache_file, cached_batch, size_class, store_batch
from vidcolor.run.prepared import Prepared


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("VIDCOLOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def ramp() -> Colorizer:
    return Colorizer("_ramp", device="cpu", size=64)


def test_what_is_stored_is_found_for_frames_of_about_that_size(ramp: Colorizer) -> None:
    assert cached_batch(ramp, 640, 480) is None
    assert store_batch(ramp, 640, 480, 8) and store_batch(ramp, 1920, 1080, 2)
    assert cached_batch(ramp, 640, 480) == cached_batch(ramp, 480, 640) == 8
    assert cached_batch(ramp, 640, 360) == 8
    assert cached_batch(ramp, 1920, 1080) == cached_batch(ramp, 1920, 816) == 2
    assert cached_batch(ramp, 1280, 720) is None
    assert store_batch(ramp, 640, 480, 3)
    assert cached_batch(ramp, 640, 480) == 3 and cached_batch(ramp, 1920, 1080) == 2


@pytest.mark.parametrize(
    ("frame", "wanted"),
    [((640, 480), 18), ((720, 576), 19), ((1280, 720), 20), ((1920, 1080), 21), ((3840, 2160), 23)],
)
def test_classes_of_frames(frame: tuple[int, int], wanted: int) -> None:
    assert size_class(*frame) == wanted


def test_another_model_size_or_precision_has_its_own(ramp: Colorizer) -> None:
    fast = Colorizer("fast", device="cpu", precision="fp32")
    others = (
        fast,
        Colorizer("fast", device="cpu", precision="bf16"),
        Colorizer("fast", device="cpu", size=64),
        ramp,
        Colorizer("_ramp", device="cpu", size=96),
    )
    assert len({batch_key(each, 64, 48) for each in others}) == len(others)
    store_batch(fast, 64, 48, 5)
    assert cached_batch(fast, 64, 48) == 5
    assert [cached_batch(each, 64, 48) for each in others[1:]] == [None] * 4
    assert fast.entry.sha256[:16] in batch_key(fast, 64, 48)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": 1}',
        '{"version": 1, "batches": {"KEY": 0}}',
        '{"version": 1, "batches": {"KEY": true}}',
        '{"version": 1, "batches": {"KEY": "8"}}',
        '{"version": 1, "batches": {"KEY": 99999}}',
    ],
)
def test_a_broken_file_is_told_of_once_and_replaced(
    ramp: Colorizer, folder: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    folder.mkdir()
    cache_file().write_text(text.replace("KEY", batch_key(ramp, 64, 48)), encoding="utf-8")
    with caplog.at_level(logging.WARNING, "vidcolor"):
        assert cached_batch(ramp, 64, 48) is None
        assert cached_batch(ramp, 64, 48) is None
    (record,) = caplog.records
    assert str(cache_file()) in record.getMessage() and "delete it" in record.getMessage()
    assert store_batch(ramp, 64, 48, 4) and cached_batch(ramp, 64, 48) == 4


def test_a_file_of_another_version_is_not_read(ramp: Colorizer, folder: Path) -> None:
    folder.mkdir()
    values = {"version": 2, "batches": {batch_key(ramp, 64, 48): 7}}
    cache_file().write_text(json.dumps(values), encoding="utf-8")
    assert cached_batch(ramp, 64, 48) is None


def test_a_folder_that_cannot_be_written_is_a_warning(
    ramp: Colorizer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file where the folder should be", encoding="utf-8")
    with caplog.at_level(logging.WARNING, "vidcolor"):
        assert not store_batch(ramp, 64, 48, 4)
    assert "not kept" in caplog.text and cached_batch(ramp, 64, 48) is None
    with pytest.raises(ValueError, match="batch must lie"):
        store_batch(ramp, 64, 48, 0)


def test_without_the_variable_it_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    monkeypatch.delenv("VIDCOLOR_CACHE")
    assert (
        cache_file()
        == platformdirs.user_cache_path("vidcolor", appauthor=False) / cache_file().name
    )


def test_auto_uses_it_and_the_film_is_the_same(tmp_path: Path) -> None:
    film = encode(tmp_path / "in.mkv", "ffv1", "yuv420p", frames(13)).path
    seen: list[int] = []

    class Counting(Colorizer):
        def prepare(self, batch: LumaBatch, stabilizer: Stabilizer | None = None) -> Prepared:
            seen.append(len(batch))
            return super().prepare(batch, stabilizer)

    colorizer = Counting("fast", device="cpu", size=64)
    settings = Settings(encoder=EncoderSettings("ffv1"))

    def written(name: str, settings: Settings) -> Path:
        seen.clear()
        (report,) = colorize(film, tmp_path / name, colorizer=colorizer, settings=settings)
        assert report.status == "done"
        return report.output

    by_rule = written("rule.mkv", settings)
    assert max(seen) == 8 and sum(seen) == 13
    store_batch(colorizer, 64, 48, 7)
    by_cache = written("cache.mkv", settings)
    assert seen == [7, 6]
    asked = written("asked.mkv", replace(settings, batch_size=5))
    assert seen == [5, 5, 3]
    for other in (by_cache, asked):
        for one, two in zip(read_frames(by_rule), read_frames(other), strict=True):
            for p, q in zip(planes_of(one), planes_of(two), strict=True):
                difference = np.abs(p.astype(int) - q)
                assert difference.max() <= 1 and (difference > 0).mean() <= 0.001
