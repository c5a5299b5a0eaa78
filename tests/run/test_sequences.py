"""Numbered pictures as output: a film's pixels, all of them or none, with timecodes."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.helpers.clips import encode, frames
from tests.helpers.films import FilmSpec, build_film, read_frames
from tests.helpers.one_film import color_one as run
from tests.helpers.readback import luma_codes
from tests.helpers.shots import pan
from vidcolor import Colorizer, EncoderSettings, Report, Settings, colorize
from vidcolor.color.convert import srgb_to_linear
from vidcolor.errors import OutputError
from vidcolor.frames import Segment
from vidcolor.run.settings import Progress
from vidcolor.system.dpx import DpxHeader, read_header, with_header


def done(path: Path, output: Path, colorizer: Colorizer, **changes: Any) -> Report:
    report = run(path, output, colorizer, **changes)
    assert (report.status, report.error) == ("done", "")
    return report


def names(folder: Path) -> list[str]:
    """Of the pictures; the marks of their origin lie beside them."""
    return sorted(each.name for each in folder.iterdir() if each.suffix != ".xmp")


def film(folder: Path, depth: int, count: int = 6) -> Path:
    names = {8: "yuv420p", 10: "yuv422p10le", 12: "yuv422p12le", 16: "gray16le"}
    lumas = frames(count, depth=depth)
    return encode(folder / f"in{depth}.mkv", "ffv1", names[depth], lumas).path


def _planes(frame: av.VideoFrame, dtype: str) -> np.ndarray:
    """R'G'B' of a frame whose planes are G, B, R."""
    rows = [np.frombuffer(memoryview(p), dtype).reshape(p.height, -1) for p in frame.planes]
    return np.stack([rows[i][:, : frame.width] for i in (2, 0, 1)], -1)


def picture(path: Path) -> tuple[np.ndarray, str]:
    """R'G'B' `(H, W, 3)` of a picture file with its own bits, or light; its pixel format."""
    with av.open(str(path), "r", format="image2", options={"pattern_type": "none"}) as container:
        (frame,) = container.decode(video=0)
        name = frame.format.name
        if name.startswith("gbrpf16"):
            return _planes(frame, "<f2").astype(np.float32), name
        bits = frame.format.components[0].bits
        wide = frame.reformat(format="rgb48le" if bits > 8 else "rgb24")
        if name.startswith("gbrp1"):  # as they are: a conversion to 16 bits would fill them up
            return _planes(frame, ">u2" if name.endswith("be") else "<u2").astype(np.uint16), name
        return wide.to_ndarray(), name


@pytest.mark.parametrize(
    ("depth", "suffix", "bits"),
    [
        (8, ".dpx", 8), (8, ".tif", 8), (8, ".png", 8), (8, ".exr", 16),
        (10, ".dpx", 10), (10, ".tiff", 16), (12, ".dpx", 12), (12, ".png", 16),
        (16, ".dpx", 16), (16, ".tif", 16), (16, ".png", 16), (16, ".exr", 16),
    ],
)  # fmt: skip
def test_pictures_have_the_pixels_of_a_film(
    tmp_path: Path, colorizer: Colorizer, depth: int, suffix: str, bits: int
) -> None:
    source = film(tmp_path, depth)
    # 8 bits are compared with 10: FFV1 has no planar R'G'B' of 8
    layout = {8: "gbrp10le", 10: "gbrp10le", 12: "gbrp12le", 16: "gbrp16le"}[bits]
    whole = done(source, tmp_path / "whole.mkv", colorizer,
                 encoder=EncoderSettings("ffv1", pix_fmt=layout))  # fmt: skip
    report = done(source, tmp_path / "out" / f"a_%04d{suffix}", colorizer)
    assert report.frames == 6 and report.output == tmp_path / "out" / f"a_%04d{suffix}"
    assert names(tmp_path / "out") == [f"a_{i:04d}{suffix}" for i in range(1, 7)]
    for i, frame in enumerate(read_frames(whole.output)):
        found, _ = picture(tmp_path / "out" / f"a_{i + 1:04d}{suffix}")
        wanted = _planes(frame, "<u2")
        assert np.ptp(wanted.astype(int), axis=2).max() > 5
        if bits == 8:
            assert np.abs(found - wanted * (255 / 1023)).max() <= 1.01
        elif suffix == ".exr":
            light = srgb_to_linear(torch.from_numpy(wanted.astype(np.float32) / 65535)).numpy()
            np.testing.assert_allclose(found, light, rtol=2**-11, atol=1e-6)
        else:
            np.testing.assert_array_equal(found, wanted)


