"""Folders of pictures: batches, order, room, failures of one among many, interruptions."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch
from PIL import Image

from tests.cli.test_processes import RAMP, start
from tests.helpers.clips import pattern
from tests.helpers.pretend_cuda import CUDA, pretend_cuda
from tests.helpers.readback import files_in
from vidcolor import Colorizer, Settings, colorize
from vidcolor.errors import OutputError
from vidcolor.frames import ColorBatch, LumaBatch
from vidcolor.models.base import ColorModel
from vidcolor.run import pictures
from vidcolor.run.pictures import colorize_pictures
from vidcolor.run.plan import PicturesJob
from vidcolor.run.settings import Progress
from vidcolor.sinks import PictureReport, PictureSink
from vidcolor.sinks.tiff import TiffAssembly
from vidcolor.sources.pictures import PictureSource
from vidcolor.sources.pillow_files import _Quiet

SHAPES = ((64, 48), (96, 72), (48, 64), (60, 60), (128, 96), (80, 60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures of six shapes, three model sizes, gray and color, 8 and 16 bits, alpha."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(20):
        gray = pattern(number, *SHAPES[number % 6], 16 if number % 6 == 4 else 8)
        image = Image.fromarray(gray)
        if number % 4 == 1:
            image = Image.fromarray(np.stack([gray, gray, gray], axis=-1).astype(np.uint8))
        elif number % 4 == 3:
            image = Image.fromarray(np.stack([gray, gray // 2], axis=-1).astype(np.uint8), "LA")
        image.save(root / f"{number:02d}.png")
    return root


class Spy(ColorModel):
    """Notes the shape of what the model is given."""

    stride = 8

    def __init__(self, inner: ColorModel) -> None:
        super().__init__()
        self.inner = inner
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(lightness.shape))
        return self.inner(lightness)


def ramp(wrap: Callable[..., ColorModel] = Spy, **options: int) -> Colorizer:
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    colorizer.model = wrap(colorizer.model, **options)
    return colorizer


def shapes(colorizer: Colorizer) -> list[tuple[int, ...]]:
    """The shapes of what the model was given."""
    assert isinstance(colorizer.model, Spy)
    return colorizer.model.shapes


def job_of(folder: Path, output: Path) -> PicturesJob:
    return PicturesJob(tuple((path, output / path.name) for path in sorted(folder.iterdir())))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def assert_same(one: Path, two: Path) -> None:
    """The same names, and pixels within 1 level on 99.9 % of them."""
    assert files_in(one) == files_in(two) != []
    for name in files_in(one):
        first, second = pixels(one / name), pixels(two / name)
        assert first.shape == second.shape
        assert (np.abs(first - second) > 1).mean() < 0.001


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_batches_and_threads_change_nothing(tmp_path: Path, folder: Path, workers: int) -> None:
    fast = Colorizer(device="cpu", size=64)
    colorize(
        folder, tmp_path / "one", colorizer=fast, settings=Settings(batch_size=1, picture_threads=1)
    )
    settings = Settings(batch_size=5, picture_threads=workers)
    reports = colorize(folder, tmp_path / "more", colorizer=fast, settings=settings)
    assert [report.input for report in reports] == sorted(folder.iterdir())
    assert {(report.status, report.frames) for report in reports} == {("done", 1)}
    assert_same(tmp_path / "one", tmp_path / "more")
    with Image.open(tmp_path / "more" / "03.png") as image:
        assert image.mode == "RGBA" and image.size == SHAPES[3]


def test_pictures_by_what_a_gpu_would_run(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = Colorizer("fast", device="cpu", size=64, precision="fp32")
    colorize(folder, tmp_path / "cpu", colorizer=cpu)
    with pretend_cuda(monkeypatch) as device:
        gpu = Colorizer("fast", device=str(CUDA), size=64, precision="fp32")
        reports = colorize(folder, tmp_path / "gpu", colorizer=gpu)
    assert {report.status for report in reports} == {"done"} and device.waits
    assert_same(tmp_path / "gpu", tmp_path / "cpu")


def test_pictures_of_one_model_size_are_colored_together(tmp_path: Path, folder: Path) -> None:
    colorizer = ramp()
    colorize(folder, tmp_path / "out", colorizer=colorizer, settings=Settings(batch_size=4))
    sizes = [shape[0] for shape in shapes(colorizer)]
    assert sum(sizes) == 20 and max(sizes) == 4
    wide = [shape[0] for shape in shapes(colorizer) if shape[2:] == (56, 72)]
    assert sorted(wide) == [2, 4, 4, 4]  # 4:3 at four sizes; two are left over at the end


def test_batches_follow_from_the_files_alone(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long each picture takes to be read; a window of six holds each shape once."""
    monkeypatch.setattr(pictures, "WINDOW", 6)
    read = PictureSource.read
    found = []
    for delay in (0, 7, 3):

        def slow(source: PictureSource, index: int, page: int = 0, delay: int = delay) -> LumaBatch:
            time.sleep(index * delay % 5 / 200)
            return read(source, index)

        monkeypatch.setattr(PictureSource, "read", slow)
        colorizer = ramp()
        settings = Settings(batch_size=16, picture_threads=3)
        colorize(folder, tmp_path / f"{delay}", colorizer=colorizer, settings=settings)
        found.append(sorted(shapes(colorizer)))
    assert found[0] == found[1] == found[2]
    assert [shape[0] for shape in found[0]].count(4) == 3


