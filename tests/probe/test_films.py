"""A film's forecast: which stretches are run, and what comes of it on films made here."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from benchmarks.films import FilmSize, make_film
from tests.helpers.clips import RATE, encode, frames
from tests.helpers.films import FilmSpec, build_film
from vidcolor import Colorizer, EncoderSettings, Settings
from vidcolor.errors import InputError
from vidcolor.frames import Segment
from vidcolor.motion.shots import LOOKAHEAD
from vidcolor.probe import films
from vidcolor.probe.films import (
    FilmEstimate,
    Measure,
    Sample,
    Scan,
    copied_bytes,
    count_frames,
    encoder_delay,
    estimate_film,
    make_measure,
    scale_up,
    scan_film,
    steady_part,
)
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
            place, count, 3 + count * seconds, seconds, 1, size, count - 1,
            (count - 1) * size, count * (size + 14), 14 * count,
        )  # fmt: skip


def scan_of(job: FilmJob) -> Scan:
    return scan_film(job.source.path, None, [each.index for each in job.plan.streams])


def film_costs(job: FilmJob, settings: Settings, measure: Measure, budget: float) -> FilmEstimate:
    return estimate_film(job, settings, scan_of(job), measure, LOOKAHEAD, budget)


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 tiny frames with a key frame in 12."""
    path = tmp_path_factory.mktemp("films") / "long.mkv"
    return encode(path, "libx264", "yuv420p", frames(400, 32, 32), options={"g": "12"}).path


def test_what_is_foreseen_of_a_given_measure(long_film: Path) -> None:
    job, truth = job_of(long_film), Truth(400, slope=1.0)
    found = film_costs(job, VERYFAST, truth.measure, budget=60)
    assert found.frames == 400 and found.notes == ()
    assert [round(s.place, 2) for s in found.samples] == [0.0, 0.25, 0.5, 0.75]
    assert sum(s.frames for s in found.samples) <= 400
    wanted = 3 + sum(truth.at(i / 400) for i in range(400))
    assert found.seconds == pytest.approx(wanted, rel=0.05)
    assert found.bytes == pytest.approx(400 * (20_000 * 0.05 * 1.5 + 14), rel=0.1)


def test_little_time_means_fewer_places(long_film: Path) -> None:
    truth = Truth(400, frame_seconds=0.5)
    found = film_costs(job_of(long_film), VERYFAST, truth.measure, budget=1)
    assert len(truth.segments) == len(found.samples) == 2  # the beginning and the middle
    assert found.samples[1].place == pytest.approx(0.5, abs=0.01)
    assert found.seconds == pytest.approx(3 + 400 * 0.5)


def test_a_quick_machine_is_measured_for_longer(long_film: Path) -> None:
    slow, quick = Truth(400, frame_seconds=0.5), Truth(400, frame_seconds=0.02)
    for truth in (slow, quick):
        film_costs(job_of(long_film), VERYFAST, truth.measure, budget=60)
    lengths = [t.segments[1].end - t.segments[1].start for t in (slow, quick)]  # type: ignore[operator]
    assert lengths[0] < lengths[1] <= Fraction(100, RATE)


def test_a_film_that_a_fast_machine_runs_in_a_moment_is_run_whole(long_film: Path) -> None:
    truth = Truth(400, frame_seconds=0.002)
    found = film_costs(job_of(long_film), VERYFAST, truth.measure, budget=60)
    assert truth.segments[1:] == [Segment()] and len(found.samples) == 1
    assert found.seconds == pytest.approx(3 + 400 * 0.002)


def test_a_short_film_is_run_whole(tmp_path: Path) -> None:
    path, truth = encode(tmp_path / "s.mkv", "ffv1", "yuv420p", frames(30)).path, Truth(30)
    found = film_costs(job_of(path), VERYFAST, truth.measure, budget=60)
    assert truth.segments == [Segment()]
    assert found.seconds == pytest.approx(3 + 30 * 0.05)


def test_a_place_with_nothing_in_it_is_told_of(long_film: Path) -> None:
    truth = Truth(400)

    def measure(place: float, segment: Segment) -> Sample:
        if place > 0.6:
            raise InputError("no frame lies in the chosen segment")
        return truth.measure(place, segment)

    found = film_costs(job_of(long_film), VERYFAST, measure, budget=60)
    assert len(found.samples) == 3 and "no frames at 25 s" in found.notes[0]
    assert found.seconds == pytest.approx(3 + 400 * 0.05)


def test_a_film_that_cannot_be_sought_is_measured_at_its_beginning(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "r.mkv",
        "libx264",
        "yuv420p",
        frames(300),
        options={"g": "999", "sc_threshold": "0"},
    ).path
    truth = Truth(300, frame_seconds=0.02)
    found = film_costs(job_of(path), VERYFAST, truth.measure, budget=60)
    assert len(found.samples) == 2 and all(s.start is None for s in truth.segments)
    assert "cannot be sought" in found.notes[0]
    assert found.seconds == pytest.approx(3 + 300 * 0.02)


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
    assert job.frames is None and count_frames(job, scan_of(job)) == 20
    job.source.segment = Segment(None, Fraction(5) / (job.source.facts.average_rate or 25))
    assert count_frames(job, scan_of(job)) == 5


