"""Whole films through `colorize`: every frame, its time, its light and all that came with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.clips import encode, frames
from tests.helpers.films import FilmSpec, build_film, read_frames, read_streams
from tests.helpers.readback import (
    assert_chroma_is_the_ramps,
    assert_lightness_is_kept,
    assert_look_is_kept,
    assert_same_pixels,
    assert_streams_are_kept,
    assert_times_are_kept,
    files_in,
    luma_codes,
    planes_of,
    read_color,
)
from vidcolor import Colorizer, EncoderSettings, Report, Settings, colorize
from vidcolor.frames import Segment
from vidcolor.models.base import ColorModel
from vidcolor.run.plan import expected_frames
from vidcolor.run.settings import Progress
from vidcolor.sources import probe_film

# frame by frame, because the ramp's chroma follows from one frame's lightness; tests of films with
# the stabilizer on are in test_steady_films.py
LOSSLESS = Settings(encoder=EncoderSettings("ffv1"), stabilize=False)
# MOV does not take FFV1; libx264 is lossless at crf 0
LOSSLESS_MOV = replace(LOSSLESS, encoder=EncoderSettings("libx264", crf=0, preset="veryfast"))
Maker = Callable[[Path], tuple[Path, np.ndarray]]


@pytest.fixture(scope="module")
def ramp() -> Colorizer:
    return Colorizer("_ramp", device="cpu", size=64)


def done(reports: list[Report]) -> Report:
    (report,) = reports
    assert (report.status, report.error) == ("done", "")
    return report


def film(name: str = "in.mkv", **spec: Any) -> Maker:
    """A film with streams; its luma is what FFmpeg decodes."""

    def make(folder: Path) -> tuple[Path, np.ndarray]:
        path = build_film(folder, FilmSpec(name=name, **spec))
        return path, luma_codes(path)

    return make


def clip(
    name: str,
    codec: str,
    pix_fmt: str,
    size: tuple[int, int] = (64, 48),
    depth: int = 8,
    **more: Any,
) -> Maker:
    """A lossless film; its luma is what was encoded. H.264's is what FFmpeg decodes: lossless
    H.264 has no B-frames."""

    def make(folder: Path) -> tuple[Path, np.ndarray]:
        count = len(more.get("pts", range(6)))
        made = encode(folder / name, codec, pix_fmt, frames(count, size[0], size[1], depth), **more)
        return made.path, luma_codes(made.path) if codec == "libx264" else made.luma

    return make


VARIABLE = (0, 500, 1100, 1200, 5000, 5512, 9001)
B_FRAMES = {"crf": "10", "bf": "3", "b_strategy": "0", "sc_threshold": "0", "preset": "veryfast"}

# id: how the film is made, the output's suffix, whether Y' is kept bit for bit instead of L*
MATRIX: dict[str, tuple[Maker, str, bool]] = {
    "420p-limited-cfr-sounds-subtitles-font-chapters": (
        film(audio=("aac", "flac"), subtitle="srt", fonts=("a.ttf",), chapters=3),
        ".mkv",
        False,
    ),
    "422p-full-variable-turned90-sound-text-chapters-mp4": (
        film(
            "in.mp4",
            pix_fmt="yuv422p",
            full_range=True,
            time_base=Fraction(1, 12800),
            pts=VARIABLE,
            last_duration=700,
            rotation=90,
            subtitle="mov_text",
            chapters=2,
        ),
        ".mp4",
        True,
    ),
    "420p10-odd-sound-non-ascii-name": (
        film(
            "Été à Nîmes (copie).mkv",
            video="ffv1",
            pix_fmt="yuv420p10le",
            size=(65, 47),
        ),
        ".mkv",
        True,
    ),
    "420p-ntsc-turned180-aspect-sound-mov": (
        film(
            "in.mp4",
            time_base=Fraction(1, 30000),
            pts=tuple(range(0, 12012, 1001)),
            last_duration=1001,
            rotation=180,
            aspect=Fraction(64, 45),
        ),
        ".mov",
        False,
    ),
    "444p12-full-one-frame": (
        film(video="ffv1", pix_fmt="yuv444p12le", full_range=True, pts=(0,), audio=()),
        ".mkv",
        True,
    ),
    "yuvj420p-mjpeg-pcm-turned270-mov": (
        film("in.mov", video="mjpeg", pix_fmt="yuvj420p", full_range=True, rotation=270,
             audio=("pcm_s16le",)),
        ".mov",
        True,
    ),
    "transport-stream-late-start-mp2": (
        film("a b.ts", time_base=Fraction(1, 90000), pts=tuple(range(45000, 135000, 7500)),
             last_duration=7500, audio=("mp2",)),
        ".mkv",
        False,
    ),
    "420p-b-frames-mp4": (
        clip("b.mp4", "libx264", "yuv420p", options=B_FRAMES, pts=range(24)),
        ".mp4",
        True,
    ),
    "420p-full-variable-odd": (
        clip("v.mkv", "ffv1", "yuv420p", (65, 49), pts=(0, 7, 90, 95, 400),
             time_base=Fraction(1, 1000), color_range=2, colorspace=1),
        ".mkv",
        False,
    ),
    "422p12-limited-odd": (clip("d.mkv", "ffv1", "yuv422p12le", (65, 48), 12), ".mkv", True),
    "gray-odd-variable": (
        clip("g.mkv", "ffv1", "gray", (65, 49), pts=(0, 40, 100, 101), time_base=Fraction(1, 1000)),
        ".mkv",
        True,
    ),
    "gray10-one-frame": (clip("g.mkv", "ffv1", "gray10le", depth=10, pts=(0,)), ".mkv", False),
    "gray16": (clip("g.mkv", "ffv1", "gray16le", depth=16), ".mkv", False),
    "rgb24-odd-mov": (clip("rgb 24.mov", "png", "rgb24", (65, 49)), ".mov", False),
    "palette-gif": (
        clip("p.gif", "gif", "gray", pts=(0, 10, 25, 31), time_base=Fraction(1, 100)),
        ".mkv",
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MATRIX)
def test_matrix(tmp_path: Path, ramp: Colorizer, case: str) -> None:
    make, suffix, exact = MATRIX[case]
    source, luma = make(tmp_path)
    before = source.read_bytes()
    output = tmp_path / f"couleur de {source.stem}{suffix}"
    lossless = LOSSLESS_MOV if suffix == ".mov" else LOSSLESS
    report = done(
        colorize(source, output, colorizer=ramp, settings=replace(lossless, exact_luma=exact))
    )
    assert (report.output, report.frames) == (output, len(luma))
    assert source.read_bytes() == before
    assert files_in(tmp_path) == sorted([source.name, output.name])

    first = read_frames(source)[0]
    has_luma = not first.format.is_rgb
    gray = len(first.format.components) == 1
    full_in = not has_luma or first.color_range == 2 or (gray and first.color_range != 1)
    assert_times_are_kept(source, output)
    assert_look_is_kept(source, output, full_range=full_in and has_luma)
    assert_streams_are_kept(source, output)

    depth = first.format.components[0].bits if has_luma else 8
    color = read_color(output, luma, depth, full_in)
    assert color.format.bit_depth == depth
    assert color.planes[0].shape == luma.shape
    if exact:
        assert np.array_equal(color.planes[0].numpy(), luma)
    else:
        assert_lightness_is_kept(color)
    if has_luma and not gray:
        assert color.format.name.replace("yuvj", "yuv") == first.format.name.replace("yuvj", "yuv")
    assert_chroma_is_the_ramps(color, tolerance=1.5)


def test_the_b_frames_of_the_matrix_are_there(tmp_path: Path) -> None:
    path, _ = MATRIX["420p-b-frames-mp4"][0](tmp_path)
    assert sum(frame.pict_type == 3 for frame in read_frames(path)) > 8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_default_encoder_stays_near(tmp_path: Path, ramp: Colorizer, suffix: str) -> None:
    source = build_film(tmp_path, FilmSpec(name="in.mp4", pts=tuple(range(24))))
    output = tmp_path / f"out{suffix}"
    done(colorize(source, output, colorizer=ramp, settings=Settings(exact_luma=True)))
    assert_times_are_kept(source, output)
    assert_streams_are_kept(source, output)
    error = luma_codes(output).astype(float) - luma_codes(source)
    assert 10 * np.log10(255**2 / (error**2).mean()) > 38
    assert_chroma_is_the_ramps(read_color(output, luma_codes(source), 8, False), tolerance=2.5)


# ---------------------------------------------------------------- batches, memory


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen frames: neither 3 nor 16 divides them."""
    folder = tmp_path_factory.mktemp("noisy")
    return encode(folder / "noisy.mkv", "ffv1", "yuv420p", frames(13)).path


