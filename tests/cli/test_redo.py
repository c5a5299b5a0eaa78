"""`vidcolor redo` and `vidcolor merge`, on what `vidcolor run` has written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import Vidcolor
from tests.helpers.films import FilmSpec, build_film, read_frames

RUN = ("--model", "_ramp", "--device", "cpu", "--size", "64", "-q")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return build_film(tmp_path, FilmSpec("in.mkv"))


def test_redo_a_stretch(command: Vidcolor, tmp_path: Path, film: Path) -> None:
    output = tmp_path / "o.mkv"
    assert command("run", film, "-o", output, "--encoder", "ffv1", *RUN).code == 0
    before = [frame.to_ndarray() for frame in read_frames(output)]
    answer = command(
        "redo", output, "--end", "0.5", "--saturation", "0", "--device", "cpu", "--json"
    )
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["frames"] == 6
    after = [frame.to_ndarray() for frame in read_frames(output)]
    same = [bool((a == b).all()) for a, b in zip(before, after, strict=True)]
    assert same == [False] * 6 + [True] * 6
    assert "redone" in command("inspect", output).out


def test_redo_needs_to_be_told_what(command: Vidcolor, tmp_path: Path, film: Path) -> None:
    for more in ((), ("--shots", "1", "--end", "2"), ("--shots", "one")):
        assert command("redo", film, *more).code == 2
    answer = command("redo", film, "--shots", "1")
    assert answer.code == 1 and "marks" in answer.err and len(answer.err.splitlines()) == 1


def test_merge(command: Vidcolor, tmp_path: Path, film: Path) -> None:
    chroma, merged, direct = (tmp_path / name for name in ("c.mkv", "m.mkv", "d.mkv"))
    assert command("run", film, "--output-chroma", chroma, *RUN).code == 0
    assert not (tmp_path / "in.color.mkv").exists()
    answer = command("merge", film, chroma, "-o", merged, "--encoder", "ffv1", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["frames"] == 12
    assert (
        command("run", film, "-o", direct, "--encoder", "ffv1", "--luma", "exact", *RUN).code == 0
    )
    for one, other in zip(read_frames(merged), read_frames(direct), strict=True):
        assert (one.to_ndarray() == other.to_ndarray()).all()
    answer = command("merge", direct, chroma, "-o", tmp_path / "no.mkv")
    assert answer.code == 1 and "SHA-256" in answer.err and len(answer.err.splitlines()) == 1
    assert command("merge", film, chroma, "-o", merged).code == 1
    assert command("run", film, "--output-chroma", chroma, "--start", "1", *RUN).code == 2
