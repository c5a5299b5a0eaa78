"""Several worker processes make the files that one process makes, whatever happens to them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.helpers.certificates import write_certificate
from tests.helpers.clips import pattern
from tests.helpers.films import read_frames
from tests.helpers.long_films import RATE, assert_same_film, film_of_shots
from tests.helpers.readback import files_in
from tests.helpers.shot_folders import moving, paint, write_folder, write_gray_film
from tests.run.test_retry import Heard
from vidcolor import Colorizer, ColorizerOptions, EncoderSettings, Report, Settings, colorize
from vidcolor.errors import DeviceError
from vidcolor.motion.shots import Spacing
from vidcolor.run import films
from vidcolor.run.parallel import distribute
from vidcolor.run.parallel.distribute import run_on
from vidcolor.run.parallel.pool import OnFrames
from vidcolor.run.parallel.tasks import PartOfFilm, SomePictures, Task, WholeFilm
from vidcolor.run.parallel.workers import Workers
from vidcolor.run.plan import plan
from vidcolor.run.provenance.settings import ProvenanceSettings
from vidcolor.run.references.shot_list import LIST, Shot
from vidcolor.run.settings import Progress
from vidcolor.sinks.credentials import read_credentials
from vidcolor.sources.marks import read_marks
from vidcolor.system.film_marks import read_film_marks

SHORT = Spacing(Fraction(1), Fraction(2))
OPTIONS = ColorizerOptions(model="_ramp", size=64, precision="fp32", device="cpu")
FFV1 = Settings(encoder=EncoderSettings("ffv1"), batch_size=4)
SHOTS = (20, 50, 14, 40, 90, 17, 60, 33)


@pytest.fixture(scope="module", autouse=True)
def _one_date() -> Iterator[None]:
    """All that is written has one date, in all processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1000000000")
        yield


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (films, distribute):
        monkeypatch.setattr(module, "checkpoint_spacing", lambda gmacs: SHORT)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of_shots(tmp_path_factory.mktemp("workers") / "film.mkv", SHOTS)


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    with Workers(OPTIONS, ["cpu", "cpu"]) as pool:
        yield pool


def work(
    pool: Workers,
    source: Path,
    output: Path,
    settings: Settings,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    length: Fraction | None = None,
) -> list[Report]:
    jobs, reports = plan([source], output, settings)
    assert not reports, reports
    return list(run_on(pool, jobs, settings, on_progress, length=length))


def by_one(source: Path, output: Path, settings: Settings) -> list[Report]:
    return colorize(source, output, colorizer=Colorizer(OPTIONS), settings=settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("o.mkv", FFV1),
        ("o.mp4", replace(FFV1, encoder=EncoderSettings("libx264", preset="veryfast"))),
        ("o.mov", replace(FFV1, encoder=EncoderSettings("libx265", preset="ultrafast"))),
        ("o.ts", replace(FFV1, encoder=EncoderSettings("libx264", preset="veryfast"))),
        ("av1.mkv", replace(FFV1, encoder=EncoderSettings("libsvtav1", preset="12"))),
        ("plain.mkv", replace(FFV1, stabilize=False)),
    ],
)
def test_two_workers_make_the_film_of_one(
    tmp_path: Path, film: Path, pool: Workers, name: str, settings: Settings
) -> None:
    if name.endswith((".ts", ".mp4")):  # they do not hold PCM
        settings = replace(settings, copy=frozenset())
    whole, output = tmp_path / f"whole{Path(name).suffix}", tmp_path / name
    (expected,) = by_one(film, whole, settings)
    seen: list[int] = []
    (report,) = work(pool, film, output, settings, lambda progress: seen.append(progress.done))
    assert report.status == "done" and report.frames == sum(SHOTS) and report.resumed == 0
    assert report.warnings == expected.warnings
    assert_same_film(output, whole)
    assert seen == sorted(seen) and seen[-1] == sum(SHOTS)
    assert files_in(tmp_path) == sorted([output.name, whole.name])


def test_a_damaged_film_is_as_incomplete_as_by_one(tmp_path: Path, pool: Workers) -> None:
    source = film_of_shots(tmp_path / "in.mkv", SHOTS, codec="libx264", pix_fmt="yuv420p")
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    source.write_bytes(data)
    settings = replace(FFV1, copy=frozenset())
    (expected,) = by_one(source, tmp_path / "whole.mkv", settings)
    (report,) = work(pool, source, tmp_path / "o.mkv", settings)
    assert (report.status, report.frames) == (expected.status, expected.frames)
    assert report.status == "incomplete"
    assert report.error == expected.error.replace("whole", "o")
    assert_same_film(report.output, expected.output)


