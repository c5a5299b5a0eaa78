"""Single shots of a finished film are colored again; all else stays bit for bit."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.helpers.films import FilmSpec, build_film, read_frames
from tests.helpers.readback import planes_of
from tests.helpers.shot_folders import write_folder
from vidcolor import Colorizer, EncoderSettings, Settings, colorize
from vidcolor.color.adjust import ColorAdjustment
from vidcolor.errors import InputError, OutputError
from vidcolor.frames import Segment
from vidcolor.run.redo import RedoRequest, redo
from vidcolor.run.references.shot_list import Shot
from vidcolor.run.references.stills import still_name
from vidcolor.run.settings import ColorizerOptions
from vidcolor.sources.marks import read_marks
from vidcolor.system.files import maker_of

OPTIONS = ColorizerOptions(device="cpu", precision="fp32")
SHOTS = [Shot(number=n + 1, first=10 * n, last=10 * n + 9) for n in range(3)]
X264 = EncoderSettings("libx264", preset="veryfast")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    spec = FilmSpec(
        "in.mkv", pts=tuple(range(30)), time_base=Fraction(1, 10), video="ffv1", audio=("aac",),
        chapters=2,
    )  # fmt: skip
    film = build_film(tmp_path, spec)
    write_folder(tmp_path / "shots", [np.zeros((48, 64), np.uint8)] * 30, SHOTS, [])
    return film


def color(
    film: Path, name: str, encoder: EncoderSettings, *, listed: bool = True, model: str = "_ramp"
) -> Path:
    folder = film.parent / "shots" if listed else None
    colorizer = Colorizer(model, device="cpu", size=64, precision="fp32", shots=folder)
    (report,) = colorize(
        film, film.with_name(name), colorizer=colorizer,
        settings=Settings(encoder=encoder, overwrite=True),
    )  # fmt: skip
    assert report.status == "done", report.error
    return report.output


def gray_shot(folder: Path, number: int) -> None:
    path = folder / "shots.toml"
    text = path.read_text().replace(f"number = {number}\n", f"number = {number}\nskip = true\n")
    path.write_text(text)


def hashes(path: Path) -> dict[tuple[int, int], tuple[Any, ...]]:
    """Times and digest of each packet, by stream and pts."""
    found = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size:
                digest = hashlib.sha256(bytes(packet)).hexdigest()
                key = packet.stream_index, packet.pts or 0
                found[key] = packet.dts, packet.duration, packet.is_keyframe, digest
    return found


def changed(before: Path, after: Path) -> list[int]:
    """Numbers of the frames whose packets differ; no other packet may."""
    one, two = hashes(before), hashes(after)
    assert one.keys() == two.keys()
    different = [key for key in one if one[key][3] != two[key][3]]
    assert {stream for stream, _ in different} <= {0}
    bounds = [pts for _, pts in different]
    outside = [k for k in one if k[0] == 0 and not min(bounds) <= k[1] <= max(bounds)]
    assert [one[key] for key in outside] == [two[key] for key in outside]
    times = sorted(pts for stream, pts in one if stream == 0)
    return sorted(times.index(pts) for _, pts in different)


def chroma(path: Path) -> list[np.ndarray]:
    return [np.stack(planes_of(frame)[1:]) for frame in read_frames(path)]


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("o.mkv", EncoderSettings("ffv1")),
        ("o.mp4", X264),
        ("x.mkv", X264),
        ("o.mov", EncoderSettings("libx265", preset="ultrafast")),
        ("av1.mp4", EncoderSettings("libsvtav1", preset="12")),
        ("p.mov", EncoderSettings("prores_ks")),
    ],
)
def test_one_shot_again(film: Path, tmp_path: Path, name: str, encoder: EncoderSettings) -> None:
    output = color(film, name, encoder)
    before = output.with_name(f"before{output.suffix}")
    before.write_bytes(output.read_bytes())
    gray_shot(tmp_path / "shots", 2)
    report = redo(output, RedoRequest(shots=(2,)), OPTIONS, Settings())
    assert report.status == "done" and report.frames == 10
    assert {10} <= set(changed(before, output)) <= set(range(10, 20))
    pairs = list(zip(chroma(before), chroma(output), strict=True))
    assert all(np.array_equal(a, b) for a, b in pairs[:10] + pairs[20:])
    middle = float(2 ** (read_frames(output)[0].format.components[0].bits - 1))
    assert all(np.abs(b - middle).mean() < 0.01 * middle for _, b in pairs[10:20])
    assert all(np.abs(a - middle).mean() > 0.01 * middle for a, _ in pairs[10:20])
    marks, earlier = read_marks(output), read_marks(before)
    told = json.loads(marks.pop("settings"))
    assert told.pop("redone")[0]["frames"] == ["10-19"]
    assert told == json.loads(earlier.pop("settings")) and marks == earlier
    with av.open(str(before)) as one, av.open(str(output)) as two:
        ignored = {"encoder", "comment", "VIDCOLOR_SETTINGS", "compatible_brands"}
        tags = [{k: v for k, v in c.metadata.items() if k not in ignored} for c in (one, two)]
        assert tags[0] == tags[1]
        chapters = [
            [(each["start"] * (each["time_base"] or 0), each["metadata"]) for each in c.chapters()]
            for c in (one, two)
        ]
        assert chapters[0] == chapters[1]
        assert (
            one.streams.video[0].codec_context.codec_tag
            == two.streams.video[0].codec_context.codec_tag
        )
        for a, b in zip(one.streams, two.streams, strict=True):
            assert (a.type, a.language, a.disposition) == (b.type, b.language, b.disposition)
    names = {"in.mkv", "shots", output.name, before.name}
    assert {each.name for each in tmp_path.iterdir() if each.name != ".vidcolor"} == names
    assert not list(tmp_path.glob(".redo*")) + list(tmp_path.glob(".*part*"))


def test_as_a_new_run_would_color_it(film: Path, tmp_path: Path) -> None:
    output = color(film, "o.mkv", EncoderSettings("ffv1"))
    gray_shot(tmp_path / "shots", 1)
    gray_shot(tmp_path / "shots", 3)
    report = redo(output, RedoRequest(shots=(3, 1)), OPTIONS, Settings())
    assert report.frames == 20
    whole = color(film, "whole.mkv", EncoderSettings("ffv1"))
    for one, other in zip(read_frames(output), read_frames(whole), strict=True):
        for a, b in zip(planes_of(one), planes_of(other), strict=True):
            assert np.array_equal(a, b)


def test_after_a_still_has_changed(film: Path, tmp_path: Path) -> None:
    scene = np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))
    for place in ("shots", "shots/gray"):
        cv2.imwrite(str(tmp_path / place / still_name(2, 12)), scene)
    still = tmp_path / "shots" / still_name(2, 12)
    cv2.imwrite(str(still), np.stack([scene // 2, scene // 2, scene], axis=2))
    output = color(film, "o.mp4", X264, model="_tiny")
    before = output.with_name("before.mp4")
    before.write_bytes(output.read_bytes())
    cv2.imwrite(str(still), np.stack([scene, scene // 2, scene // 2], axis=2))
    redo(output, RedoRequest(shots=(2,)), OPTIONS, Settings())
    assert {10} <= set(changed(before, output)) <= set(range(10, 20))
    blue, red = (np.mean([each[0] for each in chroma(path)[10:20]]) for path in (output, before))
    assert blue > red + 2


def test_a_run_that_is_killed_leaves_what_clean_knows(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = color(film, "o.mkv", X264)
    before = output.read_bytes()

    def stop(*given: Any, **more: Any) -> None:
        assert [path for path in output.parent.iterdir() if maker_of(path)]
        raise KeyboardInterrupt

    monkeypatch.setattr("vidcolor.run.redo.colorize_film", stop)
    with pytest.raises(KeyboardInterrupt):
        redo(output, RedoRequest(shots=(2,)), OPTIONS, Settings())
    assert output.read_bytes() == before
    assert not [path for path in output.parent.iterdir() if maker_of(path)]


def test_a_stretch_from_key_frame_to_key_frame(film: Path) -> None:
    output = color(film, "o.mp4", X264)
    before = output.with_name("before.mp4")
    before.write_bytes(output.read_bytes())
    request = RedoRequest(
        segment=Segment(Fraction(12, 10), Fraction(15, 10)), given=frozenset({"saturation"})
    )
    options = ColorizerOptions(device="cpu", adjustment=ColorAdjustment(saturation=0))
    redo(output, request, options, Settings())
    assert changed(before, output) == list(range(10, 20))
    assert all(np.abs(each.astype(int) - 128).max() <= 3 for each in chroma(output)[10:20])


def test_what_cannot_be_redone_stays_as_it_is(film: Path, tmp_path: Path) -> None:
    output = color(film, "o.mp4", X264)
    content = output.read_bytes()

    def refused(
        request: RedoRequest, match: str, error: type[Exception] = InputError, **more: Any
    ) -> None:
        with pytest.raises(error, match=match):
            redo(output, request, OPTIONS, Settings(**more))
        assert output.read_bytes() == content and not list(tmp_path.glob(".redo*"))

    one = RedoRequest(shots=(2,))
    refused(RedoRequest(shots=(9,)), "no shot 9")
    other = build_film(tmp_path, FilmSpec("other.mkv"))
    refused(RedoRequest(shots=(2,), source=other), "SHA-256")
    given = frozenset({"crf"})
    crf = EncoderSettings("libx264", crf=30)
    refused(RedoRequest(shots=(2,), given=given), "other settings", OutputError, encoder=crf)
    (tmp_path / "shots").rename(tmp_path / "moved")
    refused(one, "--folder")
    film.rename(tmp_path / "elsewhere.mkv")
    refused(one, "--source")
    with pytest.raises(InputError, match="does not say"):
        redo(tmp_path / "elsewhere.mkv", one, OPTIONS, Settings())


def test_without_a_key_frame_at_the_cut(film: Path, tmp_path: Path) -> None:
    output = color(film, "o.mp4", X264, listed=False)
    content = output.read_bytes()
    with pytest.raises(InputError, match="key frame"):
        redo(output, RedoRequest(shots=(2,), folder=tmp_path / "shots"), OPTIONS, Settings())
    assert output.read_bytes() == content
