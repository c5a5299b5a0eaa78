"""A film's forecast: which stretches are run, and what comes of it on films made here."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.helpers.clips import RATE, encode, frames
from tests.helpers.films import FilmSpec, build_film
from vidcolor import Colorizer, EncoderSettings, Settings
from vidcolor.errors import InputError
from vidcolor.frames import Segment
from vidcolor.probe.arithmetic import Sample
from vidcolor.probe.films import (
    FilmCosts,
    FilmMeter,
    copied_size,
    encoder_delay,
    film_costs,
    frames_ahead,
    frames_of,
    key_interval,
    steady_part,
)
from vidcolor.probe.synthetic import write_film
from vidcolor.run.films import colorize_film
from vidcolor.run.plan import FilmJob, plan

VERYFAST = Settings(encoder=EncoderSettings(preset="veryfast"), overwrite=True)


def job_of(path: Path, settings: Settings = VERYFAST) -> FilmJob:
    (job,), problems = plan([path], path.with_name(f"out{path.suffix}"), settings)
    assert not problems and isinstance(job, FilmJob)
    return job


class Truth:
    """Measures by a formula: 3 s of start, and seconds and bytes a frame that grow in the film."""

    def __init__(self, frames: int, slope: float = 0.0, frame_seconds: float = 0.05) -> None:
        self.frames, self.slope, self.frame_seconds = frames, slope, frame_seconds
        self.segments: list[Segment] = []

    def at(self, place: float) -> float:
        return self.frame_seconds * (1 + self.slope * place)

    def measure(self, place: float, segment: Segment) -> Sample:
        self.segments.append(segment)
        start = segment.start or Fraction(0)
        end = Fraction(self.frames, RATE) if segment.end is None else segment.end
        count = min(self.frames, round((end - start) * RATE + Fraction(1, 4)))
        seconds, size = self.at(place), round(20_000 * self.at(place))
        return Sample(
            place, count, 3 + count * seconds, 30, 30 * seconds, 1, size, count - 1,
            (count - 1) * size, count * size, count * (size + 14), segment.is_full,
        )  # fmt: skip


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 tiny frames with a key frame in 12."""
    path = tmp_path_factory.mktemp("films") / "long.mkv"
    return encode(path, "libx264", "yuv420p", frames(400, 32, 32), options={"g": "12"}).path


def test_what_is_foreseen_of_a_given_measure(long_film: Path) -> None:
    job, truth = job_of(long_film), Truth(400, slope=1.0)
    found = film_costs(job, VERYFAST, truth.measure, budget=60)
    assert found.frames == 400 and not found.whole and found.notes == ()
    assert [round(s.place, 2) for s in found.samples] == [0.0, 0.25, 0.5, 0.75]
    assert sum(s.frames for s in found.samples) <= 400
    wanted = 3 + sum(truth.at(i / 400) for i in range(400))
    assert found.costs.seconds(400) == pytest.approx(wanted, rel=0.05)
    assert found.costs.bytes(400) == pytest.approx(400 * (20_000 * 0.05 * 1.5 + 14), rel=0.1)


def test_little_time_means_fewer_places(long_film: Path) -> None:
    truth = Truth(400, frame_seconds=0.5)
    found = film_costs(job_of(long_film), VERYFAST, truth.measure, budget=1)
    assert len(truth.segments) == len(found.samples) == 2  # the beginning and the middle
    assert found.samples[1].place == pytest.approx(0.5, abs=0.01)
    assert found.costs.seconds(400) == pytest.approx(3 + 400 * 0.5)


def test_a_quick_machine_is_measured_for_longer(long_film: Path) -> None:
    slow, quick = Truth(400, frame_seconds=0.5), Truth(400, frame_seconds=0.002)
    for truth in (slow, quick):
        film_costs(job_of(long_film), VERYFAST, truth.measure, budget=60)
    lengths = [t.segments[1].end - t.segments[1].start for t in (slow, quick)]  # type: ignore[operator]
    assert lengths[0] < lengths[1] <= Fraction(100, RATE)


def test_a_short_film_is_run_whole(tmp_path: Path) -> None:
    path, truth = encode(tmp_path / "s.mkv", "ffv1", "yuv420p", frames(30)).path, Truth(30)
    found = film_costs(job_of(path), VERYFAST, truth.measure, budget=60)
    assert truth.segments == [Segment()] and found.whole
    assert found.costs.seconds(30) == pytest.approx(3 + 30 * 0.05)


def test_a_place_with_nothing_in_it_is_told_of(long_film: Path) -> None:
    truth = Truth(400)

    def measure(place: float, segment: Segment) -> Sample:
        if place > 0.6:
            raise InputError("no frame lies in the chosen segment")
        return truth.measure(place, segment)

    found = film_costs(job_of(long_film), VERYFAST, measure, budget=60)
    assert len(found.samples) == 3 and "nothing at 25 s" in found.notes[0]
    assert found.costs.seconds(400) == pytest.approx(3 + 400 * 0.05)


def test_a_film_that_cannot_be_sought_is_measured_at_its_beginning(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "r.mkv",
        "libx264",
        "yuv420p",
        frames(300),
        options={"g": "999", "sc_threshold": "0"},
    ).path
    truth = Truth(300, frame_seconds=0.002)
    found = film_costs(job_of(path), VERYFAST, truth.measure, budget=60)
    assert len(found.samples) == 2 and all(s.start is None for s in truth.segments)
    assert "cannot be sought" in found.notes[0]
    assert found.costs.seconds(300) == pytest.approx(3 + 300 * 0.002)


