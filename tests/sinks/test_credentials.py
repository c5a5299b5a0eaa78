"""Content Credentials: signed files verify, changed ones do not, and errors say what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.helpers.certificates import write_certificate
from tests.helpers.films import FilmSpec, build_film
from tests.sinks.test_pictures import batch
from vidcolor.errors import OutputError
from vidcolor.marks import COLORIZED, Marks
from vidcolor.sinks import PictureSink
from vidcolor.sinks.credentials import Credentials, read_credentials

MARKS = Marks("vidcolor 1.2", "fast", "ab" * 32, "{}", "2026-11-28T19:00:00Z", "in.mkv", "cd" * 32)
FILMS = ["mp4", "mov", "mkv", "ts", "avi"]
PICTURES = ["jpg", "png", "tif", "webp", "avif"]


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials(*write_certificate(tmp_path_factory.mktemp("certificate")))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_film(tmp_path_factory.mktemp("original"), FilmSpec("in.mkv", audio=()))


def _make(folder: Path, suffix: str) -> Path:
    path = folder / f"out.{suffix}"
    if suffix in PICTURES:
        PictureSink().write(batch(path))
        return path
    return build_film(folder, FilmSpec(path.name, audio=(), b_frames=0, language=""))


@pytest.mark.parametrize("suffix", [*FILMS, *PICTURES])
def test_every_format_is_signed(
    tmp_path: Path, suffix: str, credentials: Credentials, original: Path
) -> None:
    path = _make(tmp_path, suffix)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    before = path.read_bytes()
    manifest = credentials.sign(path, MARKS, original)
    aside = suffix in ("mkv", "ts")
    assert manifest == (path.with_suffix(".c2pa") if aside else path)
    assert (path.read_bytes() == before) == aside
    assert path.stat().st_mtime == 1_000_000_000
    assert {each.name for each in tmp_path.iterdir()} == {path.name, manifest.name}
    found = read_credentials(path)
    assert found is not None and found["state"] == "Valid"
    assert found["problems"] == ["signingCredential.untrusted"] and "A signer" in found["signer"]
    (said,) = found["manifests"].values()
    assert said["ingredients"][0]["title"] == original.name
    data = {each["label"]: each["data"] for each in said["assertions"]}
    actions = data["c2pa.actions.v2"]["actions"]
    assert [each["action"] for each in actions] == ["c2pa.opened", "c2pa.color_adjustments"]
    assert actions[1]["digitalSourceType"] == COLORIZED
    assert data["io.github.vidcolor.record"] == MARKS.to_dict()


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "png"])
def test_a_changed_file_does_not_verify(
    tmp_path: Path, suffix: str, credentials: Credentials, original: Path
) -> None:
    path = _make(tmp_path, suffix)
    credentials.sign(path, MARKS, original)
    data = bytearray(path.read_bytes())
    data[len(data) - 40 if suffix == "png" else len(data) // 2] ^= 1
    path.write_bytes(data)
    found = read_credentials(path)
    assert found is not None and found["state"] == "Invalid"
    assert any("mismatch" in each.lower() for each in found["problems"])


def test_credentials_of_the_original_stay(tmp_path: Path, credentials: Credentials) -> None:
    first = _make(tmp_path, "png")
    credentials.sign(first, MARKS, tmp_path / "a sequence %03d.png")
    second = _make(tmp_path, "jpg")
    credentials.sign(second, MARKS, first)
    found = read_credentials(second)
    assert found is not None and found["state"] == "Valid" and len(found["manifests"]) == 2


def test_an_existing_sidecar_is_not_replaced_without_leave(
    tmp_path: Path, credentials: Credentials, original: Path
) -> None:
    path, aside = _make(tmp_path, "mkv"), tmp_path / "out.c2pa"
    aside.write_bytes(b"another's")
    with pytest.raises(OutputError, match="overwrite"):
        credentials.sign(path, MARKS, original)
    assert aside.read_bytes() == b"another's"
    credentials.sign(path, MARKS, original, overwrite=True)
    assert read_credentials(path) is not None


def test_files_without_credentials(tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv", "png"):
        assert read_credentials(_make(tmp_path, suffix)) is None


@pytest.mark.parametrize("wrong", ["cert", "key", "no cert", "no key", "other key"])
def test_a_certificate_that_cannot_be_used(tmp_path: Path, wrong: str) -> None:
    cert, key = write_certificate(tmp_path)
    if wrong in ("cert", "key"):
        {"cert": cert, "key": key}[wrong].write_text("nonsense")
    elif wrong == "other key":
        (tmp_path / "other").mkdir()
        _, key = write_certificate(tmp_path / "other")
    else:
        {"no cert": cert, "no key": key}[wrong].unlink()
    with pytest.raises(OutputError, match=r"c2pa-(cert|key)"):
        Credentials(cert, key)


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(OutputError, match=r"vidcolor\[c2pa\]"):
        Credentials(*write_certificate(tmp_path))
