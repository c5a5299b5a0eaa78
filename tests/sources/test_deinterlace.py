"""Interlaced and telecined films: whole frames come out, each at its own time; nothing else is
touched."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.clips import luma_of, pts_of
from tests.helpers.field_streams import paff, soft_telecine
from tests.helpers.interlaced import BOTTOM, TOP, interlace, telecine, weave, write
from tests.helpers.shots import pan
from vidcolor.frames import WHOLE, LumaBatch, Segment
from vidcolor.sources import FilmSource

NTSC = Fraction(30000, 1001)


def moving(count: int, seed: int = 0, depth: int = 8) -> list[np.ndarray]:
    """Pictures that move; the lower half stands still. With a letter-like edge, in studio range."""
    pictures = []
    for frame in pan(count, seed, 4):
        picture = 20 + frame.astype(float) * 0.8
        picture[48:] = np.linspace(30, 220, frame.shape[1])
        scaled = picture * (1 << depth - 8)
        pictures.append(scaled.astype(np.uint8 if depth == 8 else np.uint16))
    return pictures


def read(path: Path, way: str = "auto", segment: Segment = WHOLE) -> list[LumaBatch]:
    return list(FilmSource(path, deinterlace=way, segment=segment).batches(3))


def combing(frame: np.ndarray) -> float:
    """Share of pixels that lie far above, or below, both the line above and the line below."""
    codes = frame.astype(int)
    above, below = codes[1:-1] - codes[:-2], codes[1:-1] - codes[2:]
    return float(((above * below > 0) & (np.minimum(abs(above), abs(below)) > 12)).mean())


@pytest.mark.parametrize("order", [TOP, BOTTOM], ids=["top first", "bottom first"])
@pytest.mark.parametrize("flagged", [True, False], ids=["flagged", "unflagged"])
@pytest.mark.parametrize("height", [96, 91], ids=["even", "odd"])
def test_combed_frames_become_whole_ones(
    tmp_path: Path, order: int, flagged: bool, height: int
) -> None:
    woven = [frame[:height] for frame in interlace(moving(40), order)]
    flag = ("tff", "bff")[order] if flagged else ""
    path = write(tmp_path / "a.mkv", woven, flag=flag, time_base=Fraction(1, 1000),
                 pts=[40 * i for i in range(20)])  # fmt: skip
    source = FilmSource(path)
    found = list(source.batches(3))
    assert pts_of(found) == [40 * i for i in range(20)]
    assert sum(len(b) for b in found) == 20
    assert not source.facts.interlaced and not source.facts.field_order and not source.facts.combed
    assert any("interlaced" in note for note in source.facts.notes)
    for before, after in zip(woven, luma_of(found), strict=True):
        assert combing(before) > 0.05 > 0.01 > combing(after)
        # The first field is kept bit for bit, and so is what stands still, within its borders.
        np.testing.assert_array_equal(before[order::2], after[order::2])
        assert np.abs(before[56:-4].astype(int) - after[56:-4]).max() <= 1


@pytest.mark.parametrize("pix_fmt", ["yuv422p10le", "gray10le"])
def test_ten_bits_stay_ten_bits(tmp_path: Path, pix_fmt: str) -> None:
    fine = [frame + np.uint16(i % 4) for i, frame in enumerate(moving(24, depth=10))]
    woven = interlace(fine)
    found = read(write(tmp_path / "a.mkv", woven, flag="tff", pix_fmt=pix_fmt))
    luma = luma_of(found)
    assert found[0].bit_depth == 10
    for before, after in zip(woven, luma, strict=True):
        np.testing.assert_array_equal(before[::2], after[::2])
        assert combing(after / 4) < 0.01


def test_progressive_frames_flagged_as_interlaced_are_not_touched(tmp_path: Path) -> None:
    pictures = moving(30)
    path = write(tmp_path / "a.mkv", pictures, flag="tff")
    source = FilmSource(path)
    np.testing.assert_array_equal(luma_of(list(source.batches(4))), np.stack(pictures))
    assert any("progressive" in note for note in source.facts.notes)


def test_progressive_scenes_of_a_mixed_film_are_not_touched(tmp_path: Path) -> None:
    still, woven = moving(20, 1), interlace(moving(40, 2))
    path = write(tmp_path / "a.mkv", [*still, *woven, *still], flag="tff")
    luma = luma_of(read(path))
    np.testing.assert_array_equal(luma[:20], np.stack(still))
    np.testing.assert_array_equal(luma[40:], np.stack(still))
    assert max(combing(frame) for frame in luma) < 0.01


@pytest.mark.parametrize("flag", ["bff", "tff", ""])
def test_off_leaves_all_as_it_is(tmp_path: Path, flag: str) -> None:
    """But for flags that the picture contradicts: players would show the fields in false order."""
    woven = interlace(moving(24), BOTTOM)
    source = FilmSource(write(tmp_path / "a.mkv", woven, flag=flag), deinterlace="off")
    found = list(source.batches(5))
    np.testing.assert_array_equal(luma_of(found), np.stack(woven))
    assert source.facts.field_order == "bb"
    assert all(batch.combed for batch in found)  # the network is to look at one field


@pytest.mark.parametrize("order", [TOP, BOTTOM])
def test_each_field_becomes_a_frame_at_its_time(tmp_path: Path, order: int) -> None:
    pictures = moving(40)
    path = write(tmp_path / "a.mkv", interlace(pictures, order), flag=("tff", "bff")[order],
                 pts=[40 * i for i in range(20)], time_base=Fraction(1, 1000))  # fmt: skip
    source = FilmSource(path, deinterlace="fields")
    found = list(source.batches(6))
    assert source.facts.average_rate == 50
    times = [pts * source.facts.time_base for pts in pts_of(found)]
    assert times == [Fraction(i, 50) for i in range(40)]
    for number, (picture, after) in enumerate(zip(pictures, luma_of(found), strict=True)):
        field = order if number % 2 == 0 else 1 - order
        np.testing.assert_array_equal(picture[field::2], after[field::2])
    part = read(path, "fields", Segment(Fraction(4, 25), Fraction(8, 25)))
    assert [pts * source.facts.time_base for pts in pts_of(part)] == times[8:16]


@pytest.mark.parametrize("depth", [8, 10])
def test_pulldown_is_undone(tmp_path: Path, depth: int) -> None:
    """With a cut in the middle, and a hole in the times, behind which the film keeps step."""
    film = moving(24, 3, depth) + moving(24, 4, depth)
    pts = [1001 * i + (300_000 if i >= 30 else 0) for i in range(60)]
    path = write(
        tmp_path / "a.nut", telecine(film), flag="tff", rate=NTSC, pts=pts,
        time_base=Fraction(1, 30000), pix_fmt="yuv420p" if depth == 8 else "yuv420p10le",
    )  # fmt: skip
    source = FilmSource(path, deinterlace="film")
    found = list(source.batches(4))
    facts = source.facts
    assert facts.average_rate == Fraction(24000, 1001)
    np.testing.assert_array_equal(luma_of(found), np.stack(film))
    times = [pts * facts.time_base for pts in pts_of(found)]
    wanted = [Fraction(1001 * i, 24000) + (10 if i >= 24 else 0) for i in range(48)]
    assert times == wanted
    last = found[-1]
    assert (last.pts[-1] + last.durations[-1]) * facts.time_base == 10 + Fraction(60 * 1001, 30000)


def test_pulldown_left_alone_is_deinterlaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", telecine(moving(40)), flag="tff", rate=NTSC)
    source = FilmSource(path)
    luma = luma_of(list(source.batches(4)))
    assert len(luma) == 50 and max(combing(frame) for frame in luma) < 0.02
    assert any("pulldown" in note for note in source.facts.notes)


def test_repeated_fields_of_soft_telecine_become_an_even_rate(tmp_path: Path) -> None:
    film = moving(40)
    pts = [(5 * i + 1) // 2 for i in range(40)]  # three fields, two fields
    path = write(tmp_path / "a.nut", film, rate=NTSC, pts=[1001 * p for p in pts],
                 time_base=Fraction(1, 60000))  # fmt: skip
    source = FilmSource(path, deinterlace="film")
    found = list(source.batches(4))
    assert source.facts.average_rate == Fraction(24000, 1001)
    times = np.array([pts * source.facts.time_base for pts in pts_of(found)])
    assert set(np.diff(times)) == {Fraction(1001, 24000)}
    np.testing.assert_array_equal(luma_of(found), np.stack(film))


def test_film_without_pulldown_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", interlace(moving(30)), flag="tff")
    source = FilmSource(path, deinterlace="film")
    assert source.facts.average_rate == 25
    assert any("no pulldown" in note for note in source.facts.notes)
    assert max(combing(frame) for frame in luma_of(list(source.batches(4)))) < 0.01


def test_film_that_turns_interlaced_behind_the_samples(tmp_path: Path) -> None:
    """Progressive at its beginning, and too long for the samples to find the few frames."""
    calm = moving(8)
    frames = [calm[0]] * 260 + interlace(moving(12)) + [calm[0]] * 240
    rest = [weave(frame, frame) for frame in frames]
    path = write(tmp_path / "a.mkv", rest, flag="tff")
    luma = luma_of(read(path))
    assert len(luma) == len(frames) and max(combing(frame) for frame in luma) < 0.01


def smooth(count: int, seed: int = 3) -> list[np.ndarray]:
    """Pictures of 192x256 that move, without noise, so that lossy codecs stay near."""
    import cv2

    return [
        cv2.resize(frame, (256, 192), interpolation=cv2.INTER_CUBIC)
        for frame in moving(count, seed)
    ]


def far(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("suffix", [".mpg", ".vob", ".ts", ".mkv"])
def test_the_repeat_flags_of_dvds(tmp_path: Path, suffix: str) -> None:
    """Film frames shown for three fields and two in turn, by their flags."""
    film = smooth(72)
    path = soft_telecine(tmp_path / f"a{suffix}", film)
    source = FilmSource(path, deinterlace="film")
    found = list(source.batches(4))
    facts = source.facts
    assert [line for batch in found for line in batch.damage] == []
    luma = luma_of(found)
    assert len(luma) == 72 and max(far(a, b) for a, b in zip(film, luma, strict=True)) < 3
    assert facts.average_rate == Fraction(24000, 1001)
    assert any("soft telecine" in note for note in facts.notes)
    times = np.array([pts * facts.time_base for pts in pts_of(found)])
    steps = np.diff(times) - Fraction(1001, 24000)
    assert max(abs(step) for step in steps) <= Fraction(1, 900)  # Matroska rounds to 1 ms
    assert abs(times[-1] - times[0] - 71 * Fraction(1001, 24000)) < Fraction(1, 500)
    plain = list(FilmSource(path).batches(4))  # as they are
    assert len(luma_of(plain)) == 72 and not any(batch.combed for batch in plain)


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4", ".264"])
@pytest.mark.parametrize("way", ["auto", "fields", "off"])
def test_h264_of_single_fields(tmp_path: Path, suffix: str, way: str) -> None:
    """PAFF: each field is a picture of its own in the stream."""
    woven = interlace(smooth(60))
    path = paff(tmp_path / f"a{suffix}", woven)
    source = FilmSource(path, deinterlace=way)
    found = list(source.batches(4))
    facts = source.facts
    assert [line for batch in found for line in batch.damage] == []
    luma = luma_of(found)
    each = 2 if way == "fields" else 1
    assert len(luma) == 30 * each and facts.average_rate == 25 * each
    times = [(pts - pts_of(found)[0]) * facts.time_base for pts in pts_of(found)]
    for number, time in enumerate(times):
        assert abs(time - Fraction(number, 25 * each)) <= Fraction(1, 900)
    if way == "off":
        np.testing.assert_array_equal(luma, np.stack(woven))
        assert facts.field_order == "tt"
    else:
        assert max(combing(frame) for frame in luma) < 0.01
        np.testing.assert_array_equal(luma[::each, ::2], np.stack(woven)[:, ::2])


@pytest.mark.parametrize("order", [TOP, BOTTOM])
def test_h264_with_interlaced_blocks(tmp_path: Path, order: int) -> None:
    """MBAFF, as x264 codes interlaced films."""
    woven = interlace(smooth(60), order)
    flag = ("tff", "bff")[order]
    path = write(tmp_path / "a.mp4", woven, flag=flag, codec="libx264", options={"crf": "8"})
    source = FilmSource(path)
    luma = luma_of(list(source.batches(4)))
    assert len(luma) == 30 and source.facts.average_rate == 25
    assert max(combing(frame) for frame in luma) < 0.01 < combing(woven[0])
    for before, after in zip(woven, luma, strict=True):
        assert far(before[order::2], after[order::2]) < 2
