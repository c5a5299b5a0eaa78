"""Sizes that are known without decoding, against what PyAV counts packet by packet."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from tests.helpers.clips import encode, frames
from tests.helpers.films import FilmSpec, build_film
from vidcolor.probe import packet_sizes as sizes
from vidcolor.probe.packet_sizes import can_seek, copied_bytes, count_frames, video_packets


def packets_of(path: Path, index: int) -> list[int]:
    with av.open(str(path)) as container:
        return [p.size for p in container.demux(container.streams[index]) if p.size]


@pytest.mark.parametrize("name", ["in.mkv", "in.mp4", "in.avi"])
def test_frames_are_counted(tmp_path: Path, name: str) -> None:
    path = build_film(tmp_path, FilmSpec(name=name, audio=("mp3",)))
    assert count_frames(path) == 12


def test_the_pictures_of_a_sequence_are_counted(tmp_path: Path) -> None:
    for number in range(5):
        Image.new("L", (16, 16), number).save(tmp_path / f"{number:03d}.png")
    assert count_frames(tmp_path / "%03d.png", Fraction(24)) == 5


def test_packets_come_in_the_order_they_are_shown(tmp_path: Path) -> None:
    path = build_film(tmp_path, FilmSpec(b_frames=2))
    found = video_packets(path)
    assert [packet.seconds for packet in found] == pytest.approx(
        [i / 12 for i in range(12)], abs=1e-3
    )
    assert sorted(packet.bytes for packet in found) == sorted(packets_of(path, 0))
    assert [packet.key for packet in found] == [True] + [False] * 11


@pytest.mark.parametrize("whole", [True, False])
def test_copied_streams_weigh_what_their_packets_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    spec = FilmSpec(name="in.mkv", audio=("flac", "aac"), fonts=("a.ttf",), pts=tuple(range(1200)))
    path = build_film(tmp_path, spec)
    if not whole:  # as if the file were too large to read through
        monkeypatch.setattr(sizes, "_WHOLE_BYTES", 0)
    sound = packets_of(path, 1) + packets_of(path, 2)
    wanted = sum(sound) + 18 * 20  # and the font
    found = copied_bytes(path, [1, 2, 3], 100.0)
    assert wanted <= found <= 1.15 * wanted + 12 * len(sound)
    assert copied_bytes(path, [], 100.0) == 0
    assert copied_bytes(path, [3], 100.0) == 18 * 20


def test_whether_a_film_can_be_sought(tmp_path: Path) -> None:
    lumas = frames(120)
    key = {"g": "12"}
    for name in ("a.mkv", "a.mp4"):
        path = encode(tmp_path / name, "libx264", "yuv420p", lumas, options=key).path
        assert can_seek(path, 5.0)
    raw = encode(tmp_path / "a.h264", "libx264", "yuv420p", lumas, options=key).path
    assert not can_seek(raw, 5.0)
    one_key = encode(
        tmp_path / "b.mkv", "libx264", "yuv420p", lumas, options={"g": "999", "sc_threshold": "0"}
    ).path
    assert not can_seek(one_key, 5.0)  # all before it must be decoded
    assert not can_seek(tmp_path / "%d.png", 5.0, Fraction(24))
