"""`check_container`: what fits, what does not, and what it says then."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.films import FilmMaker
from vidcolor.errors import ContainerError, OutputError
from vidcolor.sinks import EncoderSettings, check_container
from vidcolor.sinks.streams import cut_chapters

FAST = EncoderSettings(preset="ultrafast")


def test_a_plan_lists_what_is_copied(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film(subtitle="srt", fonts=("a.ttf",), chapters=2)
    plan = check_container(tmp_path / "out.mkv", facts, FAST)
    assert [(each.index, each.kind, each.codec) for each in plan.streams] == [
        (1, "audio", "aac"),
        (2, "subtitle", "subrip"),
        (3, "attachment", "a.ttf"),
    ]
    assert plan.num_chapters == 2
    assert plan.notes == ()
    assert plan.format.name == "yuv420p"
    assert [each.name for each in tmp_path.iterdir()] == ["input"]


REFUSALS = [
    ({"subtitle": "srt"}, ".mp4", r"stream 2 \(subtitle, subrip, swe\)"),
    ({"subtitle": "ass"}, ".mp4", r"stream 2 \(subtitle, ass, swe\)"),
    ({"subtitle": "ass"}, ".mov", r"stream 2 \(subtitle, ass, swe\)"),
    ({"fonts": ("a.ttf",)}, ".mp4", r"stream 2 \(attachment, a.ttf\)"),
    ({"audio": ("pcm_u8",)}, ".mp4", r"stream 1 \(audio, pcm_u8, eng\)"),
    ({"subtitle": "srt"}, ".avi", r"stream 2 \(subtitle, subrip, swe\)"),
    ({"subtitle": "srt"}, ".ts", r"stream 2 \(subtitle, subrip, swe\)"),
    ({"fonts": ("a.ttf",)}, ".ts", r"stream 2 \(attachment, a.ttf\)"),
    ({"rotation": 90, "audio": ()}, ".avi", r"does not keep the rotation by 90 degrees"),
    ({"full_range": True, "video": "ffv1", "audio": ()}, ".avi", r"does not keep the full range"),
]


@pytest.mark.parametrize(("spec", "suffix", "message"), REFUSALS)
def test_what_does_not_fit_is_named_with_the_remedy(
    film: FilmMaker, tmp_path: Path, spec: dict[str, Any], suffix: str, message: str
) -> None:
    _, facts = film(**spec)
    settings = EncoderSettings("ffv1") if "full_range" in spec else FAST
    with pytest.raises(ContainerError, match=message) as caught:
        check_container(tmp_path / f"out{suffix}", facts, settings)
    assert f"{tmp_path / ('out' + suffix)}: " in str(caught.value)
    assert f"use -o {tmp_path / 'out.mkv'}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_leaving_out_is_offered(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film(subtitle="srt")
    with pytest.raises(ContainerError, match=r"--copy audio,attachments,data,chapters$"):
        check_container(tmp_path / "out.mp4", facts, FAST)
    with pytest.raises(ContainerError, match=r"--copy none$"):
        check_container(tmp_path / "out.mp4", facts, FAST, frozenset({"subtitles"}))
    assert check_container(tmp_path / "out.mp4", facts, FAST, frozenset({"audio"}))


def test_mov_text_fits_mp4_and_not_matroska(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film(name="in.mp4", subtitle="mov_text")
    assert check_container(tmp_path / "out.mp4", facts, FAST).notes == ()
    with pytest.raises(
        ContainerError, match=r"mov_text, swe\); use -o /.*/out\.mp4 or leave it out"
    ):
        check_container(tmp_path / "out.mkv", facts, FAST)


@pytest.mark.parametrize(
    ("suffix", "encoder", "message"),
    [
        (".webm", "libx264", "cannot hold a film by libx264"),
        (".mp4", "prores_ks", "cannot hold a film by prores_ks"),
        (".xyz", "libx264", "cannot hold a film by libx264"),
        (".png", "libx264", "is a picture format"),
        ("", "libx264", "a name without a suffix cannot hold"),
    ],
)
def test_the_encoder_must_fit_too(
    film: FilmMaker, tmp_path: Path, suffix: str, encoder: str, message: str
) -> None:
    _, facts = film(audio=())
    with pytest.raises(ContainerError, match=message) as caught:
        check_container(tmp_path / f"out{suffix}", facts, EncoderSettings(encoder))
    assert f"use -o {tmp_path / 'out.mkv'}" in str(caught.value)


def test_an_encoder_that_fits_the_container_is_named(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film(audio=())
    output = tmp_path / "out.webm"
    with pytest.raises(ContainerError) as caught:
        check_container(output, facts, EncoderSettings("libx264"))
    named = str(caught.value).rpartition(" --encoder ")[2]
    check_container(output, facts, EncoderSettings(named))
    _, with_sound = film(name="sound.mp4", audio=("aac",))  # WebM holds no AAC
    with pytest.raises(ContainerError) as caught:
        check_container(output, with_sound, EncoderSettings("libx264"))
    assert named not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mpg", ".vob", ".h264"])
def test_a_container_that_loses_the_times_is_refused(
    film: FilmMaker, tmp_path: Path, suffix: str
) -> None:
    _, facts = film(audio=())
    message = r"does not keep the times of the frames; use -o /.*/out\.mkv$"
    with pytest.raises(ContainerError, match=message):
        check_container(tmp_path / f"out{suffix}", facts, EncoderSettings())


@pytest.mark.parametrize("codec", ["mp2", "mp3"])
@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv", ".avi"])
def test_mpeg_sound_fits(film: FilmMaker, tmp_path: Path, suffix: str, codec: str) -> None:
    _, facts = film(audio=({"mp3": "libmp3lame"}.get(codec, codec),))
    (stream,) = check_container(tmp_path / f"out{suffix}", facts, FAST).streams
    assert stream.codec == codec


def test_aac_is_refused_in_avi(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film()
    message = r"cannot hold stream 1 \(audio, aac, eng\); use -o /.*/out\.mkv or leave it out"
    with pytest.raises(ContainerError, match=message):
        check_container(tmp_path / "out.avi", facts, FAST)


def test_a_timecode_track_is_made_anew(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film(
        name="in.mov", audio=("pcm_s16le",), metadata={"timecode": "01:00:00:00"},
        time_base=Fraction(1, 25),
    )  # fmt: skip
    assert [each.kind for each in facts.streams] == ["video", "audio", "data"]
    for suffix in (".mov", ".mp4", ".mkv"):
        assert check_container(tmp_path / f"out{suffix}", facts, FAST).notes == ()
    (note,) = check_container(tmp_path / "out.avi", facts, FAST).notes
    assert note == ".avi does not keep the timecode 01:00:00:00"


def test_av1_and_opus_fit_webm(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film(audio=("libopus",))
    settings = EncoderSettings("libsvtav1", preset="12")
    assert len(check_container(tmp_path / "out.webm", facts, settings).streams) == 1


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root has realtime threads"
)
def test_no_encoder_makes_the_program_realtime(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film()
    before = os.sched_getscheduler(0)
    check_container(tmp_path / "out.mkv", facts, EncoderSettings("libsvtav1", preset="12"))
    assert os.sched_getscheduler(0) == before


def test_a_bad_preset_is_the_encoders_fault(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film()
    with pytest.raises(OutputError, match=r"libsvtav1 did not start .*preset quickest"):
        settings = EncoderSettings("libsvtav1", preset="quickest")
        check_container(tmp_path / "out.mkv", facts, settings)


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_a_bad_preset_prints_nothing(
    film: FilmMaker, tmp_path: Path, encoder: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _, facts = film()
    message = rf"--preset quickest is not known to {encoder}; take one of ultrafast, "
    with pytest.raises(OutputError, match=message):
        check_container(tmp_path / "out.mkv", facts, EncoderSettings(encoder, preset="quickest"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("encoder", "size"), [("libx265", (8, 8)), ("libsvtav1", (2, 2))])
def test_a_film_below_the_encoders_least_size(
    film: FilmMaker, tmp_path: Path, encoder: str, size: tuple[int, int]
) -> None:
    _, facts = film(size=size, video="ffv1", audio=())
    with pytest.raises(OutputError, match=rf"{size[0]}x{size[1]} is too small for {encoder}; it"):
        check_container(tmp_path / "out.mkv", facts, EncoderSettings(encoder))


def test_an_odd_size_is_noted(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film(size=(65, 47), video="ffv1")
    (note,) = check_container(tmp_path / "out.mkv", facts, FAST).notes
    assert note.startswith("65x47 is an odd size, written as yuv444p")


def test_pixel_aspect_without_a_place_is_refused(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film(aspect=Fraction(16, 15))
    with pytest.raises(ContainerError, match=r"pixel aspect ratio 16/15; use -o /.*/out\.mp4"):
        check_container(tmp_path / "out.mkv", facts, EncoderSettings("libsvtav1", preset="12"))


def test_an_unknown_kind_is_a_mistake_of_the_caller(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film()
    with pytest.raises(ValueError, match="copy takes audio, subtitles"):
        check_container(tmp_path / "out.mkv", facts, FAST, frozenset({"sound"}))


def test_chapters_are_cut() -> None:
    unit = Fraction(1, 1000)
    chapters = [
        {"id": n, "start": n * 1000, "end": n * 1000 + 1000, "time_base": unit, "metadata": {}}
        for n in range(4)
    ]
    cut = cut_chapters(chapters, Fraction(3, 2), Fraction(5, 2), Fraction(3, 2))
    assert [(each["id"], each["start"], each["end"]) for each in cut] == [
        (1, 0, 500),
        (2, 500, 1000),
    ]
