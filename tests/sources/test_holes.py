"""Parts that are missing from a file, and that FFmpeg reads past without a word, are noticed."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.helpers.clips import damage_of
from tests.helpers.recordings import RATE, record, record_at
from vidcolor.frames import LumaBatch
from vidcolor.sources import FilmSource, probe_film


def read(path: Path) -> list[LumaBatch]:
    return list(FilmSource(path).batches(7))


def notes_of(batches: list[LumaBatch]) -> list[str]:
    return [line for batch in batches for line in batch.notes]


def picture(path: Path, codec: str, numbers: Iterable[int], **options: str) -> Path:
    """A film without sound whose frames stand at these numbers, `RATE` a second."""
    grain = np.random.default_rng(0)
    with av.open(str(path), "w", container_options=options) as output:
        stream: Any = output.add_stream(codec, rate=RATE, width=64, height=48)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 1
        packets = []
        for number in numbers:
            luma = grain.integers(20, 200, (48, 64)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(luma, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            packets += stream.encode(frame)
        for packet in packets + stream.encode(None):
            output.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".ts", ".m2v"])
def test_no_frame_is_lost_where_mpeg2_changes_its_size(tmp_path: Path, suffix: str) -> None:
    whole = b""
    for number, size in enumerate([(64, 48), (96, 64), (64, 48)]):
        start = Fraction(2 * number)
        part = record_at(tmp_path / f"{number}.ts", seconds=2, start=start, size=size)
        if suffix == ".ts":
            whole += part.read_bytes()
            continue
        with av.open(str(part)) as container:
            whole += b"".join(bytes(packet) for packet in container.demux(video=0))
    path = tmp_path / f"in{suffix}"
    path.write_bytes(whole)
    batches = read(path)
    assert sum(map(len, batches)) == 6 * RATE
    assert damage_of(batches) == []
    pts = [each for batch in batches for each in batch.pts]
    assert len(set(pts)) == len(pts)


def pages(data: bytes) -> list[int]:
    found, at = [], data.find(b"OggS")
    while at >= 0:
        found.append(at)
        at = data.find(b"OggS", at + 4)
    return [*found, len(data)]


def ogg(path: Path) -> Path:
    return picture(path, "libvpx", range(3 * RATE), page_duration="200000")


@pytest.mark.parametrize("which", [3, -4])
def test_a_page_lost_from_ogg(tmp_path: Path, which: int) -> None:
    path = ogg(tmp_path / "in.ogv")
    assert damage_of(read(path)) == []
    data = path.read_bytes()
    places = pages(data)
    path.write_bytes(data[: places[which]] + data[places[which + 1] :])
    (line,) = damage_of(read(path))
    assert "1 pages of the file are missing" in line


def test_bytes_lost_from_windows_media(tmp_path: Path) -> None:
    path = record_at(tmp_path / "in.wmv", seconds=3, start=Fraction(0), codec="wmv2")
    assert damage_of(read(path)) == []
    data = path.read_bytes()
    first = data.find(bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")) + 50
    path.write_bytes(data[: first + 4 * 3200] + data[first + 5 * 3200 :])
    assert any("3200 bytes of the file are missing" in line for line in damage_of(read(path)))


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_a_head_that_is_lost(tmp_path: Path, suffix: str) -> None:
    path = record_at(tmp_path / f"in{suffix}", seconds=2, start=Fraction(50))
    assert damage_of(read(path)) == []
    path.write_bytes(path.read_bytes()[101:])
    assert any("beginning of the file" in line for line in damage_of(read(path)))


def without(data: bytes, number: int) -> bytes:
    """An AVI with the `number`-th chunk of video and its head wiped out."""
    at = -1
    for _ in range(number):
        at = data.find(b"00dc", at + 1)
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    return data[:at] + bytes(8 + size) + data[at + 8 + size :]


def test_frames_wiped_out_of_an_avi(tmp_path: Path) -> None:
    path = picture(tmp_path / "in.avi", "mpeg4", range(30))
    assert damage_of(read(path)) == []
    path.write_bytes(without(path.read_bytes(), 12))
    batches = read(path)
    assert sum(map(len, batches)) < 30
    assert damage_of(batches)


def test_an_avi_may_repeat_frames(tmp_path: Path) -> None:
    path = picture(tmp_path / "in.avi", "mpeg4", [*range(12), *range(15, 30)])
    assert damage_of(read(path)) == []


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ([*range(40), *range(65, 125)], 25),
        (range(100), 0),
        (np.cumsum(np.random.default_rng(0).integers(1, 6, 80)), 0),  # a variable rate
    ],
)
def test_frames_missing_by_the_rate_are_noted(
    tmp_path: Path, numbers: Iterable[int], missing: int
) -> None:
    path = picture(tmp_path / "in.mkv", "mpeg4", map(int, numbers))
    batches = read(path)
    assert damage_of(batches) == []
    lines = notes_of(batches)
    if not missing:
        assert lines == []
    else:
        assert [f"{missing} frames, the first after 1.560 s" in line for line in lines] == [True]


def test_a_film_joined_byte_by_byte_is_not_in_step(tmp_path: Path) -> None:
    path = record(tmp_path / "in.mkv", video=range(2 * RATE), seconds=2)
    path.write_bytes(path.read_bytes() * 2)
    batches = read(path)
    (line,) = damage_of(batches)
    assert "go back by 1.960 s" in line
    assert sum(map(len, batches)) == 4 * RATE


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparency_beside_the_picture_is_known(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "in.webm"
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(codec, rate=RATE, width=64, height=48)
        stream.pix_fmt = "yuv420p"
        stream.metadata["ALPHA_MODE"] = "1"
        output.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        output.mux(stream.encode(None))
    assert probe_film(path).extras == ("the transparency (alpha)",)
