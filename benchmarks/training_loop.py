"""What the training loop costs: images per second of recipe S0, beside the bare steps.

    python -m benchmarks.training_loop --json training_loop.json

The loop is the one of `vidcolor train`, with all it does between the start of an epoch and its
validation: the order, the augmentation, the steps, the check of each loss, progress and
checkpoints. The bare step is forward, backward and optimizer step, on batches that lie ready in
memory. The two take turns in one process, an epoch each, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcolor.models import create_model
from vidcolor.system.devices import device_name
from vidcolor.system.memory import retain_freed_memory
from vidcolor.training import trainer as loop
from vidcolor.training.data.dataset import DataSet, Part
from vidcolor.training.distributed import Distributed
from vidcolor.training.options import TrainCallbacks, TrainOptions
from vidcolor.training.recipe import Recipe
from vidcolor.training.recipe_file import RecipeFile, find_recipe, load_recipe

_RECIPE = "S0"
_HELD = 2  # pictures to validate and to test on: the loop wants some, and nobody times them


def synthetic(pictures: int) -> DataSet:
    """So many random pictures of CIFAR-10's size to train on, the same every time."""
    random = np.random.default_rng(0)

    def part(name: str, count: int) -> Part:
        noise = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return Part([f"{name}{i}" for i in range(count)], list(noise))

    return DataSet(part("train", pictures), part("validation", _HELD), part("test", _HELD))


class Bare:
    """The recipe's network, loss and optimizer in plain torch, and batches that lie ready.

    Args:
        recipe: the settings.
        batches: gray `(B, 1, H, W)` and R'G'B' `(B, 3, H, W)` in [0, 1], on `device`.
        device: where to train.
    """

    def __init__(
        self, recipe: Recipe, batches: list[tuple[Tensor, Tensor]], device: torch.device
    ) -> None:
        model: nn.Module = create_model(recipe.model, **recipe.model_options).to(device)
        self.model = model.to(memory_format=torch.channels_last).train()  # as the loop has it
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=recipe.lr[0], weight_decay=recipe.weight_decay[0]
        )
        self.batches, self.device, self.bf16 = batches, device, recipe.precision == "bf16"

    def epoch(self) -> float:
        """Train on each batch once; returns the seconds it took."""
        begin = time.monotonic()
        for gray, rgb in self.batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                made = self.model.rgb(gray)  # type: ignore[operator]
            loss = F.mse_loss(made.float(), rgb)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic() - begin


def take_turns(
    file: RecipeFile, pictures: int, device: torch.device
) -> tuple[list[float], list[float]]:
    """Seconds of each epoch of the loop, and of the bare epoch that followed it."""
    looped: list[float] = []
    bare: list[float] = []

    def turn(row: dict[str, float], best: bool) -> None:
        looped.append(training.state.training_seconds - sum(looped))
        bare.append(steps.epoch())

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "training"
        options, distributed = TrainOptions(device=str(device)), Distributed(0, 1, device)
        training = loop.Trainer(
            file, synthetic(pictures), output, options, TrainCallbacks(on_epoch=turn), distributed
        )
        batches = [batch.to(device) for batch, _ in training.loader.batches(0)]
        steps = Bare(file.recipe, [(batch.gray, batch.rgb) for batch in batches], device)
        training.train()
    return looped, bare


def measure(
    batch_size: int, pictures: int, rounds: int, device: torch.device, precision: str
) -> dict[str, Any]:
    """One row: medians over `rounds`, after a first round that is not counted."""
    count = max(1, round(pictures / batch_size)) * batch_size  # no short batch
    overrides = {
        "batch_size": batch_size,
        "epochs": rounds + 1,
        "patience": 0,
        "precision": precision,
    }
    file = load_recipe(find_recipe(_RECIPE), overrides)
    looped, bare = (seconds[1:] for seconds in take_turns(file, count, device))
    ratios = [b / a for a, b in zip(looped, bare, strict=True)]
    return {
        "batch_size": batch_size,
        "pictures": count,
        "bare_images_per_second": count / statistics.median(bare),
        "loop_images_per_second": count / statistics.median(looped),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write the JSON."""
    parser = argparse.ArgumentParser(description="The training loop of S0 beside its bare steps.")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 256])
    parser.add_argument("--pictures", type=int, default=512, help="about so many an epoch")
    parser.add_argument("--rounds", type=int, default=7, help="epochs of each, after a first one")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument(
        "--system-memory",
        action="store_true",
        help="leave glibc's malloc as it is, which `vidcolor train` does not on a CPU",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if given.system_memory:
        vars(loop)["retain_freed_memory"] = lambda: False  # what the loop calls by itself
    kept = device.type == "cpu" and not given.system_memory and retain_freed_memory()
    found: dict[str, Any] = {
        "benchmark": "training_loop",
        "recipe": _RECIPE,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": given.precision,
        "rounds": given.rounds,
        "memory_kept": kept,
        "rows": [],
    }
    print(f"{found['device']}, {given.precision}, torch {torch.__version__}")
    print(f"{'batch':>6} {'bare images/s':>14} {'loop images/s':>14} {'loop / bare':>12}")
    for size in given.batch_sizes:
        row = measure(size, given.pictures, given.rounds, device, given.precision)
        found["rows"].append(row)
        print(
            f"{size:>6} {row['bare_images_per_second']:>14.1f} "
            f"{row['loop_images_per_second']:>14.1f} {row['ratio']:>12.3f}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