@pytest.fixture(scope="module")
def plain(noisy: Path, ramp: Colorizer) -> Path:
    output = noisy.with_name("plain.mkv")
    done(colorize(noisy, output, colorizer=ramp, settings=replace(LOSSLESS, batch_size=1)))
    return output


@pytest.mark.parametrize("batch_size", [3, 16])
def test_the_batch_size_changes_nothing(
    tmp_path: Path, noisy: Path, plain: Path, ramp: Colorizer, batch_size: int
) -> None:
    settings = replace(LOSSLESS, batch_size=batch_size)
    report = done(colorize(noisy, tmp_path / "out.mkv", colorizer=ramp, settings=settings))
    assert report.frames == 13
    assert_same_pixels(report.output, plain)
    assert_times_are_kept(noisy, report.output)


class Cramped(ColorModel):
    """A model that runs out of memory for more than `room` frames, and from call `after` on."""

    stride = 8

    def __init__(self, inner: ColorModel, room: int, after: int = 0) -> None:
        super().__init__()
        self.inner, self.room, self.after, self.calls = inner, room, after, 0

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls > self.after and len(lightness) > self.room:
            raise torch.OutOfMemoryError("injected")
        return self.inner(lightness)


@pytest.mark.parametrize(("room", "after"), [(1, 0), (2, 0), (2, 1)])
def test_out_of_memory_gives_the_same_film(
    tmp_path: Path,
    noisy: Path,
    plain: Path,
    caplog: pytest.LogCaptureFixture,
    room: int,
    after: int,
) -> None:
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    colorizer.model = Cramped(colorizer.model, room, after)
    settings = replace(LOSSLESS, batch_size=5)
    report = done(colorize(noisy, tmp_path / "o.mkv", colorizer=colorizer, settings=settings))
    assert "out of memory" in caplog.text
    assert int(caplog.messages[-1].rsplit(" ", 1)[1]) <= room  # the last batch size
    assert report.frames == 13
    assert_same_pixels(report.output, plain)


