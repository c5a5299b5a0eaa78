"""Films that are resumed where an earlier run ended: as if nothing had happened."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.helpers.films import FilmSpec, build_film, read_frames
from tests.helpers.long_films import RATE, assert_same_film, film_of_shots
from tests.helpers.shots import pan
from vidcolor import Colorizer, EncoderSettings, Report, Settings, colorize
from vidcolor.motion.shots import Spacing
from vidcolor.run import films
from vidcolor.run.provenance.settings import ProvenanceSettings
from vidcolor.run.settings import Progress
from vidcolor.sources.marks import read_marks

SHORT = Spacing(Fraction(1), Fraction(2))


class _Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "checkpoint_spacing", lambda colorizer: SHORT)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shots of 20, 50 and 14 frames with grain, and sound: checkpoints at cuts and in a shot."""
    return film_of_shots(tmp_path_factory.mktemp("journal") / "film.mkv", (20, 50, 14))


def work_folder(output: Path) -> Path:
    return output.with_name(f".{output.name}.vidcolor")


def colorizer() -> Colorizer:
    return Colorizer("_ramp", device="cpu", size=64, precision="fp32")


def run(film: Path, output: Path, settings: Settings, **more: Any) -> Report:
    (report,) = colorize(film, output, colorizer=colorizer(), settings=settings, **more)
    return report


def kill(film: Path, output: Path, settings: Settings, frames: int) -> None:
    """Leave what a run leaves that is killed after so many frames: its files as they are then."""
    folder, saved = work_folder(output), output.with_name("saved")

    def stop(progress: Progress) -> None:
        if progress.done >= frames:
            shutil.copytree(folder, saved)
            raise _Killed

    report = run(film, output, settings, on_progress=stop)
    assert report.status == "failed" and not output.exists()
    shutil.rmtree(folder, ignore_errors=True)
    saved.rename(folder)


PICTURES = Settings(batch_size=4)
FFV1 = Settings(encoder=EncoderSettings("ffv1"), batch_size=4)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("o.mkv", EncoderSettings("ffv1")),
        ("o.mp4", EncoderSettings("libx264", preset="veryfast")),
        ("o.mov", EncoderSettings("libx265", preset="ultrafast")),
        ("o.ts", EncoderSettings("libx264", preset="veryfast")),
        ("x.mkv", EncoderSettings("libx264", preset="veryfast")),
        ("av1.mp4", EncoderSettings("libsvtav1", preset="12")),
        ("av1.mkv", EncoderSettings("libsvtav1", preset="12")),
        ("p.mov", EncoderSettings("prores_ks")),
    ],
)
def test_a_killed_film_is_resumed(
    tmp_path: Path, film: Path, name: str, encoder: EncoderSettings
) -> None:
    settings = replace(FFV1, encoder=encoder, copy=frozenset({"audio"}))
    if name.endswith((".ts", ".mp4")):  # they do not hold PCM
        settings = replace(settings, copy=frozenset())
    whole, output = tmp_path / f"whole{Path(name).suffix}", tmp_path / name
    assert run(film, whole, settings).status == "done"
    for frames in (50, 60, 80):
        kill(film, output, settings, frames)
    report = run(film, output, settings)
    assert report.status == "done", report.error
    assert report.frames == 84 and report.resumed >= 20
    assert_same_film(output, whole)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([output.name, whole.name])


@pytest.mark.parametrize("suffix", [".dpx", ".png", ".tif", ".exr"])
def test_killed_numbered_pictures_are_resumed(
    tmp_path: Path, film: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")  # in the marks
    whole, output = (tmp_path / name / f"%d{suffix}" for name in ("whole", "out"))
    assert run(film, whole, PICTURES).status == "done"
    for frames in (50, 80):
        kill(film, output, PICTURES, frames)
        assert not list(output.parent.glob(f"*{suffix}"))
    (part,) = work_folder(output).glob("film-*")
    wrong = part / f"70{suffix}"  # was written after the last checkpoint, and not to its end
    wrong.write_bytes(wrong.read_bytes()[:100])
    report = run(film, output, PICTURES)
    assert report.status == "done" and report.frames == 84 and report.resumed >= 20, report.error
    found, wanted = (sorted(each.parent.iterdir()) for each in (output, whole))
    assert [each.name for each in found] == [each.name for each in wanted] and len(found) >= 84
    assert all(one.read_bytes() == two.read_bytes() for one, two in zip(found, wanted, strict=True))


def test_numbered_pictures_after_a_power_failure(tmp_path: Path, film: Path) -> None:
    output = tmp_path / "out" / "%03d.png"
    kill(film, output, PICTURES, 76)
    (journal,) = work_folder(output).glob("journal-*.jsonl")
    header, *lines = map(json.loads, journal.read_text().splitlines())
    points = [line["frames"] for line in lines if "frames" in line]
    header["boot"] = "another"
    last = [line for line in lines if "frames" in line][-1]
    last["bytes"] = 0  # not known to be on the disk
    kept = [
        line for line in lines if line is not last and line.get("bytes", 0) <= lines[0]["bytes"]
    ]
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in (header, *kept, last)))
    report = run(film, output, PICTURES)
    assert report.status == "done" and report.resumed == points[0] < points[-1]
    assert len(list(output.parent.glob("*.png"))) == 84


