"""Marks, labels and signatures of whole runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.helpers.certificates import write_certificate
from tests.helpers.films import FilmSpec, build_film, read_frames
from vidcolor import Colorizer, EncoderSettings, Report, Settings, colorize
from vidcolor.marks import COLORIZED
from vidcolor.models.weights import stored_weights
from vidcolor.options import OptionError
from vidcolor.run.provenance.settings import SOFTWARE, ProvenanceSettings
from vidcolor.sinks.credentials import read_credentials
from vidcolor.sources.marks import read_marks

ENCODERS = {
    "mp4": "libx264", "mov": "prores_ks", "mkv": "ffv1", "webm": "libsvtav1", "avi": "ffv1",
    "mxf": "prores_ks", "ts": "libx264",
}  # fmt: skip
PLAIN = ProvenanceSettings(provenance=False)


def colorizer(**options: Any) -> Colorizer:
    return Colorizer("_ramp", device="cpu", size=64, precision="fp32", **options)


def run(source: Path, output: Path, marks: ProvenanceSettings | None = None, **more: Any) -> Report:
    settings = Settings(marks=marks or ProvenanceSettings(), **more)
    (report,) = colorize(source, output, colorizer=colorizer(), settings=settings)
    return report


def encoder(suffix: str) -> EncoderSettings:
    name = ENCODERS[suffix]
    preset = {"libx264": "ultrafast", "libsvtav1": "12"}.get(name)
    return EncoderSettings(name, preset=preset) if preset else EncoderSettings(name)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tags = {"title": "A film", "comment": "Found in a loft"}
    rate = Fraction(1, 25)  # as MXF wants it
    spec = FilmSpec("in.mkv", audio=("pcm_s16le",), time_base=rate, metadata=tags)
    return build_film(tmp_path_factory.mktemp("film"), spec)


def packets(path: Path) -> list[tuple[Any, ...]]:
    with av.open(str(path)) as container:
        return [
            (p.stream_index, p.pts, p.dts, p.duration, bytes(p))
            for p in container.demux()
            if p.size
        ]


@pytest.mark.parametrize("suffix", ENCODERS)
def test_every_container_says_that_it_is_colorized(
    tmp_path: Path, film: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its streams are those of a film without marks."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    sound = frozenset({"audio"}) if suffix in ("mov", "mkv", "avi") else frozenset()
    more: dict[str, Any] = {"encoder": encoder(suffix), "copy": sound}
    report = run(film, tmp_path / f"a.{suffix}", **more)
    plain = run(film, tmp_path / f"b.{suffix}", PLAIN, **more)
    assert report.status == plain.status == "done", report.error
    assert packets(report.output) == packets(plain.output)
    assert read_marks(plain.output) == {}
    found = read_marks(report.output)
    if suffix == "ts":
        assert any("marks" in line for line in report.warnings)
        return
    assert not any("marks" in line for line in report.warnings)
    assert found.pop("settings")
    assert found == {
        "digital_source_type": COLORIZED,
        "software": SOFTWARE,
        "model": "_ramp",
        "model_sha256": stored_weights()["_ramp"].sha256,
        "date": "2001-09-09T01:46:40Z",
        "source": film.name,
        "source_sha256": hashlib.sha256(film.read_bytes()).hexdigest(),
    }
    with av.open(str(report.output)) as container:
        tags = {key.lower(): text for key, text in container.metadata.items()}
    if suffix != "mxf":  # which has no comment for players
        assert tags["comment"].startswith("Found in a loft\nColorized by vidcolor")
        assert tags["title"] == "A film"


def test_the_settings_that_shape_the_colors_are_told(tmp_path: Path, film: Path) -> None:
    output = tmp_path / "a.mkv"
    settings = Settings(encoder=encoder("mkv"), stabilize=False, copy=frozenset())
    colorize(film, output, colorizer=colorizer(tta=True), settings=settings)
    told = json.loads(read_marks(output)["settings"])
    assert told["tta"] is True and told["stabilize"] is False and told["size"] == 64
    assert "saturation" not in told and "label" not in told


@pytest.mark.parametrize("one", ["mp4", "mkv"])
@pytest.mark.parametrize("other", ["mp4", "mkv"])
def test_a_film_that_was_colorized_before(tmp_path: Path, film: Path, one: str, other: str) -> None:
    """What it says of itself stays, beside what the new one says."""
    first, second = tmp_path / f"1.{one}", tmp_path / f"2.{other}"
    run(film, first, encoder=encoder(one), copy=frozenset())
    run(first, second, encoder=encoder(other), copy=frozenset())
    found = read_marks(second)
    assert found["source"] == first.name and "source_type" not in found
    assert found["source_sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    with av.open(str(second)) as container:
        tags = {key.lower(): text for key, text in container.metadata.items()}
    assert tags["comment"].count("Colorized by") == 2
    assert hashlib.sha256(film.read_bytes()).hexdigest().encode() in second.read_bytes()
    assert "vidcolor_source" not in tags or tags["vidcolor_source"] == first.name


def test_a_source_type_of_the_input_is_kept(tmp_path: Path) -> None:
    own = "http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm"
    spec = FilmSpec("in.mkv", audio=(), metadata={"DIGITAL_SOURCE_TYPE": own})
    source = build_film(tmp_path, spec)
    run(source, tmp_path / "a.mkv", encoder=encoder("mkv"))
    found = read_marks(tmp_path / "a.mkv")
    assert found["source_type"] == own and found["digital_source_type"] == COLORIZED


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif", "bmp"])
def test_pictures(tmp_path: Path, suffix: str) -> None:
    source, output = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    codes = np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))
    Image.fromarray(codes).convert("RGB").save(source)
    report = run(source, output)
    plain = run(source, tmp_path / f"plain.{suffix}", PLAIN)
    assert report.status == plain.status == "done", report.error
    with Image.open(output) as one, Image.open(plain.output) as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))
    found = read_marks(output)
    assert read_marks(plain.output) == {}
    if suffix == "bmp":
        assert found == {} and any("marks" in line for line in report.warnings)
        return
    assert found["model"] == "_ramp" and found["digital_source_type"] == COLORIZED
    assert found["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert "stabilize" not in json.loads(found["settings"])


@pytest.mark.parametrize("suffix", ["dpx", "tif", "png", "exr"])
def test_numbered_pictures_as_an_output(tmp_path: Path, film: Path, suffix: str) -> None:
    pattern, plain = tmp_path / f"a_%03d.{suffix}", tmp_path / f"b_%03d.{suffix}"
    report, other = run(film, pattern), run(film, plain, PLAIN)
    assert report.status == other.status == "done", report.error
    names = sorted(each.name for each in tmp_path.iterdir())
    numbers = range(1, 13)
    wanted = [f"a_{n:03}.{suffix}" for n in numbers] + ["a_all.xmp"]
    assert names == wanted + [f"b_{n:03}.{suffix}" for n in numbers]
    found = read_marks(tmp_path / "a_all.xmp")
    assert found["source_sha256"] == hashlib.sha256(film.read_bytes()).hexdigest()
    for number in (1, 12):
        one, two = (str(each) % number for each in (pattern, plain))
        if suffix in ("tif", "png"):
            assert read_marks(Path(one))["model"] == "_ramp" and not read_marks(Path(two))
            with Image.open(one) as image, Image.open(two) as bare:
                assert np.array_equal(np.asarray(image), np.asarray(bare))
        else:
            assert Path(one).read_bytes() == Path(two).read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there alone")
@pytest.mark.parametrize("suffix", ["png", "mkv", "mp4"])
def test_a_name_that_is_no_text(tmp_path: Path, film: Path, suffix: str) -> None:
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\x01<&\n\xff." + suffix.encode()))
    if suffix == "png":
        Image.fromarray(np.full((48, 64), 100, np.uint8)).save(source)
    else:
        shutil.copy(film, source)
    dossier = ProvenanceSettings(dossier=tmp_path / "d")
    more: dict[str, Any] = {"copy": frozenset(), "encoder": EncoderSettings(preset="ultrafast")}
    report = run(source, tmp_path / f"o.{suffix}", dossier, **more)
    assert report.status == "done", report.error
    found = read_marks(report.output)
    assert found["source"] == f"a\\x01<&\\n\\udcff.{suffix}"
    assert found["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()


def test_a_numbered_sequence_is_hashed_as_a_whole(tmp_path: Path) -> None:
    whole = hashlib.sha256()
    for number in range(4):
        path = tmp_path / f"{number:03}.png"
        Image.fromarray(np.full((48, 64), 40 * number, np.uint8)).save(path)
        whole.update(path.read_bytes())
    output = tmp_path / "o.mkv"
    report = run(tmp_path / "%03d.png", output, encoder=encoder("mkv"), fps=12)
    assert report.status == "done", report.error
    assert read_marks(output)["source_sha256"] == whole.hexdigest()


@pytest.mark.parametrize("label", ["start", "all"])
def test_the_label_is_on_the_first_seconds_or_on_all_frames(tmp_path: Path, label: str) -> None:
    pts = tuple(range(84))
    source = build_film(tmp_path, FilmSpec("in.mkv", pts=pts, video="ffv1", audio=()))
    more: dict[str, Any] = {"encoder": encoder("mkv"), "exact_luma": True}
    plain = run(source, tmp_path / "plain.mkv", **more)
    report = run(source, tmp_path / "o.mkv", ProvenanceSettings(label=label), **more)
    assert report.status == "done" and any("label" in line for line in report.warnings)
    pairs = zip(read_frames(report.output), read_frames(plain.output), strict=True)
    luma = [(a.to_ndarray()[:48], b.to_ndarray()[:48]) for a, b in pairs]
    has = [not np.array_equal(a, b) for a, b in luma]
    assert has == [number < 60 or label == "all" for number in pts]  # 5 s at 12 frames a second
    for a, b in luma:
        assert np.array_equal(a[:24], b[:24]) and np.array_equal(a[:, :20], b[:, :20])
    assert json.loads(read_marks(report.output)["settings"])["label"] == label


def test_the_label_of_a_picture(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    Image.fromarray(np.full((240, 320), 100, np.uint8)).save(source)
    run(source, tmp_path / "o.png", ProvenanceSettings(label="all"))
    with Image.open(tmp_path / "o.png") as image:
        codes = np.asarray(image).astype(int)
    assert len(np.unique(codes[:200].reshape(-1, 3), axis=0)) == 1
    bright = codes[200:].max(axis=0).max(axis=1) > 210
    assert bright.any() and not bright[:190].any()


def test_outputs_are_signed(tmp_path: Path, film: Path) -> None:
    cert, key = write_certificate(tmp_path)
    marks = ProvenanceSettings(c2pa_cert=cert, c2pa_key=key)
    picture = tmp_path / "in.png"
    Image.fromarray(np.full((48, 64), 100, np.uint8)).save(picture)
    for source, name in ((film, "o.mp4"), (film, "p.mkv"), (picture, "q.png")):
        report = run(source, tmp_path / name, marks, copy=frozenset())
        assert report.status == "done", report.error
        found = read_credentials(report.output)
        assert found is not None and found["state"] == "Valid", found
        assert read_marks(report.output)["model"] == "_ramp"


def test_a_film_that_cannot_be_signed_is_incomplete(tmp_path: Path, film: Path) -> None:
    cert, key = write_certificate(tmp_path)
    (tmp_path / "o.c2pa").write_text("another's")
    marks = ProvenanceSettings(c2pa_cert=cert, c2pa_key=key)
    report = run(film, tmp_path / "o.mkv", marks, encoder=encoder("mkv"))
    assert report.status == "incomplete" and "o.c2pa" in report.error
    assert len(read_frames(report.output)) == 12


def test_options_that_need_each_other() -> None:
    for given in ("c2pa_cert", "c2pa_key"):
        with pytest.raises(OptionError, match="c2pa"):
            ProvenanceSettings(**{given: Path("a.pem")})  # type: ignore[arg-type]


def test_a_date_that_is_none(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(OptionError, match="SOURCE_DATE_EPOCH"):
        run(film, tmp_path / "o.mkv")
    assert not list(tmp_path.iterdir())
