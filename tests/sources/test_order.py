"""Durations where B-frames reorder a film, and the order of an interlaced film's fields."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.filter import Graph

from tests.helpers.clips import damage_of, encode, frames, make_frame, pts_of
from vidcolor.frames import Segment
from vidcolor.sources import FilmSource, probe_film

UNIT = Fraction(1, 90000)
# 25 frames a second that pause after every tenth and stumble in between.
VARIABLE = tuple(n * 3600 + n // 10 * 36000 + n % 3 * 900 for n in range(30))
STEPS = [after - before for before, after in pairwise(VARIABLE)]


@pytest.fixture
def reordered(tmp_path: Path) -> Path:
    """A film of a variable rate with B-frames, in MP4, which has steps in decoding order alone."""
    clip = encode(
        tmp_path / "film.mp4",
        "libx264",
        "yuv420p",
        frames(len(VARIABLE)),
        pts=VARIABLE,
        time_base=UNIT,
        options={"x264-params": "bframes=2:b-adapt=0:scenecut=0"},
        container_options={"video_track_timescale": "90000"},
    )
    with av.open(str(clip.path)) as container:
        told = [(frame.pict_type, frame.duration) for frame in container.decode(video=0)]
    assert any(kind == 3 for kind, _ in told)
    assert [duration for _, duration in told][:-1] != STEPS  # so FFmpeg's cannot be taken
    return clip.path


@pytest.mark.parametrize("size", [1, 4, 30])
def test_a_duration_is_the_step_to_the_next_frame(reordered: Path, size: int) -> None:
    source = FilmSource(reordered)
    batches = list(source.batches(size))
    assert pts_of(batches) == list(VARIABLE)
    durations = [duration for batch in batches for duration in batch.durations]
    assert durations[:-1] == STEPS
    assert durations[-1] > 0
    assert damage_of(batches) == []


def test_the_last_frame_of_a_segment_lasts_until_the_next(reordered: Path) -> None:
    end = VARIABLE[20] * UNIT  # after a pause
    source = FilmSource(reordered, segment=Segment(Fraction(1, 10), end))
    (batch,) = source.batches(64)
    assert batch.pts[-1] == VARIABLE[19]
    assert batch.durations[-1] == STEPS[19]


def _interlaced(path: Path, order: str) -> Path:
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=64, height=48, format=av.VideoFormat("yuv420p"), time_base=Fraction(1, 12)
        ),
        graph.add("setfield", order),
        graph.add("buffersink"),
    ).configure()
    with av.open(str(path), "w") as container:
        options = {} if order == "prog" else {"flags": "+ildct+ilme"}
        stream = container.add_stream("mpeg2video", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, luma in enumerate(frames(6)):
            graph.push(make_frame("yuv420p", luma))
            frame = graph.pull()
            assert isinstance(frame, av.VideoFrame)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("set_to", "order"), [("tff", "tt"), ("bff", "bb"), ("prog", "")])
def test_field_order(tmp_path: Path, set_to: str, order: str) -> None:
    facts = probe_film(_interlaced(tmp_path / "film.mkv", set_to))
    assert facts.field_order == order
    assert facts.interlaced == bool(order)
