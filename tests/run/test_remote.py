"""Inputs and outputs that URLs name: a real S3 server, and fsspec's own places."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from PIL import Image

from tests.helpers.clips import pattern
from tests.helpers.long_films import assert_same_film, film_of_shots
from tests.helpers.readback import files_in
from tests.run.test_cluster import FILM, RATE, SHOTS, finish, vidcolor
from vidcolor import Colorizer, ColorizerOptions, EncoderSettings, Settings, colorize
from vidcolor.run.pipeline import run
from vidcolor.run.remote import run_remote
from vidcolor.run.settings import Report

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
        return lambda jobs, settings, on_progress: run(jobs, colorizer, settings, on_progress)

    return list(run_remote(inputs, output, settings, runner, lambda progress: None))


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