def test_a_start_moves_the_numbers_along(tmp_path: Path, colorizer: Colorizer) -> None:
    source = film(tmp_path, 8, 12)  # 12 a second
    part = Segment(Fraction(3, 10), Fraction(7, 10))
    done(source, tmp_path / "out/%03d.png", colorizer, segment=part)
    assert names(tmp_path / "out") == [f"{i:03d}.png" for i in range(5, 10)]
    done(tmp_path / "out/%03d.png", tmp_path / "more/%05d", colorizer, fps=Fraction(10),
         segment=Segment(Fraction(1, 5)))  # fmt: skip
    assert names(tmp_path / "more") == ["00007.png", "00008.png", "00009.png"]


def test_sequences_keep_their_kind(tmp_path: Path, colorizer: Colorizer) -> None:
    done(film(tmp_path, 16, 3), tmp_path / "a/%02d.tif", colorizer)
    done(film(tmp_path, 10, 3), tmp_path / "b/%02d.dpx", colorizer)
    for folder, suffix, wanted in (("a", ".tif", "rgb48le"), ("b", ".dpx", "gbrp10le")):
        pattern = tmp_path / folder / f"%02d{suffix}"
        done(pattern, tmp_path / f"{folder}2/%02d", colorizer, fps=Fraction(24))
        assert picture(tmp_path / f"{folder}2" / f"02{suffix}")[1] == wanted


def test_nothing_is_overwritten_without_leave(tmp_path: Path, colorizer: Colorizer) -> None:
    source, output = film(tmp_path, 8), tmp_path / "out/%03d.png"
    output.parent.mkdir()
    for number in (3, 90):
        (output.parent / f"{number:03d}.png").write_bytes(b"mine")
    report = run(source, output, colorizer)
    assert report.status == "failed" and "003.png" in report.error
    assert "--overwrite" in report.error and names(output.parent) == ["003.png", "090.png"]
    (skipped,) = colorize(source, output, settings=Settings(skip_existing=True))
    assert skipped.status == "skipped"
    report = done(source, output, colorizer, overwrite=True)
    assert len(names(output.parent)) == 7
    assert any("1 other file" in line for line in report.warnings)
    assert (output.parent / "090.png").read_bytes() == b"mine"
    done(source, tmp_path / "out/%02d.png", colorizer)  # other names


@pytest.mark.parametrize("pattern", ["%03d.png", "%d.png"])
def test_inputs_are_never_overwritten(tmp_path: Path, colorizer: Colorizer, pattern: str) -> None:
    for number in range(100, 104):
        encode(tmp_path / f"{number}.png", "png", "gray", frames(1))
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    report = run(tmp_path / "%03d.png", tmp_path / pattern, colorizer, fps=Fraction(24),
                 overwrite=True)  # fmt: skip
    assert report.status == "failed" and "input" in report.error
    assert before == {each: each.read_bytes() for each in tmp_path.iterdir()}


