"""Planted faults are found at their timecodes; a clean result has none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.helpers.command_line import Vidcolor
from tests.helpers.films import FilmSpec, build_film
from tests.helpers.review_films import (
    SHOT,
    SIDE,
    Planted,
    nothing,
    pixels,
    recolored,
    true_frames,
    write_original,
    write_result,
)
from vidcolor.errors import InputError
from vidcolor.review.check import FilmReview, compare_streams, review_film
from vidcolor.review.detect import Detector, Place
from vidcolor.review.finding import timecode
from vidcolor.run.settings import Settings
from vidcolor.sources import expand
from vidcolor.sources.stream_sums import stream_sums


@pytest.fixture(scope="module")
def frames() -> list[Tensor]:
    return true_frames()


@pytest.fixture(scope="module")
def original(frames: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_original(tmp_path_factory.mktemp("original"), frames)


def review(original: Path, result: Path, **settings: object) -> FilmReview:
    (item,) = expand([str(original)], rate=None)
    return review_film(item, result, Settings(**settings))  # type: ignore[arg-type]


def flicker(number: int, ab: Tensor) -> Tensor:
    if 10 <= number < 18 and number % 2:
        ab[:, 0] += 8
    return ab


def flicker_in_a_corner(number: int, ab: Tensor) -> Tensor:
    if 40 <= number < 48 and number % 2:
        ab[:, 1, : SIDE // 2, : SIDE // 2] += 12
    return ab


def jump(number: int, ab: Tensor) -> Tensor:
    if 12 <= number < SHOT:
        ab[:, 1] += 14
    return ab


def gray(number: int, ab: Tensor) -> Tensor:
    return ab * 0.05 if number >= SHOT else ab


def sepia(number: int, ab: Tensor) -> Tensor:
    return ab * 0.3 + torch.tensor([10.0, 22]).view(1, 2, 1, 1) if number >= SHOT else ab


def blob(number: int, ab: Tensor) -> Tensor:
    if 40 <= number < 50:
        y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        there = (y - 40) ** 2 + (x - 50) ** 2 < 9**2
        ab[:, 0, there] += 38
        ab[:, 1, there] -= 30
    return ab


@pytest.mark.parametrize(
    ("planted", "kind", "first", "last", "shot"),
    [
        (flicker, "flicker", 11, 17, 0),
        (flicker_in_a_corner, "flicker", 41, 47, 1),
        (jump, "jump", 12, 12, 0),
        (gray, "gray", 30, 59, 1),
        (sepia, "cast", 30, 59, 1),
        (blob, "blob", 40, 49, 1),
    ],
)
def test_a_planted_fault(
    original: Path,
    frames: list[Tensor],
    tmp_path: Path,
    planted: Planted,
    kind: str,
    first: int,
    last: int,
    shot: int,
) -> None:
    found = review(original, write_result(tmp_path, recolored(frames, planted)))
    (one,) = found.findings
    assert (one.kind, one.shot) == (kind, shot)
    assert one.start is not None and one.end is not None and one.frame is not None
    assert abs(one.frame - first) <= 1 and abs(one.start - first / 10) <= 0.1001
    assert abs(one.end - last / 10) <= 0.1001
    assert one.when == timecode(one.start)


def test_a_clean_result(original: Path, frames: list[Tensor], tmp_path: Path) -> None:
    found = review(original, write_result(tmp_path, recolored(frames)))
    assert found.findings == [] and found.notes == [] and found.frames == 60
    assert found.luma is not None and found.luma.unit == "L*"
    assert 0 < found.luma.mean < 0.3 and found.luma.largest < 1.5
    assert [(s.first.frame, s.last.frame) for s in found.shots] == [(0, 29), (30, 59)]
    assert len(found.curve) == 60 and found.curve[-1].seconds == pytest.approx(5.9)


def test_lightness_that_changed(original: Path, frames: list[Tensor], tmp_path: Path) -> None:
    """Of all of a frame, and of a place in it."""
    darker = [rgb * 0.9 if 20 <= i < 25 else rgb for i, rgb in enumerate(frames)]
    for i in range(45, 50):
        darker[i] = darker[i].clone()
        darker[i][..., :20, :20] *= 0.5
    found = review(original, write_result(tmp_path, darker))
    luma = [each for each in found.findings if each.kind == "luma"]
    assert [each.frame for each in luma] == [20, 45]
    assert [each.start for each in luma] == pytest.approx([2.0, 4.5])
    assert [each.end for each in luma] == pytest.approx([2.4, 4.9])
    assert found.luma is not None and found.luma.largest > 15


def test_a_frame_that_is_missing(original: Path, frames: list[Tensor], tmp_path: Path) -> None:
    found = review(original, write_result(tmp_path, recolored(frames)[:-7]))
    (one,) = found.findings
    assert one.kind == "frames" and "7 frames missing of the original" in one.text
    assert "00:00:05.300" in one.text and found.frames == 53


def test_a_cut_whose_first_frame_is_missing(
    original: Path, frames: list[Tensor], tmp_path: Path
) -> None:
    """The shot begins with the next one: no jump, no flicker."""
    path, colors = tmp_path / "color.mkv", recolored(frames)
    del colors[SHOT]
    all_in_a_row = write_result(tmp_path, colors, "row.mkv")
    with av.open(str(all_in_a_row)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and packet.pts is not None:
                packet.pts = packet.dts = packet.pts + (100 if number >= SHOT else 0)
                packet.stream = stream
                output.mux(packet)
    (one,) = review(original, path).findings
    assert one.kind == "frames" and "1 frame missing of the original" in one.text
    assert "00:00:03.000" in one.text


def test_numbered_pictures_as_a_result(frames: list[Tensor], tmp_path: Path) -> None:
    original = write_original(tmp_path, frames[:12])
    (tmp_path / "out").mkdir()
    for number, rgb in enumerate(recolored(frames[:12], gray)):
        Image.fromarray(pixels(rgb)).save(tmp_path / "out" / f"{number:04d}.png")
    found = review(original, tmp_path / "out" / "%04d.png")
    assert found.frames == 12 and found.findings == []
    assert found.luma is not None and found.luma.largest < 1.5


def test_a_result_that_was_cut_off(original: Path, frames: list[Tensor], tmp_path: Path) -> None:
    path = write_result(tmp_path, recolored(frames))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    found = review(original, path).findings
    assert {each.kind for each in found} <= {"frames", "unreadable"}
    assert any("missing of the original" in each.text for each in found)


def test_frames_at_other_times(frames: list[Tensor], tmp_path: Path) -> None:
    steps = [40 * i + (15 if 6 <= i < 9 else 0) for i in range(12)]
    spec = FilmSpec(time_base=Fraction(1, 1000), pts=tuple(40 * i for i in range(12)),
                    last_duration=40, video="ffv1")  # fmt: skip
    one = build_film(tmp_path, replace(spec, name="a.mkv"))
    two = build_film(tmp_path, replace(spec, name="b.mkv", pts=tuple(steps)))
    found = [each for each in review(one, two).findings if each.kind == "times"]
    assert len(found) == 1 and "3 frames shown up to 0.015 s off" in found[0].text


def test_other_pictures_are_not_compared(
    original: Path, frames: list[Tensor], tmp_path: Path
) -> None:
    """One finding, and no false alarms that follow from it."""
    other = [1 - rgb for rgb in frames]
    (one,) = review(original, write_result(tmp_path, other)).findings
    assert one.kind == "frames" and "other pictures" in one.text
    small = [rgb[..., :80] for rgb in frames[:6]]
    (one,) = review(original, write_result(tmp_path, small)).findings
    assert one.kind == "size" and "80x96" in one.text


def test_streams(tmp_path: Path) -> None:
    spec = FilmSpec(audio=("aac", "aac"), subtitle="srt", fonts=("a.ttf",), chapters=2)
    whole = stream_sums(build_film(tmp_path, replace(spec, name="a.mkv")))
    same = stream_sums(build_film(tmp_path, replace(spec, name="b.mkv")))
    assert compare_streams(whole, same, whole=True) == []
    less = stream_sums(build_film(tmp_path, FilmSpec(name="c.mkv", subtitle="srt")))
    found = compare_streams(whole, less, whole=True)
    assert len(found) == 3
    for text, word in zip(found, ("audio", "attachment", "chapters"), strict=True):
        assert word in text
    late = stream_sums(build_film(tmp_path, replace(spec, name="d.mkv", audio_start=0.3)))
    assert any("+0.3" in text for text in compare_streams(whole, late, whole=True))


def test_a_long_fault_is_one_finding_and_the_curve_is_bounded() -> None:
    from tests.helpers.review_films import scene
    from vidcolor.review.check import Curve, Point
    from vidcolor.review.colors import view

    rgb = scene(1, SIDE)
    seen = view(rgb.mean(1, keepdim=True).expand(1, 3, -1, -1), rgb)
    detector, curve = Detector(label=False), Curve()
    for number in range(3000):
        detector.luma(Place(number / 10, number, 0), 9.0, 9.0)
        curve.add(Point(number / 10, 1.0, number % 700))
        if number < 40:
            detector.colors(Place(number / 10, number, 0), seen, number == 0)
    assert len(detector.findings.found) == 0 and len(detector.shots) == 1
    assert len(curve.points) < 512 and max(each.reversal for each in curve.points) == 699
    (one,) = detector.finish()
    assert one.kind == "luma" and one.end == pytest.approx(299.9)


def test_many_findings_are_counted() -> None:
    detector = Detector(label=False)
    for number in range(1200):  # ten seconds apart
        detector.luma(Place(number * 10, number, 0), 9.0, 9.0)
    assert len(detector.finish()) == 500 and detector.findings.more["luma"] == 700


def test_the_command(
    original: Path, frames: list[Tensor], tmp_path: Path, command: Vidcolor
) -> None:
    result = write_result(tmp_path, recolored(frames, jump))
    answer = command("check", original, result)
    assert answer.code == 1 and "00:00:01.200 color jump" in answer.out
    answer = command("check", original, result, "--json")
    values = json.loads(answer.out)
    assert answer.code == 1 and values["frames"] == 60
    (found,) = values["findings"]
    assert (found["kind"], found["timecode"], found["frame"]) == ("jump", "00:00:01.200", 12)
    write_result(tmp_path, recolored(frames, nothing))
    answer = command("check", original, result)
    assert answer.code == 0 and "nothing found" in answer.out
    answer = command("check", original, tmp_path / "none.mkv")
    assert answer.code == 1 and "none.mkv: no such file" in answer.err
    assert command("check", original).code == 1
    (tmp_path / "bad.mkv").write_bytes(b"nothing " * 100)
    answer = command("check", original, tmp_path / "bad.mkv")
    assert answer.code == 1 and "bad.mkv" in answer.err and len(answer.err.splitlines()) == 1


def run(command: Vidcolor, source: Path, output: Path, *more: str) -> None:
    answer = command("run", source, "-o", output, "--device", "cpu", "--precision", "fp32", *more)
    assert answer.code == 0, answer.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "note"),
    [
        ((), ""),
        (("--start", "1", "--end", "2.5"), "only 00:00:01.000 to 00:00:02.500"),
        (("--fps", "30"), "30 frames a second"),
        (("--luma", "exact"), ""),
        (("--label", "all"), "label"),
    ],
    ids=["plain", "range", "rate", "exact", "label"],
)
def test_results_of_a_run_have_no_false_alarms(
    command: Vidcolor, tmp_path: Path, more: Sequence[str], note: str
) -> None:
    sample = Path(__file__).parents[2] / "samples" / "old_film.mp4"
    cut = () if "--start" in more else ("--end", "2.5")
    run(command, sample, tmp_path / "color.mp4", *cut, *more)
    answer = command("check", sample, tmp_path / "color.mp4")
    assert answer.code == 0, answer.out
    assert note in answer.out and "nothing found" in answer.out


@pytest.mark.slow
@pytest.mark.parametrize("way", ["auto", "fields", "off"])
def test_a_deinterlaced_result(command: Vidcolor, tmp_path: Path, way: str) -> None:
    from tests.helpers.interlaced import interlace, write

    frames = [np.asarray((rgb[0, 1] * 255).byte().numpy()) for rgb in true_frames()[:24]]
    large = [np.kron(each, np.ones((2, 2), np.uint8)) for each in frames]
    source = write(tmp_path / "i.mkv", interlace(large))
    run(command, source, tmp_path / "color.mkv", "--deinterlace", way)
    found = review(source, tmp_path / "color.mkv").findings
    assert [each for each in found if each.kind not in ("gray", "cast")] == []


def test_marks_that_make_no_sense(original: Path, tmp_path: Path) -> None:
    result = tmp_path / "odd.mkv"
    with av.open(str(original)) as source, av.open(str(result), "w") as output:
        output.metadata["vidcolor_software"] = "vidcolor"
        output.metadata["vidcolor_settings"] = json.dumps({"start": "soon", "fps": 3})
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    with pytest.raises(InputError, match=r"odd\.mkv: .*give --start"):
        review(original, result)
