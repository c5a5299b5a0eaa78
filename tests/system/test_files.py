"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from vidcolor.errors import OutputError
from vidcolor.system.files import parse_json, read_json, replacing


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "9" * 5000, b"\xff\xfe", b'{"a": \xe9}', "nan"], ids=range(7)
)
def test_what_is_not_json_is_a_value_error(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ValueError) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    (tmp_path / "file.json").write_text('{"a": [1, "é"]}', encoding="utf-8")
    assert read_json(tmp_path / "file.json") == {"a": [1, "é"]}


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("whole", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "whole"
    assert os.listdir(path.parent) == ["file.txt"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with replacing(tmp_path / "file") as temporary:
            temporary.unlink()
            temporary.touch(mode=0o600)  # as safetensors leaves its files
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [OSError(28, "No space left"), SafetensorError("I/O error")])
def test_what_was_there_stays_when_writing_fails(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "file"
    path.write_text("before", encoding="utf-8")
    line = r"file: cannot be written \((No space left|I/O error)\)"
    with pytest.raises(OutputError, match=line), replacing(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise error
    assert path.read_text(encoding="utf-8") == "before"
    assert os.listdir(tmp_path) == ["file"]


def test_other_errors_pass_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "file") as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
