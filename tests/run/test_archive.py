"""What archives hold, from the file to the finished film."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.helpers.clips import encode, frames
from tests.helpers.films import read_frames
from tests.helpers.interlaced import interlace, telecine, write
from tests.helpers.readback import luma_codes
from tests.helpers.shots import pan
from vidcolor import Colorizer, EncoderSettings, Report, Settings, colorize
from vidcolor.color.convert import linear_to_srgb
from vidcolor.frames import Segment
from vidcolor.sources import FilmSource

NTSC = Fraction(30000, 1001)


def run(path: Path, output: Path, colorizer: Colorizer, **changes: Any) -> Report:
    encoder = EncoderSettings(changes.pop("encoder", "libx264"))
    settings = Settings(encoder=encoder, **changes)
    (report,) = colorize(path, output, colorizer=colorizer, settings=settings)
    assert (report.status, report.error) == ("done", "")
    return report


def moments(path: Path) -> list[Fraction]:
    found = read_frames(path)
    return [(f.pts - found[0].pts) * Fraction(f.time_base) for f in found]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_fields_of_a_film_with_sound(tmp_path: Path, colorizer: Colorizer, suffix: str) -> None:
    path = write(tmp_path / "in.mkv", interlace(pan(100, 0, 3)), flag="tff", sound=True)
    report = run(path, tmp_path / f"out{suffix}", colorizer, deinterlace="fields",
                 copy=frozenset()if suffix == ".mp4" else frozenset({"audio"}))  # fmt: skip
    assert report.frames == 100
    assert moments(report.output) == [Fraction(i, 50) for i in range(100)]
    assert not any(frame.interlaced_frame for frame in read_frames(report.output))
    assert any("50 fields" in line or "50 a second" in line for line in report.warnings)
    if suffix == ".mkv":
        with av.open(str(report.output)) as container:
            sound = sum(frame.samples for frame in container.decode(audio=0))
        assert sound == 2 * 48000


def test_a_segment_of_fields(tmp_path: Path, colorizer: Colorizer) -> None:
    path = write(tmp_path / "in.mkv", interlace(pan(100, 0, 3)), flag="tff")
    part = Segment(Fraction(1, 2), Fraction(1))
    report = run(path, tmp_path / "o.mp4", colorizer, deinterlace="fields", segment=part)
    assert report.frames in (24, 26) and moments(report.output)[-1] < Fraction(1, 2)


def test_film_restored_from_pulldown(tmp_path: Path, colorizer: Colorizer) -> None:
    pts = [1001 * i for i in range(50)]
    path = write(tmp_path / "in.nut", telecine(pan(40, 0, 4)), flag="tff", rate=NTSC, pts=pts,
                 time_base=Fraction(1, 30000))  # fmt: skip
    report = run(path, tmp_path / "o.mp4", colorizer, deinterlace="film")
    assert moments(report.output) == [Fraction(1001 * i, 24000) for i in range(40)]


def test_hdr_keeps_luma_and_tags(tmp_path: Path, colorizer: Colorizer) -> None:
    lumas = [np.clip(luma, 64, 940) for luma in frames(6, depth=10)]
    tags = "color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    path = encode(tmp_path / "in.mkv", "ffv1", "yuv420p10le", lumas, colorspace=9,
                  options=dict(part.split("=") for part in tags.split(":"))).path  # fmt: skip
    output = run(path, tmp_path / "o.mkv", colorizer, encoder="ffv1").output
    np.testing.assert_array_equal(luma_codes(output), np.stack(lumas))
    frame = read_frames(output)[0]
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (9, 9, 16)


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [("dpx", "dpx", "gray16le"), ("tif", "tiff", "gray16le"), ("png", "png", "gray16be")],
)
def test_numbered_files_of_16_bits(
    tmp_path: Path, colorizer: Colorizer, suffix: str, codec: str, pix_fmt: str
) -> None:
    lumas = frames(4, depth=16)
    write_numbered(tmp_path / f"%03d.{suffix}", codec, pix_fmt, lumas)
    report = run(tmp_path / f"%03d.{suffix}", tmp_path / "o.mkv", colorizer, encoder="ffv1",
                 fps=Fraction(16))  # fmt: skip
    for number, moment in enumerate(moments(report.output)):
        assert abs(moment - Fraction(number, 16)) <= Fraction(1, 1000)
    frame = read_frames(report.output)[0]
    assert frame.format.components[0].bits == 16


def test_exr_files_hold_linear_light(tmp_path: Path, colorizer: Colorizer) -> None:
    light = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1))
    with av.open(str(tmp_path / "%03d.exr"), "w", format="image2") as output:
        stream: Any = output.add_stream("exr", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gbrpf32le"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.stack([light] * 3, -1), format="gbrpf32le")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    source = FilmSource(tmp_path / "%03d.exr", rate=Fraction(24))
    luma = next(source.batches(3)).luma[0, 0, 0].float() / 65535
    wanted = linear_to_srgb(torch.from_numpy(light[0]))
    assert float((luma - wanted).abs().max()) < 0.01


def test_another_rate_leaves_the_frames_alone(tmp_path: Path, colorizer: Colorizer) -> None:
    lumas = pan(30, 0, 2)
    path = write(tmp_path / "in.mkv", lumas, rate=Fraction(25), sound=True)
    report = run(path, tmp_path / "o.mp4", colorizer, fps=Fraction(16))
    assert moments(report.output) == [Fraction(i, 16) for i in range(30)]
    with av.open(str(report.output)) as container:
        assert not container.streams.audio
    assert any("without its sound" in line for line in report.warnings)
    part = Segment(Fraction(1, 2), Fraction(1))
    exact = run(path, tmp_path / "p.mkv", colorizer, fps=Fraction(16), segment=part,
                encoder="ffv1", exact_luma=True)  # fmt: skip
    np.testing.assert_array_equal(luma_codes(exact.output), np.stack(lumas[8:16]))


@pytest.mark.parametrize("rate", [12, 16, 18])
def test_slow_rates_stay(tmp_path: Path, colorizer: Colorizer, rate: int) -> None:
    path = write(tmp_path / "in.mkv", pan(8, 0, 2), rate=Fraction(rate))
    report = run(path, tmp_path / "o.mkv", colorizer)
    for number, moment in enumerate(moments(report.output)):
        assert abs(moment - Fraction(number, rate)) <= Fraction(1, 1000)


def write_numbered(path: Path, codec: str, pix_fmt: str, lumas: list[np.ndarray]) -> None:
    with av.open(str(path), "w", format="image2") as output:
        stream: Any = output.add_stream(codec, rate=24)
        stream.height, stream.width = lumas[0].shape
        stream.pix_fmt = pix_fmt
        for number, luma in enumerate(lumas):
            frame = av.VideoFrame.from_ndarray(luma, format="gray16le").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("suffix", "encoder"),
    [(".mov", "prores_ks"), (".mxf", "prores_ks"), (".mov", "dnxhd"), (".mxf", "dnxhd")],
)
def test_masters_keep_ten_bits_and_the_timecode(
    tmp_path: Path, colorizer: Colorizer, suffix: str, encoder: str
) -> None:
    lumas = [64 + frame.astype(np.uint16) * 3 for frame in pan(6, 0, 1)]
    lumas = [np.kron(luma, np.ones((3, 3), np.uint16)) for luma in lumas]  # 288x384
    path = tmp_path / f"in{suffix}"
    with av.open(str(path), "w") as output:
        output.metadata["timecode"] = "10:00:00:00"
        stream: Any = output.add_stream("prores_ks", rate=25)
        stream.height, stream.width = lumas[0].shape
        stream.pix_fmt = "yuv422p10le"
        for number, luma in enumerate(lumas):
            frame = av.VideoFrame.from_ndarray(luma, format="gray10le")
            frame = frame.reformat(format="yuv422p10le")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    report = run(path, tmp_path / f"out{suffix}", colorizer, encoder=encoder)
    assert moments(report.output) == [Fraction(i, 25) for i in range(6)]
    frame = read_frames(report.output)[0]
    assert frame.format.name == "yuv422p10le"
    # The gray look of the colored picture is within the codec's loss.
    before, after = luma_codes(path).astype(int), luma_codes(report.output).astype(int)
    assert np.abs(before.mean() - after.mean()) < 40
    with av.open(str(report.output)) as container:
        tags = [container.metadata, *(each.metadata for each in container.streams)]
    assert "10:00:00:00" in {each.get("timecode") for each in tags}
