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

ROOT = Path(__file__).resolve().parents[1]
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
    # the last layer: 256 channels to 24 colours, and what it keeps is its input at 2 x 2
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


def test_forecast(tmp_path: Path) -> None:
    options = ("--model", "_ramp", "--size", "64", "--frame", "64", "48", "--frames", "140")
    found, table = measured("forecast", tmp_path / "f.json", *options, "--processor-time")
    assert documented(found)
    assert (found["benchmark"], found["model"], found["processor_time"]) == (
        "forecast",
        "_ramp",
        True,
    )
    (row,) = found["rows"]
    assert (row["film"], row["frames"]) == ("film.mkv", 140)
    assert math.isclose(row["time_ratio"], row["foreseen_seconds"] / row["seconds"])
    assert math.isclose(row["size_ratio"], row["foreseen_bytes"] / row["bytes"])
    assert 0.7 < row["size_ratio"] < 1.3 and row["seconds"] > 0
    assert f"{row['time_ratio']:.2f}" in table
