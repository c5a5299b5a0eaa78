"""Two processes under torchrun train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.conftest import write_picture


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path: Path) -> None:
    """Batches of 5 from 12 pictures: uneven parts, and a last batch of 2."""
    data = tmp_path / "data"
    data.mkdir()
    for seed in range(20):
        write_picture(data / f"{seed:02d}.png", seed, side=24)
    arguments = [
        "train", "--recipe", "S2", "--data", str(data), "--epochs", "3", "--batch-size", "5",
        "--set", "size=16", "--set", "test_part=split", "--set", "split=[0.6,0.2,0.2]",
        "--set", "flip=true", "--device", "cpu",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launchers = {
        "one": [sys.executable, "-m", "vidcolor"],
        "two": [sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc-per-node", "2", "-m", "vidcolor"],
    }  # fmt: skip
    root = Path(__file__).resolve().parents[2]
    for name, launcher in launchers.items():
        done = subprocess.run(
            [*launcher, *arguments, "-o", str(tmp_path / name)],
            cwd=root, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("epoch 3/3") == 1  # one process speaks
        assert "Warning" not in done.stderr and "[rank" not in done.stderr, done.stderr
    one, two = (json.loads((tmp_path / n / "results.json").read_text()) for n in launchers)
    assert (one["processes"], two["processes"]) == (1, 2)
    for first, second in zip(one["history"], two["history"], strict=True):
        for key in ("train_loss", "loss", "psnr", "margin_error"):
            assert second[key] == pytest.approx(first[key], rel=1e-3), key
    weights = [load_file(tmp_path / name / "weights.safetensors") for name in launchers]
    for key, value in weights[0].items():
        assert (value - weights[1][key]).abs().max() < 1e-4, key
