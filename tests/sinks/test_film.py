"""`FilmSink` over containers, encoders, timings, segments and interruptions."""

from __future__ import annotations

import itertools
import math
import resource
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import AttachmentStream

from tests.helpers.films import (
    Entry,
    FilmMaker,
    batches_of,
    make_batches,
    read_facts,
    read_frames,
    read_streams,
)
from vidcolor.errors import ContainerError, OutputError
from vidcolor.frames import ColorBatch, ColorTags, Segment, VideoInfo
from vidcolor.sinks import COPY_ALL, EncoderSettings, FilmReport, FilmSink, choose_pixel_format
from vidcolor.sinks.streams import PacketFeed

FAST = EncoderSettings(preset="ultrafast")
LOSSLESS = EncoderSettings("ffv1")
WHOLE = Segment()
SETTINGS = {
    "libx264": FAST,
    "libx265": EncoderSettings("libx265", preset="ultrafast"),
    "libsvtav1": EncoderSettings("libsvtav1", preset="12"),
    "prores_ks": EncoderSettings("prores_ks"),
    "ffv1": LOSSLESS,
}


def color(
    path: Path,
    facts: VideoInfo,
    output: Path,
    settings: EncoderSettings = FAST,
    *,
    batches: list[ColorBatch] | None = None,
    segment: Segment = WHOLE,
    copy: frozenset[str] = COPY_ALL,
    incomplete: bool = False,
    overwrite: bool = False,
) -> FilmReport:
    format = choose_pixel_format(facts, settings)
    with FilmSink(
        output,
        facts,
        settings,
        format=format,
        segment=segment,
        copy=copy,
        overwrite=overwrite,
        threads=1,
    ) as sink:
        for batch in batches if batches is not None else make_batches(path, facts, format):
            sink.write(batch)
        return sink.finish(incomplete=incomplete)


def moments(facts: VideoInfo, frames: list[Any]) -> list[Fraction]:
    return [frame.pts * facts.time_base for frame in frames]


@pytest.mark.parametrize("chapters", [0, 3])
@pytest.mark.parametrize(
    ("suffix", "subtitle", "audio"),
    [
        (".mkv", "srt", ("aac",)),
        (".mkv", "ass", ("flac", "aac")),
        (".mkv", "", ()),
        (".mp4", "mov_text", ("aac",)),
        (".mp4", "", ("aac", "aac")),
        (".mov", "mov_text", ("pcm_s16le",)),
        (".ts", "", ("aac",)),
    ],
)
def test_streams_are_copied_packet_by_packet(
    film: FilmMaker,
    tmp_path: Path,
    suffix: str,
    subtitle: str,
    audio: tuple[str, ...],
    chapters: int,
) -> None:
    if suffix == ".ts":
        chapters = 0  # the format has none
    name = "in.mp4" if suffix == ".ts" else f"in{suffix}"
    path, facts = film(name=name, subtitle=subtitle, audio=audio, chapters=chapters)
    report = color(path, facts, tmp_path / f"out{suffix}")
    before, after = read_streams(path), read_streams(report.path)
    assert report.frames == 12
    assert report.streams_copied == len(audio) + bool(subtitle)
    assert report.bytes == report.path.stat().st_size
    assert report.duration_seconds == pytest.approx(1.0, abs=0.002)
    chapter_track = suffix in (".mp4", ".mov")  # MP4 writes chapters as a text track too
    kinds = [each for each in after if not (chapter_track and each.kind == "data")]
    assert [(each.kind, each.codec) for each in kinds[1:]] == [
        (each.kind, each.codec) for each in before[1:] if each.kind != "data"
    ]
    for old, new in zip(before[1:], kinds[1:], strict=False):
        if old.kind == "audio" and suffix != ".ts" and not old.codec.startswith("pcm"):
            assert new.payload == old.payload
            assert new.times == old.times
        if old.kind == "audio":
            assert new.language == old.language
            assert b"".join(new.payload)[-400:] == b"".join(old.payload)[-400:] or suffix == ".ts"
        if old.kind == "subtitle":
            full = [each for each in old.payload if len(each) > 2]
            assert [each for each in new.payload if len(each) > 2] == full
    if suffix != ".ts":
        assert [each.default for each in kinds] == [
            each.default for each in before if each.kind != "data"
        ]
    assert read_facts(report.path).num_chapters == chapters
    # The first picture stays where it was against the first sound.
    if audio:

        def gap(entries: list[Entry]) -> float:
            sound = next(each for each in entries if each.kind == "audio")
            return float(entries[0].times[0] - sound.times[0])

        assert gap(after) == pytest.approx(gap(before), abs=0.0011)


