"""How far a job is, and the time left: by films and pictures that were measured so far."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.clips import encode, frames
from vidcolor.run.job.progress import JobProgress
from vidcolor.run.plan import FilmJob, Job, PicturesJob, plan
from vidcolor.run.settings import Progress, Report, Settings


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """Two films of 10 and 20 frames; those of the second have four times the pixels."""
    folder = tmp_path_factory.mktemp("films")
    for name, count, side in (("a.mkv", 10, 64), ("b.mkv", 20, 128)):
        encode(folder / name, "ffv1", "yuv420p", frames(count, side, side))
    jobs, _ = plan([folder / "a.mkv", folder / "b.mkv"], None, Settings())
    return jobs


def pictures(count: int) -> PicturesJob:
    names = [Path(f"{n}.png") for n in range(count)]
    return PicturesJob(tuple((name, name) for name in names))


def done(path: Path, frames: int = 1, **more: object) -> Report:
    return Report(path, path, "done", frames, **more)  # type: ignore[arg-type]  # its fields


def test_films_by_megapixels(films: list[Job]) -> None:
    first, second = (job.input for job in films if isinstance(job, FilmJob))
    clock = Clock()
    job = JobProgress(films, clock)
    assert (job.total, job.done, job.seconds_left()) == (2, 0, (0.0, False))
    for count in (5, 10):
        clock.now += 1
        job.update(Progress(first, count, 10))
    job.finish(done(first, 10))
    # 10 frames took 2 s; the second film has 20 of four times the size
    assert job.seconds_left() == pytest.approx((16, True)) and job.done == 1
    assert job.share == pytest.approx(2 / 18)
    clock.now += 4
    job.update(Progress(second, 10, 20))  # its first batch counts only at the end
    clock.now += 4
    job.update(Progress(second, 15, 20))
    # 2 + 8 s for 10 + 4 * 5 small frames, 4 * 5 are left
    assert job.seconds_left() == pytest.approx((20 * 10 / 30, True))
    clock.now += 4
    job.finish(done(second, 20))
    assert job.seconds_left() == (0.0, True) and (job.done, job.share) == (2, 1.0)


def test_frames_of_an_earlier_run_took_no_time(films: list[Job]) -> None:
    first, second = (job.input for job in films if isinstance(job, FilmJob))
    clock = Clock()
    job = JobProgress(films, clock)
    clock.now += 1
    job.update(Progress(first, 8, 10))
    clock.now += 1
    job.update(Progress(first, 10, 10))
    job.finish(done(first, 10, resumed=6))
    assert job.seconds_left() == pytest.approx((80 * 2 / 4, True))
    assert second.name == "b.mkv"


def test_a_film_that_fails_at_once_leaves_the_rest(films: list[Job]) -> None:
    first, second = (job.input for job in films if isinstance(job, FilmJob))
    clock = Clock()
    job = JobProgress(films, clock)
    job.finish(Report(first, first, "failed", error="no"))
    assert (job.done, job.problems, job.seconds_left()[1]) == (1, 1, False)
    clock.now += 1
    job.update(Progress(second, 10, None))  # more frames than its header tells are known
    clock.now += 1
    job.update(Progress(second, 30, 20))
    assert job.seconds_left() == (0.0, True)


def test_pictures_count_alike_and_films_stay_unknown(films: list[Job]) -> None:
    clock = Clock()
    job = JobProgress([pictures(4), *films], clock)
    for number in range(3):
        clock.now += 2
        job.update(Progress(Path(f"{number}.png"), number + 1, 4))
        job.finish(done(Path(f"{number}.png")))
    assert job.seconds_left() == pytest.approx((2, False))  # two seconds, and two films
    assert (job.done, job.total, job.share) == (3, 6, 0.5)


def test_a_part_of_a_film_does_not_count_again(films: list[Job]) -> None:
    first = films[0].input if isinstance(films[0], FilmJob) else Path()
    job = JobProgress(films, Clock())
    job.finish(done(first, 4))
    job.finish(done(first, 6))
    assert job.done == 1


def test_an_empty_job() -> None:
    job = JobProgress([], Clock())
    assert (job.total, job.share, job.seconds_left()) == (0, 0.0, (0.0, True))
