"""The choice of a pixel format, and the encoders' settings."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.films import FilmMaker, batches_of, read_frames, read_streams
from vidcolor import Settings
from vidcolor.errors import ContainerError, OutputError
from vidcolor.frames import ColorTags, VideoInfo
from vidcolor.probe.films import encoder_delay
from vidcolor.sinks import (
    ENCODERS,
    EncoderSettings,
    FilmSink,
    available_encoders,
    check_container,
    choose_pixel_format,
    encoder_formats,
)
from vidcolor.sinks.encoder_table import Encoder, find_encoder, list_encoders
from vidcolor.sinks.encoders import encoder_options

FACTS = VideoInfo(
    path=Path("old.mkv"),
    codec="h264",
    width=64,
    height=48,
    pix_fmt="yuv420p",
    bit_depth=8,
    subsampling=(2, 2),
    has_luma=True,
    tags=ColorTags(False, "bt709", 1, 1),
    time_base=Fraction(1, 25),
    average_rate=Fraction(25),
    num_frames_from_header=None,
    duration_seconds=None,
)
SOFTWARE = ["libx264", "libx265", "libsvtav1", "ffv1", "prores_ks"]


def facts(pix_fmt: str, depth: int, subsampling: tuple[int, int], **changes: object) -> VideoInfo:
    return replace(FACTS, pix_fmt=pix_fmt, bit_depth=depth, subsampling=subsampling, **changes)  # type: ignore[arg-type]


def test_the_software_encoders_are_there() -> None:
    assert set(SOFTWARE) <= set(available_encoders()) <= set(ENCODERS)


@pytest.mark.parametrize(
    ("source", "encoder", "wanted"),
    [
        (facts("yuv420p", 8, (2, 2)), "libx264", "yuv420p"),
        (facts("yuv422p", 8, (2, 1)), "libx264", "yuv422p"),
        (facts("yuv444p", 8, (1, 1)), "libx265", "yuv444p"),
        (facts("yuv411p", 8, (4, 1)), "libx264", "yuv422p"),
        (facts("yuv440p", 8, (1, 2)), "libx264", "yuv444p"),
        (facts("yuv422p10le", 10, (2, 1)), "libx264", "yuv422p10le"),
        (facts("yuv420p9le", 9, (2, 2)), "libx265", "yuv420p10le"),
        (facts("yuv420p12le", 12, (2, 2)), "libx264", "yuv420p10le"),
        (facts("yuv420p12le", 12, (2, 2)), "libx265", "yuv420p12le"),
        (facts("gray16le", 16, (1, 1)), "ffv1", "yuv444p16le"),
        (facts("gray", 8, (1, 1)), "libx264", "yuv420p"),
        (facts("gray", 8, (1, 1)), "ffv1", "yuv444p"),
        (facts("gray", 8, (1, 1)), "prores_ks", "yuv422p10le"),
        (facts("gray10le", 10, (1, 1)), "libx264", "yuv420p10le"),
        (facts("rgb24", 8, (1, 1), has_luma=False), "libx264", "yuv420p"),
        (facts("pal8", 8, (1, 1), has_luma=False), "ffv1", "yuv444p"),
        (facts("yuv422p", 8, (2, 1)), "libsvtav1", "yuv420p"),
        (facts("yuv420p", 8, (2, 2)), "prores_ks", "yuv422p10le"),
        (facts("yuv444p10le", 10, (1, 1)), "prores_ks", "yuv444p10le"),
        (facts("yuv420p", 8, (2, 2), width=63), "libx264", "yuv444p"),
        (facts("yuv420p", 8, (2, 2), height=47), "libx265", "yuv422p"),
        (facts("yuv420p", 8, (2, 2), width=63, height=47), "libsvtav1", "yuv420p"),
        (facts("yuv420p", 8, (2, 2), width=63), "ffv1", "yuv420p"),
    ],
)
def test_default_format(source: VideoInfo, encoder: str, wanted: str) -> None:
    format = choose_pixel_format(source, EncoderSettings(encoder))
    assert format.name == wanted
    assert format.bit_depth == next((n for n in (16, 12, 10) if f"p{n}" in wanted), 8)
    assert not format.rgb
    assert format.tags == source.tags


def test_range_is_kept_where_luma_is() -> None:
    full = replace(FACTS, tags=ColorTags(True, "smpte170m"))
    assert choose_pixel_format(full, EncoderSettings()).tags.full_range
    rgb = replace(full, pix_fmt="rgb24", has_luma=False, subsampling=(1, 1))
    assert not choose_pixel_format(rgb, EncoderSettings()).tags.full_range
    assert not choose_pixel_format(full, EncoderSettings("prores_ks")).tags.full_range


def test_an_rgb_format_can_be_asked_for() -> None:
    format = choose_pixel_format(FACTS, EncoderSettings("libx265", pix_fmt="gbrp"))
    assert format.rgb
    assert format.tags.full_range
    assert format.subsampling == (1, 1)


def test_a_wrong_format_names_the_right_ones() -> None:
    with pytest.raises(OutputError, match=r"cannot write yuv422p; it takes .*yuv420p10le"):
        choose_pixel_format(FACTS, EncoderSettings("libsvtav1", pix_fmt="yuv422p"))
    odd = replace(FACTS, width=63)
    with pytest.raises(OutputError, match=r"yuv420p at the odd size 63x48; .* yuv444p"):
        choose_pixel_format(odd, EncoderSettings(pix_fmt="yuv420p"))
    with pytest.raises(OutputError, match=r"encoder mpeg2 is not known; take one of libx264"):
        choose_pixel_format(FACTS, EncoderSettings("mpeg2"))


@pytest.mark.parametrize("encoder", SOFTWARE)
def test_formats_come_from_the_build(encoder: str) -> None:
    assert "yuv444p10le" in encoder_formats(encoder) or encoder == "libsvtav1"


def test_settings_that_an_encoder_lacks() -> None:
    format = choose_pixel_format(FACTS, EncoderSettings("ffv1"))
    with pytest.raises(OutputError, match="has no quality scale"):
        encoder_options(EncoderSettings("ffv1", crf=3), format, 64)
    with pytest.raises(OutputError, match="has no presets"):
        encoder_options(EncoderSettings("ffv1", preset="slow"), format, 64)
    with pytest.raises(OutputError, match="outside libx264's scale of 0 to 51"):
        encoder_options(EncoderSettings(crf=60), format, 64)


def test_defaults() -> None:
    format = choose_pixel_format(FACTS, EncoderSettings())
    options = encoder_options(EncoderSettings(), format, 64)
    assert (options["crf"], options["preset"]) == ("18", "medium")
    changed = EncoderSettings(crf=20.5, preset="slow")
    options = encoder_options(changed, format, 64)
    assert (options["crf"], options["preset"]) == ("20.5", "slow")


@pytest.mark.parametrize("encoder", ["h264_nvenc", "hevc_nvenc"])
def test_an_encoder_without_its_card_is_named(
    encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidcolor.sinks.encoders._opens", lambda name: name != encoder)
    format = choose_pixel_format(FACTS, EncoderSettings())
    with pytest.raises(OutputError, match=f"encoder {encoder} cannot be used on this machine"):
        encoder_options(EncoderSettings(encoder), format, 64)


def test_an_encoder_is_added_by_one_row(
    film: FilmMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Encoder(
        codec="VP9",
        crf=30,
        max_crf=50,
        preset_option="cpu-used",
        preset="8",
        options={"b": "0", "g": "6"},
        odd_subsampled=True,
        containers=(".webm", ".mkv"),
        key_interval=6,
        lookahead=25,
    )
    settings = EncoderSettings("libvpx-vp9", crf=20)
    with pytest.raises(OutputError, match="libvpx-vp9 is not known"):
        find_encoder("libvpx-vp9")
    monkeypatch.setitem(ENCODERS, "libvpx-vp9", row)

    assert "libvpx-vp9" in available_encoders()
    assert "libvpx-vp9 (VP9)" in list_encoders()
    assert encoder_delay(Settings(encoder=settings)) > 25
    assert find_encoder(settings.encoder).key_frame_interval(Fraction(25)) == 6
    with pytest.raises(OutputError, match="scale of 0 to 50"):
        encoder_options(replace(settings, crf=51), choose_pixel_format(FACTS, settings), 64)

    path, facts = film(name="in.mkv", size=(66, 50), audio=("libopus",))
    format = choose_pixel_format(facts, settings)
    with pytest.raises(ContainerError, match=r"use -o .*out\.webm"):
        check_container(tmp_path / "out.avif", facts, settings, format=format)
    batches = batches_of(facts, format, [(pts, 1) for pts in range(12)])
    with FilmSink(tmp_path / "out.webm", facts, settings, format=format) as sink:
        for batch in batches:
            sink.write(batch)
        report = sink.finish()
    video, sound = read_streams(report.path)
    assert (video.codec, sound.codec) == ("vp9", "opus")
    assert sound.payload == read_streams(path)[1].payload
    frames = read_frames(report.path)
    assert [frame.key_frame for frame in frames] == [number % 6 == 0 for number in range(12)]
    written = np.stack([frame.to_ndarray()[:50, :66] for frame in frames]).astype(int)
    luma = torch.cat([batch.planes[0] for batch in batches]).numpy().astype(int)
    assert np.abs(written - luma).mean() < 12  # noise of a span of 219; black would be 110 off


@pytest.mark.parametrize("level", [None, "3"])
def test_svt_av1_is_quiet_and_the_environment_put_back(level: str | None) -> None:
    code = (
        "import os; from vidcolor.sinks import available_encoders; "
        "print('libsvtav1' in available_encoders(), os.environ.get('SVT_LOG'))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "SVT_LOG"}
    if level is not None:
        environment["SVT_LOG"] = level  # a user who wants its messages gets them
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["True", str(level)]
    assert ("Svt[" in result.stderr) == (level is not None)


def test_help_lists_the_encoders_without_pyav_and_torch() -> None:
    code = (
        "import sys; from vidcolor.cli import cli; "
        "cli.main(['run', '--help'], standalone_mode=False); "
        "sys.exit(bool({'torch', 'av'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in ENCODERS)