@pytest.mark.parametrize("stabilize", [True, False])
def test_an_interrupted_film_is_resumed(tmp_path: Path, film: Path, stabilize: bool) -> None:
    settings = replace(FFV1, stabilize=stabilize)
    whole, output = tmp_path / "whole.mkv", tmp_path / "o.mkv"
    run(film, whole, settings)

    def stop(progress: Progress) -> None:
        if progress.done >= 60:
            raise _Killed

    run(film, output, settings, on_progress=stop)
    assert work_folder(output).is_dir() and not output.exists()
    seen: list[int] = []
    report = run(film, output, settings, on_progress=lambda progress: seen.append(progress.done))
    assert report.status == "done" and report.resumed >= 40 and min(seen) > 40
    assert_same_film(output, whole)


def test_after_a_power_failure_only_what_was_on_the_disk_counts(tmp_path: Path, film: Path) -> None:
    whole, output = tmp_path / "whole.mkv", tmp_path / "o.mkv"
    run(film, whole, FFV1)
    kill(film, output, FFV1, 76)
    (journal,) = work_folder(output).glob("journal-*.jsonl")
    header, *lines = journal.read_text().splitlines()
    values = json.loads(header)
    values["boot"] = "another"
    journal.write_text("\n".join([json.dumps(values), *lines, '{"frames": 7']))  # cut off
    (part,) = work_folder(output).glob("film-*")
    size = max(json.loads(line)["bytes"] for line in lines)
    data = part.read_bytes()
    part.write_bytes(data[:size] + bytes(len(data) - size))
    report = run(film, output, FFV1)
    assert report.status == "done" and 0 < report.resumed < 76
    assert_same_film(output, whole)


def test_a_damaged_state_of_the_stabilizer_is_passed_over(tmp_path: Path, film: Path) -> None:
    output, whole = tmp_path / "o.mkv", tmp_path / "whole.mkv"
    kill(film, output, FFV1, 60)
    states = list(work_folder(output).glob("state-*"))
    for state in states:
        state.write_bytes(b"PK\x03\x04" + state.read_bytes()[4:-30])
    report = run(film, output, FFV1)
    assert states and report.status == "done", report.error
    run(film, whole, FFV1)
    assert_same_film(output, whole)


@pytest.mark.parametrize("what", ["settings", "input", "restart", "journal", "numbers", "film"])
def test_a_film_begins_anew_where_it_must(tmp_path: Path, film: Path, what: str) -> None:
    source = tmp_path / "in.mkv"
    shutil.copy(film, source)
    output, whole = tmp_path / "o.mkv", tmp_path / "whole.mkv"
    kill(source, output, FFV1, 60)
    folder, settings = work_folder(output), FFV1
    if what == "settings":
        settings = replace(FFV1, stabilize=False)
    elif what == "input":
        source.write_bytes(source.read_bytes() + b"\0")
    elif what == "restart":
        settings = replace(FFV1, restart=True)
    elif what == "numbers":  # more frames than a machine has memory for
        (file,) = folder.glob("journal-*")
        text = file.read_text(encoding="utf-8")
        runs = f'"shown": [[1, {10**15}]]'
        file.write_text(re.sub(r'"shown": \[\[.*?\]\]', runs, text), encoding="utf-8")
    else:
        (file,) = folder.glob("journal-*" if what == "journal" else "film-*")
        file.write_bytes(b"\x80nonsense\n" * 3)
    report = run(source, output, settings)
    assert report.status == "done" and report.resumed == 0 and report.frames == 84
    named = {"settings": "stabilize", "input": "input"}.get(what, "")
    assert any(named in line for line in report.warnings) or not named
    run(source, whole, settings)
    assert_same_film(output, whole)
    assert not folder.exists()