class Cramped(ColorModel):
    """Runs out of memory for more than `room` pictures at once."""

    def __init__(self, inner: ColorModel, room: int) -> None:
        super().__init__()
        self.inner, self.room = inner, room

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        if len(lightness) > self.room:
            raise torch.OutOfMemoryError("injected")
        return self.inner(lightness)


@pytest.mark.parametrize("room", [1, 2])
def test_out_of_memory_gives_the_same_pictures(
    tmp_path: Path, folder: Path, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    colorize(folder, tmp_path / "plain", colorizer=ramp())
    settings = Settings(batch_size=5)
    cramped = ramp(Cramped, room=room)
    reports = colorize(folder, tmp_path / "cramped", colorizer=cramped, settings=settings)
    assert {report.status for report in reports} == {"done"}
    assert "out of memory" in caplog.text
    assert_same(tmp_path / "plain", tmp_path / "cramped")


def test_no_memory_for_one_picture_fails_each_and_leaves_nothing(
    tmp_path: Path, folder: Path
) -> None:
    reports = colorize(folder, tmp_path / "out", colorizer=ramp(Cramped, room=0))
    assert len(reports) == 20 and all("single frame" in report.error for report in reports)
    assert not (tmp_path / "out").exists()


class Blind(ColorModel):
    """Predicts nothing finite for a picture that is white."""

    def __init__(self, inner: ColorModel) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        white = lightness.amin(dim=(1, 2, 3), keepdim=True) > 99
        return self.inner(lightness) + torch.where(white, torch.inf, 0.0)


def test_one_of_a_batch_that_fails_does_not_take_the_others_along(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        gray = np.full((48, 64), 255, np.uint8) if number == 2 else pattern(number, 64, 48)
        Image.fromarray(gray).save(tmp_path / "in" / f"{number}.png")
    settings = Settings(batch_size=5)
    reports = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp(Blind), settings=settings)
    assert [report.status for report in reports] == ["done", "done", "failed", "done", "done"]
    assert "not finite" in reports[2].error and reports[2].frames == 0
    assert files_in(tmp_path / "out") == ["0.png", "1.png", "3.png", "4.png"]


# ---------------------------------------------------------------- order


def test_reports_come_in_order_whatever_is_saved_first(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = PictureSink.write
    written: list[str] = []

    def slow(sink: PictureSink, batch: ColorBatch) -> PictureReport:
        assert batch.source.picture is not None
        name = batch.source.picture.path.name
        if name == "00.png":
            time.sleep(0.5)
        if name == "05.png":
            raise OutputError("injected")
        written.append(name)
        return write(sink, batch)

    monkeypatch.setattr(PictureSink, "write", slow)
    seen: list[Progress] = []
    settings = Settings(picture_threads=2)
    reports = list(
        colorize_pictures(job_of(folder, tmp_path / "out"), ramp(), settings, seen.append)
    )
    names = [f"{number:02d}.png" for number in range(20)]
    assert [report.output.name for report in reports] == names
    assert [(p.input.name, p.done, p.total) for p in seen] == [
        (name, done, 20) for done, name in enumerate(names, start=1)
    ]
    assert written[0] != "00.png"  # the others did not wait
    assert [r.input.name for r in reports if r.status == "failed"] == ["05.png"]
    assert files_in(tmp_path / "out") == [name for name in names if name != "05.png"]


def test_the_first_report_does_not_wait_for_the_last_picture(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "WINDOW", 4)
    reports = colorize_pictures(
        job_of(folder, tmp_path / "out"), ramp(), Settings(picture_threads=1)
    )
    with closing(reports):
        assert next(reports).input.name == "00.png"
        assert not (tmp_path / "out" / "19.png").exists()


# ---------------------------------------------------------------- room


def test_pixels_under_way_are_bounded(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for 15,000 pixels, that is for five of the smaller pictures; one of 36,000 is alone."""
    (tmp_path / "in").mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        (tmp_path / "in" / f"{number:02d}.png").write_bytes(path.read_bytes())
    Image.fromarray(pattern(0, 240, 150)).save(tmp_path / "in" / "07a.png")
    free = 15_000 * pictures._BYTES_A_PIXEL / pictures.SHARE + 1
    monkeypatch.setattr(pictures, "free_memory", lambda device: free)
    lock, held, most = threading.Lock(), {}, []
    read, write = PictureSource.read, PictureSink.write

    def reading(source: PictureSource, index: int, page: int = 0) -> LumaBatch:
        batch = read(source, index, page)
        with lock:
            held[source.items[index][0]] = batch.luma.numel()
            most.append((sum(held.values()), len(held)))
        return batch

    def writing(sink: PictureSink, batch: ColorBatch) -> PictureReport:
        time.sleep(0.01)
        report = write(sink, batch)
        with lock:
            assert batch.source.picture is not None
            del held[batch.source.picture.path]
        return report

    monkeypatch.setattr(PictureSource, "read", reading)
    monkeypatch.setattr(PictureSink, "write", writing)
    settings = Settings(picture_threads=3)
    reports = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp(), settings=settings)
    assert {report.status for report in reports} == {"done"} and len(reports) == 21
    assert all(total <= 15_000 or count == 1 for total, count in most)
    assert (36_000, 1) in most
    assert max(count for _, count in most) > 1


def test_count_pixels_reads_the_head_alone(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    Image.fromarray(pattern(0, 64, 48)).save(whole)
    cut, bad = tmp_path / "cut.png", tmp_path / "bad.png"
    cut.write_bytes(whole.read_bytes()[:200])
    bad.write_bytes(b"no picture")
    missing = tmp_path / "missing.png"
    source = PictureSource([(path, path) for path in (whole, cut, bad, missing)])
    assert [source.count_pixels(index) for index in range(4)] == [64 * 48, 64 * 48, 0, 0]


@pytest.mark.parametrize(
    ("owner", "name"),
    [(PictureSource, "read"), (Colorizer, "predict_batch"), (PictureSink, "write")],
)
def test_an_unexpected_error_fails_one_picture(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    method, calls = getattr(owner, name), itertools.count()

    def once(*arguments: Any) -> Any:
        if next(calls) == 2:
            raise MemoryError
        return method(*arguments)

    monkeypatch.setattr(owner, name, once)
    settings = Settings(batch_size=1, picture_threads=1)
    reports = colorize_pictures(job_of(folder, tmp_path / "out"), ramp(), settings)
    (bad,) = (report for report in reports if report.status != "done")
    assert (
        bad.status == "failed"
        and bad.transient
        and "not enough memory" in bad.error
        and bad.frames == 0
    )
    assert files_in(tmp_path / "out") == [f"{i:02d}.png" for i in range(20) if i != 2]


def test_a_bug_does_not_wait_for_room(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its report comes at once, and it lets the next picture in."""

    def broken(sink: PictureSink, batch: ColorBatch) -> PictureReport:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(PictureSink, "write", broken)
    monkeypatch.setattr(pictures, "free_memory", lambda device: 1)  # one picture at a time
    began, threads = time.monotonic(), threading.active_count()
    reports = list(colorize_pictures(job_of(folder, tmp_path / "out"), ramp(), Settings()))
    assert len(reports) == 20 and all("ZeroDivisionError: a bug" in r.error for r in reports)
    assert time.monotonic() - began < 10 and threading.active_count() == threads


# ---------------------------------------------------------------- threads and interruptions


def test_stopping_early_leaves_no_thread_and_no_half_file(tmp_path: Path, folder: Path) -> None:
    before, threads = threading.active_count(), torch.get_num_threads()
    output = tmp_path / "out"
    reports = colorize_pictures(job_of(folder, output), ramp(), Settings(picture_threads=2))
    with closing(reports):
        assert [next(reports).status for _ in range(3)] == ["done"] * 3
    assert threading.active_count() == before
    assert torch.get_num_threads() == threads
    assert all(pixels(output / name).ndim == 3 for name in files_in(output))
    assert not [name for name in files_in(output) if name.startswith(".")]


def test_ctrl_c_leaves_whole_pictures_alone(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    Image.fromarray(pattern(0, 900, 700)).save(source / "0.png")
    for number in range(1, 120):
        os.link(source / "0.png", source / f"{number}.png")
    output = tmp_path / "out"
    process = start("run", source, "-o", output, *RAMP, "--json")
    until = time.monotonic() + 60
    while len(list(output.glob("[0-9]*.png"))) < 3 and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err.endswith("interrupted\n") and "Traceback" not in err
    written = files_in(output)
    assert 3 <= len(written) < 120 and not [name for name in written if name.startswith(".")]
    assert all(pixels(output / name).shape == (700, 900, 3) for name in written)
    assert out.count('"status": "done"') <= len(written)


def pages_of(path: Path, count: int) -> None:
    """A TIFF file of pages of 900 x 700."""
    pages = [Image.fromarray(pattern(number, 900, 700)) for number in range(count)]
    path.parent.mkdir()
    pages[0].save(path, save_all=True, append_images=pages[1:])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_file_of_many_pages_leaves_nothing(tmp_path: Path, number: int) -> None:
    pages_of(tmp_path / "in" / "a.tif", 60)
    output = tmp_path / "out"
    process = start("run", tmp_path / "in", "-o", output, *RAMP)
    until = time.monotonic() + 60
    while not any(path.stat().st_size for path in output.glob(".a.*")):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in err and files_in(output) == []


def test_stopping_at_an_error_leaves_nothing_of_many_pages(tmp_path: Path) -> None:
    """As `colorize` does when its caller's `on_progress` raises."""
    pages_of(tmp_path / "in" / "b.tif", 12)
    Image.fromarray(pattern(0, 64, 48)).save(tmp_path / "in" / "a.png")

    def stop(progress: Progress) -> None:
        until = time.monotonic() + 30  # for the other file to be begun
        while not any((tmp_path / "out").glob(".b.*")) and time.monotonic() < until:
            time.sleep(0.01)
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp(), on_progress=stop)
    assert files_in(tmp_path / "out") == ["a.png"]


def test_warnings_are_as_before_when_several_have_read() -> None:
    quiet = _Quiet()
    first, second = quiet(), quiet()
    with pytest.warns(UserWarning, match="heard"):
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)  # not in the order of a stack
        warnings.warn("unheard", UserWarning, stacklevel=1)
        second.__exit__(None, None, None)
        warnings.warn("heard", UserWarning, stacklevel=1)


def test_every_page_is_colorized(tmp_path: Path) -> None:
    pages = [Image.fromarray(pattern(i, 64 - 8 * i, 48)) for i in range(3)]
    (tmp_path / "in").mkdir()
    pages[0].save(tmp_path / "in" / "a.tif", save_all=True, append_images=pages[1:])
    (report,) = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp())
    assert (report.status, report.frames) == ("done", 3)
    with Image.open(report.output) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
        for number, page in enumerate(pages):
            image.seek(number)
            assert image.size == page.size and image.mode == "RGB"
            assert np.ptp(np.asarray(image).astype(int), axis=2).max() > 20  # colored


def test_a_page_that_fails_makes_the_file_incomplete(tmp_path: Path) -> None:
    pages = [Image.fromarray(pattern(i, 64, 48)) for i in range(2)]
    bad = Image.fromarray(np.zeros((48, 64), np.float32))
    (tmp_path / "in").mkdir()
    pages[0].save(tmp_path / "in" / "a.tif", save_all=True, append_images=[bad, pages[1]])
    (report,) = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp())
    assert (report.status, report.frames) == ("incomplete", 2)
    assert "page 2 floating-point" in report.error
    assert report.output == tmp_path / "out" / "a.incomplete.tif"
    with Image.open(report.output) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.incomplete.tif"]