def test_no_memory_for_one_frame_fails_the_film_and_leaves_nothing(
    tmp_path: Path, noisy: Path
) -> None:
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    colorizer.model = Cramped(colorizer.model, room=0)
    (report,) = colorize(noisy, tmp_path / "out.mkv", colorizer=colorizer, settings=LOSSLESS)
    assert report.status == "failed" and "single frame" in report.error
    assert files_in(tmp_path) == []


# ---------------------------------------------------------------- segments and damage


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_segment_has_its_frames_and_its_sound(
    tmp_path: Path, ramp: Colorizer, suffix: str
) -> None:
    spec = FilmSpec(name=f"in{suffix}", time_base=Fraction(1, 25), pts=tuple(range(50)))
    source = build_film(tmp_path, spec)
    whole, part = tmp_path / f"whole{suffix}", tmp_path / f"part{suffix}"
    done(colorize(source, whole, colorizer=ramp, settings=LOSSLESS))
    start, end = Fraction(81, 100), Fraction(8, 5)  # between frames 20 and 21, and on frame 40
    cut = replace(LOSSLESS, segment=Segment(start, end))
    assert done(colorize(source, part, colorizer=ramp, settings=cut)).frames == 19
    old, new = read_frames(whole), read_frames(part)
    assert [float(frame.pts * frame.time_base) for frame in new] == [
        pytest.approx(number / 25, abs=0.0005) for number in range(19)
    ]
    for before, after in zip(old[21:40], new, strict=True):
        for p, q in zip(planes_of(before), planes_of(after), strict=True):
            assert np.array_equal(p, q)
    sound, cut_sound = read_streams(source)[1], read_streams(part)[1]
    first = Fraction(21, 25)
    inside = [
        (moment - first, payload)
        for moment, payload in zip(sound.times, sound.payload, strict=True)
        if first <= moment < end
    ]
    assert cut_sound.payload == tuple(payload for _, payload in inside)
    for moment, (wanted, _) in zip(cut_sound.times, inside, strict=True):
        assert abs(moment - wanted) <= Fraction(1, 1000)


