"""A film of both beside each other: its frames, times, pictures and sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers.clips import pattern
from tests.helpers.command_line import Vidcolor
from tests.helpers.films import FilmSpec, build_film, read_frames, read_streams
from tests.helpers.readback import planes_of

RAMP = ("--model", "_ramp", "--device", "cpu", "--precision", "fp32", "--crf", "0")  # no loss
STEPS = (0, 1, 2, 4, 5, 7, 8, 9, 12, 13)  # frames come at a variable rate


@pytest.fixture(params=[0, 90, 180], ids="turned by {}".format)
def film(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    spec = FilmSpec(name="in.mov", pts=STEPS, rotation=request.param, audio=("aac",))
    return build_film(tmp_path, spec)


def colored(command: Vidcolor, film: Path, *more: str) -> Path:
    output = film.parent / "color.mov"
    answer = command("run", film, "-o", output, *RAMP, "-y", *more)
    assert answer.code == 0, answer.err
    return output


def times(path: Path) -> list[Fraction]:
    return [frame.pts * frame.time_base for frame in read_frames(path)]


def upright(frame: av.VideoFrame) -> list[np.ndarray]:
    """Y', Cb and Cr as a player shows them, all of one size."""
    luma, *chroma = planes_of(frame)
    planes = [luma]
    for each in chroma:  # swscale would move them by half a sample
        down, across = (-(-a // b) for a, b in zip(luma.shape, each.shape, strict=True))
        planes.append(each.repeat(down, 0).repeat(across, 1)[: luma.shape[0], : luma.shape[1]])
    return [np.rot90(each, frame.rotation // 90) for each in planes]


def test_side_by_side(command: Vidcolor, film: Path) -> None:
    color, side = colored(command, film), film.parent / "side.mov"
    answer = command("compare", film, color, "-o", side, "--crf", "0")
    assert answer.code == 0 and f"{side}: 10 frames, 1 other streams" in answer.out
    assert times(side) == times(film)
    one, two, both = (read_frames(each) for each in (film, color, side))
    for gray, right, joined in zip(one, two, both, strict=True):
        luma, cb, cr = upright(joined)
        width = upright(gray)[0].shape[1]
        assert luma.shape == (upright(gray)[0].shape[0], 2 * width)
        assert np.array_equal(luma[:, :width], upright(gray)[0])
        assert (cb[:, :width] == 128).all() and (cr[:, :width] == 128).all()
        for plane, wanted in zip((luma, cb, cr), upright(right), strict=True):
            assert np.array_equal(plane[:, width:], wanted)
    old, new = (
        [each for each in read_streams(path) if each.kind == "audio"] for path in (film, side)
    )
    assert [each.payload for each in new] == [each.payload for each in old]
    assert [each.times for each in new] == [each.times for each in old]
    with av.open(str(side)) as container:  # it shows what was colored by a model
        assert "Colorized by vidcolor" in container.metadata["comment"]


def test_wipe(command: Vidcolor, film: Path) -> None:
    color, wipe = colored(command, film), film.parent / "wipe.mov"
    assert command("compare", film, color, "-o", wipe, "--wipe", "--crf", "0").code == 0
    assert times(wipe) == times(film)
    places = []
    for gray, right, both in zip(*map(read_frames, (film, color, wipe)), strict=True):
        luma, own = upright(both)[0], upright(right)[1]
        assert luma.shape == upright(gray)[0].shape
        chroma = upright(both)[1]
        is_gray = (chroma == 128).all(axis=0)
        at = int(np.argmin(is_gray)) if not is_gray.all() else len(is_gray)
        places.append(at)
        assert np.array_equal(chroma[:, at + 4 :], own[:, at + 4 :])
        left = max(at - 4, 0)
        assert np.array_equal(luma[:, :left], upright(gray)[0][:, :left])
    assert places[-1] > places[0] + 8  # it has moved to the right in a second


def test_the_range_of_the_result(command: Vidcolor, tmp_path: Path) -> None:
    film = build_film(tmp_path, FilmSpec(name="in.mov", audio=("aac",)))
    color = colored(command, film, "--start", "0.25", "--end", "0.75")
    side = tmp_path / "side.mov"
    assert command("compare", film, color, "-o", side, "--crf", "0").code == 0
    assert times(side) == times(color) and len(times(side)) == 6
    gray, both = read_frames(film)[3], read_frames(side)[0]
    assert np.array_equal(planes_of(both)[0][:, :64], planes_of(gray)[0])


def test_a_damaged_original_is_told(command: Vidcolor, tmp_path: Path) -> None:
    film = build_film(tmp_path, FilmSpec(name="in.mkv", pts=tuple(range(60))))
    whole = build_film(tmp_path, FilmSpec(name="whole.mkv", pts=tuple(range(60))))
    data = film.read_bytes()
    film.write_bytes(data[: len(data) // 2])
    answer = command("compare", film, whole, "-o", tmp_path / "side.mkv")
    assert answer.code == 1 and "warning: " in answer.err
    assert not (tmp_path / "side.mkv").exists()


def test_what_cannot_be_compared(command: Vidcolor, tmp_path: Path) -> None:
    film = build_film(tmp_path, FilmSpec(name="in.mkv"))
    small = build_film(tmp_path, FilmSpec(name="small.mkv", size=(48, 48)))
    answer = command("compare", film, small, "-o", tmp_path / "side.mkv")
    assert answer.code == 1 and "its frames are 48x48" in answer.err
    before = film.read_bytes()
    answer = command("compare", film, film, "-o", film, "-y")
    assert answer.code == 1 and film.read_bytes() == before
    assert len(answer.err.splitlines()) == 1
    from PIL import Image

    Image.fromarray(pattern(0, 40, 30)).save(tmp_path / "p.png")
    answer = command("compare", tmp_path / "p.png", tmp_path / "p.png", "-o", tmp_path / "a.mkv")
    assert answer.code == 1 and "is not one film" in answer.err
    assert not (tmp_path / "side.mkv").exists() and not (tmp_path / "a.mkv").exists()