def test_an_animation_keeps_its_timing(tmp_path: Path) -> None:
    frames = [Image.fromarray(pattern(i, 64, 48)) for i in range(3)]
    (tmp_path / "in").mkdir()
    frames[0].save(tmp_path / "in" / "a.webp", save_all=True, append_images=frames[1:],
                   duration=[40, 80, 120], loop=2, lossless=True)  # fmt: skip
    (report,) = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp())
    assert (report.status, report.frames) == ("done", 3)
    with Image.open(report.output) as image:
        assert image.info["loop"] == 2
        for number, delay in enumerate((40, 80, 120)):
            image.seek(number)
            image.load()
            assert image.info["duration"] == delay


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_a_page_that_cannot_be_written_makes_the_file_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    pages_of(tmp_path / "in" / "a.tif", 3)
    calls, method = itertools.count(1), TiffAssembly.append

    def append(self: TiffAssembly, *arguments: Any) -> None:
        if next(calls) == bad:
            raise OSError(errno.EIO, "Input/output error")
        method(self, *arguments)

    monkeypatch.setattr(TiffAssembly, "append", append)
    (report,) = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp())
    assert (report.status, report.frames) == ("incomplete", 2)
    assert "Input/output error" in report.error
    assert files_in(tmp_path / "out") == ["a.incomplete.tif"]
    with Image.open(report.output) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]


