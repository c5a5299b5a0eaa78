"""Where states lie: beside outputs, so that folders of outputs hold nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidcolor.run.job.state_files import (
    STATE_NAME,
    find_states,
    is_of_folder,
    output_of,
    state_path,
)


@pytest.mark.parametrize("written", ["out", "out/", "./out", "in/../out"])
def test_a_folder_has_it_beside(tmp_path: Path, written: str) -> None:
    (tmp_path / "in").mkdir()
    path, stays = state_path(["in"], os.path.join(tmp_path, written))
    assert (path, stays) == (tmp_path / f".out{STATE_NAME}", True)
    (tmp_path / "out").mkdir()
    assert state_path(["in"], tmp_path / "out") == (path, stays)
    assert output_of(path) == tmp_path / "out" and is_of_folder(path)


def test_a_disk_has_it_inside() -> None:
    root = Path(os.path.abspath(os.sep))
    assert state_path(["in"], root) == (root / STATE_NAME, True)
    assert output_of(root / STATE_NAME) == root


def test_a_file_has_it_while_the_run_lasts(tmp_path: Path) -> None:
    path, stays = state_path(["a.mkv"], tmp_path / "b.mp4")
    assert (path, stays) == (tmp_path / f".b.mp4{STATE_NAME}", False)
    assert not is_of_folder(path) and output_of(path) == tmp_path / "b.mp4"
    folder = tmp_path / "photos"
    folder.mkdir()
    assert state_path([folder], None) == (tmp_path / f".photos.color{STATE_NAME}", True)
    assert state_path([tmp_path / "a.png"], None) == (tmp_path / f".a.png{STATE_NAME}", False)


def test_the_states_of_an_output_are_found(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    of_folder, of_sub = tmp_path / f".out{STATE_NAME}", out / f".sub{STATE_NAME}"
    of_file = out / f".film.mkv{STATE_NAME}"
    for path in (of_folder, of_sub, of_file):
        path.touch()
    assert find_states(out) == [of_folder, of_file]
    assert find_states(out / "film.mkv") == [of_file]
    of_file.unlink()
    assert find_states(out / "film.mkv") == [of_folder]  # a file of that folder's job
