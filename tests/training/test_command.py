"""`vidcolor train` to `vidcolor run` and `vidcolor eval`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import av

from ..command_line import Vidcolor
from ..sources.clips import encode, frames

TINY = """
model = "fast"
crop = 64
batch_size = 4
steps = 2
warmup = 1
bf16 = false
validate_every = 2
input_size = 64
"""


def test_train_then_run_then_eval(command: Vidcolor, tmp_path: Path, photographs: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY, encoding="utf-8")
    output = tmp_path / "run"
    common = ("train", "--recipe", recipe, "--data", photographs, "--device", "cpu")
    answer = command(*common, "--workers", "0", "-o", output, "--set", "lr=2e-3")
    assert answer.code == 0 and "dB over grey" in answer.out
    weights = output / "weights.safetensors"
    state = json.loads((output / "checkpoint.json").read_text(encoding="utf-8"))
    assert state["step"] == 2 and state["recipe"]["lr"] == 2e-3

    film = encode(tmp_path / "film.mkv", "ffv1", "gray", frames(3)).path
    answer = command("run", film, "--weights", weights, "--device", "cpu", "-o", tmp_path / "c.mkv")
    assert answer.code == 0
    with av.open(str(tmp_path / "c.mkv")) as container:
        assert len(list(container.decode(video=0))) == 3

    measure = ("eval", photographs, "--weights", weights, "--device", "cpu", "--at", "64")
    answer = command(*measure, "--json")
    table = json.loads(answer.out)
    assert [row["name"] for row in table["rows"]] == [
        "grey", "mean ab", "half chroma", "truth", "fast"
    ]  # fmt: skip
    assert table["num_pictures"] == 7
    answer = command(*measure)
    assert "12-margin error" in answer.out and "half chroma" in answer.out


def test_what_cannot_be_trained_is_one_line(
    command: Vidcolor, tmp_path: Path, photographs: Path
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY + "colour = 1\n", encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    good = tmp_path / "good.toml"
    good.write_text(TINY, encoding="utf-8")
    for arguments, message in (
        (("--recipe", recipe, "--data", photographs), "unknown key 'colour'"),
        (("--recipe", good, "--data", empty), "no usable colour picture"),
        (("--recipe", good, "--data", photographs, "--resume"), "not a usable checkpoint"),
        (("--recipe", good, "--data", photographs, "--set", "steps=many"), "'steps' must be a int"),
    ):
        answer = command("train", *arguments, "--device", "cpu", "-o", tmp_path / "out")
        assert answer.code == 1, message
        (line,) = answer.err.splitlines()
        assert line.startswith("error: ") and message in line
