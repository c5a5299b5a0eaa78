"""Jobs: done work is known, a changed input is done again; a state never ends a run."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.clips import encode, frames, pattern
from tests.helpers.command_line import Vidcolor
from tests.helpers.films import read_frames
from tests.helpers.readback import files_in

RAMP = ("--model", "_ramp", "--device", "cpu", "--size", "64", "--encoder", "ffv1")
STATE = ".out.vidcolor.sqlite"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three pictures, two of them in a subfolder, and a film."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "sub/b.tif", "sub/c.png")):
        Image.fromarray(pattern(number, 40, 30)).save(folder / name)
    encode(folder / "film.mkv", "ffv1", "yuv420p", frames(6))
    return folder


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of each file."""
    found = {name: (folder / name).stat() for name in files_in(folder)}
    return {name: (each.st_ino, each.st_ctime_ns) for name, each in found.items()}


def rows(out: str) -> dict[str, str]:
    """The status of each input by its name."""
    return {Path(row["input"]).name: row["status"] for row in map(json.loads, out.splitlines())}


def test_the_same_command_does_only_what_is_missing(
    command: Vidcolor, archive: Path, tmp_path: Path
) -> None:
    run = ("run", archive, "-o", tmp_path / "out", *RAMP, "--json")
    assert set(rows(command(*run).out).values()) == {"done"}
    before = stamps(tmp_path / "out")
    answer = command(*run)
    assert answer.code == 0 and set(rows(answer.out).values()) == {"skipped"}
    assert stamps(tmp_path / "out") == before

    (tmp_path / "out" / "sub" / "c.png").unlink()
    Image.fromarray(pattern(7, 40, 30)).save(archive / "a.png")  # scanned again
    encode(archive / "film.mkv", "ffv1", "yuv420p", frames(8))
    Image.fromarray(pattern(8, 40, 30)).save(archive / "new.png")
    answer = command(*run)
    assert answer.code == 0
    assert rows(answer.out) == {
        "a.png": "done", "b.tif": "skipped", "c.png": "done", "film.mkv": "done", "new.png": "done"
    }  # fmt: skip
    after = stamps(tmp_path / "out")
    assert after["sub/b.tif"] == before["sub/b.tif"] and after["a.png"] != before["a.png"]
    assert len(read_frames(tmp_path / "out" / "film.mkv")) == 8


def test_an_archive_that_moved_is_still_known(
    command: Vidcolor, archive: Path, tmp_path: Path
) -> None:
    assert command("run", archive, "-o", tmp_path / "out", *RAMP).code == 0
    (tmp_path / "disk").mkdir()
    for name in ("in", "out", STATE):
        shutil.move(tmp_path / name, tmp_path / "disk" / name)
    disk = tmp_path / "disk"
    answer = command("run", disk / "in", "-o", disk / "out", *RAMP, "--json")
    assert answer.code == 0 and set(rows(answer.out).values()) == {"skipped"}


def test_other_settings_ask_for_overwrite(command: Vidcolor, archive: Path, tmp_path: Path) -> None:
    run = ("run", archive, "-o", tmp_path / "out", *RAMP)
    command(*run)
    before = stamps(tmp_path / "out")
    answer = command(*run, "--saturation", "0.5")
    assert answer.code == 1 and stamps(tmp_path / "out") == before
    assert answer.err.count("(adjustment); give --overwrite") == 2 * 4  # a line, and in the table
    # the quality of pictures does not matter to a film
    answer = command(*run, "--quality", "80", "--json")
    assert rows(answer.out) == {
        "a.png": "failed", "b.tif": "failed", "c.png": "failed", "film.mkv": "skipped"
    }  # fmt: skip
    assert command(*run).code == 0 and stamps(tmp_path / "out") == before  # nothing was forgotten
    assert command(*run, "--saturation", "0.5", "--overwrite").code == 0
    after = stamps(tmp_path / "out")
    assert all(after[name] != before[name] for name in before)
    assert command(*run, "--saturation", "0.5").code == 0 and stamps(tmp_path / "out") == after


def test_an_output_that_somebody_else_has_changed_is_kept(
    command: Vidcolor, archive: Path, tmp_path: Path
) -> None:
    run = ("run", archive, "-o", tmp_path / "out", *RAMP)
    command(*run)
    edited = tmp_path / "out" / "a.png"
    edited.write_bytes(b"edited by hand")
    answer = command(*run, "--json")
    assert answer.code == 1 and f"{edited}: already exists" in answer.err
    assert rows(answer.out)["a.png"] == "failed" and edited.read_bytes() == b"edited by hand"
    assert rows(command(*run, "--json", "--skip-existing").out)["a.png"] == "skipped"