def test_attachments_cover_and_titles_survive_in_matroska(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film(fonts=("a.ttf", "b c.ttf"), cover=True, subtitle="ass")
    report = color(path, facts, tmp_path / "out.mkv")
    before, after = read_streams(path), read_streams(report.path)
    assert [(each.kind, each.codec) for each in after[1:]] == [
        (each.kind, each.codec) for each in before[1:]
    ]
    assert [(each.title, each.language) for each in after] == [
        (each.title, each.language) for each in before
    ]
    assert after[-1].payload == before[-1].payload  # the cover's JPEG
    with av.open(str(report.path)) as container:
        fonts = [each for each in container.streams if isinstance(each, AttachmentStream)]
        assert [each.name for each in fonts] == ["a.ttf", "b c.ttf"]
        assert all(each.data == b"not really a font " * 20 for each in fonts)
        assert container.metadata["title"] == "A film"


def test_cover_art_goes_from_matroska_to_mp4(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film(cover=True)
    report = color(path, facts, tmp_path / "out.mp4")
    assert read_streams(report.path)[-1].payload == read_streams(path)[-1].payload


TIMINGS = {
    "cfr": (Fraction(1, 25), tuple(range(12)), 1),
    "ntsc": (Fraction(1001, 30000), tuple(range(12)), 1),
    "variable": (Fraction(1, 12800), (0, 500, 1100, 1200, 5000, 5512, 9001), 700),
    "late": (Fraction(1, 90000), tuple(45000 + 3753 * each for each in range(9)), 3753),
    "one frame": (Fraction(1, 25), (0,), 2),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("timing", TIMINGS)
@pytest.mark.parametrize("preset", ["ultrafast", "veryfast"])  # without and with B-frames
def test_integer_pts(
    film: FilmMaker, tmp_path: Path, suffix: str, timing: str, preset: str
) -> None:
    time_base, pts, last = TIMINGS[timing]
    path, facts = film(name="in.mp4", time_base=time_base, pts=pts, last_duration=last)
    sources = read_frames(path)
    assert moments(facts, sources) == [each * time_base for each in pts]
    report = color(path, facts, tmp_path / f"out{suffix}", EncoderSettings(preset=preset))
    written = read_facts(report.path)
    frames = read_frames(report.path)
    if suffix == ".mkv":
        assert [each.pts for each in frames] == [
            math.floor(moment * 1000 + Fraction(1, 2)) for moment in moments(facts, sources)
        ]
    else:
        assert written.time_base == facts.time_base
        assert [each.pts for each in frames] == [each.pts for each in sources]
    end = float((pts[-1] + last - pts[0]) * time_base)
    assert report.duration_seconds == pytest.approx(end, abs=1e-6)


def test_a_time_base_with_a_numerator_keeps_its_moments(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film(name="in.mp4", time_base=Fraction(1, 30000), pts=tuple(range(0, 9009, 1001)))
    facts = replace(facts, time_base=Fraction(1001, 30000))  # as a raw film or an AVI has it
    format = choose_pixel_format(facts, FAST)
    batches = batches_of(facts, format, [(number, 1) for number in range(9)])
    report = color(path, facts, tmp_path / "out.mp4", batches=batches)
    frames = read_frames(report.path)
    assert [each.pts * each.time_base for each in frames] == [
        number * facts.time_base for number in range(9)
    ]


def test_b_frames_lose_no_frame_and_unknown_durations_are_filled(
    film: FilmMaker, tmp_path: Path
) -> None:
    pts = tuple(range(30))
    path, facts = film(name="in.mp4", pts=pts, time_base=Fraction(1, 25))
    format = choose_pixel_format(facts, FAST)
    batches = batches_of(facts, format, [(each, 0) for each in pts])
    for batch in batches:
        batch.planes[0].fill_(90)  # still, so that the encoder does choose B-frames
    report = color(path, facts, tmp_path / "out.mp4", EncoderSettings(), batches=batches)
    frames = read_frames(report.path)
    assert [each.pts for each in frames] == list(pts)
    assert any(each.pict_type == 3 for each in frames)
    assert report.duration_seconds == pytest.approx(30 / 25)


@pytest.mark.parametrize("size", [(65, 47), (64, 47), (65, 48)])
@pytest.mark.parametrize("encoder", SETTINGS)
def test_odd_sizes_stay_exact(
    film: FilmMaker, tmp_path: Path, encoder: str, size: tuple[int, int]
) -> None:
    path, facts = film(size=size, video="ffv1", audio=())
    report = color(path, facts, tmp_path / "out.mkv", SETTINGS[encoder])
    frames = read_frames(report.path)
    assert len(frames) == 12
    assert {(each.width, each.height) for each in frames} == {size}


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1", "ffv1"])
def test_ten_bits_stay_ten(film: FilmMaker, tmp_path: Path, encoder: str) -> None:
    path, facts = film(video="ffv1", pix_fmt="yuv420p10le", audio=())
    report = color(path, facts, tmp_path / "out.mkv", SETTINGS[encoder])
    assert read_frames(report.path)[0].format.name == "yuv420p10le"


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gbrp10le"])
@pytest.mark.parametrize("size", [(64, 48), (65, 47)])
def test_ffv1_gives_the_planes_back(
    film: FilmMaker, tmp_path: Path, pix_fmt: str, size: tuple[int, int]
) -> None:
    path, facts = film(size=size, video="ffv1", audio=())
    settings = EncoderSettings("ffv1", pix_fmt=pix_fmt)
    format = choose_pixel_format(facts, settings)
    batches = make_batches(path, facts, format)
    report = color(path, facts, tmp_path / "out.mkv", settings, batches=batches)
    frames = read_frames(report.path)
    wanted = [
        [plane[index].numpy() for plane in batch.planes]
        for batch in batches
        for index in range(len(batch.source.pts))
    ]
    assert frames[0].format.name == pix_fmt
    for frame, planes in zip(frames, wanted, strict=True):
        ordered = [planes[1], planes[2], planes[0]] if format.rgb else planes
        for plane, codes in zip(frame.planes, ordered, strict=True):
            dtype = np.uint8 if format.bit_depth == 8 else np.uint16
            rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width]
            assert np.array_equal(rows, codes)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
def test_rotation_aspect_and_color_tags(
    film: FilmMaker, tmp_path: Path, suffix: str, full_range: bool, encoder: str
) -> None:
    aspect = None if (encoder, suffix) == ("libsvtav1", ".mkv") else Fraction(16, 15)
    path, facts = film(rotation=90, aspect=aspect, full_range=full_range)
    facts = replace(facts, tags=replace(facts.tags, matrix="bt709", primaries=1, transfer=1))
    assert facts.rotation == 90
    report = color(path, facts, tmp_path / f"out{suffix}", SETTINGS[encoder])
    written, frame = read_facts(report.path), read_frames(report.path)[0]
    assert written.rotation == 90
    assert written.display_matrix == facts.display_matrix
    assert (written.sample_aspect_ratio or 1) == (aspect or 1)
    assert frame.color_range == (2 if full_range else 1)
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)


def test_unspecified_primaries_stay_unspecified(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film()
    frame = read_frames(color(path, facts, tmp_path / "out.mkv").path)[0]
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (6, 2, 2)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_segment_begins_at_zero_with_its_sound(
    film: FilmMaker, tmp_path: Path, suffix: str
) -> None:
    path, facts = film(
        name=f"in{suffix}",
        time_base=Fraction(1, 25),
        pts=tuple(range(50)),
        chapters=4,
        subtitle="srt" if suffix == ".mkv" else "mov_text",
    )
    start, end = Fraction(4, 5), Fraction(8, 5)
    format = choose_pixel_format(facts, FAST)
    frames = [
        (each.pts, each.duration)
        for each in read_frames(path)
        if start <= each.pts * facts.time_base < end
    ]
    assert len(frames) == 20
    report = color(
        path,
        facts,
        tmp_path / f"out{suffix}",
        segment=Segment(start, end),
        batches=batches_of(facts, format, frames),
    )
    picture, sound, text = read_streams(report.path)[:3]
    assert picture.times[0] == 0
    assert float(picture.times[-1]) == pytest.approx(19 / 25)
    old = read_streams(path)[1]
    inside = [each for each in old.times if start <= each < end]
    assert [float(each) for each in sound.times] == pytest.approx(
        [float(each - start) for each in inside], abs=0.001
    )
    # The second subtitle, at 1.4 s, is 0.6 s into the segment.
    assert 0.6 in [pytest.approx(float(each), abs=0.001) for each in text.times]
    with av.open(str(report.path)) as container:
        ends = []
        for chapter in container.chapters():
            assert chapter["time_base"] is not None
            ends += [float(chapter[end] * chapter["time_base"]) for end in ("start", "end")]
    assert ends == pytest.approx([0, 0.2, 0.2, 0.7, 0.7, 0.8])


def test_packets_are_interleaved(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film(time_base=Fraction(1, 25), pts=tuple(range(250)), subtitle="srt")
    report = color(path, facts, tmp_path / "out.mkv")
    picture, sound = read_streams(report.path)[:2]
    in_file = sorted(
        [
            *zip(picture.order, picture.times, strict=True),
            *zip(sound.order, sound.times, strict=True),
        ]
    )
    latest = Fraction(0)
    for _, moment in in_file:
        assert moment > latest - Fraction(3, 10)
        latest = max(latest, moment)


def test_avi_takes_a_constant_rate_only(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film(
        name="in.mp4",
        time_base=Fraction(1, 12800),
        pts=tuple(range(0, 6144, 512)),
        last_duration=512,
        audio=("mp2",),
    )
    report = color(path, facts, tmp_path / "out.avi")
    assert [each.dts for each in read_frames(report.path)] == list(range(12))
    path, facts = film(name="vfr.mp4", time_base=Fraction(1, 12800), pts=(0, 500, 1100, 1200, 9000),
                       audio=())  # fmt: skip
    with pytest.raises(OutputError, match=r"constant frame rate.*-o /.*/vfr-out\.mkv"):
        color(path, facts, tmp_path / "vfr-out.avi")
    assert [each.name for each in tmp_path.glob("*vfr*")] == []


def test_stream_choice_leaves_kinds_out(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film(subtitle="srt", fonts=("a.ttf",), chapters=2)
    report = color(path, facts, tmp_path / "out.mp4", copy=frozenset({"audio"}))
    assert [each.kind for each in read_streams(report.path)] == ["video", "audio"]
    assert read_facts(report.path).num_chapters == 0


def test_a_numbered_sequence_becomes_a_film(tmp_path: Path) -> None:
    for number in range(100, 104):
        cv2.imwrite(str(tmp_path / f"{number:05d}.png"), np.full((48, 64, 3), 90, np.uint8))
    pattern = tmp_path / "%05d.png"
    facts = VideoInfo(
        path=pattern,
        codec="png",
        width=64,
        height=48,
        pix_fmt="rgb24",
        bit_depth=8,
        subsampling=(1, 1),
        has_luma=False,
        tags=ColorTags(True, "smpte170m"),
        time_base=Fraction(1, 24),
        average_rate=Fraction(24),
        num_frames_from_header=4,
        duration_seconds=None,
    )
    format = choose_pixel_format(facts, FAST)
    batches = batches_of(facts, format, [(number, 1) for number in range(4)])
    report = color(pattern, facts, tmp_path / "out.mp4", batches=batches)
    assert [each.pts for each in read_frames(report.path)] == [0, 1, 2, 3]
    assert report.streams_copied == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_an_interruption_leaves_nothing(
    film: FilmMaker, tmp_path: Path, error: type[BaseException], suffix: str
) -> None:
    path, facts = film()
    format = choose_pixel_format(facts, FAST)
    folder = tmp_path / "out"
    with pytest.raises(error), FilmSink(folder / f"a{suffix}", facts, FAST, format=format) as sink:
        sink.write(make_batches(path, facts, format)[0])
        assert len(list(folder.iterdir())) == 1
        raise error
    assert list(folder.iterdir()) == []


def test_leaving_without_finish_leaves_nothing(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film()
    format = choose_pixel_format(facts, FAST)
    with FilmSink(tmp_path / "out.mkv", facts, FAST, format=format) as sink:
        sink.write(make_batches(path, facts, format)[0])
    assert [each.name for each in tmp_path.iterdir()] == ["input"]


def test_a_damaged_film_is_named_incomplete(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film(name="Été à Nîmes.mkv")
    for wanted in ("couleur été.incomplete.mkv", "couleur été.incomplete-2.mkv"):
        report = color(path, facts, tmp_path / "couleur été.mkv", incomplete=True)
        assert report.incomplete
        assert report.path.name == wanted
    assert not (tmp_path / "couleur été.mkv").exists()


def test_copied_streams_that_break_off_make_it_incomplete(
    film: FilmMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, facts = film()
    real = PacketFeed._timed

    def broken(self: PacketFeed, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        def cut() -> Iterator[av.Packet[Any]]:
            yield from itertools.islice(packets, 10)
            raise av.error.InvalidDataError(1, "Invalid data found")

        return real(self, cut())

    monkeypatch.setattr(PacketFeed, "_timed", broken)
    report = color(path, facts, tmp_path / "out.mkv")
    assert report.incomplete
    assert report.path.name == "out.incomplete.mkv"
    (line,) = report.damage
    assert "Invalid data found" in line and line.startswith(str(path))
    assert [len(each.times) for each in read_streams(report.path)] == [12, 10]


def test_no_frames_is_an_error(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film()
    with pytest.raises(OutputError, match="no frame was decoded"):
        color(path, facts, tmp_path / "out.mkv", batches=[])
    assert [each.name for each in tmp_path.iterdir()] == ["input"]


def test_a_full_disk_is_named_and_leaves_nothing(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film(time_base=Fraction(1, 25), pts=tuple(range(100)), audio=())
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of a file fails a write just as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(OutputError, match=r"out\.mkv: cannot be written \(File too large\)"):
            color(path, facts, tmp_path / "out.mkv", LOSSLESS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert [each.name for each in tmp_path.iterdir()] == ["input"]


def test_an_output_that_is_not_right_is_kept_aside(
    film: FilmMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, facts = film()
    monkeypatch.setattr("vidcolor.sinks.film.find_faults", lambda *_: ["11 frames instead of 12"])
    with pytest.raises(OutputError, match=r"11 frames.*kept as out\.unverified\.mkv"):
        color(path, facts, tmp_path / "out.mkv")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["input", "out.unverified.mkv"]


def test_the_container_is_checked_before_the_work(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film(subtitle="srt")
    with pytest.raises(ContainerError):
        FilmSink(tmp_path / "a.mp4", facts, FAST, format=choose_pixel_format(facts, FAST))
    assert [each.name for each in tmp_path.iterdir()] == ["input"]
