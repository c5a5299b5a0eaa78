"""The forecast of a whole call: films, those without time left, pictures, disk and problems."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.clips import encode, frames, pattern
from vidcolor import Colorizer, EncoderSettings, Settings
from vidcolor.probe import forecast as forecasts
from vidcolor.probe.films import Costs
from vidcolor.probe.forecast import estimate_from_others, forecast, free_space
from vidcolor.run.plan import FilmJob, plan

SETTINGS = Settings(encoder=EncoderSettings("ffv1"), overwrite=True, stabilize=False)


@pytest.fixture(scope="module")
def ramp() -> Colorizer:
    return Colorizer("_ramp", device="cpu", size=64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A short film, a shorter one, two pictures, and what is neither."""
    folder = tmp_path / "in"
    folder.mkdir()
    encode(folder / "long.mkv", "ffv1", "yuv420p", frames(20))
    encode(folder / "short.mkv", "ffv1", "yuv420p", frames(10))
    for number in range(2):
        Image.fromarray(pattern(number, 40, 30)).save(folder / f"{number}.png")
    (folder / "bad.mkv").write_bytes(b"nothing" * 99)
    return folder


def test_films_and_pictures_of_a_folder(folder: Path, ramp: Colorizer) -> None:
    jobs, reports = plan([folder], None, SETTINGS)
    found = forecast(jobs, reports, ramp, SETTINGS, startup_seconds=4.0)
    assert [(row.kind, row.frames, row.measured) for row in found.rows] == [
        ("pictures", 2, True), ("film", 20, True), ("film", 10, True),
    ]  # fmt: skip
    assert found.seconds == pytest.approx(4 + sum(row.seconds for row in found.rows))
    assert found.disk_bytes == sum(row.bytes for row in found.rows) > 10_000
    assert found.memory_bytes > 100 << 20 and found.vram_bytes == 0
    assert len(found.problems) == 1 and "bad.mkv" in found.problems[0]
    assert found.fits and found.disk_free and found.disk_free > 0
    assert found.rows[1].input == folder / "long.mkv"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["in"]  # nothing was written


@pytest.mark.parametrize(("free", "fits"), [(9, False), (1 << 40, True), (None, True)])
def test_a_full_disk_is_known(
    folder: Path, ramp: Colorizer, monkeypatch: pytest.MonkeyPatch, free: int | None, fits: bool
) -> None:
    monkeypatch.setattr(forecasts, "free_space", lambda path: free)
    jobs, _ = plan([folder / "short.mkv"], None, SETTINGS)
    found = forecast(jobs, [], ramp, SETTINGS)
    assert (found.disk_free, found.fits) == (free, fits)


def test_films_without_time_left_go_by_the_longest(folder: Path, ramp: Colorizer) -> None:
    jobs, _ = plan([folder], None, SETTINGS)
    found = forecast(jobs, [], ramp, SETTINGS, budget=0.0)
    films = {row.input.name: row for row in found.rows if row.kind == "film"}
    long, short = films["long.mkv"], films["short.mkv"]
    assert long.measured and not short.measured
    assert short.bytes == pytest.approx(long.bytes / 2, rel=0.1)
    assert short.seconds <= long.seconds


def test_a_film_that_fails_is_a_problem(folder: Path, ramp: Colorizer) -> None:
    jobs, _ = plan([folder / "long.mkv", folder / "short.mkv"], None, SETTINGS)
    (folder / "long.mkv").write_bytes(b"gone" * 99)
    found = forecast(jobs, [], ramp, SETTINGS)
    assert [row.input.name for row in found.rows] == ["short.mkv"]
    assert len(found.problems) == 1 and "long.mkv" in found.problems[0]


def test_a_film_that_cannot_be_scanned_is_a_problem(folder: Path, ramp: Colorizer) -> None:
    jobs, _ = plan([folder / "long.mkv", folder / "short.mkv"], None, SETTINGS)
    (folder / "short.mkv").unlink()
    found = forecast(jobs, [], ramp, SETTINGS, budget=0.0)
    assert [row.input.name for row in found.rows] == ["long.mkv"]
    assert len(found.problems) == 1 and "short.mkv" in found.problems[0]


def test_others_of_its_size_stand_for_a_film(tmp_path: Path) -> None:
    known = []
    for name, side, cost in (("a", 32, 1.0), ("b", 32, 3.0), ("c", 64, 20.0)):
        path = encode(tmp_path / f"{name}.mkv", "ffv1", "yuv420p", frames(2, side, side)).path
        (job,), _ = plan([path], None, SETTINGS)
        assert isinstance(job, FilmJob)
        known.append((job, Costs(cost, cost, cost, 100 * cost)))
    alike = estimate_from_others(known[0][0], known)
    assert (alike.frame_seconds, alike.fixed_seconds, alike.frame_bytes) == (2.0, 1.0, 200.0)
    other = estimate_from_others(known[2][0], known[:2])  # four times the pixels
    assert (other.frame_seconds, other.fixed_seconds, other.frame_bytes) == (8.0, 1.0, 800.0)


def test_free_space_of_a_folder_that_is_to_be_made(tmp_path: Path) -> None:
    here = free_space(tmp_path)
    assert here and free_space(tmp_path / "a" / "b" / "c.mkv") == pytest.approx(here, rel=0.1)