def test_an_incomplete_film_is_not_worked_on_again(
    command: Vidcolor, archive: Path, tmp_path: Path
) -> None:
    film = archive / "film.mkv"
    data = encode(film, "ffv1", "yuv420p", frames(24)).path.read_bytes()
    film.write_bytes(data[: len(data) // 2])
    run = ("run", archive, "-o", tmp_path / "out", *RAMP, "--json")
    assert rows(command(*run).out)["film.mkv"] == "incomplete"
    before = stamps(tmp_path / "out")
    answer = command(*run)
    assert answer.code == 1 and rows(answer.out)["film.mkv"] == "incomplete"
    assert stamps(tmp_path / "out") == before


@pytest.mark.parametrize("output", ["out.mkv", None])
def test_of_a_single_output_no_state_stays(
    command: Vidcolor, archive: Path, tmp_path: Path, output: str | None
) -> None:
    target = ("-o", tmp_path / output) if output else ()
    assert command("run", archive / "film.mkv", *target, *RAMP).code == 0
    assert not [name for name in files_in(tmp_path) if name.startswith(".") or "/." in name]


def test_nothing_is_left_where_nothing_could_be_done(command: Vidcolor, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mkv"
    bad.write_bytes(b"no film")
    assert command("run", bad, tmp_path / "missing.png", "-o", tmp_path / "out/", *RAMP).code == 1
    assert files_in(tmp_path) == ["bad.mkv"] and not (tmp_path / "out").exists()


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:4000] = os.urandom(3900)
    path.write_bytes(data)


def of_a_newer_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def no_database(path: Path) -> None:
    path.write_bytes(b"something else" * 100)


@pytest.mark.parametrize("harm", [damaged, of_a_newer_version, no_database])
def test_a_state_that_cannot_be_used_ends_no_run(
    command: Vidcolor, archive: Path, tmp_path: Path, harm: object
) -> None:
    run = ("run", archive, "-o", tmp_path / "out", *RAMP, "--json")
    command(*run)
    (tmp_path / "out" / "a.png").unlink()
    assert callable(harm)
    harm(tmp_path / STATE)
    before = (tmp_path / STATE).read_bytes()
    answer = command(*run)
    assert answer.err.count(f"warning: {tmp_path / STATE}") == 1
    assert rows(answer.out)["a.png"] == "done" and rows(answer.out)["film.mkv"] == "failed"
    assert (tmp_path / STATE).read_bytes() == before
    answer = command("status", tmp_path / "out")
    assert answer.code in (1, 2) and "Traceback" not in answer.err and STATE in answer.err


def test_a_locked_state_ends_no_run(command: Vidcolor, archive: Path, tmp_path: Path) -> None:
    run = ("run", archive, "-o", tmp_path / "out", *RAMP)
    command(*run)
    (tmp_path / "out" / "a.png").unlink()
    other = sqlite3.connect(tmp_path / STATE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        answer = command(*run, "--json")
    finally:
        other.close()
    assert rows(answer.out)["a.png"] == "done" and "locked" in answer.err


def test_status_and_clean_after_a_run(command: Vidcolor, archive: Path, tmp_path: Path) -> None:
    (archive / "bad.mkv").write_bytes(b"no film")
    output = tmp_path / "out"
    command("run", archive, "-o", output, *RAMP)
    told = json.loads(command("status", output, "--json").out)
    assert (told["state"], told["done"], told["failed"], told["inputs"]) == ("done", 4, 1, 5)
    assert told["free_bytes"] > 0 and told["fps"] > 0 and told["seconds_left"] is None
    assert [each["input"] for each in told["failures"]] == [str(archive / "bad.mkv")]
    text = command("status", output).out
    assert "4 done" in text and "bad.mkv" in text
    again = json.loads(command("status", output / "a.png", "--json").out)
    assert {**again, "free_bytes": 0} == {**told, "free_bytes": 0}
    assert command("status", archive).code == 1
    before = files_in(output)
    answer = command("clean", output)
    assert answer.code == 0 and answer.out == "" and files_in(output) == before
    assert command("clean", archive / "a.png").code == 2
