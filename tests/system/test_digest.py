"""SHA-256 of files, beside the work."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from vidcolor.system.digest import Digest, sha256_of


def test_files_one_after_another(tmp_path: Path) -> None:
    parts = [bytes(range(256)) * 9000, b"", b"end"]
    paths = [tmp_path / f"{number}.bin" for number in range(3)]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    wanted = hashlib.sha256(b"".join(parts)).hexdigest()
    assert sha256_of(paths) == wanted
    assert Digest(paths).result() == (wanted, "")


def test_a_file_that_is_gone_has_a_reason(tmp_path: Path) -> None:
    found, reason = Digest([tmp_path / "none"]).result()
    assert found == "" and "No such file" in reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_left_alone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert Digest([pipe]).result() == ("", "")


def test_it_can_be_ended(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(1 << 33)  # sparse; takes some seconds to hash
    digest = Digest([path])
    digest.close()
    assert len(digest.result()[0]) == 64