def test_all_appear_at_the_end_or_none(
    tmp_path: Path, colorizer: Colorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = film(tmp_path, 8, 24), tmp_path / "out/%03d.png"
    seen: list[list[str]] = []

    def look(progress: Progress) -> None:
        seen.append([name for name in names(output.parent) if not name.startswith(".")])
        if progress.done >= 16:
            raise RuntimeError

    settings = Settings(batch_size=4)
    (report,) = colorize(source, output, colorizer=colorizer, settings=settings, on_progress=look)
    assert report.status == "failed" and seen and not any(seen)
    assert names(output.parent) == []
    monkeypatch.setattr("vidcolor.sinks.sequence.os.replace", _failing_at("006.png"))
    report = run(source, output, colorizer)
    assert report.status == "failed" and "001.png" not in names(output.parent)
    assert names(output.parent) == []


def _failing_at(name: str) -> Any:
    import os

    real = os.replace

    def replace(old: Path, new: Path) -> None:
        if new.name == name:
            raise OSError(28, "No space left on device")
        real(old, new)

    return replace


def test_what_a_killed_run_has_left_is_removed(tmp_path: Path, colorizer: Colorizer) -> None:
    """But not what a run that is at work is writing."""
    source, output = film(tmp_path, 8, 12), tmp_path / "out/%03d.png"
    left = output.parent / ".%03d.png.0123abcd.part"
    left.mkdir(parents=True)
    (left / "001.png").write_bytes(b"part")
    seen: list[list[str]] = []

    def second(progress: Progress) -> None:
        if not seen:
            seen.append(names(output.parent))
            other = run(source, output, colorizer)
            assert other.status == "done", other.error

    settings = Settings(batch_size=4, resume=False)
    (report,) = colorize(source, output, colorizer=colorizer, settings=settings, on_progress=second)
    assert not left.exists() and len(seen[0]) == 1
    assert report.status == "failed" and "%03d.second.png" in report.error
    assert names(output.parent) == sorted(
        f"{i:03d}{mark}.png" for i in range(1, 13) for mark in ("", ".second")
    )


def test_files_changed_under_the_run_are_noticed(tmp_path: Path, colorizer: Colorizer) -> None:
    source, output = film(tmp_path, 8, 24), tmp_path / "out/%03d.dpx"

    def meddle(progress: Progress) -> None:
        for path in output.parent.rglob("003.dpx"):
            path.write_bytes(path.read_bytes()[:3000])

    settings = Settings(batch_size=4)
    (report,) = colorize(source, output, colorizer=colorizer, settings=settings, on_progress=meddle)
    assert report.status == "failed" and "changed" in report.error
    assert names(output.parent) == []


def test_a_damaged_film_is_incomplete(tmp_path: Path, colorizer: Colorizer) -> None:
    source = film(tmp_path, 8, 24)
    source.write_bytes(source.read_bytes()[:-20_000])
    report = run(source, tmp_path / "out/%03d.tif", colorizer)
    assert report.status == "incomplete"
    assert report.output == tmp_path / "out/%03d.incomplete.tif"
    assert names(tmp_path / "out") == [
        f"{i:03d}.incomplete.tif" for i in range(1, report.frames + 1)
    ]


def test_sound_is_not_kept_and_pictures_are_upright(tmp_path: Path, colorizer: Colorizer) -> None:
    spec = FilmSpec(name="in.mp4", rotation=90, aspect=Fraction(4, 3), chapters=2)
    report = done(build_film(tmp_path, spec), tmp_path / "out/%d.png", colorizer)
    assert any("keep no sound and no chapters" in line for line in report.warnings)
    with av.open(str(tmp_path / "out/1.png")) as container:
        (frame,) = container.decode(video=0)
        assert (frame.width, frame.height) == (48, 64)
        assert container.streams.video[0].sample_aspect_ratio == Fraction(3, 4)
    rgb = picture(tmp_path / "out/1.png")[0].astype(int)
    # The ramp goes from left to right in the stored frame, so from top to bottom here.
    assert np.abs(np.diff(rgb[..., 1], axis=0)).mean() > 4 * np.abs(np.diff(rgb[..., 1])).mean()


def test_what_is_no_sequence_is_said(tmp_path: Path, colorizer: Colorizer) -> None:
    source = film(tmp_path, 8)
    for name in ("%03d.jpg", "%03d"):
        report = run(source, tmp_path / name, colorizer)
        assert report.status == "failed" and ".dpx, .tif" in report.error
    report = run(source, tmp_path / "%03d.png", colorizer, encoder=EncoderSettings("ffv1"))
    assert report.status == "failed" and "--encoder" in report.error
    report = run(source, tmp_path / "%03d.png", colorizer,
                 encoder=EncoderSettings(pix_fmt="yuv420p"))  # fmt: skip
    assert report.status == "failed" and "rgb48be" in report.error
    with pytest.raises(OutputError, match="folder"):
        colorize([source, film(tmp_path, 10)], tmp_path / "%03d.png")
    done(source, tmp_path / "a/%03d.png", colorizer, encoder=EncoderSettings(pix_fmt="rgb48be"))
    assert picture(tmp_path / "a/001.png")[1] == "rgb48be"


# ---------------------------------------------------------------- timecodes


def scans(folder: Path, timecode: str, position: int | None = 86400) -> Path:
    """Ten numbered DPX files with headers as scanners write them."""
    folder.mkdir()
    for number, luma in enumerate(pan(10, 0, 2)):
        path = folder / f"{number + 101:04d}.dpx"
        encode(path, "dpx", "rgb24", [luma])
        later = f"{timecode[:-2]}{int(timecode[-2:]) + number:02d}"
        header = DpxHeader(later, None if position is None else position + number, 1, 1)
        path.write_bytes(with_header(path.read_bytes(), header, 24.0))
    return folder / "%04d.dpx"


def timecodes(path: Path) -> set[str | None]:
    with av.open(str(path)) as container:
        tags = [container.metadata, *(each.metadata for each in container.streams)]
        return {each.get("timecode", each.get("TIMECODE")) for each in tags} - {None}


@pytest.mark.parametrize("name", ["o.mov", "o.mp4", "o.mxf", "o.mkv"])
def test_the_timecode_of_scans_goes_into_films(
    tmp_path: Path, colorizer: Colorizer, name: str
) -> None:
    source = scans(tmp_path / "in", "01:00:00:10")
    encoder = EncoderSettings("prores_ks") if name.endswith("mxf") else EncoderSettings()
    done(source, tmp_path / name, colorizer, fps=Fraction(24), encoder=encoder)
    assert timecodes(tmp_path / name) == {"01:00:00:10"}
    done(source, tmp_path / f"part.{name}", colorizer, fps=Fraction(24), encoder=encoder,
         segment=Segment(Fraction(4, 24)))  # fmt: skip
    assert timecodes(tmp_path / f"part.{name}") == {"01:00:00:14"}


def test_the_headers_of_scans_go_into_pictures(tmp_path: Path, colorizer: Colorizer) -> None:
    source = scans(tmp_path / "in", "01:00:00:10")
    part = Segment(Fraction(4, 24))
    done(source, tmp_path / "out/%04d.dpx", colorizer, fps=Fraction(24), segment=part)
    found = [read_header(tmp_path / "out" / f"{i:04d}.dpx") for i in range(105, 111)]
    assert found == [DpxHeader(f"01:00:00:{14 + i}", 86404 + i, 1, 1) for i in range(len(found))]
    data = (tmp_path / "out/0105.dpx").read_bytes()
    rates = [
        struct.unpack_from("<f" if data[:1] == b"X" else ">f", data, at) for at in (1724, 1940)
    ]
    assert rates == [(24.0,), (24.0,)]
    with av.open(str(tmp_path / "out/%04d.dpx"), options={"start_number": "105"}) as container:
        frame = next(container.decode(video=0))
        assert frame.metadata["timecode"] == "01:00:00:14"
        assert container.streams.video[0].codec_context.framerate == 24


def test_the_timecode_of_a_film_goes_into_pictures(tmp_path: Path, colorizer: Colorizer) -> None:
    source = tmp_path / "in.mov"
    with av.open(str(source), "w") as output:
        output.metadata["timecode"] = "00:59:58;20"
        stream: Any = output.add_stream("mjpeg", rate=Fraction(30000, 1001))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in range(12):
            frame = av.VideoFrame(64, 48, "yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1001, 30000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    report = done(source, tmp_path / "out/%d.png", colorizer)
    assert any("timecode 00:59:58;20 is not kept" in line for line in report.warnings)
    done(source, tmp_path / "out/%d.dpx", colorizer)
    headers = [read_header(tmp_path / f"out/{i}.dpx") for i in (1, 10, 11)]
    assert [h and h.timecode for h in headers] == ["00:59:58;20", "00:59:58;29", "00:59:59;00"]
    assert [h and h.position for h in headers] == [1, 10, 11]
    assert [h and h.transfer for h in headers] == [6, 6, 6]


def test_files_that_are_no_dpx_have_no_header(tmp_path: Path) -> None:
    (tmp_path / "a.dpx").write_bytes(b"SDPX short")
    encode(tmp_path / "b.png", "png", "gray", frames(1))
    for name in ("a.dpx", "b.png", "none.dpx"):
        assert read_header(tmp_path / name) is None
    encode(tmp_path / "c.dpx", "dpx", "rgb24", frames(1))
    header = read_header(tmp_path / "c.dpx")
    assert header is not None and (header.timecode, header.position) == ("", None)


# ---------------------------------------------------------------- 16 bits in films


@pytest.mark.parametrize("suffix", [".tif", ".dpx", ".png"])
def test_sixteen_bits_stay_in_a_film(tmp_path: Path, colorizer: Colorizer, suffix: str) -> None:
    lumas = frames(4, depth=16)
    codec, pix_fmt = {
        ".tif": ("tiff", "gray16le"), ".dpx": ("dpx", "gray16be"), ".png": ("png", "gray16be"),
    }[suffix]  # fmt: skip
    for number, luma in enumerate(lumas):
        big = luma.astype(">u2").view(np.uint16) if pix_fmt.endswith("be") else luma
        encode(tmp_path / f"{number:03d}{suffix}", codec, pix_fmt, [big])
    report = done(tmp_path / f"%03d{suffix}", tmp_path / "o.mkv", colorizer, fps=Fraction(24),
                  encoder=EncoderSettings("ffv1"), exact_luma=True)  # fmt: skip
    assert read_frames(report.output)[0].format.name == "yuv444p16le"
    assert not any("bits become" in line for line in report.warnings)
    np.testing.assert_array_equal(luma_codes(report.output), np.stack(lumas))
