"""Films through `colorize` with a network that changes its mind: steady, apart, repeatable."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.clips import encode, frames
from tests.helpers.command_line import Vidcolor
from tests.helpers.films import read_frames
from tests.helpers.pretend_cuda import CUDA, pretend_cuda
from tests.helpers.readback import assert_same_pixels, luma_codes, planes_of
from tests.helpers.shots import batches, pan
from vidcolor import Colorizer, EncoderSettings, Report, Settings, colorize
from vidcolor.frames import LumaBatch
from vidcolor.models.base import ColorModel
from vidcolor.motion.stabilizer import Stabilizer
from vidcolor.run import films
from vidcolor.run.colorizer import Colorizer as Worker
from vidcolor.run.pipeline import run
from vidcolor.run.plan import plan
from vidcolor.run.prepared import Prepared
from vidcolor.system.stages import StageTimer
from vidcolor.system.threads import StageThreads

STEADY = Settings(encoder=EncoderSettings("ffv1"))
FREE = replace(STEADY, stabilize=False)


class Moody(ColorModel):
    """One color a frame, which depends strongly on the frame's mean lightness."""

    stride = 8

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        mood = (lightness.mean((1, 2, 3), keepdim=True) * 5) % 2 - 1
        small = lightness[..., ::4, ::4]
        return torch.cat([10 + 12 * mood + 0 * small, 20 - 12 * mood + 0 * small], dim=1)


def moody(device: str = "cpu") -> Colorizer:
    colorizer = Colorizer("_ramp", device=device, size=96, precision="fp32")
    colorizer.model = Moody()
    return colorizer


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shots of 20 and 15 frames, with grain."""
    rng = np.random.default_rng(0)
    grainy = [
        np.clip(frame * 0.6 + 60 + rng.normal(0, 2, frame.shape) + rng.uniform(-3, 3), 16, 235)
        for frame in pan(20, 1, 1) + pan(15, 2, 1)
    ]
    folder = tmp_path_factory.mktemp("films")
    return encode(
        folder / "two shots.mkv", "ffv1", "yuv420p", [f.astype(np.uint8) for f in grainy]
    ).path


def done(reports: list[Report]) -> Path:
    assert [(r.status, r.error) for r in reports] == [("done", "")] * len(reports)
    return reports[-1].output


def chroma(path: Path) -> np.ndarray:
    """Mean Cb and Cr of each frame, `(N, 2)`."""
    return np.array([[p.mean() for p in planes_of(f)[1:]] for f in read_frames(path)])


@pytest.fixture(scope="module")
def steady(film: Path) -> Path:
    settings = replace(STEADY, batch_size=1)
    return done(colorize(film, film.with_name("steady.mkv"), colorizer=moody(), settings=settings))


def test_colors_stay_put_unless_told_otherwise(tmp_path: Path, film: Path, steady: Path) -> None:
    free = done(colorize(film, tmp_path / "free.mkv", colorizer=moody(), settings=FREE))
    step = [np.square(np.diff(chroma(p)[2:20], axis=0)).mean() for p in (free, steady)]
    assert step[0] > 2 and step[1] < 0.1 * step[0]


@pytest.mark.parametrize("batch_size", [3, 4, 7, 64])
def test_the_batch_size_changes_nothing(
    tmp_path: Path, film: Path, steady: Path, batch_size: int
) -> None:
    settings = replace(STEADY, batch_size=batch_size)
    again = done(colorize(film, tmp_path / "o.mkv", colorizer=moody(), settings=settings))
    assert_same_pixels(again, steady)


@pytest.mark.parametrize("overlap", [True, False])
def test_a_timer_measures_every_stage_and_changes_nothing(
    tmp_path: Path, film: Path, steady: Path, overlap: bool
) -> None:
    timer = StageTimer(overlap=overlap)
    settings = replace(STEADY, batch_size=4)
    jobs, _ = plan([film], tmp_path / "o.mkv", settings)
    output = done(list(run(jobs, moody(), settings, timer=timer)))
    names = ["decode", "cuts", "bars", "prepare", "predict", "stabilize", "compose", "encode"]
    assert sorted(timer.costs) == sorted(names)
    assert {cost.frames for cost in timer.costs.values()} == {35}
    assert all(cost.seconds > 0 for cost in timer.costs.values())
    assert_same_pixels(output, steady)


def test_a_shot_begins_afresh(film: Path, steady: Path, tmp_path: Path) -> None:
    """The second shot is what it would be as a film of its own."""
    second = [planes_of(f)[0] for f in read_frames(film)][20:]
    alone = encode(tmp_path / "second.mkv", "ffv1", "yuv420p", second).path
    output = done(colorize(alone, tmp_path / "o.mkv", colorizer=moody(), settings=STEADY))
    np.testing.assert_array_equal(chroma(output), chroma(steady)[20:])


def test_films_of_one_run_do_not_meet(film: Path, steady: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mkv"
    copy.write_bytes(film.read_bytes())
    folder = tmp_path / "out"
    done(colorize([film, copy], folder, colorizer=moody(), settings=STEADY))
    for name in (film.name, copy.name):
        assert_same_pixels(folder / name, steady)


@pytest.mark.parametrize("where", ["prepare", "predict", "stabilize", "adjust", "compose"])
def test_out_of_memory_gives_the_same_film(
    film: Path,
    steady: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    place = films if where == "compose" else Worker
    plain = getattr(place, where)

    def crowded(*given: Any, **more: Any) -> Any:
        (first,) = (each for each in given if isinstance(each, LumaBatch | Prepared))
        batch = first.batch if isinstance(first, Prepared) else first
        if len(batch) > 2 and batch.first_index >= 6:
            raise torch.OutOfMemoryError("injected")
        return plain(*given, **more)

    monkeypatch.setattr(place, where, crowded)
    settings = replace(STEADY, batch_size=6)
    output = done(colorize(film, tmp_path / "o.mkv", colorizer=moody(), settings=settings))
    assert "continuing with batches of" in caplog.text
    assert_same_pixels(output, steady)


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_in_the_model_at_once_change_nothing(
    film: Path, steady: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Though a later batch is ready before the first."""
    plain, first, second = Worker.predict, threading.Event(), threading.Event()
    at_work: list[int] = []
    most: list[int] = []

    def predict(self: Worker, prepared: Prepared) -> torch.Tensor | None:
        if prepared.batch.first_index:
            assert first.wait(30)
        at_work.append(1)
        most.append(len(at_work))
        if prepared.batch.first_index:
            second.set()
        else:
            first.set()
            assert workers == 1 or second.wait(30)
        ab = plain(self, prepared)
        at_work.pop()
        return ab

    monkeypatch.setattr(Worker, "predict", predict)
    monkeypatch.setattr(films, "share_threads", lambda *given: StageThreads(1, 1, workers))
    settings = replace(STEADY, batch_size=2)
    output = done(colorize(film, tmp_path / "o.mkv", colorizer=moody(), settings=settings))
    assert_same_pixels(output, steady)
    assert max(most) == 1 if workers == 1 else 2 <= max(most) <= workers


