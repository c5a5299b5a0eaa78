"""`vidcolor inspect`, on what `vidcolor run` has written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.certificates import write_certificate
from tests.helpers.command_line import Vidcolor
from tests.helpers.films import FilmSpec, build_film

RUN = ("--model", "_ramp", "--device", "cpu", "--size", "64", "--copy", "none", "-q")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return build_film(tmp_path, FilmSpec("in.mkv", audio=()))


def test_what_a_film_says(command: Vidcolor, tmp_path: Path, film: Path) -> None:
    output = tmp_path / "o.mp4"
    assert command("run", film, "-o", output, *RUN).code == 0
    answer = command("inspect", output)
    assert answer.code == 0, answer.err
    assert "compositeWithTrainedAlgorithmicMedia" in answer.out
    assert "source matches" in answer.out and "model matches" in answer.out
    found = json.loads(command("inspect", output, "--json").out)
    digest = hashlib.sha256(film.read_bytes()).hexdigest()
    assert found["marks"]["source_sha256"] == digest and found["file"] == str(output)
    states = {each["name"]: each["state"] for each in found["checks"]}
    assert states["source"] == states["model"] == "matches"


def test_another_original_is_noticed(command: Vidcolor, tmp_path: Path, film: Path) -> None:
    output, other = tmp_path / "o.mkv", tmp_path / "other.mkv"
    assert command("run", film, "-o", output, *RUN).code == 0
    other.write_bytes(film.read_bytes() + b"\0")
    answer = command("inspect", output, "--source", other)
    assert answer.code == 1 and "source differs" in answer.out
    film.unlink()
    answer = command("inspect", output)
    assert answer.code == 0 and "source unknown" in answer.out


def test_an_output_of_its_originals_name_is_not_taken_for_it(
    command: Vidcolor, tmp_path: Path, film: Path
) -> None:
    output = tmp_path / "out" / film.name
    assert command("run", film, "-o", output, *RUN).code == 0
    answer = command("inspect", output)
    assert answer.code == 0 and "source unknown" in answer.out


def test_a_file_that_says_nothing(command: Vidcolor, film: Path) -> None:
    answer = command("inspect", film)
    assert answer.code == 0 and "nothing" in answer.out
    assert json.loads(command("inspect", film, "--json").out)["marks"] == {}


def test_a_signature_is_checked(command: Vidcolor, tmp_path: Path, film: Path) -> None:
    cert, key = write_certificate(tmp_path)
    output = tmp_path / "o.mp4"
    signing = ("--c2pa-cert", cert, "--c2pa-key", key)
    assert command("run", film, "-o", output, *RUN, *signing).code == 0
    answer = command("inspect", output)
    assert answer.code == 0 and "credentials matches" in answer.out and "A signer" in answer.out
    data = bytearray(output.read_bytes())
    data[len(data) // 2] ^= 1
    output.write_bytes(data)
    answer = command("inspect", output)
    assert answer.code == 1 and "credentials differs" in answer.out


def test_what_cannot_be_read(command: Vidcolor, tmp_path: Path) -> None:
    text = tmp_path / "a.mp4"
    text.write_text("no film")
    whole, damaged = tmp_path / "a.avif", tmp_path / "b.avif"
    Image.new("L", (64, 48), 90).save(whole)
    damaged.write_bytes(whole.read_bytes().replace(b"iloc", b"free"))
    for name in (text, tmp_path, tmp_path / "none.png", damaged):
        answer = command("inspect", name)
        assert answer.code == 1 and answer.err.startswith("error:"), answer
        assert len(answer.err.splitlines()) == 1


def test_a_certificate_without_its_key(command: Vidcolor, tmp_path: Path, film: Path) -> None:
    answer = command("run", film, "-o", tmp_path / "o.mp4", *RUN, "--c2pa-cert", "a.pem")
    assert answer.code == 2 and "--c2pa-key" in answer.err


def test_a_certificate_that_cannot_be_used_stops_the_run(
    command: Vidcolor, tmp_path: Path, film: Path
) -> None:
    signing = ("--c2pa-cert", tmp_path / "none.pem", "--c2pa-key", tmp_path / "none.pem")
    answer = command("run", film, "-o", tmp_path / "o.mp4", *RUN, *signing)
    assert answer.code == 2 and "none.pem" in answer.err
    assert not (tmp_path / "o.mp4").exists()
