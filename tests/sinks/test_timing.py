"""`FilmSink` where a container's own idea of time gets in the way: B-frames, AVI, edit lists."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from tests.helpers.films import FilmMaker, batches_of, read_frames, read_streams
from vidcolor.errors import OutputError
from vidcolor.frames import ColorBatch, VideoInfo
from vidcolor.sinks import (
    EncoderSettings,
    FilmReport,
    FilmSink,
    check_container,
    choose_pixel_format,
)
from vidcolor.sinks.streams import PacketFeed
from vidcolor.sources import FilmSource, probe_film

MEDIUM = EncoderSettings()  # libx264 with B-frames
# 25 frames a second that pause after every tenth and stumble in between; 90 000 ticks a second.
VARIABLE = tuple(n * 3600 + n // 10 * 36000 + n % 3 * 900 for n in range(24))


def recolor(path: Path, output: Path, settings: EncoderSettings = MEDIUM) -> FilmReport:
    """A film through source and sink, as the pipeline does it, still so that B-frames pay."""
    source = FilmSource(path)
    facts = source.facts
    format = choose_pixel_format(facts, settings)
    across, down = format.subsampling
    with FilmSink(output, facts, settings, format=format, threads=1) as sink:
        for batch in source.batches(7):
            luma = torch.full_like(batch.luma[:, 0], 90)
            chroma = torch.full_like(luma[:, ::down, ::across], 128)
            sink.write(ColorBatch((luma, chroma, chroma), format, batch))
        return sink.finish()


def has_b_frames(path: Path) -> bool:
    return any(each.pict_type == 3 for each in read_frames(path))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
@pytest.mark.parametrize("pts", [VARIABLE, (*range(0, 36000, 3000), *range(42000, 72000, 3000))])
def test_variable_rate_with_b_frames(
    film: FilmMaker, tmp_path: Path, suffix: str, pts: tuple[int, ...]
) -> None:
    path, _ = film(
        name="in.mp4", pts=pts, time_base=Fraction(1, 90000), last_duration=3600, b_frames=2
    )
    assert has_b_frames(path)
    first = tmp_path / f"first{suffix}"
    report = recolor(path, first)
    assert report.frames == len(pts)
    assert report.duration_seconds == pytest.approx((pts[-1] - pts[0] + 3600) / 90000, abs=0.41)
    assert has_b_frames(first)
    # What this sink has written is an input like any other.
    second = tmp_path / f"second{suffix}"
    recolor(first, second)
    for each in (first, second):
        times = [frame.pts * frame.time_base for frame in read_frames(each)]
        steps = [float(after - before) for before, after in pairwise(times)]
        wanted = [(after - before) / 90000 for before, after in pairwise(pts)]
        assert steps == pytest.approx(wanted, abs=0.0011 if suffix == ".mkv" else 1e-6)


@pytest.mark.parametrize("codec", ["pcm_s16le", "libmp3lame"])
def test_avi_keeps_the_start_of_the_sound(film: FilmMaker, tmp_path: Path, codec: str) -> None:
    path, _ = film(
        name="in.avi",
        pts=tuple(range(25)),
        time_base=Fraction(1, 25),
        video="mpeg4",
        b_frames=2,
        audio=(codec,),
    )
    assert has_b_frames(path)
    report = recolor(path, tmp_path / "out.avi")
    before, after = read_streams(path)[1], read_streams(report.path)[1]
    assert b"".join(after.payload) == b"".join(before.payload)
    assert len(read_frames(report.path)) == 25


def test_avi_waits_for_a_late_picture(film: FilmMaker, tmp_path: Path) -> None:
    path, _ = film(name="in.mkv", pts=tuple(range(10, 22)), audio=("mp2",))
    sound = read_streams(path)[1]
    report = recolor(path, tmp_path / "out.avi")
    assert b"".join(read_streams(report.path)[1].payload) == b"".join(sound.payload)
    last = read_frames(report.path)[-1].dts
    assert last == 21  # where it was against the sound
    assert report.duration_seconds == pytest.approx(1)


def test_sound_that_is_lost_is_found_out(
    film: FilmMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = film(pts=tuple(range(30)), time_base=Fraction(1, 25))
    monkeypatch.setattr(
        PacketFeed, "_reaches_in", lambda self, packet: packet.pts * packet.time_base > 0.1
    )
    real = PacketFeed.__init__

    def cutting(self: PacketFeed, *args: Any, **options: Any) -> None:
        real(self, *args, **{**options, "start": Fraction(0)})

    monkeypatch.setattr(PacketFeed, "__init__", cutting)
    with pytest.raises(OutputError, match=r"audio stream 1 has \d+ of the input's \d+ packets"):
        recolor(path, tmp_path / "out.mkv")


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_hidden_sound_stays_hidden(
    film: FilmMaker, tmp_path: Path, suffix: str, codec: str
) -> None:
    if (suffix, codec) == (".ts", "pcm_s16le"):
        codec = "mp2"
    path, _ = film(name="in.mov", audio=(codec,), audio_start=-0.3)
    before = read_streams(path)[1]
    assert min(before.times) < -0.25
    report = recolor(path, tmp_path / f"out{suffix}")
    picture, sound = read_streams(report.path)
    # One packet may stay, which the first that is heard is decoded from.
    assert sound.times[0] - picture.times[0] > -0.05
    assert len(sound.times) < len(before.times)
    end = before.payload[-1][-7:]  # a transport stream puts headers before the packets
    assert sound.payload[-1].endswith(end)
    copy = recolor(path, tmp_path / "out.mov")
    assert read_streams(copy.path)[1].payload == before.payload  # and are hidden there too
    assert read_streams(copy.path)[1].times == before.times


@pytest.mark.parametrize("codec", ["mp2", "pcm_s16le"])
def test_hidden_sound_does_not_delay_avi(film: FilmMaker, tmp_path: Path, codec: str) -> None:
    path, _ = film(name="in.mov", audio=(codec,), audio_start=-0.3)
    report = recolor(path, tmp_path / "out.avi")
    with av.open(str(path)) as container:
        heard = [bytes(each) for each in container.demux(audio=0) if not each.is_discard]
    assert b"".join(read_streams(report.path)[1].payload) == b"".join(heard)
    assert [each.dts for each in read_frames(report.path)] == list(range(12))


@pytest.mark.parametrize("pts", [VARIABLE, tuple(range(0, 90000, 3600))])
def test_windows_media_has_times(film: FilmMaker, tmp_path: Path, pts: tuple[int, ...]) -> None:
    path, _ = film(name="in.mp4", pts=pts, time_base=Fraction(1, 90000), last_duration=3600)
    report = recolor(path, tmp_path / "out.wmv")
    times = [frame.dts * frame.time_base for frame in read_frames(report.path)]
    assert [float(each - times[0]) for each in times] == pytest.approx(
        [each / 90000 for each in pts], abs=0.0011
    )
    assert len(read_streams(report.path)[1].times) == len(read_streams(path)[1].times)


def interlaced(film: FilmMaker, order: str, size: tuple[int, int] = (64, 48)) -> VideoInfo:
    _, facts = film(size=size, audio=())
    return replace(facts, interlaced=True, field_order=order)


@pytest.mark.parametrize("order", ["tt", "bb"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("encoder", ["libx264", "ffv1", "prores_ks"])
def test_fields_stay_fields(
    film: FilmMaker, tmp_path: Path, encoder: str, suffix: str, order: str
) -> None:
    if (encoder, suffix) in (("ffv1", ".mov"), ("prores_ks", ".mp4")):
        suffix = ".mkv"
    facts, settings = interlaced(film, order), EncoderSettings(encoder)
    format = choose_pixel_format(facts, settings)
    output = tmp_path / f"out{suffix}"
    assert check_container(output, facts, settings, format=format).notes == ()
    with FilmSink(output, facts, settings, format=format) as sink:
        for batch in batches_of(facts, format, [(number, 1) for number in range(12)]):
            sink.write(batch)
        report = sink.finish()
    assert all(each.interlaced_frame for each in read_frames(report.path))
    written = probe_film(report.path)
    assert (written.interlaced, written.field_order) == (True, order)


@pytest.mark.parametrize(
    ("encoder", "size"), [("libx265", (64, 48)), ("libsvtav1", (64, 48)), ("libx264", (64, 46))]
)
def test_fields_that_an_encoder_cannot_mark_are_told(
    film: FilmMaker, tmp_path: Path, encoder: str, size: tuple[int, int]
) -> None:
    facts = interlaced(film, "tt", size)
    (note,) = check_container(tmp_path / "out.mkv", facts, EncoderSettings(encoder)).notes
    assert note.startswith(f"{encoder} cannot mark the frames as interlaced")


def test_a_progressive_film_is_not_marked(film: FilmMaker, tmp_path: Path) -> None:
    path, _ = film(audio=())
    report = recolor(path, tmp_path / "out.mkv")
    with av.open(str(report.path)) as container:
        assert not any(each.interlaced_frame for each in container.decode(video=0))
