"""What training the last layer alone saves: recipe S3c against its variant `whole-net`.

    python -m benchmarks.head_only --json head_only.json

Seconds per step are measured in one process in which the two take turns. Memory is measured in a
process of its own for each: what autograd keeps for the backward pass, counted as
`vidcolor models describe` does, and how far the process grows while it trains. The values that the
network starts from are random; they change neither figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vidcolor.models.describe import describe
from vidcolor.system.devices import device_name
from vidcolor.system.memory import peak_memory, resident_bytes, retain_freed_memory
from vidcolor.training.data.batch import Batch
from vidcolor.training.distributed import Distributed
from vidcolor.training.prepare import initial_model
from vidcolor.training.recipe import Recipe
from vidcolor.training.recipe_file import find_recipe, load_recipe
from vidcolor.training.state import TrainState

_ROOT = Path(__file__).resolve().parents[1]
_WAYS = {"head_only": "backbone", "whole_net": ""}  # the recipe's key `freeze`
_MIB = 1 << 20


def recipe_of(way: str, size: int, batch_size: int) -> Recipe:
    """S3c's settings for a key of `_WAYS`, starting from random values."""
    overrides = {"freeze": _WAYS[way], "encoder": "", "size": size, "batch_size": batch_size}
    return load_recipe(find_recipe("S3c"), overrides).recipe


class Trained:
    """A training on one random batch, step by step."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (recipe.batch_size, 3, recipe.size, recipe.size)
        self.batch = Batch(torch.rand(shape, generator=generator).to(device), "rgb")
        self.state = TrainState(recipe, initial_model(recipe), Distributed(0, 1, device), 1)
        self.state.start(None, initialized=False)  # the palette's colors are beside the point

    def step(self) -> float:
        """One optimizer step as `vidcolor train` makes it; returns the seconds it took."""
        begin = time.monotonic()
        self.state.train_step(self.batch, 1.0)
        self.state.read_losses()  # reads the loss, so that a GPU is waited for
        return time.monotonic() - begin


def peak_growth(recipe: Recipe, steps: int, device: torch.device) -> int:
    """Bytes by which this training makes the process (or what it takes of the GPU) grow at its
    peak: parameters, gradients, the optimizer's values and activations.

    On a CPU it is that of the whole process, so call it in a new one.
    """
    if device.type == "cuda":
        trained = Trained(recipe, device)
        torch.cuda.reset_peak_memory_stats(device)
        for _ in range(steps):
            trained.step()
        return torch.cuda.max_memory_allocated(device)
    # what the libraries take once for themselves is not counted
    torch.nn.Conv2d(1, 1, 1)(torch.zeros(1, 1, 1, 1)).sum().backward()
    before = resident_bytes()
    trained = Trained(recipe, device)
    with peak_memory(device) as peak:  # making the network may take more than training it
        for _ in range(steps):
            trained.step()
    return peak.memory - before


def memory(recipe: Recipe, way: str, steps: int, device: str) -> dict[str, Any]:
    """`peak_growth` in a process of its own, and what autograd keeps; bytes."""
    command = [sys.executable, "-m", "benchmarks.head_only", "--peak-of", way, "--device", device]
    for key, value in (
        ("--size", recipe.size),
        ("--batch-size", recipe.batch_size),
        ("--steps", steps),
    ):
        command += [key, str(value)]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    model = initial_model(recipe)
    return {
        "autograd_bytes": describe(model, recipe.size).kept_bytes * recipe.batch_size,
        "peak_growth_bytes": int(done.stdout),
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write the JSON."""
    parser = argparse.ArgumentParser(description="The last layer alone against the whole network.")
    parser.add_argument("--size", type=int, default=64, help="pixels, a multiple of 8")
    parser.add_argument("--batch-size", type=int, default=16, help="at least 2, for batch norm")
    parser.add_argument("--steps", type=int, default=7, help="steps of each, after a first one")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--peak-of", choices=tuple(_WAYS), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if device.type == "cpu":
        if not sys.platform.startswith("linux"):
            parser.error("a CPU's memory is measured on Linux only")
        retain_freed_memory()  # as `vidcolor train` does
    recipes = {way: recipe_of(way, given.size, given.batch_size) for way in _WAYS}
    if given.peak_of:
        print(peak_growth(recipes[given.peak_of], given.steps, device))
        return
    steps = min(3, given.steps)
    rows = {way: memory(recipe, way, steps, given.device) for way, recipe in recipes.items()}
    trained = {way: Trained(recipe, device) for way, recipe in recipes.items()}
    seconds: dict[str, list[float]] = {way: [] for way in _WAYS}
    for _ in range(given.steps + 1):
        for way in _WAYS:
            seconds[way].append(trained[way].step())
    for way, row in rows.items():
        row["seconds_per_step"] = statistics.median(seconds[way][1:])
    keys = ("seconds_per_step", "autograd_bytes", "peak_growth_bytes")
    found = {
        "benchmark": "head_only",
        "recipe": "S3c",
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "size": given.size,
        "batch_size": given.batch_size,
        "steps": given.steps,
        **rows,
        # how many times as much the whole network takes
        "ratios": {key: rows["whole_net"][key] / rows["head_only"][key] for key in keys},
    }
    print(f"{found['device']}, {given.size} px, batch {given.batch_size}, torch {found['torch']}")
    print(f"{'':>20} {'head only':>12} {'whole net':>12} {'whole / head':>13}")
    for name, key, unit in (
        ("ms per step", keys[0], 1e-3),
        ("autograd keeps, MiB", keys[1], _MIB),
        ("peak growth, MiB", keys[2], _MIB),
    ):
        head, whole = (rows[way][key] / unit for way in _WAYS)
        print(f"{name:>20} {head:>12.1f} {whole:>12.1f} {whole / head:>13.2f}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
