"""What FilmSource promises: every frame once, in order, exact luma, integer times, tags."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from tests.helpers.clips import (
    RATE,
    Clip,
    damage_of,
    encode,
    frames,
    luma_of,
    make_frame,
    pattern,
    pts_of,
)
from vidcolor.frames import Segment
from vidcolor.sources import FilmSource, probe_film

# ---------------------------------------------------------------- formats

FORMATS = [
    ("gray", "ffv1", 8, (1, 1)),
    ("gray10le", "ffv1", 10, (1, 1)),
    ("gray16le", "ffv1", 16, (1, 1)),
    ("yuv420p", "ffv1", 8, (2, 2)),
    ("yuv422p", "ffv1", 8, (2, 1)),
    ("yuv444p", "ffv1", 8, (1, 1)),
    ("yuv411p", "ffv1", 8, (4, 1)),
    ("yuva420p", "ffv1", 8, (2, 2)),
    ("yuv422p", "huffyuv", 8, (2, 1)),
    ("yuv420p10le", "ffv1", 10, (2, 2)),
    ("yuv422p12le", "ffv1", 12, (2, 1)),
    ("yuv444p16le", "ffv1", 16, (1, 1)),
    ("nv12", "rawvideo", 8, (2, 2)),
    ("yuyv422", "rawvideo", 8, (2, 1)),
]


@pytest.mark.parametrize("size", [(64, 48), (65, 49)], ids=["even", "odd"])
@pytest.mark.parametrize(("pix_fmt", "codec", "depth", "factors"), FORMATS)
def test_luma_planes_bit_for_bit(
    tmp_path: Path,
    pix_fmt: str,
    codec: str,
    depth: int,
    factors: tuple[int, int],
    size: tuple[int, int],
) -> None:
    if codec == "huffyuv" or pix_fmt == "yuyv422":
        size = (size[0] // 2 * 2, size[1] // 2 * 2)  # they hold pairs of pixels
    lumas = frames(3, *size, depth)
    path = tmp_path / "film.nut"
    if pix_fmt == "yuyv422":
        path = raw_yuyv(path, lumas)
    else:
        encode(path, codec, pix_fmt, lumas)
    source = FilmSource(path)
    assert source.facts.pix_fmt == pix_fmt
    assert (source.facts.bit_depth, source.facts.subsampling) == (depth, factors)
    assert source.facts.has_luma
    batches = list(source.batches(2))
    assert batches[0].luma.dtype == (torch.uint8 if depth == 8 else torch.uint16)
    assert np.array_equal(luma_of(batches), np.stack(lumas))
    assert not source.facts.is_color


def raw_yuyv(path: Path, lumas: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=RATE)
        stream.height, stream.width = lumas[0].shape
        stream.pix_fmt = "yuyv422"
        for i, luma in enumerate(lumas):
            packed = np.stack([luma, np.full_like(luma, 128)], axis=-1)
            frame = av.VideoFrame.from_ndarray(packed, format="yuyv422")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("pix_fmt", "depth"), [("rgb24", 8), ("gbrp", 8), ("rgb48le", 16), ("bgra", 8)]
)
def test_gray_rgb_keeps_its_values(tmp_path: Path, pix_fmt: str, depth: int) -> None:
    lumas = frames(3, 65, 49, depth)
    path = tmp_path / "rgb.nut"
    with av.open(str(path), "w") as container:
        codec = {"gbrp": "utvideo", "rgb48le": "ffv1"}.get(pix_fmt, "rawvideo")
        stream = container.add_stream(codec, rate=RATE)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 65, 49, pix_fmt
        for i, luma in enumerate(lumas):
            frame = make_frame("rgb48le" if depth == 16 else "rgb24", luma)
            frame = frame.reformat(format=pix_fmt)
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    source = FilmSource(path)
    assert not source.facts.has_luma
    assert (source.facts.bit_depth, source.facts.subsampling) == (depth, (1, 1))
    assert source.facts.tags.full_range
    assert np.array_equal(luma_of(list(source.batches(4))), np.stack(lumas))


def test_colored_rgb_gives_bt601_luma(tmp_path: Path) -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:] = (200, 100, 50)
    with av.open(str(tmp_path / "c.nut"), "w") as container:
        stream = container.add_stream("utvideo", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gbrp"
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="gbrp")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    source = FilmSource(tmp_path / "c.nut")
    (batch,) = source.batches(1)
    assert set(batch.luma.unique().tolist()) == {round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)}
    assert source.facts.is_color and batch.is_color


def test_palette(tmp_path: Path) -> None:
    lumas = frames(3)
    with av.open(str(tmp_path / "p.gif"), "w") as container:
        stream = container.add_stream("gif", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        for i, luma in enumerate(lumas):
            frame = make_frame("gray", luma)
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    source = FilmSource(tmp_path / "p.gif")
    assert not source.facts.has_luma
    assert np.array_equal(luma_of(list(source.batches(2))), np.stack(lumas))


# ---------------------------------------------------------------- tags


@pytest.mark.parametrize(
    ("pix_fmt", "color_range", "full"),
    [
        ("yuv420p", None, False),
        ("yuv420p", 1, False),
        ("yuv420p", 2, True),
        ("gray", None, True),
        ("gray", 1, False),
    ],
)
def test_range(tmp_path: Path, pix_fmt: str, color_range: int | None, full: bool) -> None:
    path = tmp_path / "r.mkv"
    encode(path, "ffv1", pix_fmt, frames(2), color_range=color_range)
    source = FilmSource(path)
    assert source.facts.tags.full_range is full
    assert all(b.full_range is full for b in source.batches(1))


def test_yuvj_is_full_range(tmp_path: Path) -> None:
    encode(tmp_path / "j.avi", "mjpeg", "yuvj420p", frames(2))
    assert probe_film(tmp_path / "j.avi").tags.full_range


@pytest.mark.parametrize(
    ("colorspace", "height", "matrix"),
    [
        (1, 48, "bt709"),
        (5, 48, "bt470bg"),
        (6, 720, "smpte170m"),
        (9, 48, "bt2020nc"),
        (2, 48, "smpte170m"),
        (2, 720, "bt709"),
        (8, 720, "bt709"),
    ],
)
def test_matrix(tmp_path: Path, colorspace: int, height: int, matrix: str) -> None:
    path = tmp_path / "m.mkv"
    lumas = [pattern(0, 16, height)]
    encode(path, "libx264", "yuv420p", lumas, colorspace=colorspace)
    assert probe_film(path).tags.matrix == matrix


def test_already_in_color(tmp_path: Path, gray_film: Clip) -> None:
    encode(tmp_path / "c.nut", "ffv1", "yuv420p", frames(6), chroma=20)
    source = FilmSource(tmp_path / "c.nut")
    assert source.facts.is_color
    # every 25th batch is looked at: the first is
    assert next(source.batches(2)).is_color
    gray = FilmSource(gray_film.path)
    assert not gray.facts.is_color and not any(b.is_color for b in gray.batches(4))


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
def test_rotation_is_clockwise(tmp_path: Path, clockwise: int) -> None:
    def turn(stream: av.video.stream.VideoStream) -> None:
        if clockwise:
            stream.set_display_rotation(-clockwise)

    path = tmp_path / "turned.mp4"
    encode(path, "libx264", "yuv420p", frames(2), setup=turn)
    source = FilmSource(path)
    assert source.facts.rotation == clockwise
    assert [b.rotation for b in source.batches(2)] == [clockwise]
    if clockwise == 90:  # as telephones write it: FFmpeg's "rotation of -90.00 degrees"
        assert source.facts.display_matrix == (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    if clockwise == 0:
        assert source.facts.display_matrix is None


def test_facts(long_gop: Clip) -> None:
    facts = probe_film(str(long_gop.path))
    assert (facts.codec, facts.width, facts.height) == ("hevc", 64, 48)
    assert facts.num_frames_from_header == 96
    assert facts.average_rate == RATE
    assert facts.duration_seconds == pytest.approx(8)
    assert [(s.index, s.kind, s.codec) for s in facts.streams] == [(0, "video", "hevc")]
    assert not facts.interlaced


# ---------------------------------------------------------------- frames and times


def test_no_count_in_header_and_odd_names(gray_film: Clip) -> None:
    source = FilmSource(gray_film.path)
    assert source.facts.num_frames_from_header is None
    batches = list(source.batches(5))
    assert [len(b) for b in batches] == [5, 5, 2]
    assert [b.first_index for b in batches] == [0, 5, 10]
    assert np.array_equal(luma_of(batches), gray_film.luma)
    assert damage_of(batches) == []


def test_b_frames_are_drained(long_gop: Clip) -> None:
    batches = list(FilmSource(long_gop.path).batches(7))
    assert np.array_equal(luma_of(batches), long_gop.luma)
    tick = FilmSource(long_gop.path).facts.time_base * RATE
    assert pts_of(batches) == [round(i / tick) for i in range(96)]
    assert damage_of(batches) == []


def test_variable_frame_rate(tmp_path: Path) -> None:
    pts = [0, 40, 41, 100, 333, 1000, 1001]
    base = Fraction(1, 1000)
    encode(tmp_path / "v.mkv", "ffv1", "gray", frames(7), pts=pts, time_base=base)
    source = FilmSource(tmp_path / "v.mkv")
    assert source.facts.time_base == base
    assert pts_of(list(source.batches(3))) == pts


def test_one_frame(tmp_path: Path) -> None:
    encode(tmp_path / "one.mp4", "libx264", "yuv420p", frames(1), options={"qp": "0"})
    batches = list(FilmSource(tmp_path / "one.mp4").batches(8))
    assert np.array_equal(luma_of(batches), np.stack(frames(1)))


@pytest.mark.parametrize("name", ["raw.h264", "old.avi"])
def test_times_are_made_where_there_are_none(tmp_path: Path, name: str) -> None:
    options = {"qp": "0", "bf": "2", "g": "8", "x264-params": f"fps={RATE}/1"}
    encode(tmp_path / name, "libx264", "yuv420p", frames(20), options=options)
    source = FilmSource(tmp_path / name)
    batches = list(source.batches(6))
    assert np.array_equal(luma_of(batches), np.stack(frames(20)))
    pts = pts_of(batches)
    rate = source.facts.average_rate
    assert rate
    step = 1 / (rate * source.facts.time_base)
    assert pts == [pts[0] + round(i * step) for i in range(20)]
    segment = Segment(Fraction(5) / rate, Fraction(9) / rate)
    part = list(FilmSource(tmp_path / name, segment=segment).batches(6))
    assert np.array_equal(luma_of(part), np.stack(frames(20)[5:9]))


def test_times_that_stand_still_are_repaired(tmp_path: Path) -> None:
    # NUT holds any decoding times; mux packets of intra frames with the times wanted.
    clip = encode(tmp_path / "a.nut", "ffv1", "gray", frames(5))
    times = [0, 10, 10, 9, 30]
    with av.open(str(clip.path)) as old, av.open(str(tmp_path / "b.nut"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [p for p in old.demux(video=0) if p.size]
        for packet, time in zip(packets, times, strict=True):
            packet.stream, packet.pts = stream, time
            packet.dts = packets.index(packet)
            packet.time_base = Fraction(1, RATE)
            new.mux(packet)
    source = FilmSource(tmp_path / "b.nut")
    batches = list(source.batches(2))
    pts = pts_of(batches)
    assert len(pts) == 5 and all(a < b for a, b in pairwise(pts))
    (note,) = [note for batch in batches for note in batch.notes]
    assert note.startswith(f"{tmp_path / 'b.nut'}: times do not increase at 0.833 s")


# ---------------------------------------------------------------- batches and segments


@pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
def test_every_frame_is_in_one_batch(gray_film: Clip, batch_size: int) -> None:
    batches = list(FilmSource(gray_film.path).batches(batch_size))
    assert np.array_equal(luma_of(batches), gray_film.luma)
    assert [b.first_index for b in batches] == list(range(0, 12, batch_size))


@pytest.mark.parametrize(("start", "end"), [(None, 30), (1, 2), (23, 26), (24, 48), (50, 51)])
def test_segment_is_exact(long_gop: Clip, start: int | None, end: int) -> None:
    # A hair before frame `start`, and exactly at frame `end`, which is not in it.
    segment = Segment(
        None if start is None else Fraction(start, RATE) - Fraction(1, 100 * RATE),
        Fraction(end, RATE),
    )
    batches = list(FilmSource(long_gop.path, segment=segment).batches(4))
    assert np.array_equal(luma_of(batches), long_gop.luma[start or 0 : end])
    assert batches[0].first_index == 0
    assert damage_of(batches) == []


def test_segment_to_the_end_and_beyond(long_gop: Clip) -> None:
    tail = FilmSource(long_gop.path, segment=Segment(start=Fraction(90, RATE)))
    assert np.array_equal(luma_of(list(tail.batches(4))), long_gop.luma[90:])
    assert list(FilmSource(long_gop.path, segment=Segment(start=Fraction(99))).batches(4)) == []


def test_a_raw_stream_keeps_the_rate_of_its_own_header(tmp_path: Path) -> None:
    clip = encode(tmp_path / "raw.h264", "libx264", "yuv420p", frames(6))  # 12 a second
    source = FilmSource(clip.path)
    assert source.facts.average_rate == 12
    pts = pts_of(list(source.batches(4)))
    assert [(p - pts[0]) * source.facts.time_base for p in pts] == [
        Fraction(n, 12) for n in range(6)
    ]


_MANY_PNGS = """
import gc, sys
from vidcolor.sources import FilmSource
film = FilmSource(sys.argv[1], rate=24)
print(sum(len(batch) for batch in film.batches(2)), film.facts.rotation)
del film
gc.collect()
"""


def test_numbered_pictures_with_profiles_and_exif(tmp_path: Path) -> None:
    """In a process of its own: FFmpeg's frames of such pictures have crashed it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number in range(3):
        image = Image.new("L", (48, 32), 60 * number)
        exif = image.getexif()
        exif[0x010E] = "a description"
        image.save(tmp_path / f"{number}.png", icc_profile=profile, exif=exif)
    done = subprocess.run(
        [sys.executable, "-c", _MANY_PNGS, str(tmp_path / "%d.png")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["3", "0"]), done.stderr


@pytest.mark.parametrize(
    ("height", "rate", "tags"),
    [
        (576, 25, ("bt470bg", 5, 6)),
        (480, 30, ("smpte170m", 6, 6)),
        (240, 25, ("bt470bg", 5, 6)),
        (240, 24, ("smpte170m", 6, 6)),
        (720, 25, ("bt709", 1, 1)),
    ],
)
def test_what_an_untagged_film_is_taken_for(
    tmp_path: Path, height: int, rate: int, tags: tuple[str, int, int]
) -> None:
    lumas = [pattern(i, 32, height) for i in range(3)]
    path = encode(
        tmp_path / "m.mkv", "ffv1", "yuv420p", lumas, pts=[0, 1, 2], time_base=Fraction(1, rate),
        setup=lambda stream: setattr(stream.codec_context, "framerate", Fraction(rate)),
    ).path  # fmt: skip
    facts = probe_film(path)
    assert (facts.tags.matrix, facts.tags.primaries, facts.tags.transfer) == tags
    assert bool([note for note in facts.notes if "no color tags" in note]) == (height < 720)


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv422p", "yuv420p10le"])
def test_color_is_seen_in_every_subsampling(tmp_path: Path, pix_fmt: str) -> None:
    deep = "10" in pix_fmt
    lumas = frames(4, depth=10 if deep else 8)
    path = encode(tmp_path / "c.mkv", "ffv1", pix_fmt, lumas, chroma=80 if deep else 20).path
    facts = probe_film(path)
    assert facts.is_color and not facts.tags.full_range