def test_encoders_hold_frames_back() -> None:
    def delay(**encoder: Any) -> int:
        return encoder_delay(Settings(encoder=EncoderSettings(**encoder)))

    assert delay(encoder="ffv1") == 0
    assert 0 < delay(preset="veryfast") < delay() < delay(preset="slow")
    assert delay() - delay(preset="ultrafast") == 40


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
    ahead = []
    for width, height, chosen in ((64, 48, None), (1600, 1200, None), (1600, 1200, 7)):
        path = encode(tmp_path / f"{width}.mkv", "ffv1", "yuv420p", frames(2, width, height)).path
        settings = replace(VERYFAST, batch_size=chosen)
        ahead.append(make_measure(job_of(path, settings), colorizer, settings, tmp_path)[1])
    first, second, third = ((each - LOOKAHEAD) for each in ahead)
    assert first == 8 * second and third == 7 * second > 0


def sample(place: float, keys: int, others: int, scale: int = 1) -> Sample:
    """A part of key frames of 1000 bytes and other frames of 100 bytes, 0.1 s each."""
    count = keys + others
    size = (1000 * keys + 100 * others) * scale
    return Sample(
        place, count, 2 + 0.1 * count, 0.1, keys, 1000 * keys * scale, others,
        100 * others * scale, size + 14 * count + 500, 14 * count + 500,
    )  # fmt: skip


def test_key_frames_and_others_are_counted_apart() -> None:
    found = scale_up([sample(0, 1, 99), sample(0.5, 1, 99)], 10_000, 250)
    assert (found.fixed_seconds, found.frame_seconds) == pytest.approx((2, 0.1))
    assert found.fixed_bytes == pytest.approx(500)
    assert found.frame_bytes == pytest.approx(1000 / 250 + 100 * 249 / 250 + 14)
    cuts = scale_up([sample(0, 11, 90)], 10_000, 250)  # ten more key frames in a hundred
    assert cuts.frame_bytes == pytest.approx(0.1 * 1000 + 0.9 * 100 + 14)
    alone = scale_up([sample(0, 10, 0), sample(0.5, 10, 0)], 1000, 1)
    assert alone.frame_bytes == pytest.approx(1000 + 14)


def test_a_sample_counts_for_the_part_of_the_film_nearest_to_it() -> None:
    one, two = sample(0, 10, 0), sample(0.5, 10, 0, scale=3)
    assert scale_up([one, two], 1000, 1).frame_bytes == pytest.approx(
        0.25 * 1000 + 0.75 * 3000 + 14
    )


def test_the_films_own_coding_corrects_for_what_the_samples_missed() -> None:
    samples = [sample(0, 10, 0)]

    def corrected(sizes: list[int]) -> float:
        return scale_up(samples, 1000, 1, sizes).frame_bytes

    assert corrected([50] * 1000) == pytest.approx(1000 + 14)
    assert corrected([50] * 500 + [70] * 500) == pytest.approx(1200 + 14)
    assert corrected([1] * 10 + [99] * 990) == pytest.approx(1500 + 14)


def test_the_films_own_coding_is_compared_over_the_frames_that_were_counted() -> None:
    """The last 60 of the sample's 100 frames are not counted, because the encoder saw no more."""
    one = replace(sample(0, 40, 0), frames=100)
    own = [50] * 40 + [200] * 60 + [50] * 900
    plain, corrected = (scale_up([one], 1000, 1, s).frame_bytes - 14 for s in ((), own))
    assert corrected / plain == pytest.approx(sum(own) / len(own) / 50)


def measured(path: Path, settings: Settings, folder: Path) -> tuple[FilmJob, FilmEstimate, int]:
    """A film's job, its estimate on the real pipeline in `folder`, and the size of a real run."""
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    job = job_of(path, settings)
    folder.mkdir()
    measure, ahead = make_measure(job, colorizer, settings, folder)
    found = estimate_film(job, settings, scan_of(job), measure, ahead, 60)
    assert list(folder.iterdir()) == [] and not job.output.exists()
    return job, found, colorize_film(job, colorizer, settings).output.stat().st_size


@pytest.mark.parametrize("encoder", ["libx264", "ffv1"])
def test_the_size_of_a_steady_film_is_estimated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str
) -> None:
    monkeypatch.setattr(films, "_STEADY_SECONDS", 0.0)  # so that it is not run whole
    path = make_film(tmp_path / "film.mp4", FilmSize("small", 96, 64), 360)
    preset = "veryfast" if encoder == "libx264" else None
    encoding = EncoderSettings(encoder, preset=preset)
    settings = replace(VERYFAST, encoder=encoding, stabilize=False, batch_size=2)
    _, found, truth = measured(path, settings, tmp_path / "probe")
    assert len(found.samples) > 1 and sum(s.frames for s in found.samples) < 361
    assert all(0 < s.frame_seconds < s.seconds for s in found.samples)
    assert found.bytes == pytest.approx(truth, rel=0.15)


def test_what_is_copied_counts_to_the_size(tmp_path: Path) -> None:
    path = build_film(tmp_path, FilmSpec(audio=("flac", "aac"), fonts=("a.ttf",)))
    settings = replace(VERYFAST, stabilize=False)
    job, found, truth = measured(path, settings, tmp_path / "probe")
    assert len(found.samples) == 1 and found.copied == copied_bytes(job, scan_of(job)) > 1000
    assert found.bytes == pytest.approx(truth, rel=0.15)
    silent = job_of(path, replace(settings, copy=frozenset()))
    assert scan_of(silent).copied == 0


def test_a_scan_gives_frames_in_display_order(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "b.mkv", "libx264", "yuv420p", frames(24), options={"g": "12", "bf": "3"}
    ).path
    scan = scan_film(path)
    assert len(scan.sizes) == 24 and min(scan.sizes) > 0 and scan.copied == 0
    assert [i for i, key in enumerate(scan.keys) if key] == [0, 12] and scan.seekable
