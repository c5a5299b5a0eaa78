"""Folders, pictures, sequences and names: what `colorize` reads, writes and refuses to write."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.clips import encode, frames, pattern
from tests.helpers.films import FilmSpec, build_film, read_frames
from tests.helpers.readback import assert_chroma_is_the_ramps, files_in, luma_codes, read_color
from vidcolor import Colorizer, EncoderSettings, Settings, colorize
from vidcolor.color.convert import gray_to_lightness, rgb_to_lab
from vidcolor.errors import OutputError
from vidcolor.models.base import ColorModel
from vidcolor.run.plan import PicturesJob, plan

LOSSLESS = Settings(encoder=EncoderSettings("ffv1"))


@pytest.fixture(scope="module")
def ramp() -> Colorizer:
    return Colorizer("_ramp", device="cpu", size=64)


def write_picture(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, values)[1].tobytes())
    return path


def small_film(path: Path, count: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return encode(path, "ffv1", "yuv420p", frames(count)).path


def assert_picture_is_colored(path: Path, gray: np.ndarray, bound: float) -> np.ndarray:
    """L* is that of `gray`, the chroma `_ramp`'s; returns R'G'B' `(H, W, 3)`."""
    read = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    rgb = read[..., 2::-1]
    assert rgb.shape == (*gray.shape, 3)
    top = 65535 if rgb.dtype == np.uint16 else 255
    values = torch.from_numpy(rgb.astype(np.float32) / top).permute(2, 0, 1)
    lab = rgb_to_lab(values)
    wanted = gray_to_lightness(torch.from_numpy(gray.astype(np.float32) / np.iinfo(gray.dtype).max))
    assert (lab[0] - wanted).abs().max() < bound
    inside = ((values > 0.1) & (values < 0.9)).all(dim=0)
    assert inside.float().mean() > 0.1
    for plane, model in ((lab[1], 0.3 * (wanted - 50)), (lab[2], 20 - 0.3 * wanted)):
        assert (plane - model).abs()[inside].quantile(0.75) < 1.5
    return rgb


# ---------------------------------------------------------------- pictures and folders


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp", ".jpg"])
def test_a_picture(tmp_path: Path, ramp: Colorizer, suffix: str) -> None:
    gray = pattern(0, 65, 49)
    source = write_picture(tmp_path / f"élève n° 1{suffix}", gray)
    output = tmp_path / f"couleur{suffix}"
    settings = Settings(quality=100)
    (report,) = colorize(source, output, colorizer=ramp, settings=settings)
    assert (report.status, report.frames) == ("done", 1)
    assert len(report.warnings) == (suffix == ".bmp")  # which holds no marks of its origin
    if suffix in (".png", ".tif", ".bmp"):
        assert assert_picture_is_colored(output, gray, 0.4).dtype == np.uint8
    else:
        with Image.open(output) as image:
            assert image.size == (65, 49)
            near = np.asarray(image.convert("L")).astype(int)
        assert np.abs(near - gray).mean() < 12


def test_a_sixteen_bit_tiff_stays_sixteen_bit(tmp_path: Path, ramp: Colorizer) -> None:
    gray = pattern(0, 65, 49, 16)
    source = write_picture(tmp_path / "deep.tif", gray)
    (report,) = colorize(source, tmp_path / "out" / "deep.tif", colorizer=ramp)
    assert report.status == "done"
    rgb = assert_picture_is_colored(report.output, gray, 0.01)
    assert rgb.dtype == np.uint16 and len(np.unique(rgb)) > 2000


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with pictures, films, what is neither, and a bad one of both kinds."""
    root = tmp_path / "Archiv ä"
    for number in (10, 9, 1):
        write_picture(root / "b" / f"img{number}.png", pattern(number, 40, 30))
    write_picture(root / "a" / "tief" / "Fräulein.tif", pattern(3, 40, 30))
    small_film(root / "film 2.mkv")
    small_film(root / "b" / "film 10.mkv", 5)
    (root / "notes.txt").write_text("no picture")
    write_picture(root / ".hidden.png", pattern(0, 8, 8))
    png = (root / "b" / "img1.png").read_bytes()
    (root / "b" / "bad.png").write_bytes(png[: len(png) // 2])
    (root / "bad.mkv").write_bytes(b"not a film at all" * 50)
    return root


@pytest.mark.parametrize("threads", [None, 2])
def test_a_folder_is_mirrored_and_bad_files_do_not_stop_it(
    archive: Path, tmp_path: Path, ramp: Colorizer, threads: int | None
) -> None:
    output = tmp_path / "out"
    settings = replace(LOSSLESS, picture_threads=threads)
    reports = colorize(archive, output, colorizer=ramp, settings=settings)
    found = {str(r.input.relative_to(archive)): r for r in reports}
    assert len(found) == len(reports) == 8
    failed = {name for name, r in found.items() if r.status == "failed"}
    assert failed == {"bad.mkv", os.path.join("b", "bad.png")}
    for name in failed:
        assert str(archive / name) in found[name].error and "\n" not in found[name].error
        assert found[name].frames == 0
    good = sorted(set(found) - failed)
    assert all(found[name].status == "done" for name in good)
    assert files_in(output) == good
    pictures = [str(r.input.relative_to(archive)) for r in reports if r.input.suffix != ".mkv"]
    assert pictures == [
        os.path.join("a", "tief", "Fräulein.tif"),
        *(os.path.join("b", name) for name in ("bad.png", "img1.png", "img9.png", "img10.png")),
    ]
    for number in (1, 9, 10):  # no picture got another one's name
        path = output / "b" / f"img{number}.png"
        assert_picture_is_colored(path, pattern(number, 40, 30), 0.4)
    assert len(read_frames(output / "b" / "film 10.mkv")) == 5


def test_several_inputs_and_a_glob(archive: Path, tmp_path: Path, ramp: Colorizer) -> None:
    output = tmp_path / "out"
    inputs: list[str | Path] = [
        str(archive / "b" / "img*.png"),
        archive / "film 2.mkv",
        archive / "a",
    ]
    reports = colorize(inputs, output, colorizer=ramp, settings=LOSSLESS)
    assert {r.status for r in reports} == {"done"}
    names = ["film 2.mkv", "img1.png", "img10.png", "img9.png"]
    assert files_in(output) == sorted([*names, os.path.join("tief", "Fräulein.tif")])


def test_without_an_output_the_name_says_color(archive: Path, ramp: Colorizer) -> None:
    film, picture = archive / "film 2.mkv", archive / "b" / "img1.png"
    reports = colorize([film, picture], colorizer=ramp, settings=LOSSLESS)
    assert sorted(r.output for r in reports) == sorted(
        [archive / "film 2.color.mkv", archive / "b" / "img1.color.png"]
    )
    assert all(r.output.is_file() for r in reports)


def test_a_numbered_sequence_becomes_a_film(tmp_path: Path, ramp: Colorizer) -> None:
    lumas = frames(5, 66, 50)
    for number, gray in enumerate(lumas):
        write_picture(tmp_path / "scans" / f"{number + 98:05d}.png", gray)
    rate = Fraction(24000, 1001)
    output = tmp_path / "out.mkv"
    settings = replace(LOSSLESS, fps=rate)
    (report,) = colorize(tmp_path / "scans" / "%05d.png", output, colorizer=ramp, settings=settings)
    assert (report.status, report.frames) == ("done", 5)
    read = read_frames(output)
    assert [frame.pts for frame in read] == [round(n / rate * 1000) for n in range(5)]
    color = read_color(output, np.stack(lumas), 8, True)
    assert_chroma_is_the_ramps(color, tolerance=1.5)
    beside = colorize(tmp_path / "scans" / "%05d.png", colorizer=ramp, settings=Settings(fps=rate))
    assert beside[0].output == tmp_path / "scans.color.mp4"
    assert len(read_frames(beside[0].output)) == 5


def test_a_sequence_needs_a_rate(tmp_path: Path, ramp: Colorizer) -> None:
    write_picture(tmp_path / "1.png", pattern(0, 8, 8))
    (report,) = colorize(tmp_path / "%d.png", tmp_path / "o.mkv", colorizer=ramp)
    assert report.status == "failed" and "--fps" in report.error


# ---------------------------------------------------------------- refusals


def test_an_existing_output(tmp_path: Path, ramp: Colorizer) -> None:
    source, output = small_film(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    output.write_bytes(b"precious")
    (report,) = colorize(source, output, colorizer=ramp, settings=LOSSLESS)
    assert report.status == "failed" and "--overwrite" in report.error
    assert output.read_bytes() == b"precious"
    skipping = replace(LOSSLESS, skip_existing=True)
    (report,) = colorize(source, output, colorizer=ramp, settings=skipping)
    assert report.status == "skipped" and output.read_bytes() == b"precious"
    (report,) = colorize(source, output, colorizer=ramp, settings=replace(LOSSLESS, overwrite=True))
    assert report.status == "done" and len(read_frames(output)) == 3
    assert files_in(tmp_path) == ["in.mkv", "out.mkv"]


def test_an_existing_output_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = small_film(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    output.write_bytes(b"precious")
    colorizer = Colorizer("_ramp", device="cpu", size=64)

    def broken(lightness: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(colorizer.model, "forward", broken)
    settings = replace(LOSSLESS, overwrite=True)
    (report,) = colorize(source, output, colorizer=colorizer, settings=settings)
    assert report.status == "failed"
    assert output.read_bytes() == b"precious"
    assert files_in(tmp_path) == ["in.mkv", "out.mkv"]


@pytest.mark.parametrize("way", ["name", "symbolic link", "hard link", "linked folder"])
@pytest.mark.parametrize("kind", ["film", "picture"])
def test_the_input_is_never_the_output(
    tmp_path: Path, ramp: Colorizer, way: str, kind: str
) -> None:
    folder = tmp_path / "in"
    source = (
        small_film(folder / "a.mkv")
        if kind == "film"
        else write_picture(folder / "a.png", pattern(0, 16, 16))
    )
    output = {"name": source, "linked folder": tmp_path / "link" / source.name}.get(
        way, tmp_path / f"b{source.suffix}"
    )
    if way == "symbolic link":
        output.symlink_to(source)
    elif way == "hard link":
        output.hardlink_to(source)
    elif way == "linked folder":
        (tmp_path / "link").symlink_to(folder)
    before = source.read_bytes()
    settings = replace(LOSSLESS, overwrite=True)
    (report,) = colorize(source, output, colorizer=ramp, settings=settings)
    assert report.status == "failed" and "the output is the input" in report.error
    assert source.read_bytes() == before


def test_an_output_is_never_another_input(tmp_path: Path, ramp: Colorizer) -> None:
    one = write_picture(tmp_path / "in" / "a.png", pattern(0, 16, 16))
    other = write_picture(tmp_path / "in" / "b.png", pattern(1, 16, 16))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").hardlink_to(other)
    before = other.read_bytes()
    settings = replace(LOSSLESS, overwrite=True)
    reports = colorize([one, other], tmp_path / "out", colorizer=ramp, settings=settings)
    assert other.read_bytes() == before
    status = {report.input: report for report in reports}
    assert status[other].status == "done"
    assert status[one].status == "failed" and str(other) in status[one].error


def test_an_output_folder_inside_the_input_is_refused(tmp_path: Path, ramp: Colorizer) -> None:
    write_picture(tmp_path / "in" / "a.png", pattern(0, 16, 16))
    for folder in (tmp_path / "in", tmp_path / "in" / "color"):
        with pytest.raises(OutputError, match="lies in the input folder"):
            colorize(tmp_path / "in", folder, colorizer=ramp)


def test_two_inputs_for_one_output(tmp_path: Path, ramp: Colorizer) -> None:
    one, two = small_film(tmp_path / "x" / "a.mkv"), small_film(tmp_path / "y" / "a.mkv")
    reports = colorize([one, two], tmp_path / "out", colorizer=ramp)
    assert [report.status for report in reports] == ["done", "done"]
    assert files_in(tmp_path / "out") == ["x/a.mkv", "y/a.mkv"]


def test_two_pictures_of_a_folder_for_one_output(tmp_path: Path, ramp: Colorizer) -> None:
    for name in ("a.tga", "a.png", "a.pcx", "b.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(pattern(0, 16, 16)).save(tmp_path / "in" / name)
    reports = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp)
    assert files_in(tmp_path / "out") == ["a.pcx.png", "a.png", "a.tga.png", "b.png"]
    found = {report.input.name: report for report in reports}
    assert {name: report.status for name, report in found.items()} == {
        "a.png": "done", "b.png": "done", "a.tga": "renamed", "a.pcx": "renamed",
    }  # fmt: skip
    assert "a.png is for" in found["a.tga"].error
    again = colorize(
        tmp_path / "in", tmp_path / "out", colorizer=ramp, settings=Settings(skip_existing=True)
    )
    assert {report.status for report in again} == {"skipped"}


def test_a_name_that_would_be_too_long_is_cut(tmp_path: Path, ramp: Colorizer) -> None:
    long = tmp_path / f"{'x' * 250}.png"
    for path in (long, tmp_path / "a.png"):
        write_picture(path, pattern(0, 16, 16))
    reports = colorize([long, tmp_path / "a.png"], colorizer=ramp)
    assert {report.input.name[0]: report.status for report in reports} == {
        "x": "renamed",
        "a": "done",
    }
    assert (tmp_path / "a.color.png").exists()


def test_a_glob_does_not_take_earlier_outputs(tmp_path: Path, ramp: Colorizer) -> None:
    for name in ("a.png", "deep/b.png"):
        write_picture(tmp_path / name, pattern(0, 16, 16))
    pattern_ = str(tmp_path / "**" / "*.png")
    assert len(colorize(pattern_, colorizer=ramp)) == 2
    again = Settings(overwrite=True)
    assert len(colorize(pattern_, colorizer=ramp, settings=again)) == 2
    colorize(pattern_, tmp_path / "out", colorizer=ramp)
    assert len(colorize(pattern_, tmp_path / "out", colorizer=ramp, settings=again)) == 2
    assert files_in(tmp_path / "out") == ["a.png", "deep/b.png"]


def test_an_unreadable_folder_is_a_failure(
    tmp_path: Path, ramp: Colorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(tmp_path / "in" / "a.png", pattern(0, 16, 16))
    (tmp_path / "in" / "locked").mkdir()
    scan = os.scandir

    def deny(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", deny)
    reports = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp)
    assert {report.input.name: report.status for report in reports} == {
        "locked": "failed",
        "a.png": "done",
    }


def test_several_inputs_need_a_folder(tmp_path: Path, ramp: Colorizer) -> None:
    one, two = small_film(tmp_path / "a.mkv"), small_film(tmp_path / "b.mkv")
    with pytest.raises(OutputError, match=r"out\.mkv: several inputs need a folder"):
        colorize([one, two], tmp_path / "out.mkv", colorizer=ramp)
    assert files_in(tmp_path) == ["a.mkv", "b.mkv"]


def test_a_stream_the_container_cannot_hold_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = build_film(tmp_path, FilmSpec(subtitle="srt", fonts=("a.ttf",)))
    colorizer = Colorizer("_ramp", device="cpu", size=64)

    def never(lightness: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(colorizer.model, "forward", never)
    (report,) = colorize(source, tmp_path / "out.mp4", colorizer=colorizer)
    assert report.status == "failed"
    for word in ("subtitle", "attachment", "out.mkv", "--copy"):
        assert word in report.error
    assert files_in(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize("name", ["a.gif", "a.jp2", "a"])
def test_a_picture_format_that_is_not_written_is_said_before_the_work(
    tmp_path: Path, name: str
) -> None:
    source = write_picture(tmp_path / "in.png", pattern(0, 16, 16))
    output = tmp_path / "out" / name
    output.parent.mkdir()
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    colorizer.model = cast(ColorModel, torch.nn.Identity())  # would fail, if it were asked
    if name == "a":  # no suffix: a folder
        reports = colorize(source, output, colorizer=Colorizer("_ramp", device="cpu", size=64))
        assert reports[0].output == output / "in.png" and output.is_dir()
        return
    (report,) = colorize(source, output, colorizer=colorizer)
    assert report.status == "failed" and ".png" in report.error
    assert files_in(tmp_path) == ["in.png"]


@pytest.mark.parametrize("suffix", [".jpe", ".jfif", ".dib"])
def test_every_picture_that_is_read_is_written_under_its_own_suffix(
    tmp_path: Path, ramp: Colorizer, suffix: str
) -> None:
    format = {".dib": ".bmp"}.get(suffix, ".jpg")
    source = write_picture(tmp_path / f"in{format}", pattern(0, 64, 48))
    source = source.rename(source.with_suffix(suffix))
    (report,) = colorize(source, tmp_path / "out", colorizer=ramp)
    assert (report.status, report.error) == ("done", "")
    with Image.open(report.output) as image:
        assert image.size == (64, 48)
        assert image.format == {".dib": "BMP"}.get(suffix, "JPEG")


def test_exact_luma_of_a_picture_is_kept_within_rounding(tmp_path: Path, ramp: Colorizer) -> None:
    gray = pattern(0, 64, 48)
    source = write_picture(tmp_path / "in.png", gray)
    settings = Settings(exact_luma=True)
    (report,) = colorize(source, tmp_path / "out.png", colorizer=ramp, settings=settings)
    rgb = np.asarray(Image.open(report.output)).astype(float)
    assert np.abs(rgb @ [0.299, 0.587, 0.114] - gray).max() <= 1
    assert np.ptp(rgb, axis=2).mean() > 5


def test_exact_luma_that_cannot_be_kept_is_said_before_the_work(
    tmp_path: Path, ramp: Colorizer
) -> None:
    source = small_film(tmp_path / "in.mkv")
    settings = Settings(EncoderSettings("ffv1", pix_fmt="yuv420p10le"), exact_luma=True)
    (report,) = colorize(source, tmp_path / "out.mkv", colorizer=ramp, settings=settings)
    assert report.status == "failed" and "--pix-fmt" in report.error
    assert str(source) in report.error
    assert files_in(tmp_path) == ["in.mkv"]


def test_ten_bits_for_an_eight_bit_film(tmp_path: Path, ramp: Colorizer) -> None:
    source = small_film(tmp_path / "in.mkv")
    settings = Settings(EncoderSettings("ffv1", pix_fmt="yuv444p10le"))
    (report,) = colorize(source, tmp_path / "out.mkv", colorizer=ramp, settings=settings)
    color = read_color(report.output, luma_codes(source), 8, False)
    assert (color.format.name, color.format.bit_depth) == ("yuv444p10le", 10)
    assert_chroma_is_the_ramps(color, tolerance=1.5)


def test_a_missing_input_does_not_stop_the_others(tmp_path: Path, ramp: Colorizer) -> None:
    write_picture(tmp_path / "good.png", pattern(0, 16, 16))
    reports = colorize(
        [tmp_path / "none.png", tmp_path / "good.png"], tmp_path / "out", colorizer=ramp
    )
    assert {r.input.name: r.status for r in reports} == {"none.png": "failed", "good.png": "done"}
    assert "no such file" in next(r.error for r in reports if r.status == "failed")


def test_a_folder_alone_goes_beside_itself(tmp_path: Path, ramp: Colorizer) -> None:
    write_picture(tmp_path / "photos" / "deep" / "one.png", pattern(0, 16, 16))
    (report,) = colorize(tmp_path / "photos", colorizer=ramp)
    assert report.output == tmp_path / "photos.color" / "deep" / "one.png"


def test_a_folder_s_film_whose_container_takes_no_h264_becomes_mkv(
    tmp_path: Path, ramp: Colorizer
) -> None:
    source = tmp_path / "in" / "still.gif"
    source.parent.mkdir()
    second = Image.fromarray(pattern(1, 16, 16))
    Image.fromarray(pattern(0, 16, 16)).save(source, save_all=True, append_images=[second])
    (report,) = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp)
    assert (report.status, report.output) == ("done", tmp_path / "out" / "still.mkv")
    assert any("written as .mkv" in line for line in report.warnings)
    again = Settings(skip_existing=True)
    (report,) = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp, settings=again)
    assert report.status == "skipped"
    (report,) = colorize(source, tmp_path / "named.gif", colorizer=ramp)
    assert report.status == "failed" and "named.mkv" in report.error


def test_nothing_is_made_by_planning(tmp_path: Path, ramp: Colorizer) -> None:
    write_picture(tmp_path / "a.png", pattern(0, 16, 16))
    jobs, reports = plan([tmp_path / "a.png"], f"{tmp_path}/new/", Settings())
    assert len(jobs) == 1 and not reports and not (tmp_path / "new").exists()
    with pytest.raises(OutputError, match="use another name"):
        plan([tmp_path / "a.png"], tmp_path / ("x" * 300), Settings())


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"picture_threads": 0}, {"quality": 0}, {"quality": 101}]
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


def test_a_format_without_color_becomes_png_and_what_was_noticed_is_told(
    tmp_path: Path, ramp: Colorizer
) -> None:
    source = tmp_path / "in" / "a.pgm"
    write_picture(source, pattern(0, 16, 16))
    pages = [Image.fromarray(pattern(n, 16, 16)) for n in range(3)]
    pages[0].save(tmp_path / "in" / "b.tif", save_all=True, append_images=pages[1:])
    first, second = colorize(tmp_path / "in", tmp_path / "out", colorizer=ramp)
    assert (first.status, first.output.name) == ("done", "a.png")
    assert second.status == "done" and any("3 pictures" in line for line in second.warnings)


def test_of_a_folder_only_what_is_chosen(tmp_path: Path) -> None:
    """Names depend on the whole folder, whatever is chosen of it."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.tga", "a.png", "b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pattern(0, 16, 16)).save(folder / name)
    (folder / "bad.mkv").write_bytes(b"no film")
    jobs, reports = plan([folder], out, Settings(), only={folder / "a.tga"})
    assert reports == [] and len(jobs) == 1 and isinstance(jobs[0], PicturesJob)
    assert jobs[0].items == ((folder / "a.tga", out / "a.tga.png"),)
    assert plan([folder], out, Settings(), only=()) == ([], [])
