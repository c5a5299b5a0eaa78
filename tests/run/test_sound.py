"""Sound that is copied is heard all the same: what is damaged or missing in it is told."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.helpers.recordings import RATE, record, record_at
from vidcolor import Colorizer, Report, colorize

Change = Callable[[int, "av.Packet[Any]"], "av.Packet[Any] | None"]


def run(path: Path, colorizer: Colorizer) -> Report:
    (report,) = colorize(path, path.with_name("out.mkv"), colorizer=colorizer)
    return report


def said(report: Report) -> list[str]:
    """The warnings, but the one that a recording without color tags gets."""
    return [line for line in report.warnings if "color tags" not in line]


def remade(path: Path, change: Change) -> Path:
    """The film with its packets of sound changed, by their number; None leaves one out."""
    target = path.with_stem("changed")
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        streams = [output.add_stream_from_template(each, opaque=True) for each in source.streams]
        number = 0
        for packet in source.demux():
            if packet.size == 0:
                continue
            kept: av.Packet[Any] | None = packet
            if packet.stream.type == "audio":
                kept, number = change(number, packet), number + 1
            if kept is not None:
                kept.stream = streams[packet.stream_index]
                output.mux(kept)
    return target


def scrambled(packet: av.Packet[Any]) -> av.Packet[Any]:
    junk = np.random.default_rng(0).integers(0, 256, packet.size).astype(np.uint8)
    made: av.Packet[Any] = av.Packet(junk.tobytes())
    made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
    made.time_base = packet.time_base
    return made


@pytest.mark.parametrize("sound", ["mp2", "aac", "flac"])
def test_damaged_sound_is_heard(tmp_path: Path, colorizer: Colorizer, sound: str) -> None:
    path = record(tmp_path / "in.mkv", video=range(2 * RATE), seconds=2, sound=sound)
    assert (run(path, colorizer).status, said(run_again(path, colorizer))) == ("done", [])
    path = remade(path, lambda number, packet: scrambled(packet) if number == 9 else packet)
    report = run_again(path, colorizer)
    assert report.status == "incomplete" and report.frames == 2 * RATE
    assert "sound of stream 1 is damaged at 0." in report.error and str(path) in report.error
    sounds = [packets_of(each) for each in (path, report.output)]
    assert sounds[0] == sounds[1]  # it is copied as it is


def run_again(path: Path, colorizer: Colorizer) -> Report:
    for made in path.parent.glob("out*"):
        made.unlink()
    return run(path, colorizer)


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_lost_packets_of_a_broadcasts_sound(tmp_path: Path, colorizer: Colorizer) -> None:
    path = record_at(tmp_path / "in.ts", seconds=3, start=Fraction(0))
    data = path.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    sound = [
        place for place, packet in enumerate(packets) if packet[2] == 1 and packet[1] & 31 == 1
    ]
    lost = set(sound[len(sound) // 2 :][:3])
    path.write_bytes(b"".join(each for i, each in enumerate(packets) if i not in lost))
    report = run(path, colorizer)
    assert report.status == "incomplete" and report.frames == 3 * RATE
    assert "sound of stream 1 is damaged at 1." in report.error


def test_a_gap_in_the_sound_is_told(tmp_path: Path, colorizer: Colorizer) -> None:
    path = record(tmp_path / "in.mkv", video=range(3 * RATE), seconds=3)
    path = remade(path, lambda number, packet: None if 40 <= number < 60 else packet)
    report = run(path, colorizer)
    assert report.status == "done"
    (line,) = said(report)
    assert "sound of stream 1 is silent from 0.9" in line and "for 0.480 s" in line


def test_a_picture_that_ends_before_the_sound_is_told(tmp_path: Path, colorizer: Colorizer) -> None:
    path = record(tmp_path / "in.ts", video=range(RATE), seconds=4)
    report = run(path, colorizer)
    (line,) = said(report)
    assert "the picture ends 2.9" in line
