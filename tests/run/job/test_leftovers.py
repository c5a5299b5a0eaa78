"""Leftovers of processes that have ended are found; what runs, and other files, are left alone."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from tests.helpers.readback import files_in
from vidcolor.run.job.leftovers import find_leftovers, remove_temporaries
from vidcolor.run.journal import open_journal
from vidcolor.system.processes import Process, this_process

HERE = this_process()
DEAD = replace(HERE, started=HERE.started + 1)
ELSEWHERE = replace(HERE, host="other", code="0" * 16)


def temporary(folder: Path, process: Process, *, days: float = 0) -> str:
    path = folder / f".scan.png.{process.token()}.part.png"
    path.write_bytes(b"half")
    os.utime(path, (path.stat().st_mtime - days * 86_400,) * 2)
    return path.name


def work_folder(parent: Path, name: str, process: Process) -> Path:
    folder = parent / f".{name}.vidcolor"
    folder.mkdir()
    (folder / "film-1.mkv").write_bytes(b"half a film")
    (folder / "owner.json").write_text(json.dumps({"process": asdict(process), "since": "now"}))
    return folder


def test_temporary_files(tmp_path: Path) -> None:
    dead, old = temporary(tmp_path, DEAD), temporary(tmp_path, ELSEWHERE, days=2)
    kept = {temporary(tmp_path, HERE), temporary(tmp_path, ELSEWHERE), ".a.part.png", "a.part.png"}
    for name in kept - set(files_in(tmp_path)):
        (tmp_path / name).touch()
    assert {each.path.name for each in find_leftovers(tmp_path)} == {dead, old}
    remove_temporaries(tmp_path)
    assert set(files_in(tmp_path)) == kept


def test_unfinished_films(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    dead = work_folder(deep, "dead.mkv", DEAD)
    (dead / "parts").mkdir()  # of a run with several workers
    (dead / "parts" / "000000000-000000020-name.mkv").write_bytes(bytes(1000))
    work_folder(deep, "far.mkv", ELSEWHERE)
    work_folder(deep, "live.mkv", HERE)
    (work_folder(deep, "foreign.mkv", DEAD) / "thesis.txt").touch()
    with open_journal(deep / "held.mkv", dict, restart=False):
        found = list(find_leftovers(tmp_path))
        assert [each.path for each in found] == [dead]
        assert found[0].bytes > 1011 and found[0].remove() and not dead.exists()
        with_others = work_folder(deep, "taken.mkv", DEAD)
        (late,) = find_leftovers(tmp_path)
        with open_journal(deep / "taken.mkv", dict, restart=False):  # a run takes it up
            assert not late.remove() and with_others.exists()
