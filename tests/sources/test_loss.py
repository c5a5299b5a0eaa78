"""What FFmpeg reads past without an error is heard, and healthy films are not suspected."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.helpers.clips import damage_of, encode, frames
from tests.helpers.recordings import RATE, record, record_at
from vidcolor.errors import InputError
from vidcolor.sources import FilmSource, probe_film


def test_a_checksum_that_fails_is_heard(tmp_path: Path) -> None:
    film = encode(
        tmp_path / "film.mkv", "ffv1", "yuv420p", frames(8), options={"level": "3", "slicecrc": "1"}
    )
    data = bytearray(film.path.read_bytes())
    with av.open(str(film.path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        at = data.find(bytes(packets[4])) + packets[4].size // 2
    assert damage_of(list(FilmSource(film.path).batches(8))) == []
    data[at] ^= 1
    film.path.write_bytes(data)
    batches = list(FilmSource(film.path).batches(8))
    assert sum(map(len, batches)) == 8  # it is decoded all the same
    assert any("CRC" in line for line in damage_of(batches))


def test_the_same_damage_in_two_films_is_told_of_both(tmp_path: Path) -> None:
    test_a_checksum_that_fails_is_heard(tmp_path)
    for _ in range(2):
        assert damage_of(list(FilmSource(tmp_path / "film.mkv").batches(3)))


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_recording_may_begin_within_a_group(tmp_path: Path, codec: str) -> None:
    path = record_at(tmp_path / "in.ts", seconds=2, start=Fraction(50), codec=codec)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 5 // 188 * 188 :])
    batches = list(FilmSource(path).batches(100))
    assert damage_of(batches) == []
    assert 20 < sum(map(len, batches)) < 2 * RATE


def test_packets_lost_from_a_recording(tmp_path: Path) -> None:
    path = record_at(tmp_path / "in.ts", seconds=2, start=Fraction(0), size=(160, 120))
    data = path.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    pictures = [place for place, packet in enumerate(packets) if packet[1:3] == b"\x01\x00"]
    lost = set(pictures[len(pictures) // 2 :][:5])
    path.write_bytes(b"".join(each for i, each in enumerate(packets) if i not in lost))
    lines = damage_of(list(FilmSource(path).batches(100)))
    assert lines and all(" at 0." in line or " at 1." in line for line in lines)


def test_garbage_within_a_matroska_file(tmp_path: Path) -> None:
    path = record(tmp_path / "in.mkv", video=range(3 * RATE), seconds=3, size=(160, 120))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    path.write_bytes(data)
    assert damage_of(list(FilmSource(path).batches(100)))


@pytest.mark.parametrize(("alpha", "extras"), [(255, ()), (7, ("the transparency (alpha)",))])
@pytest.mark.parametrize(("name", "codec", "pix_fmt"), [("a.mov", "png", "rgba")])
def test_transparency_is_known(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, alpha: int, extras: tuple[str, ...]
) -> None:
    with av.open(str(tmp_path / name), "w") as output:
        stream: Any = output.add_stream(codec, rate=RATE, width=64, height=48)
        stream.pix_fmt = pix_fmt
        picture = np.full((48, 64, 4), 90, np.uint8)
        picture[..., 3] = 255
        picture[10:20, 10:20, 3] = alpha
        output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgba")))
        output.mux(stream.encode(None))
    assert probe_film(tmp_path / name).extras == extras


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"is a pipe or a device.*save it to a file"):
        FilmSource(pipe)