def test_films_that_are_not_divided_are_done_too(tmp_path: Path, film: Path, pool: Workers) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b", "c"):
        film_of_shots(folder / f"{name}.mkv", (9, 14))
    settings = replace(FFV1, copy=frozenset())
    reports = work(pool, folder, tmp_path / "out", settings)
    assert {(r.status, r.frames) for r in reports} == {("done", 23)} and len(reports) == 3
    by_one(folder, tmp_path / "whole", settings)
    for name in ("a", "b", "c"):
        assert_same_film(tmp_path / "out" / f"{name}.mkv", tmp_path / "whole" / f"{name}.mkv")
    (report,) = work(pool, film, tmp_path / "o.mkv", replace(settings, resume=False))
    assert report.status == "done" and report.frames == sum(SHOTS)


def hear_places(pool: Workers, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first frame of each segment that is handed out from now on."""
    places: list[int] = []

    def submit(task: Task, *more: Any) -> Future[Any]:
        if isinstance(task, PartOfFilm):
            places.append(task.segment.first)
        return Workers.submit(pool, task, *more)

    monkeypatch.setattr(pool, "submit", submit)
    return places


def test_marks_label_and_dossier_are_those_of_one(
    tmp_path: Path, film: Path, pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings(folder: Path) -> Settings:
        marks = ProvenanceSettings(label="start", dossier=folder / "bags")
        return replace(FFV1, exact_luma=True, marks=marks)

    plain, one, many = (tmp_path / name / "o.mkv" for name in ("plain", "one", "many"))
    by_one(film, plain, replace(FFV1, exact_luma=True))
    (expected,) = by_one(film, one, settings(one.parent))
    places = hear_places(pool, monkeypatch)
    (report,) = work(pool, film, many, settings(many.parent), length=Fraction(1))
    assert report.status == "done" and report.warnings == expected.warnings, report.error
    assert any("label" in line for line in report.warnings)
    assert_same_film(many, one)
    labeled = [
        not np.array_equal(a.to_ndarray()[:96], b.to_ndarray()[:96])
        for a, b in zip(read_frames(many), read_frames(plain), strict=True)
    ]
    assert labeled == [number < 5 * RATE for number in range(sum(SHOTS))]
    assert 0 < places[1] < 5 * RATE  # the label ends in a later segment than it begins in
    found = read_film_marks(many)
    assert found == read_film_marks(one) and found["date"] == "2001-09-09T01:46:40Z"
    assert found["source_sha256"] == hashlib.sha256(film.read_bytes()).hexdigest()
    assert json.loads(found["settings"])["label"] == "start"
    bags = [path.parent / "bags" / "o.mkv" for path in (one, many)]
    names = files_in(bags[0])
    assert files_in(bags[1]) == names
    # Matroska gives each file an identifier, and so it has another checksum.
    others = {"data/o.mkv", "data/premis.xml", "manifest-sha256.txt", "tagmanifest-sha256.txt"}
    assert others < set(names)
    for name in set(names) - others:
        assert (bags[0] / name).read_bytes() == (bags[1] / name).read_bytes(), name


def test_films_and_pictures_are_marked_and_signed(
    tmp_path: Path, film: Path, pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = write_certificate(tmp_path)
    marks = ProvenanceSettings(c2pa_cert=cert, c2pa_key=key)
    settings = replace(FFV1, marks=marks)
    (expected,) = by_one(film, tmp_path / "one.mkv", settings)
    places = hear_places(pool, monkeypatch)
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(pattern(1, 48, 64)).save(folder / "a.png")
    film_of_shots(folder / "b.mkv", (9, 14))
    reports = work(pool, film, tmp_path / "many.mkv", settings, length=Fraction(1))
    assert len(places) > 2
    reports += work(pool, folder, tmp_path / "out", settings)
    assert len(reports) == 3
    for report in (expected, *reports):
        assert report.status == "done", report.error
        found = read_credentials(report.output)
        assert found is not None and found["state"] == "Valid", found
        sums = read_marks(report.output)["source_sha256"]
        assert sums == hashlib.sha256(report.input.read_bytes()).hexdigest()
    assert_same_film(reports[0].output, expected.output)


def test_a_file_of_colors_is_that_of_one(tmp_path: Path, film: Path, pool: Workers) -> None:
    def settings(name: str) -> Settings:
        return replace(FFV1, output_chroma=tmp_path / name)

    by_one(film, tmp_path / "one.mkv", settings("one_colors.mkv"))
    (report,) = work(pool, film, tmp_path / "many.mkv", settings("many_colors.mkv"))
    assert report.status == "done", report.error
    assert_same_film(tmp_path / "many.mkv", tmp_path / "one.mkv")
    assert_same_film(tmp_path / "many_colors.mkv", tmp_path / "one_colors.mkv")


@pytest.mark.parametrize("kind", ["references", "one a shot", "shots"])
def test_references_color_as_by_one(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = moving(30, 1, hue=0.5) + moving(20, 2, hue=3.0)
    film, folder = write_gray_film(tmp_path / "film.mkv", truth), tmp_path / "shots"
    write_folder(folder, truth, [Shot(1, 0, 29), Shot(2, 30, 49)], stills=(4, 40))
    for number in (4, 40):
        paint(folder, number, truth[number])
    with (folder / LIST).open("a") as file:
        file.write("[[hint]]\nframe = 12\npoint = [40, 50]\ncolor = 'gold'\n")
    options = ColorizerOptions("_tiny", size=96, device="cpu")
    if kind == "shots":
        options = replace(options, shots=folder)
    elif kind == "one a shot":
        pictures = [*sorted(folder.glob("shot_*.png")), folder / "spare.png"]
        shutil.copyfile(*pictures[1:])
        (tmp_path / "references").mkdir()
        for number, path in enumerate(pictures):
            path.rename(tmp_path / "references" / f"{number}.png")
        options = replace(options, references=[tmp_path / "references"])
    else:
        options = replace(options, references=sorted(folder.glob("shot_*.png")))
    (expected,) = colorize(film, tmp_path / "one.mkv", colorizer=Colorizer(options), settings=FFV1)
    with Workers(options, ["cpu"]) as pool:
        places = hear_places(pool, monkeypatch)
        (report,) = work(pool, film, tmp_path / "many.mkv", FFV1)
    assert places == ([] if kind == "shots" else [0, 30])  # with a list of shots it is not divided
    assert any("2.png on unused" in line for line in report.warnings) == (kind == "one a shot")
    assert report.status == expected.status == "done", report.error
    assert report.warnings == expected.warnings
    assert_same_film(report.output, expected.output)
    assert read_film_marks(report.output) == read_film_marks(expected.output)


class Failing:
    """Workers on whose devices whole films and pictures fail in a way that may pass."""

    def __init__(self, pool: Workers) -> None:
        self._pool = pool
        self.tasks: list[WholeFilm | SomePictures] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def submit(self, task: Task, on_frames: OnFrames = lambda frames: None) -> Future[Any]:
        if not isinstance(task, WholeFilm | SomePictures):
            return self._pool.submit(task, on_frames)
        self.tasks.append(task)
        if task.slowly:
            return self._pool.submit(task, on_frames)
        future: Future[Any] = Future()
        future.set_exception(DeviceError("the device has failed"))
        return future


def test_what_fails_is_tried_once_more_at_the_end(tmp_path: Path, pool: Workers) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    film_of_shots(folder / "film.mkv", (9, 14))
    for number in range(2):
        Image.fromarray(pattern(number, 48, 64)).save(folder / f"{number}.png")
    settings, failing, heard = replace(FFV1, copy=frozenset()), Failing(pool), Heard()
    jobs, _ = plan([folder], output, settings)
    reports = list(run_on(failing, jobs, settings, observer=heard))
    names = ["0.png", "1.png", "film.mkv"]
    assert sorted(heard.postponed) == sorted(heard.finished) == names
    assert {(report.input.name, report.status) for report in reports} == {
        (name, "done") for name in names
    }
    again = [task for task in failing.tasks if task.slowly]
    assert len(again) == 3
    assert {task.settings.batch_size for task in again} == {1}
    by_one(folder, tmp_path / "whole", settings)
    assert_same_film(output / "film.mkv", tmp_path / "whole" / "film.mkv")
    assert files_in(output) == files_in(tmp_path / "whole")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 pictures of three shapes, and one that is none."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(150):
        shape = ((48, 64), (60, 60), (80, 60))[number % 3]
        Image.fromarray(pattern(number, *shape)).save(folder / f"{number:03}.png")
    (folder / "none.png").write_bytes(b"no picture")
    return folder


def assert_same_pictures(folder: Path, other: Path) -> None:
    assert files_in(folder) == files_in(other)
    for name in files_in(folder):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


def test_two_workers_make_the_pictures_of_one(
    tmp_path: Path, photos: Path, pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def submit(task: Task, *more: Any) -> Future[Any]:
        if isinstance(task, SomePictures):
            sizes.append(len(task.job.items))
        return Workers.submit(pool, task, *more)

    monkeypatch.setattr(pool, "submit", submit)
    settings = Settings()
    expected = by_one(photos, tmp_path / "whole", settings)
    seen: list[int] = []
    reports = work(pool, photos, tmp_path / "out", settings, lambda p: seen.append(p.done))
    assert {(r.input, r.status, r.error) for r in reports} == {
        (r.input, r.status, r.error) for r in expected
    }
    assert sorted(r.status for r in reports) == ["done"] * 150 + ["failed"]
    assert seen == sorted(seen) and seen[-1] == 151
    assert sorted(sizes) == [37, 38, 38, 38]  # as many groups for each worker
    assert_same_pictures(tmp_path / "out", tmp_path / "whole")


def kill_one(pool: Workers, number: int, after: int) -> Callable[[Progress], None]:
    """Send a signal to a worker as soon as so many frames are done."""
    sent: list[int] = []

    def on_progress(progress: Progress) -> None:
        if not sent and progress.done >= after:
            sent.append(pool.processes[0])
            os.kill(sent[0], number)

    return on_progress


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hangs"])
def test_a_worker_that_fails_is_replaced(
    tmp_path: Path, film: Path, photos: Path, number: int
) -> None:
    by_one(film, tmp_path / "whole.mkv", FFV1)
    by_one(photos, tmp_path / "whole", Settings())
    with Workers(OPTIONS, ["cpu", "cpu"], silence=5.0) as pool:
        on_progress = kill_one(pool, number, 30)
        (report,) = work(pool, film, tmp_path / "o.mkv", FFV1, on_progress)
        assert report.status == "done", report.error
        on_progress = kill_one(pool, number, 30)
        reports = work(pool, photos, tmp_path / "out", Settings(), on_progress)
    assert sorted(r.status for r in reports) == ["done"] * 150 + ["failed"]
    assert_same_film(tmp_path / "o.mkv", tmp_path / "whole.mkv")
    assert_same_pictures(tmp_path / "out", tmp_path / "whole")


def test_a_device_that_fails_is_left_out(
    tmp_path: Path, film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Workers(OPTIONS, ["cpu", "cuda:99"]) as pool:
        (report,) = work(pool, film, tmp_path / "o.mkv", FFV1)
        assert report.status == "done" and report.frames == sum(SHOTS)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("cuda:99 is left out")
    with pytest.raises(DeviceError, match="cuda:99"):
        Workers(OPTIONS, ["cuda:99", "cuda:99"])


# Does what `run_on` does here, in a process that can be killed.
DRIVER = """
import sys
from pathlib import Path
from tests.run.parallel.test_workers import FFV1, OPTIONS, SHORT, Workers, distribute, work
distribute.checkpoint_spacing = lambda gmacs: SHORT
with Workers(OPTIONS, ["cpu"] * int(sys.argv[3])) as pool:
    tell = lambda progress: print(progress.done, flush=True)
    (report,) = work(pool, Path(sys.argv[1]), Path(sys.argv[2]), FFV1, tell)
    print(report.status, report.resumed)
"""


def drive(film: Path, output: Path, workers: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(film), str(output), str(workers)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_killed_run_goes_on_with_another_number_of_workers(tmp_path: Path, film: Path) -> None:
    whole, output = tmp_path / "whole.mkv", tmp_path / "o.mkv"
    by_one(film, whole, FFV1)
    process = drive(film, output, 2)
    assert process.stdout is not None
    saved = tmp_path / ".o.mkv.vidcolor"
    for line in process.stdout:
        if int(line) > 150 and list(saved.glob("journal-*")):  # a part is finished
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert saved.is_dir() and not output.exists()
    copy = tmp_path / "copy" / ".o.mkv.vidcolor"
    shutil.copytree(saved, copy)

    done, _ = drive(film, output, 3).communicate(timeout=120)
    status, resumed = done.split()[-2:]
    assert status == "done" and int(resumed) > 0
    assert_same_film(output, whole)
    (report,) = by_one(film, copy.parent / "o.mkv", FFV1)  # and by a run of one process
    assert report.status == "done", report.error
    assert_same_film(report.output, whole)
    assert files_in(tmp_path) == ["copy/o.mkv", "o.mkv", "whole.mkv"]


def test_workers_end_with_the_process_that_started_them(tmp_path: Path, film: Path) -> None:
    process = drive(film, tmp_path / "o.mkv", 2)
    assert process.stdout is not None
    process.stdout.readline()
    # threads have started them
    workers = [child.pid for child in psutil.Process(process.pid).children()]
    assert len(workers) >= 2
    process.kill()
    process.communicate()
    until = time.monotonic() + 30
    while any(_is_alive(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(_is_alive(pid) for pid in workers)


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