def test_a_segment_is_foreseen_as_a_segment(long_film: Path) -> None:
    settings = replace(VERYFAST, segment=Segment(Fraction(10), Fraction(30)))
    job, truth = job_of(long_film, settings), Truth(240)
    found = film_costs(job, settings, truth.measure, budget=60)
    assert found.frames == 20 * RATE
    assert truth.segments[0].start == 10
    assert all(s.start >= 10 and s.end <= 30 for s in truth.segments)  # type: ignore[operator]


def test_frames_are_counted_where_no_header_says(tmp_path: Path) -> None:
    path = encode(tmp_path / "r.h264", "libx264", "yuv420p", frames(20)).path
    (job,), _ = plan([path], tmp_path / "o.mkv", VERYFAST)
    assert isinstance(job, FilmJob)
    if job.frames is not None:
        facts = replace(job.source.facts, num_frames_from_header=None, duration_seconds=None)
        job.source.facts = facts
    assert job.frames is None and frames_of(job) == 20
    job.source.segment = Segment(None, Fraction(5) / (job.source.facts.average_rate or 25))
    assert frames_of(job) == 5


def test_encoders_hold_frames_back() -> None:
    def delay(**encoder) -> int:
        return encoder_delay(Settings(encoder=EncoderSettings(**encoder)))

    assert delay(encoder="ffv1") == 0
    assert 0 < delay(preset="veryfast") < delay() < delay(preset="slow")
    assert delay() - delay(preset="ultrafast") == 40
    assert key_interval(Settings(encoder=EncoderSettings("ffv1")), Fraction(25)) == 1
    assert key_interval(Settings(encoder=EncoderSettings("libsvtav1")), Fraction(24)) == 120
    assert key_interval(VERYFAST, Fraction(25)) == 250


def test_the_steady_part_is_where_every_stage_is_at_work() -> None:
    # 0.01 s a frame while the encoder fills, 0.05 s then, 0.02 s when nothing is left to read
    stamps, now = [], 0.0
    for done in range(4, 101, 4):
        now += 4 * (0.01 if done <= 40 else 0.05 if done <= 80 else 0.02)
        stamps.append((done, now))
    frames, seconds = steady_part(stamps, 40, 80)
    assert frames == 40 and seconds / frames == pytest.approx(0.05)
    frames, seconds = steady_part(stamps, 80, 60)  # no steady part before the end: what there is
    assert frames == 20 and seconds / frames == pytest.approx(0.02)
    assert steady_part(stamps, 100, 200) == steady_part([], 1, 2) == (0, 0.0)


def test_frames_ahead_follow_the_batches_of_the_run(tmp_path: Path) -> None:
    """Large frames go in smaller batches, where nobody chose a size."""
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    found = {}
    for width, height in ((64, 48), (1600, 1200)):
        path = encode(tmp_path / f"{width}.mkv", "ffv1", "yuv420p", frames(2, width, height)).path
        meter = FilmMeter(job_of(path, VERYFAST), colorizer, VERYFAST, tmp_path)
        found[width] = meter.ahead
    assert found == {
        64: frames_ahead(8, torch.device("cpu")),
        1600: frames_ahead(1, torch.device("cpu")),
    }
    chosen = FilmMeter(job_of(path, VERYFAST), colorizer, replace(VERYFAST, batch_size=7), tmp_path)
    assert chosen.ahead == frames_ahead(7, torch.device("cpu"))


def run_size(job: FilmJob, colorizer: Colorizer, settings: Settings) -> int:
    return colorize_film(job, colorizer, settings).output.stat().st_size


def measured(
    path: Path, settings: Settings, folder: Path
) -> tuple[FilmJob, Colorizer, FilmMeter, FilmCosts]:
    """A film's costs, measured on the real pipeline in `folder`."""
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    job = job_of(path, settings)
    folder.mkdir()
    meter = FilmMeter(job, colorizer, settings, folder)
    return job, colorizer, meter, film_costs(job, settings, meter.measure, budget=60)


@pytest.mark.parametrize("encoder", ["libx264", "ffv1"])
def test_the_size_of_a_steady_film_is_foreseen(tmp_path: Path, encoder: str) -> None:
    path = write_film(tmp_path, 96, 64, 360).path
    preset = "veryfast" if encoder == "libx264" else None
    settings = replace(VERYFAST, encoder=EncoderSettings(encoder, preset=preset), stabilize=False)
    folder = tmp_path / "probe"
    job, colorizer, meter, found = measured(path, settings, folder)
    assert not found.whole and len(found.samples) > 1 and sum(s.frames for s in found.samples) < 361
    assert list(folder.iterdir()) == [] and not job.output.exists()
    assert meter.peak.memory > 100 << 20 and meter.peak.vram == 0
    for sample in found.samples:
        assert sample.steady_frames > 0 and 0 < sample.steady_seconds < sample.seconds
    truth = run_size(job, colorizer, settings)
    assert found.costs.bytes(found.frames) == pytest.approx(truth, rel=0.15)


def test_what_is_copied_counts_to_the_size(tmp_path: Path) -> None:
    path = build_film(tmp_path, FilmSpec(audio=("flac", "aac"), fonts=("a.ttf",)))
    settings = replace(VERYFAST, stabilize=False)
    job, colorizer, _, found = measured(path, settings, tmp_path / "probe")
    assert found.whole and found.copied == copied_size(job, settings) > 1000
    foreseen = found.costs.bytes(found.frames) + found.copied
    assert foreseen == pytest.approx(run_size(job, colorizer, settings), rel=0.15)
    silent = replace(settings, copy=frozenset())
    assert copied_size(job_of(path, silent), silent) == 0