def test_a_file_of_pages_that_cannot_be_finished_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages_of(tmp_path / "in" / "a.tif", 3)

    def finish(self: TiffAssembly) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TiffAssembly, "finish", finish)
    (report,) = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp())
    assert (report.status, report.frames) == ("failed", 0) and "disk is full" in report.error
    assert files_in(tmp_path / "out") == []


def test_strips_of_a_large_picture_equal_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(1).integers(0, 99, (512, 768), dtype=np.uint8)
    Image.fromarray(noise + pattern(0, 768, 512) // 2).save(tmp_path / "in" / "a.tif")
    settings = Settings(overwrite=True)
    found = []
    for large in (1 << 26, 1 << 10):
        for module in ("color.compose", "run.colorizer", "run.pictures"):
            monkeypatch.setattr(f"vidcolor.{module}.LARGE", large)
        (report,) = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp(), settings=settings)
        assert report.status == "done"
        found.append(np.asarray(Image.open(report.output)).astype(int))
    difference = np.abs(found[0] - found[1])
    assert difference.max() <= 1 and (difference > 0).mean() < 0.001


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
@pytest.mark.parametrize(("bits", "turned"), [(8, False), (16, False), (16, True)])
def test_alpha_of_a_large_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, bits: int, turned: bool
) -> None:
    """It is read from the file again, where the picture is not turned."""
    (tmp_path / "in").mkdir()
    codes = pattern(0, 90, 70, bits)
    veil = np.linspace(0, (1 << bits) - 1, codes.size).reshape(codes.shape).astype(codes.dtype)
    image = pyvips.Image.new_from_array(np.dstack([codes, codes, codes, veil]))
    image = image.copy(interpretation="rgb16" if bits == 16 else "srgb")
    if turned:
        image.set_type(pyvips.GValue.gint_type, "orientation", 3)
    image.write_to_file(str(tmp_path / "in" / "a.tif"))
    monkeypatch.setattr("vidcolor.sources.pictures._WHOLE", 1 << 10)
    monkeypatch.setattr("vidcolor.sources.pictures._STRIP", 1 << 10)
    items = ((tmp_path / "in" / "a.tif", tmp_path / f"a{suffix}"),)
    (report,) = colorize_pictures(PicturesJob(items), ramp(), Settings())
    assert report.status == "done"
    lost = [line for line in report.warnings if "left out the transparency" in line]
    assert len(lost) == (suffix == ".jpg")
    if suffix != ".jpg":
        found = pyvips.Image.new_from_file(str(report.output)).numpy()[..., 3]
        assert np.array_equal(found, np.rot90(veil, 2) if turned else veil)


def test_a_picture_that_does_not_fit_into_memory_is_refused_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(pattern(0, 300, 200)).save(tmp_path / "in" / "large.png")
    Image.fromarray(pattern(0, 30, 20)).save(tmp_path / "in" / "small.png")
    monkeypatch.setattr(pictures, "free_memory", lambda device: 200_000)
    monkeypatch.setattr(pictures, "LARGE", 1 << 10)
    reports = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp())
    assert {report.input.name: report.status for report in reports} == {
        "large.png": "failed",
        "small.png": "done",
    }
    assert "GB of memory" in reports[0].error


def test_times_are_kept(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(pattern(0, 32, 32)).save(tmp_path / "in" / "a.png")
    os.utime(tmp_path / "in" / "a.png", (888_888_888, 888_888_888))
    (report,) = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp())
    assert report.output.stat().st_mtime == 888_888_888
    settings = Settings(overwrite=True, keep_times=False)
    (report,) = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp(), settings=settings)
    assert report.output.stat().st_mtime > 1_000_000_000