def test_one_frame_at_a_time_where_two_at_once_do_not_fit(
    film: Path, steady: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, at_work, failed = Worker.predict, threading.Semaphore(1), threading.Event()

    def predict(self: Worker, prepared: Prepared) -> torch.Tensor | None:
        if not at_work.acquire(blocking=False):
            failed.set()
            raise torch.OutOfMemoryError("injected")
        try:
            if not failed.is_set():
                failed.wait(30)  # until another has found no room
            return plain(self, prepared)
        finally:
            at_work.release()

    monkeypatch.setattr(Worker, "predict", predict)
    monkeypatch.setattr(films, "share_threads", lambda *given: StageThreads(1, 1, 2))
    settings = replace(STEADY, batch_size=1)
    output = done(colorize(film, tmp_path / "o.mkv", colorizer=moody(), settings=settings))
    assert failed.is_set()
    assert_same_pixels(output, steady)


def test_sequences_are_stabilized_and_pictures_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    frames_given = []
    plain = Stabilizer.stabilize

    def call(self: Stabilizer, lightness: Any, *more: Any) -> torch.Tensor:
        frames_given.append(len(lightness))
        return plain(self, lightness, *more)

    monkeypatch.setattr(Stabilizer, "stabilize", call)
    (tmp_path / "in").mkdir()
    for i, frame in enumerate(pan(3, 1)):
        Image.fromarray(frame).save(tmp_path / "in" / f"{i:03d}.png")
    done(colorize(tmp_path / "in", tmp_path / "out", colorizer=moody(), settings=STEADY))
    assert not frames_given
    sequence = str(tmp_path / "in" / "%03d.png")
    settings = replace(STEADY, fps=Fraction(25))
    done(colorize(sequence, tmp_path / "o.mkv", colorizer=moody(), settings=settings))
    assert sum(frames_given) == 3


@pytest.mark.parametrize("pix_fmt", ["gray", "gray16le", "yuv422p10le"])
def test_deep_and_odd_films(tmp_path: Path, pix_fmt: str) -> None:
    depth = {"gray": 8, "gray16le": 16, "yuv422p10le": 10}[pix_fmt]
    made = encode(tmp_path / "f.mkv", "ffv1", pix_fmt, frames(9, 65, 47, depth))
    exact = replace(STEADY, exact_luma=depth == 10)
    output = done(colorize(made.path, tmp_path / "o.mkv", colorizer=moody(), settings=exact))
    assert len(read_frames(output)) == 9
    if depth == 10:
        assert np.array_equal(luma_codes(output), made.luma)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_film_is_the_upright_one_turned(turns: int) -> None:
    upright = [frame[:, :96] for frame in pan(10, 1)]
    turned = [np.ascontiguousarray(np.rot90(frame, turns)) for frame in upright]
    colorizer = moody()
    given, wanted = (
        colorizer(replace(next(batches(shown, 10)), rotation=angle), Stabilizer())
        for shown, angle in ((turned, 90 * turns), (upright, 0))
    )
    torch.testing.assert_close(given, torch.rot90(wanted, turns, (-2, -1)))
    assert not torch.equal(wanted, colorizer(next(batches(upright, 10))))


def test_the_command_line(command: Vidcolor, tmp_path: Path, film: Path) -> None:
    options = ("--model", "_ramp", "--device", "cpu", "--size", "64", "--encoder", "ffv1")
    for name, more in (("a", ()), ("b", ("--stabilize",)), ("c", ("--no-stabilize",))):
        assert command("run", film, "-o", tmp_path / f"{name}.mkv", *options, *more).code == 0
    ramp = Colorizer("_ramp", device="cpu", size=64)
    free = done(colorize(film, tmp_path / "d.mkv", colorizer=ramp, settings=FREE))
    assert_same_pixels(tmp_path / "a.mkv", tmp_path / "b.mkv")
    assert_same_pixels(tmp_path / "c.mkv", free)
    assert not np.array_equal(chroma(tmp_path / "a.mkv"), chroma(tmp_path / "c.mkv"))


def test_without_opencv_a_film_is_colored_frame_by_frame_with_a_warning(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = done(colorize(film, tmp_path / "free.mkv", colorizer=moody(), settings=FREE))
    monkeypatch.setitem(sys.modules, "cv2", None)  # as where a system library is missing
    (report,) = colorize(film, tmp_path / "bare.mkv", colorizer=moody(), settings=STEADY)
    monkeypatch.undo()
    assert report.status == "done"
    (warning,) = [line for line in report.warnings if "not kept steady" in line]
    assert "because OpenCV cannot be loaded" in warning and "apt-get install libgl1" in warning
    assert_same_pixels(report.output, free)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
@pytest.mark.parametrize("depth", [8, 10])
def test_a_film_by_what_a_gpu_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    """All stages, `fast` itself, two shots: the file of the CPU."""
    luma = [plane.astype(np.uint8) for plane in pan(6, 1, 1) + pan(5, 2, 1)]
    pix_fmt = "yuv420p" if depth == 8 else "yuv420p10le"
    planes = [plane.astype(np.uint16) << 2 if depth == 10 else plane for plane in luma]
    clip = encode(tmp_path / "in.mkv", "ffv1", pix_fmt, planes).path
    settings, options = replace(STEADY, batch_size=4), {"size": 64, "precision": "fp32"}
    cpu = Colorizer("fast", device="cpu", **options)
    wanted = done(colorize(clip, tmp_path / "cpu.mkv", colorizer=cpu, settings=settings))
    with pretend_cuda(monkeypatch) as device:
        gpu = Colorizer("fast", device=str(CUDA), **options)
        found = done(colorize(clip, tmp_path / "gpu.mkv", colorizer=gpu, settings=settings))
    assert device.waits and gpu.device == CUDA
    ours, theirs = (list(map(planes_of, read_frames(path))) for path in (found, wanted))
    assert len(ours) == len(theirs) == 11
    for one, two in zip(ours, theirs, strict=True):
        for plane, other in zip(one, two, strict=True):
            assert np.abs(plane.astype(int) - other).max() <= 1
    assert np.ptp(theirs[0][1]) > 5  # in color


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
@pytest.mark.parametrize("where", ["prepare", "predict"])
def test_a_film_goes_on_on_the_cpu_where_a_gpu_has_no_memory(
    film: Path,
    steady: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    plain = getattr(Worker, where)

    def crowded(self: Worker, part: Any, *args: Any) -> Any:
        batch = part if where == "prepare" else part.batch
        if batch.luma.device == CUDA and batch.first_index >= 6:
            raise torch.OutOfMemoryError("injected")
        return plain(self, part, *args)

    monkeypatch.setattr(Worker, where, crowded)
    settings = replace(STEADY, batch_size=6)
    with pretend_cuda(monkeypatch):
        colorizer = moody(str(CUDA))
        output = done(colorize(film, tmp_path / "o.mkv", colorizer=colorizer, settings=settings))
    assert colorizer.device == CUDA  # it is not changed
    assert "continuing on the CPU" in caplog.text
    assert_same_pixels(output, steady)