def test_a_segment_without_frames_says_so(tmp_path: Path, noisy: Path, ramp: Colorizer) -> None:
    settings = replace(LOSSLESS, segment=Segment(start=Fraction(90)))
    (report,) = colorize(noisy, tmp_path / "out.mkv", colorizer=ramp, settings=settings)
    assert report.status == "failed"
    assert str(noisy) in report.error and "--start" in report.error
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("name", ["film coupé.mp4", "film.mkv"])
def test_a_truncated_film_is_incomplete(tmp_path: Path, ramp: Colorizer, name: str) -> None:
    options = {"movflags": "+faststart"} if name.endswith("mp4") else None
    whole = encode(tmp_path / name, "ffv1", "yuv420p", frames(24), container_options=options).path
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 6 // 10])
    output = tmp_path / "out" / "couleur.mkv"
    (report,) = colorize(whole, output, colorizer=ramp, settings=LOSSLESS)
    assert report.status == "incomplete"
    assert report.output == output.with_name("couleur.incomplete.mkv")
    assert files_in(output.parent) == ["couleur.incomplete.mkv"]
    assert 5 < report.frames < 24 and len(read_frames(report.output)) == report.frames
    assert str(whole) in report.error and report.output.name in report.error
    luma = np.stack(frames(report.frames))
    color = read_color(report.output, luma, 8, False)
    # the frame at the cut may be damaged; those before it are whole
    y, u, v = (plane[:-1] for plane in color.planes)
    assert_lightness_is_kept(replace(color, planes=(y, u, v), source=color.source[:-1]))


# ---------------------------------------------------------------- reports


def test_reports_and_progress(tmp_path: Path, noisy: Path, ramp: Colorizer) -> None:
    seen: list[Progress] = []
    settings = replace(LOSSLESS, batch_size=4)
    report = done(
        colorize(
            noisy, tmp_path / "out.mkv", colorizer=ramp, settings=settings, on_progress=seen.append
        )
    )
    assert [(p.done, p.input) for p in seen] == [(n, noisy) for n in (4, 8, 12, 13)]
    assert {p.total for p in seen} == {13}
    values = report.to_dict()
    assert values["input"] == str(noisy) and values["frames"] == 13
    assert values["fps"] == pytest.approx(13 / report.seconds, rel=0.01)


def test_a_film_in_color_is_warned_about(tmp_path: Path, ramp: Colorizer) -> None:
    source = encode(tmp_path / "c.mkv", "ffv1", "yuv420p", frames(3), chroma=40, colorspace=6).path
    report = done(colorize(source, tmp_path / "o.mkv", colorizer=ramp, settings=LOSSLESS))
    (warning,) = report.warnings
    assert warning.startswith(f"{source}: is tinted")
    assert_chroma_is_the_ramps(
        read_color(report.output, np.stack(frames(3)), 8, False), tolerance=1.5
    )


def test_frames_expected_of_a_segment(noisy: Path) -> None:
    facts = replace(probe_film(noisy), num_frames_from_header=24, average_rate=Fraction(12))
    for start, end, wanted in [
        (None, None, 24), (None, 1, 12), (1, None, 12), (Fraction(1, 2), 1, 6), (0, 99, 24),
        (5, None, 0),
    ]:  # fmt: skip
        segment = Segment(
            None if start is None else Fraction(start), None if end is None else Fraction(end)
        )
        assert expected_frames(facts, segment) == wanted
