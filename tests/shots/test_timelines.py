"""Lists of shots for editing programs."""

from __future__ import annotations

import csv
import io
import itertools
import re
from fractions import Fraction
from pathlib import Path

import opentimelineio as otio
import pytest

from vidcolor.run.references.shot_list import FILM, LIST, FilmFrames, Shot, read_shots
from vidcolor.shots.timelines import timecode, to_csv, to_edl, to_otio, to_toml

NTSC = Fraction(24000, 1001)
SHOTS = [Shot(1, 0, 47, setup=1), Shot(2, 48, 2399, setup=2), Shot(7, 2400, 90000, setup=1)]
STILLS = {1: ["shot_0001_000020.png"], 2: ["a.png", "b.png"], 7: ["c.png"]}


def film(rate: Fraction = NTSC, name: str = "old film.mp4") -> FilmFrames:
    pts = range(0, 90001 * 1001, 1001)
    return FilmFrames(Path("/films") / name, 640, 480, Fraction(1, 24000), rate, "auto", pts)


def test_timecodes() -> None:
    assert timecode(film(), 0) == "00:00:00:00"
    assert timecode(film(), 24 * 3661 + 5) == "01:01:01:05"
    assert timecode(film(Fraction(30)), 24 * 10) == "00:00:08:00"


def test_the_library_reads_the_otio_file(tmp_path: Path) -> None:
    path = tmp_path / "shots.otio"
    path.write_text(to_otio(film(), SHOTS), encoding="utf-8")
    timeline = otio.adapters.read_from_file(str(path))
    assert timeline.name == "old film"
    (track,) = timeline.video_tracks()
    assert not timeline.audio_tracks()
    clips = list(timeline.find_clips())
    assert [clip.name for clip in clips] == ["shot 1", "shot 2", "shot 7"]
    for clip, shot in zip(clips, SHOTS, strict=True):
        assert clip.source_range.start_time.value == shot.first
        assert clip.source_range.duration.value == shot.last - shot.first + 1
        assert clip.source_range.start_time.rate == pytest.approx(float(NTSC))
        # the cuts lie in the track as in the film
        assert track.range_of_child(clip) == clip.source_range
        assert clip.media_reference.target_url == "file:///films/old%20film.mp4"
        available = clip.media_reference.available_range
        assert available.start_time <= clip.source_range.start_time
        assert clip.source_range.end_time_exclusive() <= available.end_time_exclusive()
        assert clip.metadata["vidcolor"]["setup"] == shot.setup


def test_the_edl_is_cmx3600() -> None:
    lines = to_edl(film(), SHOTS).splitlines()
    assert lines[:2] == ["TITLE: old film", "FCM: NON-DROP FRAME"]
    code = r"\d\d:\d\d:\d\d:\d\d"
    form = rf"(\d{{3}})  (\w+) {{6}} V {{5}}C {{8}}({code}) ({code}) ({code}) ({code})"
    events = [found.groups() for line in lines if (found := re.fullmatch(form, line))]
    assert [event[0] for event in events] == ["001", "002", "003"]
    assert events[1][2:] == ("00:00:02:00", "00:01:40:00") * 2
    assert all(a[3] == b[2] for a, b in itertools.pairwise(events))  # no hole
    assert lines.count("* FROM CLIP NAME: old film.mp4") == 3
    odd = to_edl(film(name="a\nb\x1bé.mp4"), SHOTS).splitlines()
    assert len(odd) == len(lines) and odd[0] == "TITLE: a?b??"


def test_the_table_has_a_row_for_each_shot() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(film(), SHOTS, STILLS))))
    assert [(row["shot"], row["first"], row["last"]) for row in rows] == [
        ("1", "0", "47"), ("2", "48", "2399"), ("7", "2400", "90000")
    ]  # fmt: skip
    assert rows[1]["stills"] == "a.png b.png" and rows[1]["start"] == "00:00:02:00"
    assert float(rows[1]["start_seconds"]) == pytest.approx(48 * 1001 / 24000)


@pytest.mark.parametrize("name", ["old film.mp4", 'ein "Film"\n[[shot]].mkv', "фильм.mkv"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    (tmp_path / FILM).write_text(film(name=name).to_json(), encoding="utf-8")
    (tmp_path / LIST).write_text(to_toml(film(name=name), SHOTS, STILLS), encoding="utf-8")
    listed = read_shots(tmp_path)
    assert list(listed.shots) == SHOTS and not listed.hints
    assert listed.film.path.name == name
    assert list(listed.film.pts) == list(film().pts)
