"""The benchmarks run at their smallest setting and write the JSON that their README describes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


def measured(script: str, output: Path, *options: str) -> tuple[dict[str, Any], str]:
    """The JSON and the table of a benchmark, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{script}", "--json", str(output), *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(output.read_text(encoding="utf-8")), done.stdout


def documented(found: dict[str, Any]) -> bool:
    """Whether the README names every key."""
    rows = [v for v in found.values() if isinstance(v, dict)] + list(found.get("rows", ()))
    keys = {key for table in (found, *rows) for key in table}
    missing = sorted(key for key in keys if f"`{key}`" not in README)
    assert not missing, f"benchmarks/README.md does not name {missing}"
    return True


def test_training_loop(tmp_path: Path) -> None:
    options = ("--batch-sizes", "2", "3", "--pictures", "4", "--rounds", "2")
    found, table = measured("training_loop", tmp_path / "loop.json", *options)
    assert documented(found)
    assert (found["benchmark"], found["recipe"], found["rounds"]) == ("training_loop", "S0", 2)
    assert (found["device"][:3], found["threads"], found["precision"]) == ("cpu", 1, "fp32")
    assert [(row["batch_size"], row["pictures"]) for row in found["rows"]] == [(2, 4), (3, 3)]
    for row in found["rows"]:
        assert len(row["ratios"]) == 2
        assert min(row["ratios"]) <= row["ratio"] <= max(row["ratios"])
        assert 0.02 < row["ratio"] < 50
        assert row["bare_images_per_second"] > 0
        assert row["loop_images_per_second"] > 0
        assert f"{row['ratio']:.3f}" in table


@pytest.mark.slow
def test_head_only(tmp_path: Path) -> None:
    options = ("--size", "16", "--batch-size", "2", "--steps", "1")
    found, table = measured("head_only", tmp_path / "head.json", *options)
    assert documented(found)
    assert (found["benchmark"], found["recipe"]) == ("head_only", "S3c")
    assert (found["size"], found["batch_size"], found["steps"]) == (16, 2, 1)
    head, whole = found["head_only"], found["whole_net"]
    # the last layer: 256 channels to 24 colors, and what it keeps is its input at 2 x 2
    assert head["trained_parameters"] == 256 * 24 + 24
    assert head["autograd_bytes"] == 2 * 256 * 2 * 2 * 4
    assert whole["trained_parameters"] > 39_000_000
    # gradients and Adam's two means of all parameters, which the head alone does without; some of
    # it goes into what making the network has left free
    more = whole["peak_growth_bytes"] - head["peak_growth_bytes"]
    assert more > 0.7 * 3 * 4 * whole["trained_parameters"]
    assert head["seconds_per_step"] > 0
    for key, ratio in found["ratios"].items():
        assert math.isclose(ratio, whole[key] / head[key])
        assert ratio > 1
        assert f"{ratio:.2f}" in table


def names(found: Any) -> set[str]:
    """All keys of a JSON value, but for those that are models' names."""
    if isinstance(found, list):
        return {key for each in found for key in names(each)}
    if isinstance(found, dict):
        return {key for key in found if key != "fast"} | names(list(found.values()))
    return set()


def test_all_of_it_quickly(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", str(output)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, table = json.loads(output.read_text(encoding="utf-8")), done.stdout
    missing = sorted(key for key in names(found) if f"`{key}`" not in README)
    assert not missing, f"benchmarks/README.md does not name {missing}"
    assert (found["benchmark"], found["quick"], found["rounds"]) == ("vidcolor", True, 1)
    assert (found["device_type"], found["threads"]) == ("cpu", 1)

    (model,) = found["models"]["rows"]
    assert (model["model"], model["size"], model["batch"]) == ("fast", 64, 1)
    assert 4_000_000 < model["parameters"] < 6_000_000 and model["macs"] > 10_000_000
    assert model["model_ms"] > 0
    # torch alone takes 100 MiB, the weights 19
    assert 120 << 20 < model["peak_bytes"] <= model["peak_rss_bytes"]

    (film,) = found["stages"]["films"]
    assert (film["frame"], film["width"], film["height"], film["frames"]) == ("96x64", 96, 64, 12)
    assert film["whole_frames"] == 36 and "end to end, 36 frames" in table
    rows = {row["stage"]: row for row in film["rows"]}
    assert list(rows) == [
        "decode", "cuts", "bars", "prepare", "predict", "stabilize", "compose", "encode",
    ]  # fmt: skip
    for row in rows.values():
        assert math.isclose(row["stage_fps"] * row["stage_ms"], 1000)
        assert row["stage_cpu_ms"] >= 0
        assert f"{row['stage_fps']:.1f}" in table
    slowest = min(rows.values(), key=lambda row: row["stage_fps"])
    assert film["slowest_stage"] == slowest["stage"]
    assert math.isclose(film["efficiency"], max(film["of_slowest_stage"], film["of_cores_bound"]))
    assert f"{film['efficiency']:.2f}" in table

    length, size = found["scaling"]["length"], found["scaling"]["frame_size"]
    assert [row["frames"] for row in length["rows"]] == [6, 12]
    assert [row["pixels"] for row in size["rows"]] == [96 * 64, 128 * 96]
    (first, second), fit = length["rows"], length["seconds_fit"]
    assert math.isclose(fit["slope"], (second["seconds"] - first["seconds"]) / 6, abs_tol=1e-9)
    assert math.isclose(fit["r_squared"], 1)  # two points

    waits = {row["wait"]: row["seconds"] for row in found["startup"]["rows"]}
    idle, answer, run = waits.values()
    assert min(idle, answer) > 0 and max(idle, answer) < run < 120

    (peer,) = found["peers"]["rows"]
    assert (peer["peer"], peer["size"], peer["frames"]) == ("eccv16", 32, 2)
    (own,) = found["peers"]["models"]
    assert math.isclose(peer["ratios"]["fast"]["ratio"], own["fps"] / peer["fps"])
    assert f"{peer['ratios']['fast']['ratio']:.2f}" in table


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--only", "speed"), "invalid choice"),
        (("--sizes", "481p"), "'481p' is no size; use 480p, 720p, 1080p or 640x480"),
        (("--rounds", "0"), "0 is below 1"),
        (("--model", "nope", "--only", "models"), "nope"),
        (("--only", "scaling", "--lengths", "2", "2"), "two different lengths"),
    ],
)
def test_usage(options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_forecast(tmp_path: Path) -> None:
    size = ("--size", "64", "--frame", "64", "48")
    options = ("--model", "_ramp", *size, "--frames", "140", "--pictures", "70")
    found, table = measured("forecast", tmp_path / "f.json", *options)
    assert documented(found)
    assert (found["benchmark"], found["model"]) == ("forecast", "_ramp")
    names = [(row["film"], row["frames"]) for row in found["rows"]]
    assert names == [("film.mp4", 140), ("70 pictures", 70)]
    for row in found["rows"]:
        assert math.isclose(row["time_ratio"], row["foreseen_seconds"] / row["seconds"])
        assert math.isclose(row["size_ratio"], row["foreseen_bytes"] / row["bytes"])
        assert 0.7 < row["size_ratio"] < 1.3 and row["seconds"] > 0
        assert f"{row['time_ratio']:.2f}" in table
    assert 0.5 < found["rows"][1]["time_ratio"] < 2
