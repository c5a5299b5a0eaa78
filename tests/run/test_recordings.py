"""Films as recorders, broadcasts and DVDs leave them, from the input to the finished output."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tests.helpers.one_film import color_one as run
from tests.helpers.recordings import RATE, record, record_at
from vidcolor import Colorizer, Report, Settings, colorize
from vidcolor.frames import Segment


def times(path: Path) -> dict[str, list[float]]:
    """The moments of each kind of stream, ascending, seconds."""
    found: dict[str, list[float]] = {"video": [], "audio": []}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                found[packet.stream.type].append(float(packet.pts * packet.time_base))
    return {kind: sorted(each) for kind, each in found.items()}


def joined(folder: Path, **second: Any) -> Path:
    """Two recordings of 2 s one after the other, each with a clock of its own."""
    path, codec = folder / "joined.ts", "libx264"
    first = record_at(folder / "first.ts", seconds=2, start=Fraction(100), codec=codec)
    then = record_at(folder / "second.ts", seconds=2, start=Fraction(7), codec=codec, **second)
    path.write_bytes(first.read_bytes() + then.read_bytes())
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
def test_a_recording_that_begins_late_is_as_long_as_it_lasts(
    tmp_path: Path, colorizer: Colorizer, suffix: str
) -> None:
    path = record_at(tmp_path / "in.ts", seconds=1, start=Fraction(36000))
    report = run(path, tmp_path / f"out{suffix}", colorizer)
    assert (report.status, report.error, report.frames) == ("done", "", RATE)
    found = times(report.output)
    assert found["video"][0] < 2 and found["video"][-1] - found["video"][0] == pytest.approx(0.96)
    before, after = times(path), found
    for kind in ("video", "audio"):  # in step as before
        assert after[kind][0] - after["video"][0] == pytest.approx(
            before[kind][0] - before["video"][0], abs=0.003
        )


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
def test_joined_recordings_become_one_film_in_step(
    tmp_path: Path, colorizer: Colorizer, suffix: str
) -> None:
    report = run(joined(tmp_path), tmp_path / f"out{suffix}", colorizer)
    assert (report.status, report.error, report.frames) == ("done", "", 4 * RATE)
    found = times(report.output)
    for kind in ("video", "audio"):
        length = found[kind][-1] - found[kind][0]
        assert length == pytest.approx(4, abs=0.15), kind


def test_a_segment_of_joined_recordings(tmp_path: Path, colorizer: Colorizer) -> None:
    segment = Segment(Fraction(3), Fraction(7, 2))
    report = run(joined(tmp_path), tmp_path / "out.mkv", colorizer, segment=segment)
    assert (report.status, report.error) == ("done", "")
    assert report.frames in (12, 13)  # the joint is not a whole number of frames long
    found = times(report.output)
    assert found["video"][0] == 0 and 0 <= found["audio"][0] < 0.03
    assert found["audio"][-1] < 0.5


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_equal_times_of_copied_sound_are_set_apart(
    tmp_path: Path, colorizer: Colorizer, suffix: str
) -> None:
    """DVDs give two packets of AC-3 one time; MP4 takes none that is not after the last."""
    path = tmp_path / "in.mkv"
    source = record(tmp_path / "plain.mkv", video=range(RATE), seconds=1, sound="ac3")
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        streams = {each.index: new.add_stream_from_template(each) for each in old.streams}
        last: int | None = None
        count = 0
        for packet in old.demux():
            if packet.size == 0:
                continue
            if packet.stream.type == "audio":
                count += 1
                if count % 2 == 0 and last is not None:
                    packet.pts = packet.dts = last
                last = packet.dts
            packet.stream = streams[packet.stream_index]
            new.mux(packet)
    assert len(set(times(path)["audio"])) < len(times(path)["audio"])
    report = run(path, tmp_path / f"out{suffix}", colorizer)
    assert (report.status, report.error) == ("done", "")
    assert len(times(report.output)["audio"]) == count


@pytest.mark.parametrize("size", [(128, 96), (96, 96)])  # larger, and of another shape
def test_a_picture_that_changes_goes_on_in_one_film(
    tmp_path: Path, colorizer: Colorizer, size: tuple[int, int]
) -> None:
    path = joined(tmp_path, size=size)
    report = run(path, tmp_path / "out.mkv", colorizer)
    assert (report.status, report.error, report.frames) == ("done", "", 4 * RATE)
    (warning,) = [line for line in report.warnings if "the picture changes at" in line]
    assert f"{size[0]}x{size[1]}" in warning
    with av.open(str(report.output)) as container:
        assert {(f.width, f.height) for f in container.decode(video=0)} == {(64, 48)}


def test_a_picture_that_changes_splits_the_film(tmp_path: Path, colorizer: Colorizer) -> None:
    path = joined(tmp_path, size=(128, 96))
    reports = colorize(
        path,
        tmp_path / "out.mkv",
        colorizer=colorizer,
        settings=Settings(on_change="split"),
    )
    assert [(r.status, r.frames, r.output.name) for r in reports] == [
        ("done", 2 * RATE, "out.mkv"),
        ("done", 2 * RATE, "out.part2.mkv"),
    ]
    for report, size in zip(reports, ((64, 48), (128, 96)), strict=True):
        with av.open(str(report.output)) as container:
            assert (container.streams.video[0].width, container.streams.video[0].height) == size
        assert times(report.output)["audio"][-1] == pytest.approx(2, abs=0.1)


CHANGE = Fraction(198, 100)  # between the last frame before it and the first after it


@pytest.mark.parametrize(
    ("segment", "size"),
    [(Segment(end=CHANGE), (64, 48)), (Segment(start=CHANGE), (128, 96))],
)
def test_segments_that_end_and_begin_at_a_change(
    tmp_path: Path, colorizer: Colorizer, segment: Segment, size: tuple[int, int]
) -> None:
    first = record_at(tmp_path / "first.ts", seconds=2, start=Fraction(0), codec="libx264")
    second = record_at(
        tmp_path / "second.ts", seconds=2, start=Fraction(2), size=(128, 96), codec="libx264"
    )
    path = tmp_path / "in.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    report = run(path, tmp_path / "out.mkv", colorizer, segment=segment)
    assert (report.status, report.error, report.frames) == ("done", "", 2 * RATE)
    with av.open(str(report.output)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == size


def test_lost_packets_make_it_incomplete(tmp_path: Path, colorizer: Colorizer) -> None:
    path = record_at(tmp_path / "in.ts", seconds=2, start=Fraction(0), size=(320, 240))
    packets = [
        data[at : at + 188] for data in [path.read_bytes()] for at in range(0, len(data), 188)
    ]
    pictures = [place for place, packet in enumerate(packets) if packet[1:3] == b"\x01\x00"]
    lost = set(pictures[len(pictures) // 2 :][:8])
    path.write_bytes(b"".join(each for i, each in enumerate(packets) if i not in lost))
    report = run(path, tmp_path / "out.mkv", colorizer)
    assert report.status == "incomplete"
    assert report.output == tmp_path / "out.incomplete.mkv"
    assert "damaged at 0." in report.error or "damaged at 1." in report.error


def test_the_timecode_moves_with_the_start(tmp_path: Path, colorizer: Colorizer) -> None:
    path = tmp_path / "in.mov"
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("mpeg4", rate=RATE, width=64, height=48)
        stream.pix_fmt = "yuv420p"
        stream.metadata["timecode"] = "23:59:59:10"
        for number in range(2 * RATE):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([100]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    for suffix in (".mov", ".mp4"):
        segment = Segment(Fraction(1))
        report = run(path, tmp_path / f"out{suffix}", colorizer, segment=segment)
        assert (report.status, report.frames) == ("done", RATE)
        with av.open(str(report.output)) as container:
            assert container.streams.video[0].metadata["timecode"] == "00:00:00:10"


def test_an_unexpected_error_ends_one_film_alone(
    tmp_path: Path, colorizer: Colorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = record(tmp_path / "good.mkv", video=range(3), seconds=1)
    bad = record(tmp_path / "bad.mkv", video=range(3), seconds=1)
    from vidcolor.run import pipeline
    from vidcolor.run.films import colorize_film

    def broken(job: Any, *rest: Any) -> Report:
        if job.input == bad:
            raise ZeroDivisionError("no rate")
        return colorize_film(job, *rest)

    monkeypatch.setattr(pipeline, "colorize_film", broken)
    reports = colorize([bad, good], tmp_path / "out", colorizer=colorizer)
    assert [report.status for report in reports] == ["done", "failed"]  # it was tried again
    assert str(bad) in reports[1].error and "ZeroDivisionError" in reports[1].error
    assert "\n" not in reports[1].error


def test_long_names_are_cut(tmp_path: Path, colorizer: Colorizer) -> None:
    path = record(tmp_path / ("é" * 125 + ".mkv"), video=range(3), seconds=1)
    (report,) = colorize(path, colorizer=colorizer)
    assert report.status == "done" and report.output.exists()
    assert report.output.name.endswith("é.color.mkv")


def test_nothing_goes_to_standard_output(tmp_path: Path, colorizer: Colorizer) -> None:
    path = record(tmp_path / "in.mkv", video=range(3), seconds=1)
    with pytest.raises(Exception, match="standard output"):
        colorize(path, "-", colorizer=colorizer)


def test_a_playlist_is_opened_only_where_it_is_allowed(
    tmp_path: Path, colorizer: Colorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "other.ts", video=range(RATE), seconds=1)
    path = tmp_path / "list.m3u8"
    path.write_text(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\nother.ts\n"
        "#EXT-X-ENDLIST\n"
    )
    report = run(path, tmp_path / "out.mkv", colorizer)
    assert report.status == "failed" and "playlist" in report.error
    assert not report.output.exists()
    allowed = replace(Settings(), allow_playlists=True)
    (report,) = colorize(path, tmp_path / "out.mkv", colorizer=colorizer, settings=allowed)
    assert (report.status, report.error, report.frames) == ("done", "", RATE)


def test_too_little_memory_is_said_before_the_work(
    tmp_path: Path, colorizer: Colorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(tmp_path / "in.mkv", video=range(3), seconds=1)
    monkeypatch.setattr("vidcolor.run.plan.allocatable_memory", lambda: 100 << 20)
    report = run(path, tmp_path / "out.mkv", colorizer)
    assert report.status == "failed" and "100 MiB" in report.error and "64x48" in report.error
