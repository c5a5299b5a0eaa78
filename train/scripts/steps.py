"""What a training step of each recipe costs on one thread, in processor time and memory.

    python train/scripts/steps.py

Processor time, unlike time by the clock, is about the same while other work runs. What the
documents' own trainings would take is reckoned from it; S1a's from pictures of 64x64, sixteenfold.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from vidcolor.models.describe import describe
from vidcolor.training.data.batch import Batch
from vidcolor.training.distributed import Distributed
from vidcolor.training.objectives import OBJECTIVES
from vidcolor.training.prepare import initial_model
from vidcolor.training.recipe_file import find_recipe, load_recipe
from vidcolor.training.results.tables import duration, table
from vidcolor.training.state import TrainState

_STEPS = 5
# recipe, changes of it, steps of all that the document trains, what they are
_CASES = [
    ("S0", {}, 3000 * 30, "30 epochs of 48,000"),
    ("S1a", {"size": 64}, 16 * 300 * 313, "300 epochs of 10,000 at 256x256"),
    ("S2", {"model_options.kernels": 8}, 45 * 40 * 313, "45 runs of 40 epochs of 5,001"),
    ("S3a", {}, 15 * 25, "25 epochs of 1,500 horses"),
    ("S3b", {}, 15 * 25, "25 epochs of 1,500 horses"),
    ("S4a", {"model_options.variant": 1}, 188 * 1500, "3 runs of 500 epochs of 6,000"),
    ("S4a", {"model_options.variant": 2}, 188 * 1500, "3 runs of 500 epochs of 6,000"),
    ("S4a", {"model_options.variant": 3}, 188 * 1500, "3 runs of 500 epochs of 6,000"),
    ("S4b", {}, 188 * 4500, "9 runs of 500 epochs of 6,000"),
    ("S4a", {"model": "mean_chroma_fc", "model_options": {}}, 188 * 100, "100 epochs of 6,000"),
]  # fmt: skip


def processor_seconds(work: list[float]) -> str:
    return f"{1000 * statistics.median(work):,.3g} ms"


def main() -> None:
    torch.set_num_threads(1)
    lines = []
    for name, changes, steps, what in _CASES:
        recipe = load_recipe(find_recipe(name), changes).recipe
        shape = (recipe.batch_size, 3, recipe.size, recipe.size)
        batch = Batch(torch.rand(shape), OBJECTIVES[recipe.objective].space)
        model = initial_model(recipe)
        memory = describe(model, recipe.size)
        state = TrainState(recipe, model, Distributed(0, 1, torch.device("cpu")), 1)
        state.start(None, initialized=False)
        trained, validated = [], []
        for step in range(_STEPS + 1):
            begin = time.process_time()
            state.train_step(batch, 1.0)
            state.read_losses()
            middle = time.process_time()
            with torch.no_grad():
                state.objective.predict(model, batch)
            if step:  # the first one sets things up
                trained.append(middle - begin)
                validated.append(time.process_time() - middle)
        bytes_ = memory.training_bytes + (recipe.batch_size - 1) * memory.kept_bytes
        changed = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in changes.items())
        lines.append(
            [
                f"{name} {changed}".strip(),
                f"{recipe.batch_size} of {recipe.size}x{recipe.size}",
                processor_seconds(trained),
                processor_seconds(validated),
                f"{bytes_ / 2**20:,.0f} MiB",
                f"{what}: {duration(steps * statistics.median(trained))}",
            ]
        )
        print(
            table(["recipe", "batch", "step", "prediction", "memory", "all"], lines[-1:]),
            flush=True,
        )
        del state, model
    print(table(["recipe", "batch", "step", "prediction", "memory", "the document's own"], lines))


if __name__ == "__main__":
    sys.exit(main())
