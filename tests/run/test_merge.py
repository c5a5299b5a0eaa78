"""A file of colors alone, laid on its film: what a run would have written at once."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import bagit
import numpy as np
import pytest

from tests.helpers.films import FilmSpec, build_film, read_frames, read_streams
from tests.helpers.long_films import assert_same_film, film_of_shots
from tests.helpers.readback import luma_codes, planes_of
from tests.run.test_journal import FFV1, SHORT, kill
from vidcolor import Colorizer, EncoderSettings, Report, Settings, colorize
from vidcolor.errors import InputError, OutputError
from vidcolor.run import films
from vidcolor.run.merge import merge
from vidcolor.run.provenance.settings import ProvenanceSettings
from vidcolor.sources.marks import read_marks


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of_shots(tmp_path_factory.mktemp("merge") / "film.mkv", (20, 50, 14))


LOSSLESS = Settings(encoder=EncoderSettings("ffv1"))


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return build_film(tmp_path, FilmSpec("in.mkv", video="ffv1"))


def run(colorizer: Colorizer, film: Path, output: Path | None, **settings: Any) -> Report:
    (report,) = colorize(film, output, colorizer=colorizer, settings=replace(LOSSLESS, **settings))
    assert report.status == "done", report.error
    return report


@pytest.mark.parametrize(
    ("spec", "pix_fmt"),
    [
        (FilmSpec("in.mp4", audio=("aac", "aac"), chapters=2), None),
        (FilmSpec("in.mkv", pts=(10, 11, 13, 14, 20), audio=("aac",), fonts=("a.ttf",)), None),
        (FilmSpec("odd.mkv", size=(63, 47), video="ffv1", aspect=Fraction(4, 3)), None),
        (FilmSpec("deep.mkv", video="ffv1", pix_fmt="yuv422p10le", full_range=True), None),
        (FilmSpec("fine.mkv", video="ffv1", pix_fmt="yuv422p10le"), "yuv422p10le"),
        (FilmSpec("gray.mkv", video="ffv1", pix_fmt="gray", rotation=90), None),
    ],
)
def test_as_if_it_were_written_at_once(
    tmp_path: Path, colorizer: Colorizer, spec: FilmSpec, pix_fmt: str | None
) -> None:
    film, chroma = build_film(tmp_path, spec), tmp_path / "c.mkv"
    report = run(
        colorizer, film, None, output_chroma=chroma, encoder=EncoderSettings(pix_fmt=pix_fmt)
    )
    assert report.output == chroma and [each.kind for each in read_streams(chroma)] == ["video"]
    (alone,) = read_streams(chroma)
    (pictures,) = (each for each in read_streams(film) if each.kind == "video")
    moments = zip(alone.times, pictures.times, strict=True)
    assert all(abs(one - other) <= Fraction(1, 1999) for one, other in moments)
    frames = read_frames(chroma)
    assert all(np.ptp(planes_of(frame)[0]) == 0 for frame in frames)
    written = frames[0].format.name
    assert written.startswith(pix_fmt or "yuv420p")
    direct, merged = tmp_path / "direct.mkv", tmp_path / "merged.mkv"
    encoder = EncoderSettings("ffv1", pix_fmt=written)
    run(colorizer, film, direct, exact_luma=True, encoder=encoder)
    assert merge(film, chroma, merged, LOSSLESS).frames == len(spec.pts)
    for one, other in zip(read_frames(direct), read_frames(merged), strict=True):
        assert one.pts == other.pts
        for a, b in zip(planes_of(one), planes_of(other), strict=True):
            assert np.array_equal(a, b)
    assert np.array_equal(luma_codes(merged), luma_codes(film))
    told = [
        [(e.kind, e.codec, e.language, e.title, e.times, e.payload) for e in read_streams(path)]
        for path in (direct, merged)
    ]
    assert told[0] == told[1]
    ours, theirs = read_marks(merged), read_marks(direct)
    assert ours.pop("date") and theirs.pop("date") and ours == theirs


def test_prores_loses_no_more_than_a_code(
    tmp_path: Path, colorizer: Colorizer, plain: Path
) -> None:
    chroma, direct, merged = (tmp_path / name for name in ("c.mov", "direct.mkv", "merged.mkv"))
    run(colorizer, plain, None, output_chroma=chroma)
    run(colorizer, plain, direct, exact_luma=True)
    merge(plain, chroma, merged, LOSSLESS)
    for one, other in zip(read_frames(direct), read_frames(merged), strict=True):
        (y, *colors), (luma, *wanted) = planes_of(one), planes_of(other)
        assert np.array_equal(y, luma)
        for a, b in zip(colors, wanted, strict=True):
            assert np.abs(a.astype(int) - b).max() <= 1


def test_a_film_with_its_colors_beside_it(
    tmp_path: Path, colorizer: Colorizer, plain: Path
) -> None:
    output, chroma, merged = (tmp_path / name for name in ("o.mkv", "c.mkv", "m.mkv"))
    marks = ProvenanceSettings(dossier=tmp_path / "bags")
    encoder = EncoderSettings("ffv1", pix_fmt="yuv420p")
    run(colorizer, plain, output, output_chroma=chroma, encoder=encoder, marks=marks)
    merge(plain, chroma, merged, LOSSLESS)
    assert_same_film(output, merged)
    bag = tmp_path / "bags" / output.name
    bagit.Bag(str(bag)).validate()
    assert (bag / "data" / "chroma" / "c.mkv").read_bytes() == chroma.read_bytes()
    premis = (bag / "data" / "premis.xml").read_text(encoding="utf-8")
    assert hashlib.sha256(chroma.read_bytes()).hexdigest() in premis
    assert "12 frames before, 12 after, 12 identical" in premis
    settings = Settings(output_chroma=chroma)
    (report,) = colorize(plain, tmp_path / "n.mkv", colorizer=colorizer, settings=settings)
    assert report.status == "failed" and "exists" in report.error


def test_a_dossier_of_colors_alone(tmp_path: Path, colorizer: Colorizer, plain: Path) -> None:
    marks = ProvenanceSettings(dossier=tmp_path / "bags")
    run(colorizer, plain, None, output_chroma=tmp_path / "c.mkv", marks=marks)
    data = tmp_path / "bags" / "c.mkv" / "data"
    bagit.Bag(str(data.parent)).validate()
    assert (data / "c.mkv").read_bytes() == (tmp_path / "c.mkv").read_bytes()
    assert [each.name for each in (data / "frame_checksums").iterdir()] == ["original.framehash"]
    assert "identical" not in (data / "premis.xml").read_text(encoding="utf-8")


def test_a_killed_run_is_resumed(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch, colorizer: Colorizer
) -> None:
    monkeypatch.setattr(films, "checkpoint_spacing", lambda colorizer: SHORT)
    chroma, whole = tmp_path / "c.mkv", tmp_path / "whole.mkv"
    settings = replace(FFV1, output_chroma=chroma)
    kill(film, chroma, settings, 60)
    (report,) = colorize(film, None, colorizer=colorizer, settings=settings)
    assert report.status == "done" and report.resumed >= 20
    run(colorizer, film, None, output_chroma=whole, batch_size=4)
    assert_same_film(chroma, whole)
    merge(film, chroma, tmp_path / "m.mkv", LOSSLESS)
    assert np.array_equal(luma_codes(tmp_path / "m.mkv"), luma_codes(film))


def test_colors_of_another_film_are_refused(
    tmp_path: Path, colorizer: Colorizer, plain: Path
) -> None:
    chroma, merged = tmp_path / "c.mkv", tmp_path / "m.mkv"
    run(colorizer, plain, None, output_chroma=chroma)
    other = build_film(tmp_path, FilmSpec("other.mkv", pts=tuple(range(11))))
    with pytest.raises(InputError, match="SHA-256"):
        merge(other, chroma, merged, LOSSLESS)
    with pytest.raises(InputError, match="output-chroma"):
        merge(plain, plain, merged, LOSSLESS)
    with pytest.raises(OutputError, match="yuv444p"):
        merge(plain, chroma, merged, replace(LOSSLESS, encoder=EncoderSettings(pix_fmt="yuv444p")))
    # the right marks over other frames
    content = plain.read_bytes()
    plain.write_bytes(other.read_bytes())
    fewer = tmp_path / "fewer.mkv"
    run(colorizer, plain, None, output_chroma=fewer)
    digest = hashlib.sha256(plain.read_bytes()).hexdigest().encode()
    plain.write_bytes(content)
    real = hashlib.sha256(content).hexdigest().encode()
    fewer.write_bytes(fewer.read_bytes().replace(digest, real))
    with pytest.raises(InputError, match="ends before frame 11"):
        merge(plain, fewer, merged, LOSSLESS)
    assert not merged.exists() and not list(tmp_path.glob(".m*"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"on_change": "split"},
        {"marks": ProvenanceSettings(provenance=False)},
        {"marks": ProvenanceSettings(label="all")},
    ],
)
def test_what_does_not_go_together(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="output_chroma"):
        Settings(output_chroma=Path("c.mkv"), **wrong)


def test_other_containers_are_refused(tmp_path: Path, colorizer: Colorizer, plain: Path) -> None:
    settings = Settings(output_chroma=tmp_path / "c.mp4")
    (report,) = colorize(plain, None, colorizer=colorizer, settings=settings)
    assert report.status == "failed" and ".mkv" in report.error
