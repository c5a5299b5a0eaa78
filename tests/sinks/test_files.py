"""Refusals, temporary names and the rename."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidcolor.errors import OutputError
from vidcolor.sinks.files import PendingFile, check_output


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.mkv"
    path.write_bytes(b"film")
    return path


def test_an_existing_output_is_refused(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    output.write_bytes(b"precious")
    with pytest.raises(OutputError, match="already exists; give --overwrite"):
        PendingFile(output, source, overwrite=False)
    file = PendingFile(output, source, overwrite=True)
    assert output.read_bytes() == b"precious"
    file.path.write_bytes(b"new")
    assert file.commit() == output
    assert output.read_bytes() == b"new"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.mkv", "out.mkv"]


@pytest.mark.parametrize("link", ["same", "symbolic", "hard", "dotted"])
def test_the_input_is_never_the_output(source: Path, tmp_path: Path, link: str) -> None:
    output = tmp_path / "out.mkv"
    if link == "symbolic":
        output.symlink_to(source)
    elif link == "hard":
        os.link(source, output)
    elif link == "dotted":
        (tmp_path / "sub").mkdir()
        output = tmp_path / "sub" / ".." / "in.mkv"
    else:
        output = source
    with pytest.raises(OutputError, match="the output is the input itself"):
        check_output(output, source, overwrite=True)
    assert source.read_bytes() == b"film"


def test_an_output_that_appears_meanwhile_is_not_replaced(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    file = PendingFile(output, source, overwrite=False)
    file.path.write_bytes(b"hours of work")
    output.write_bytes(b"from another run")
    with pytest.raises(OutputError, match=r"out\.mkv: another run .* kept as out\.second\.mkv"):
        file.commit()
    file.discard()
    assert (tmp_path / "out.second.mkv").read_bytes() == b"hours of work"
    assert output.read_bytes() == b"from another run"


def test_the_temporary_name(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "deeper" / "color.mp4"
    file = PendingFile(output, source, overwrite=False)
    assert file.path.parent == output.parent
    assert file.path.name.startswith(".color.mp4.")
    assert file.path.name.endswith(".part.mp4")
    assert PendingFile(output, source, overwrite=False).path != file.path
    long = tmp_path / ("é" * 120 + ".mkv")  # 244 bytes
    assert PendingFile(long, source, overwrite=False).path.exists()


def test_a_folder_and_a_place_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="this is a folder"):
        PendingFile(tmp_path, source, overwrite=True)
    # A file in the way of the folder refuses even an administrator, whom permissions do not stop.
    with pytest.raises(OutputError, match=r"in\.mkv: cannot be written \("):
        PendingFile(source / "out.mkv", source, overwrite=False)


def test_an_incomplete_name_never_takes_the_input(tmp_path: Path) -> None:
    source = tmp_path / "a.incomplete.mkv"
    source.write_bytes(b"film")
    file = PendingFile(tmp_path / "a.mkv", source, overwrite=True)
    assert file.commit("incomplete").name == "a.incomplete-2.mkv"
    assert source.read_bytes() == b"film"
