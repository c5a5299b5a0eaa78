"""Inputs and outputs that URLs name: a real S3 server, and fsspec's own places."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from PIL import Image

from tests.helpers.certificates import write_certificate
from tests.helpers.clips import pattern
from tests.helpers.command_line import Vidcolor
from tests.helpers.long_films import assert_same_film, film_of_shots
from tests.helpers.readback import files_in
from tests.run.parallel.test_cluster import FILM, RATE, SHOTS, finish, vidcolor
from vidcolor import Colorizer, ColorizerOptions, EncoderSettings, Settings, colorize
from vidcolor.errors import OutputError
from vidcolor.run.parallel.remote import run_remote
from vidcolor.run.pipeline import run
from vidcolor.run.provenance.settings import ProvenanceSettings
from vidcolor.run.settings import Report
from vidcolor.sinks.credentials import read_credentials

OPTIONS = ColorizerOptions(model="_ramp", size=64, precision="fp32", device="cpu")
FFV1 = Settings(encoder=EncoderSettings("ffv1"), batch_size=4)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that files are fetched to."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of an empty bucket on an S3 server of this machine."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        address = next(
            found[0] for line in server.stderr if (found := re.search(r"http://[\d.:]+", line))
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", address)
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            fsspec.filesystem("s3").mkdir("archive")
            yield "s3://archive"
    finally:
        server.kill()
        server.communicate()


def work(inputs: list[str], output: str | None, settings: Settings) -> list[Report]:
    colorizer = Colorizer(OPTIONS)

    def runner(source: Any, target: Any) -> Any:
        return lambda jobs, settings: run(jobs, colorizer, settings)

    return list(run_remote(inputs, output, settings, runner))


def archive(folder: Path) -> Path:
    """A film and pictures in two folders."""
    (folder / "deep").mkdir(parents=True)
    film_of_shots(folder / "film.mkv", (9, 14))
    for number in range(5):
        Image.fromarray(pattern(number, 64, 48)).save(folder / "deep" / f"{number}.png")
    Image.fromarray(pattern(7, 64, 48)).save(folder / "top.tga")
    return folder


def test_a_folder_in_memory(tmp_path: Path, scratch: Path) -> None:
    files = fsspec.filesystem("memory")
    source = archive(tmp_path / "in")
    files.put(f"{source}/", "/in/", recursive=True)
    files.pipe("/in/.hidden.png", b"nothing")
    files.pipe("/in/notes.txt", b"nothing")
    reports = work(["memory://in"], "memory://out", FFV1)
    assert [r.status for r in reports] == ["done"] * 7, [r.error for r in reports]
    assert {str(r.input) for r in reports} >= {"memory://in/film.mkv", "memory://in/deep/3.png"}
    files.get("/out/", f"{tmp_path}/out/", recursive=True)
    colorize(source, tmp_path / "whole", colorizer=Colorizer(OPTIONS), settings=FFV1)
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")
    assert_same_film(tmp_path / "out" / "film.mkv", tmp_path / "whole" / "film.mkv")
    for name in files_in(tmp_path / "out"):
        if name.endswith(".png"):
            one, other = (Image.open(tmp_path / top / name) for top in ("out", "whole"))
            assert one.tobytes() == other.tobytes()
    assert files_in(scratch) == []

    reports = work(["memory://in/*.mkv"], "memory://out", FFV1)
    assert [r.status for r in reports] == ["failed"] and "already exists" in reports[0].error
    reports = work(["memory://in/*.mkv"], "memory://out", Settings(skip_existing=True))
    assert [r.status for r in reports] == ["skipped"]


def test_a_signature_beside_a_film_comes_along(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    files.put(str(film_of_shots(tmp_path / "film.mkv", (9,))), "/signed/film.mkv")
    cert, key = write_certificate(tmp_path)
    settings = replace(FFV1, marks=ProvenanceSettings(c2pa_cert=cert, c2pa_key=key))
    (report,) = work(["memory://signed/film.mkv"], "memory://signed/o.mkv", settings)
    assert report.status == "done", report.error
    files.get("/signed/", f"{tmp_path}/signed/", recursive=True)
    assert files_in(tmp_path / "signed") == ["film.mkv", "o.c2pa", "o.mkv"]
    found = read_credentials(tmp_path / "signed" / "o.mkv")
    assert found is not None and found["state"] == "Valid", found
    files.rm("/signed/o.mkv")
    (report,) = work(["memory://signed/film.mkv"], "memory://signed/o.mkv", settings)
    assert report.status == "failed" and "already exists" in report.error


def test_numbered_pictures_are_refused() -> None:
    with pytest.raises(OutputError, match=r"%06d"):
        work(["memory://in/film.mkv"], "memory://out/%06d.png", FFV1)


def test_the_report_and_the_exit_code(tmp_path: Path, command: Vidcolor) -> None:
    source = archive(tmp_path / "in")
    (source / "none.png").write_bytes(b"no picture")
    url, report = f"file://{source}", tmp_path / "report.json"
    answer = command("run", url, "-o", f"{tmp_path}/out", *FILM, "--report", report)
    assert answer.code == 1, answer.err
    told = json.loads(report.read_text())
    assert (told["event"], told["totals"]["done"], told["totals"]["failed"]) == ("done", 7, 1)
    assert told["model"]["name"] == "_ramp"
    assert {row["output"] for row in told["inputs"]} >= {f"{tmp_path}/out/film.mkv"}
    assert len(files_in(tmp_path / "out")) == 7


@pytest.mark.parametrize("url", ["memory://nothing", "memory://nothing/*.png", "nowhere://x/y"])
def test_what_is_not_there(url: str) -> None:
    (report,) = work([url], "memory://out", FFV1)
    assert report.status == "failed" and report.error.startswith(url)


@pytest.mark.slow
def test_a_film_on_s3_by_one_process_and_by_a_cluster(
    tmp_path: Path, scratch: Path, bucket: str
) -> None:
    film = film_of_shots(tmp_path / "film.mkv", SHOTS, rate=RATE)
    files = fsspec.filesystem("s3")
    files.put_file(str(film), "archive/in/film.mkv")
    out = finish(vidcolor(f"{bucket}/in/film.mkv", "-o", f"{bucket}/one.mkv", *FILM))
    assert "s3://archive/one.mkv" in out
    cluster = ("--cluster", "local")
    finish(vidcolor(f"{bucket}/in/", "-o", f"{bucket}/out/", *FILM, *cluster))
    found = [name for name in files.find("archive") if "/in/" not in name]
    assert found == ["archive/one.mkv", "archive/out/film.mkv"]
    files.get_file("archive/one.mkv", str(tmp_path / "one.mkv"))
    files.get_file("archive/out/film.mkv", str(tmp_path / "many.mkv"))
    (report,) = colorize(film, tmp_path / "whole.mkv", colorizer=Colorizer(OPTIONS), settings=FFV1)
    assert report.status == "done"
    assert_same_film(tmp_path / "one.mkv", tmp_path / "whole.mkv")
    assert_same_film(tmp_path / "many.mkv", tmp_path / "whole.mkv")
    assert files_in(scratch) == [] or all("ray" in name for name in files_in(scratch))
