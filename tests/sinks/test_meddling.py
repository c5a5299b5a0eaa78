"""Another program removes, replaces or cuts the unfinished file; muxers refuse; tags are kept."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tests.helpers.films import FilmMaker, FilmSpec, batches_of, build_film
from vidcolor import Colorizer, Report, Settings, colorize
from vidcolor.errors import OutputError
from vidcolor.run.settings import parse_copy
from vidcolor.sinks import EncoderSettings, FilmSink, check_container, choose_pixel_format
from vidcolor.sinks.encoders import encoding

FAST = EncoderSettings("libx264", preset="ultrafast", crf=0)


def remove(part: Path) -> None:
    part.unlink()


def replace(part: Path) -> None:
    (part.parent / "other").write_bytes(part.read_bytes())
    os.replace(part.parent / "other", part)


def cut_all(part: Path) -> None:
    os.truncate(part, 0)


def cut_half(part: Path) -> None:
    os.truncate(part, part.stat().st_size // 2)


@pytest.mark.parametrize("meddle", [remove, replace, cut_all, cut_half])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_was_meddled_with_is_never_finished(
    film: FilmMaker, tmp_path: Path, suffix: str, meddle: Callable[[Path], None]
) -> None:
    _, facts = film(time_base=Fraction(1, 25), pts=tuple(range(400)), audio=())
    format = choose_pixel_format(facts, FAST)
    output = tmp_path / f"out{suffix}"
    with (
        pytest.raises(OutputError) as caught,
        FilmSink(output, facts, FAST, format=format) as sink,
    ):
        for number, batch in enumerate(batches_of(facts, format, [(i, 1) for i in range(400)], 10)):
            sink.write(batch)
            if number == 25:
                (part,) = tmp_path.glob(".*")
                assert part.stat().st_size > 20_000
                meddle(part)
        sink.finish()
    assert str(output) in str(caught.value) and "\n" not in str(caught.value)
    assert not output.exists()


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_tags_of_any_name_are_kept(film: FilmMaker, tmp_path: Path, suffix: str) -> None:
    tags = {"title": "Old", "archive_id": "A-113", "com.apple.quicktime.make": "Camera"}
    path, facts = film(metadata=tags)
    format = choose_pixel_format(facts, FAST)
    with FilmSink(tmp_path / f"out{suffix}", facts, FAST, format=format) as sink:
        for batch in batches_of(facts, format, [(i, 1) for i in range(12)]):
            sink.write(batch)
        report = sink.finish()
    with av.open(str(report.path)) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}
    assert tags.items() <= found.items()
    assert path.exists()


def test_tags_without_a_place_are_named(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film(metadata={"archive_id": "A-113"}, audio=())
    (note,) = check_container(tmp_path / "out.avi", facts, FAST).notes
    assert note.lower() == ".avi does not keep the tags archive_id"


def test_what_the_picture_carries_beside_is_named(film: FilmMaker, tmp_path: Path) -> None:
    _, facts = film()
    facts = dataclasses.replace(
        facts, extras=("the HDR10 mastering display", "the transparency (alpha)")
    )
    assert check_container(tmp_path / "out.mkv", facts, FAST).notes == (
        "the HDR10 mastering display is not kept",
        "the transparency (alpha) is not kept",
    )


def test_copied_packets_of_equal_times_are_parted(film: FilmMaker, tmp_path: Path) -> None:
    path, facts = film(name="in.mkv", audio=("ac3",))
    same = tmp_path / "same.mkv"
    with av.open(str(path)) as source, av.open(str(same), "w") as output:
        streams = [output.add_stream_from_template(each, opaque=True) for each in source.streams]
        times: list[int] = []
        for packet in source.demux():
            if packet.size:
                if packet.stream.type == "audio" and packet.dts is not None:
                    if len(times) % 2:
                        packet.pts = packet.dts = times[-1]
                    times.append(packet.dts)
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    facts = dataclasses.replace(facts, path=same)
    format = choose_pixel_format(facts, FAST)
    with FilmSink(tmp_path / "out.mp4", facts, FAST, format=format) as sink:
        for batch in batches_of(facts, format, [(i, 1) for i in range(12)]):
            sink.write(batch)
        report = sink.finish()
    found = []
    for each in (same, report.path):
        with av.open(str(each)) as container:
            found.append([(bytes(p), p.dts) for p in container.demux(audio=0) if p.size])
    assert [data for data, _ in found[0]] == [data for data, _ in found[1]]
    steps = [dts for _, dts in found[1] if dts is not None]
    assert steps == sorted(set(steps)) and len(steps) == len(found[1])


def test_what_an_encoder_refuses_is_not_the_disks_fault(film: FilmMaker, tmp_path: Path) -> None:
    path, _ = film()
    with pytest.raises(OutputError) as caught, encoding(path, "libx264"):
        raise av.error.ExternalError(1, "Generic error in an external library")
    said = str(caught.value)
    assert str(path) in said and "libx264" in said and "memory" in said


def test_what_a_muxer_refuses_within_a_film_has_a_remedy_that_works(tmp_path: Path) -> None:
    """MP4 takes no E-AC-3 packet that it cannot read; Matroska takes it, and it is heard there."""
    whole = build_film(tmp_path, FilmSpec(name="in.mkv", pts=tuple(range(36)), audio=("eac3",)))
    source = tmp_path / "bad.mkv"
    with av.open(str(whole)) as container, av.open(str(source), "w") as changed:
        streams = {s.index: changed.add_stream_from_template(s) for s in container.streams}
        sounds = 0
        for packet in container.demux():
            if not packet.size:
                continue
            sounds += packet.stream.type == "audio"
            stream, moments = streams[packet.stream_index], (packet.pts, packet.dts)
            if packet.stream.type == "audio" and sounds == 40:
                unit, packet = packet.time_base, av.Packet(b"\x55" * packet.size)
                packet.time_base, (packet.pts, packet.dts) = unit, moments
            packet.stream = stream
            changed.mux(packet)
    colorizer = Colorizer("_ramp", device="cpu", size=64, precision="fp32")

    def run(output: Path, **changes: Any) -> Report:
        settings = Settings(encoder=FAST, **changes)
        (report,) = colorize(source, output, colorizer=colorizer, settings=settings)
        return report

    report = run(tmp_path / "out.mp4")
    assert report.status == "failed"
    assert "out.mp4: .mp4 refuses stream 1 (audio, eac3" in report.error
    assert " at about " in report.error and "permissions" not in report.error
    found = re.search(r"use -o (\S+) or leave it out with --copy (\S+)", report.error)
    assert found is not None
    other = run(Path(found[1]))
    assert other.status == "incomplete" and other.frames == 36 and "stream 1" in other.error
    without = run(tmp_path / "out.mp4", copy=parse_copy(found[2]))
    assert without.status == "done" and without.frames == 36
