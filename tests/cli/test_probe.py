"""`vidcolor probe` on the command line: tables, JSON, what is kept, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.helpers.clips import encode, frames
from tests.helpers.command_line import Vidcolor
from tests.helpers.readback import files_in

RAMP = ("--model", "_ramp", "--device", "cpu", "--size", "64")
QUICK = (*RAMP, "--frame", "64x48", "--batches", "1", "--preset", "ultrafast")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("VIDCOLOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_machine(command: Vidcolor, tmp_path: Path, cache: Path) -> None:
    answer = command("probe", *QUICK, "--json")
    assert (answer.code, answer.err) == (0, "")
    report = json.loads(answer.out)
    (model,) = report["models"]
    assert (model["model"], report["frame"], model["fastest"]) == ("_ramp", [64, 48], 1)
    assert [row["batch"] for row in model["rows"]] == [1] and model["rows"][0]["fps"] > 0
    assert files_in(cache) == ["batches.json"]
    (cache / "batches.json").unlink()
    answer = command("probe", *QUICK, "--no-keep")
    assert answer.code == 0 and files_in(cache) == []
    for word in ("64x48", "fastest batch: 1", "memory free", "GMACs"):
        assert word in answer.out


def test_several_models_and_sizes(command: Vidcolor) -> None:
    more = ("--model", "fast", "--size", "96", "--no-stabilize", "--json")
    report = json.loads(command("probe", *QUICK, *more).out)
    found = [(model["model"], model["size"]) for model in report["models"]]
    assert found == [("_ramp", 64), ("_ramp", 96), ("fast", 64), ("fast", 96)]


@pytest.mark.parametrize("name", ["c.mkv", "c.mov"])
def test_a_run_that_writes_its_colors_alone(command: Vidcolor, tmp_path: Path, name: str) -> None:
    film = encode(tmp_path / "in.mkv", "ffv1", "yuv420p", frames(9)).path
    more = ("--model", "_ramp", "--device", "cpu", "--size", "64")
    answer = command("probe", film, "--output-chroma", tmp_path / name, *more, "--json")
    assert answer.code == 0, answer.err
    assert [each.name for each in tmp_path.iterdir()] == ["in.mkv"]


def test_the_options_of_a_run_are_taken(command: Vidcolor, tmp_path: Path) -> None:
    """So that a run's command line becomes a forecast with one word changed."""
    run, probe = (command(word, "--help").out for word in ("run", "probe"))
    own = {"--overwrite", "--skip-existing", "--preview", "--dry-run", "--quiet", "--verbose"}
    own |= {"--report", "--notify", "--watch", "--poll", "--min-free", "--cluster"}
    wanted = set(re.findall(r"--[a-z][a-z-]+", run)) - own - {"--color"}
    assert len(wanted) > 20 and wanted <= set(re.findall(r"--[a-z][a-z-]+", probe))
    film = encode(tmp_path / "in.mkv", "ffv1", "yuv420p", frames(9)).path
    more = (
        *("--model", "fast", "--device", "cpu", "--size", "96", "--precision", "bf16"),
        *("--encoder", "ffv1", "--quality", "80", "--end", "0.2"),
    )
    report = json.loads(command("probe", film, *more, "--json").out)
    assert report["precision"] == "bf16" and 0 < report["rows"][0]["frames"] < 9


def test_a_model_that_cannot_be_loaded(command: Vidcolor) -> None:
    answer = command("probe", "--model", "nobody", *QUICK)
    assert answer.code == 1 and "fastest batch: 1" in answer.out and "nobody" in answer.out
    assert command("probe", "--model", "nobody").code == 2


def test_a_film(command: Vidcolor, tmp_path: Path, cache: Path) -> None:
    film = encode(tmp_path / "in.mkv", "ffv1", "yuv420p", frames(9)).path
    (tmp_path / "in.color.mkv").write_bytes(b"precious")
    options = (*RAMP, "--encoder", "ffv1", "--batch-size", "3", "--tta")
    answer = command("probe", film, *options, "--json")
    assert answer.code == 0
    report = json.loads(answer.out)
    (row,) = report["rows"]
    assert (row["input"], row["frames"], row["measured"]) == (str(film), 9, True)
    assert report["startup_seconds"] > 0 and report["seconds"] > row["seconds"] > 0
    assert report["disk_bytes"] == row["bytes"] > 9 * 500
    assert (tmp_path / "in.color.mkv").read_bytes() == b"precious"
    assert files_in(tmp_path) == ["in.color.mkv", "in.mkv"] and not cache.exists()
    table = command("probe", film, *options, "-o", tmp_path / "neu" / "o.mkv").out
    for word in (str(film), "9 frames of 64x48", "measured", "time:", "disk:", "free"):
        assert word in table


def test_a_film_that_cannot_be_run(command: Vidcolor, tmp_path: Path) -> None:
    (tmp_path / "bad.mkv").write_bytes(b"nothing" * 99)
    film = encode(tmp_path / "in.mkv", "ffv1", "yuv420p", frames(3)).path
    answer = command("probe", film, tmp_path / "bad.mkv", *RAMP, "--encoder", "ffv1")
    assert answer.code == 1 and "3 frames" in answer.out
    assert "error: " in answer.out and "bad.mkv: cannot be opened" in answer.out
    assert command("probe", tmp_path / "nothing.mkv", *RAMP).code == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ("--frame", "64"),
        ("--frame", "0x9"),
        ("--batches", "a"),
        ("--batches", "0"),
        ("",),
        ("FILM", "--size", "96"),
        ("FILM", "--model", "fast"),
        ("FILM", "--encoder", "x266"),
    ],
)
def test_a_wrong_command_line_is_code_2(
    command: Vidcolor, tmp_path: Path, wrong: tuple[str, ...]
) -> None:
    film = encode(tmp_path / "in.mkv", "ffv1", "yuv420p", frames(2)).path
    given = [film if each == "FILM" else each for each in wrong]
    answer = command("probe", *RAMP, *given)
    assert answer.code == 2 and answer.out == "" and "Traceback" not in answer.err