@pytest.mark.parametrize("rate", [Fraction(1, 10), Fraction(1), Fraction(100)])
def test_every_frame_of_an_mp4_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: Fraction
) -> None:
    """Also where fragments of the growing file hold less than a group of pictures."""
    monkeypatch.setattr(films, "checkpoint_spacing", lambda c: Spacing(25 / rate, 50 / rate))
    source, output = tmp_path / "in.mkv", tmp_path / "o.mp4"
    with av.open(str(source), "w") as container:
        video = container.add_stream("ffv1", rate=rate, time_base=1 / rate)
        video.width, video.height, video.pix_fmt = 64, 48, "gray"
        for number in range(40):
            codes = np.full((48, 64), 40 + 4 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(codes, format="gray")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    report = run(source, output, Settings(stabilize=False))
    assert report.status == "done", report.error
    shown = [frame.pts * frame.time_base for frame in read_frames(output)]
    assert shown == [number / rate for number in range(40)]


def test_the_date_of_a_resumed_film_is_that_of_its_first_run(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "o.mkv"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    kill(film, output, FFV1, 60)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1100000000")
    report = run(film, output, FFV1)
    assert report.status == "done" and report.resumed > 20
    assert read_marks(output)["date"] == "2001-09-09T01:46:40Z"
    kill(film, output.with_name("p.mkv"), FFV1, 60)
    unmarked = replace(FFV1, marks=ProvenanceSettings(provenance=False))
    assert run(film, output.with_name("p.mkv"), unmarked).resumed == 0


def test_without_resuming_nothing_is_left(tmp_path: Path, film: Path) -> None:
    def stop(progress: Progress) -> None:
        raise _Killed

    run(film, tmp_path / "a.mkv", replace(FFV1, resume=False), on_progress=stop)
    run(film, tmp_path / "b.mkv", FFV1, on_progress=stop)  # before the first checkpoint
    run(film, tmp_path / "c.avi", FFV1, on_progress=stop)  # cannot be resumed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "told"), [("o.avi", True), ("o.mkv", False)])
def test_a_long_film_that_cannot_be_resumed_says_so(tmp_path: Path, name: str, told: bool) -> None:
    spec = FilmSpec(pts=tuple(range(16)), time_base=Fraction(5), audio=(), last_duration=1)
    report = run(build_film(tmp_path, spec), tmp_path / name, FFV1)
    assert any("begins anew" in line for line in report.warnings) == told


def test_a_second_run_says_who_is_at_work(tmp_path: Path, film: Path) -> None:
    output = tmp_path / "o.mkv"
    second: list[Report] = []

    def again(progress: Progress) -> None:
        if not second:
            thread = threading.Thread(target=lambda: second.append(run(film, output, FFV1)))
            thread.start()
            thread.join(60)

    assert run(film, output, FFV1, on_progress=again).status == "done"
    assert second[0].status == "failed" and "process" in second[0].error
    assert len(read_frames(output)) == 84


def test_a_film_of_fields_is_resumed(tmp_path: Path, interlaced: Callable[[Path], Path]) -> None:
    """Frames that are made of several are made of the same ones again."""
    source = interlaced(tmp_path / "in.mkv")
    whole, output = tmp_path / "whole.mkv", tmp_path / "o.mkv"
    settings = replace(FFV1, deinterlace="fields")
    assert run(source, whole, settings).status == "done"
    kill(source, output, settings, 110)
    report = run(source, output, settings)
    assert report.status == "done" and report.resumed > 20, report.error
    assert_same_film(output, whole)


def test_a_film_whose_bars_change_is_resumed(tmp_path: Path) -> None:
    """At cuts and within shots; the stabilizer's state is that of the picture between the bars."""
    source, whole, output = tmp_path / "in.mkv", tmp_path / "whole.mkv", tmp_path / "o.mkv"
    boxes = [(12, 12, 0, 0), (0, 0, 16, 16), (12, 12, 16, 16)]
    with av.open(str(source), "w") as container:
        video: Any = container.add_stream("ffv1", rate=RATE)
        video.width, video.height, video.pix_fmt = 128, 96, "gray"
        number = 0
        for seed, (top, bottom, left, right) in enumerate(boxes):
            for shot in pan(36, seed):
                boxed = np.zeros_like(shot)
                area = slice(top, 96 - bottom), slice(left, 128 - right)
                boxed[area] = shot[area] // 2 + 60
                frame = av.VideoFrame.from_ndarray(boxed, format="gray")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                number += 1
                container.mux(video.encode(frame))
        container.mux(video.encode(None))
    assert run(source, whole, FFV1).status == "done"
    for frames in (30, 50, 90):
        kill(source, output, FFV1, frames)
    report = run(source, output, FFV1)
    assert report.status == "done" and report.resumed >= 60, report.error
    assert_same_film(output, whole)
    for i, frame in enumerate(read_frames(whole)):
        top, _, left, _ = boxes[i // 36]
        cb = np.frombuffer(memoryview(frame.planes[1]), np.uint8)
        cb = cb.reshape(frame.planes[1].height, -1)[:, : frame.planes[1].width]
        down, across = 96 // cb.shape[0], 128 // cb.shape[1]
        assert (cb[: top // down] == 128).all() and (cb[:, : left // across] == 128).all()
        assert (cb[48 // down] != 128).any()


@pytest.fixture
def interlaced() -> Iterator[Callable[[Path], Path]]:
    """Writes a film whose two fields show different moments of a pan."""

    def write(path: Path) -> Path:
        moments = [frame for seed in (1, 2, 3) for frame in pan(48, seed)]
        with av.open(str(path), "w") as container:
            video = container.add_stream("ffv1", rate=RATE)
            video.height, video.width = moments[0].shape
            video.pix_fmt = "gray"
            for number in range(len(moments) // 2):
                woven = moments[2 * number].copy()
                woven[1::2] = moments[2 * number + 1][1::2]
                frame = av.VideoFrame.from_ndarray(woven, format="gray")
                frame.pts = number
                frame.time_base = Fraction(1, RATE)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        return path

    yield write
