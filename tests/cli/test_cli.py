"""The command line in process: codes, messages, JSON, quiet and dry runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vidcolor
from tests.helpers.clips import encode, frames, pattern
from tests.helpers.command_line import Answer, Vidcolor
from tests.helpers.films import FilmSpec, build_film, read_frames, read_streams
from tests.helpers.readback import (
    assert_chroma_is_the_ramps,
    assert_streams_are_kept,
    assert_times_are_kept,
    files_in,
    luma_codes,
    read_color,
)
from vidcolor.cli import COMMANDS

RAMP = ("--model", "_ramp", "--device", "cpu", "--size", "64")
FFV1 = ("--encoder", "ffv1")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return encode(folder / "old film.mkv", "ffv1", "yuv420p", frames(6)).path


def picture(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pattern(number, 40, 30)).save(path)
    return path


# ---------------------------------------------------------------- what goes well


def test_a_film_with_the_default_encoder(command: Vidcolor, tmp_path: Path) -> None:
    source = build_film(tmp_path, FilmSpec(name="Mein Film ß.mp4", chapters=2))
    output = tmp_path / "neu" / "in Farbe.mp4"
    answer = command("run", source, "-o", output, *RAMP)
    assert (answer.code, answer.out) == (0, "")
    assert f"{source} -> {output} (12 frames" in answer.err
    assert "\x1b" not in answer.err and "\r" not in answer.err
    assert len(answer.err.splitlines()) == 1  # no progress bar where nobody looks
    assert read_frames(output)[0].format.name == "yuv420p"
    assert read_streams(output)[0].codec == "h264"
    assert_times_are_kept(source, output)
    assert_streams_are_kept(source, output)
    assert_chroma_is_the_ramps(read_color(output, luma_codes(source), 8, False), tolerance=2.5)


def test_exact_luma_and_saturation(command: Vidcolor, film: Path, tmp_path: Path) -> None:
    options = ("run", film, *RAMP, *FFV1, "--luma", "exact")
    for name, saturation in (("full.mkv", "1"), ("half.mkv", "0.5"), ("none.mkv", "0")):
        answer = command(*options, "-o", tmp_path / name, "--saturation", saturation)
        assert answer.code == 0
        assert np.array_equal(luma_codes(tmp_path / name), np.stack(frames(6)))
    full, half, none = (
        read_color(tmp_path / name, np.stack(frames(6)), 8, False).planes[1].float() - 128
        for name in ("full.mkv", "half.mkv", "none.mkv")
    )
    assert not none.any()
    assert 0.45 < float(half.abs().mean() / full.abs().mean()) < 0.65


def test_quiet_says_nothing(command: Vidcolor, film: Path, tmp_path: Path) -> None:
    colored = encode(tmp_path / "c.mkv", "ffv1", "yuv420p", frames(2), chroma=40).path
    answer = command("run", film, colored, "-o", tmp_path / "out/", *RAMP, *FFV1, "-q")
    assert answer == Answer(0, "", "")
    assert files_in(tmp_path / "out") == ["c.mkv", "old film.mkv"]


def test_verbose_says_the_model_and_the_device(command: Vidcolor, film: Path) -> None:
    answer = command("run", film, *RAMP, *FFV1, "-v")
    assert answer.code == 0 and "_ramp" in answer.err and "fp32 on cpu" in answer.err
    assert film.with_name("old film.color.mkv").is_file()


@pytest.mark.parametrize("verbose", [(), ("-v",), ("-vv",)], ids=str)
def test_any_error_of_an_input_is_its_line(
    command: Vidcolor,
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verbose: tuple[str, ...],
) -> None:
    """And nothing else is lost by it; where it was raised is told on request alone."""
    picture(film.parent / "p.png")

    def fail(*given: object, **named: object) -> None:
        raise ZeroDivisionError("of \x1b[31m nothing")

    monkeypatch.setattr("vidcolor.run.pipeline.colorize_film", fail)
    answer = command("run", film.parent, "-o", tmp_path / "out", *RAMP, *FFV1, *verbose)
    assert answer.code == 1 and (tmp_path / "out" / "p.png").is_file()
    (line,) = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert "old film.mkv" in line and "ZeroDivisionError" in line and "-vv" in line
    assert ("Traceback" in answer.err) == (verbose == ("-vv",))
    assert "\x1b" not in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--data", "x"),
        ("recipes",),
        ("probe",),
        ("eval", "x"),
        ("models",),
        ("models", "describe", "fast"),
        ("weights", "import", "x.pth", "--model", "eccv16"),
    ],
    ids=" ".join,
)
def test_any_error_of_a_command_is_one_line(
    command: Vidcolor, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise ZeroDivisionError("of nothing\nat all")

    for place in (
        "training.start.load_recipe",  # before the next, whose name it imports
        "training.recipe_file.load_recipe",
        "models.weights.manifest",
        "models.describe.describe",
        "models.weights.import_weights",
        "run.colorizer.Colorizer",
    ):
        monkeypatch.setattr(f"vidcolor.{place}", fail)
    answer = command(*arguments)
    assert answer.code == 1 and answer.out == ""
    (line,) = answer.err.splitlines()
    assert line.startswith("error: ") and "ZeroDivisionError" in line and "-vv" in line
    answer = command(*arguments, "-vv")
    assert answer.code == 1 and "in fail" in answer.err and "-vv" in answer.err.splitlines()[-1]


def test_a_folder_that_cannot_be_written_is_told_once(command: Vidcolor, tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / "in" / f"{number}.png")
    (tmp_path / "file").write_text("no folder")
    answer = command("run", tmp_path / "in", "-o", tmp_path / "file" / "out", *RAMP)
    assert answer.code == 1
    line, count = answer.err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'file'}: ") and count == "5 failed"
    rows = command("run", tmp_path / "in", "-o", tmp_path / "file" / "out", *RAMP, "--json").out
    assert [json.loads(row)["status"] for row in rows.splitlines()] == ["failed"] * 5


def test_json_lines(command: Vidcolor, film: Path, tmp_path: Path) -> None:
    picture(film.parent / "p.png")
    (film.parent / "bad.mkv").write_bytes(b"nothing" * 99)
    output = tmp_path / "out"
    answer = command("run", film.parent, "-o", output, *RAMP, *FFV1, "--json")
    assert answer.code == 1
    rows = {Path(row["input"]).name: row for row in map(json.loads, answer.out.splitlines())}
    assert set(rows) == {"bad.mkv", "old film.mkv", "p.png"}
    keys = {"input", "output", "status", "frames", "resumed", "seconds", "fps", "error", "warnings"}
    assert all(set(row) == keys for row in rows.values())
    done = rows["old film.mkv"]
    assert (done["status"], done["frames"], done["error"]) == ("done", 6, "")
    assert done["output"] == str(output / "old film.mkv")
    assert done["seconds"] > 0 and done["fps"] > 0
    assert rows["bad.mkv"]["status"] == "failed" and "bad.mkv" in rows["bad.mkv"]["error"]


def test_a_dry_run_writes_nothing(command: Vidcolor, tmp_path: Path) -> None:
    source = build_film(
        tmp_path, FilmSpec(subtitle="srt", fonts=("a.ttf",), chapters=3, pix_fmt="yuv422p")
    )
    output = tmp_path / "neu" / "out.mkv"
    answer = command("run", source, "-o", output, *RAMP, *FFV1, "--dry-run")
    assert answer.code == 0
    for word in (
        str(source), str(output), "12", "64x48", "h264", "ffv1 yuv422p", "audio aac (eng)",
        "subtitle", "attachment", "3 chapters", "_ramp", "fp32 on cpu",
    ):  # fmt: skip
        assert word in answer.out, word
    answer = command("run", source, "-o", output, *RAMP, "--dry-run", "--json", "--copy", "audio")
    (row,) = map(json.loads, answer.out.splitlines())
    assert row["copied"] == ["audio aac (eng)"]
    assert (row["input"], row["output"], row["frames"]) == (str(source), str(output), 12)
    assert "libx264" in row["video"] and "_ramp" in row["model"]
    assert files_in(tmp_path) == ["in.mkv"] and not output.parent.exists()


def test_a_dry_run_names_what_will_fail(command: Vidcolor, film: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mkv").write_bytes(b"x" * 99)
    answer = command("run", film, tmp_path / "bad.mkv", "-o", tmp_path / "o/", *RAMP, "--dry-run")
    assert answer.code == 1
    assert "bad.mkv: cannot be opened" in answer.out and "old film.mkv" in answer.out
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_shipped_model(command: Vidcolor, film: Path, tmp_path: Path, precision: str) -> None:
    options = ("--device", "cpu", "--size", "64", "--precision", precision, "--luma", "exact")
    answer = command("run", film, "-o", tmp_path / "out.mkv", *options, *FFV1)
    assert answer.code == 0
    color = read_color(tmp_path / "out.mkv", np.stack(frames(6)), 8, False)
    assert np.array_equal(color.planes[0].numpy(), np.stack(frames(6)))
    assert color.planes[1].float().std() > 0.5  # and it is in color


def test_start_and_end(command: Vidcolor, tmp_path: Path) -> None:
    source = build_film(tmp_path, FilmSpec(pts=tuple(range(36))))  # 12 frames a second
    output = tmp_path / "out.mkv"
    cut = ("--start", "0:00:01", "--end", "2.5")
    assert command("run", source, "-o", output, *RAMP, *FFV1, *cut, "--luma", "exact").code == 0
    assert np.array_equal(luma_codes(output), luma_codes(source)[12:30])
    assert read_frames(output)[0].pts == 0
    sound = read_streams(output)[1]
    assert 0 <= sound.times[0] < 0.03 and 1.4 < sound.times[-1] < 1.5


def test_a_preview(command: Vidcolor, film: Path, tmp_path: Path) -> None:
    answer = command("run", film, "-o", tmp_path / "s.png", *RAMP, "--preview", "2")
    assert answer.code == 0 and f"{tmp_path / 's.png'}: 2 before/after pairs" in answer.err
    with Image.open(tmp_path / "s.png") as image:
        assert image.size == (984, 2 * 368 + 8)
    assert command("run", film, *RAMP, "--preview", "1", "-q") == Answer(0, "", "")
    assert files_in(tmp_path / "in") == ["old film.mkv", "old film.preview.png"]
    again = command("run", film, *RAMP, "--preview", "1")
    assert again.code == 1 and "already exists" in again.err


def test_a_progress_bar_where_somebody_looks(
    command: Vidcolor, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    answer = command("run", film, "-o", tmp_path / "o.mkv", *RAMP, *FFV1, "--batch-size", "3")
    assert answer.code == 0 and "\x1b" in answer.err
    for word in ("old film.mkv", "6/6", "left"):
        assert word in answer.err
    quiet = command("run", film, "-o", tmp_path / "q.mkv", *RAMP, *FFV1, "-q")
    assert quiet == Answer(0, "", "")


# ---------------------------------------------------------------- what goes wrong


def test_a_batch_goes_on_past_a_bad_file(command: Vidcolor, film: Path, tmp_path: Path) -> None:
    picture(film.parent / "a" / "p.png")
    (film.parent / "bad film.mkv").write_bytes(b"nothing" * 99)
    (film.parent / "a" / "bad.png").write_bytes(b"nothing")
    output = tmp_path / "out"
    answer = command("run", film.parent, "-o", output, *RAMP, *FFV1)
    assert answer.code == 1
    assert files_in(output) == sorted([os.path.join("a", "p.png"), "old film.mkv"])
    head, summary = answer.err.split("2 done, 2 failed\n")
    for name in ("bad film.mkv", "bad.png"):
        assert f"{name}: cannot be" in head
    lines = summary.splitlines()
    assert [line.split(": ")[0].strip() for line in lines] == ["failed"] * 2
    assert all(str(film.parent) in line for line in lines)
    quiet = command("run", film.parent, "-o", tmp_path / "o2", *RAMP, *FFV1, "-q")
    assert quiet.code == 1 and "bad film.mkv" in quiet.err and " -> " not in quiet.err


def test_existing_outputs(command: Vidcolor, film: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    output.write_bytes(b"precious")
    run = ("run", film, "-o", output, *RAMP, *FFV1)
    answer = command(*run)
    assert answer.code == 1 and f"{output}: already exists" in answer.err
    answer = command(*run, "--skip-existing")
    assert answer.code == 0 and "skipped" in answer.err
    assert output.read_bytes() == b"precious"
    assert command(*run, "--skip-existing", "--overwrite").code == 2
    assert command(*run, "-y").code == 0
    assert len(read_frames(output)) == 6


def test_a_truncated_film(command: Vidcolor, film: Path, tmp_path: Path) -> None:
    data = encode(film, "ffv1", "yuv420p", frames(24)).path.read_bytes()
    film.write_bytes(data[: len(data) // 2])
    answer = command("run", film, "-o", tmp_path / "out.mkv", *RAMP, *FFV1, "--json")
    row = json.loads(answer.out)
    assert answer.code == 1
    assert row["status"] == "incomplete" and row["output"].endswith("out.incomplete.mkv")
    assert str(film) in answer.err and "error:" in answer.err
    assert files_in(tmp_path) == sorted([os.path.join("in", film.name), "out.incomplete.mkv"])


FAILURES = {
    "missing input": (("nothing.mkv",), "nothing.mkv: no such file"),
    "missing glob": (("nothing*.mkv",), "nothing*.mkv: matches no file"),
    "unknown encoder": (("FILM", "--encoder", "x266"), "encoder x266 is not known; take one of"),
    "unknown model": (("FILM", "--model", "slow"), "no model is called 'slow'; 'vidcolor models'"),
    "unknown device": (("FILM", "--device", "tpu"), "unknown device 'tpu'"),
    "device not there": (("FILM", "--device", "cuda:99"), "use --device cpu"),
    "no such weights": (("FILM", "--weights", "w.safetensors"), "w.safetensors: no such weights"),
    "crf off the scale": (("FILM", "--crf", "60"), "libx264's scale of 0 to 51"),
    "unknown pixel format": (("FILM", "--pix-fmt", "rgb565"), "it takes --pix-fmt"),
    "unknown preset": (("FILM", "--preset", "warp"), "--preset warp is not known to libx264"),
    "start after the end": (("FILM", "--start", "99"), "check --start and --end"),
    "sequence without rate": (("%05d.png",), "give it with --fps"),
    "two inputs, one file": (("FILM", "FILM2", "-o", "out.mkv"), "several inputs need a folder"),
}  # fmt: skip

# the option cannot be used with any input: nothing was done
OPTIONS = {
    "unknown encoder",
    "unknown model",
    "unknown device",
    "device not there",
    "no such weights",
    "crf off the scale",
    "unknown pixel format",
    "unknown preset",
    "two inputs, one file",
}

USAGE = {
    "empty input": ("",),
    "empty output": ("FILM", "-o", ""),
    "time with an exponent": ("FILM", "--start", "1e400"),
    "negative part of a time": ("FILM", "--start", "1:-3"),
    "preview that is no picture": ("FILM", "--preview", "1", "-o", "sheet.mp4"),
    "no input": (),
    "unknown option": ("FILM", "--color"),
    "start is no time": ("FILM", "--start", "soon"),
    "too many colons": ("FILM", "--end", "1:2:3:4"),
    "end before start": ("FILM", "--start", "5", "--end", "4"),
    "negative crf": ("FILM", "--crf", "-1"),
    "no rate": ("FILM", "--fps", "0"),
    "no batch": ("FILM", "--batch-size", "0"),
    "unknown kind": ("FILM", "--copy", "smell"),
    "unknown precision": ("FILM", "--precision", "fp8"),
    "unknown luma": ("FILM", "--luma", "loud"),
    "no picture threads": ("FILM", "--picture-threads", "0"),
    "threads are no number": ("FILM", "--picture-threads", "many"),
    "negative saturation": ("FILM", "--saturation", "-1"),
    "empty preview": ("FILM", "--preview", "0"),
}


def filled(arguments: tuple[str, ...], film: Path) -> list[str | Path]:
    second = film.with_name("second.mkv")
    second.write_bytes(film.read_bytes())
    return [{"FILM": film, "FILM2": second}.get(each, each) for each in arguments]


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_one_line(
    command: Vidcolor, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = FAILURES[case]
    answer = command("run", *filled(arguments, film))
    assert answer.code == (2 if case in OPTIONS else 1) and answer.out == ""
    (line,) = answer.err.splitlines()
    assert line.startswith("error: ") and message in line
    assert files_in(tmp_path) == [os.path.join("in", n) for n in ("old film.mkv", "second.mkv")]


@pytest.mark.parametrize("case", USAGE)
def test_a_wrong_command_line_is_code_2(
    command: Vidcolor, film: Path, tmp_path: Path, case: str
) -> None:
    answer = command("run", *filled(USAGE[case], film))
    assert answer.code == 2 and answer.out == ""
    assert "Error: " in answer.err and "Traceback" not in answer.err
    assert len(files_in(tmp_path)) == 2


# ---------------------------------------------------------------- the other commands


def test_version_and_help(command: Vidcolor) -> None:
    answer = command("--version")
    assert (answer.code, answer.err) == (0, "") and vidcolor.__version__ in answer.out
    answer = command("--help")
    for word in (*COMMANDS, "Exit codes", "130"):
        assert word in answer.out
    for name in COMMANDS:
        answer = command(name, "--help")
        assert (answer.code, answer.err) == (0, "") and f"vidcolor {name}" in answer.out
    for option in ("--luma", "--preview", "--dry-run", "--skip-existing", "Exit codes", "130"):
        assert option in command("run", "--help").out
    assert command("paint").code == 2
    assert command().code == 2


def test_models(command: Vidcolor) -> None:
    answer = command("models")
    assert answer.code == 0
    for word in ("fast", "MiB", "256", "dB", "--weights FILE"):
        assert word in answer.out
    assert "_ramp" in answer.out  # imported weights are listed too
    entries = json.loads(command("models", "--json").out)
    assert entries["fast"]["architecture"] == "fast" and len(entries["fast"]["sha256"]) == 64
