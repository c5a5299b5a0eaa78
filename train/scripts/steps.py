"""What a training step of a recipe costs on one thread, in processor time and memory.

    python -m train.scripts.steps S0 S4a

Processor time, unlike time by the clock, is about the same while other work runs.
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
from vidcolor.training.state import TrainState

_STEPS = 5


def measure(name: str) -> str:
    """A line on the recipe `name`: step and prediction of a batch, memory of its tensors."""
    recipe = load_recipe(find_recipe(name)).recipe
    picture = torch.rand(recipe.batch_size, 3, recipe.size, recipe.size)
    batch = Batch(picture, OBJECTIVES[recipe.objective].space)
    model = initial_model(recipe)
    memory = describe(model, recipe.size)
    tensors = memory.training_bytes + (recipe.batch_size - 1) * memory.kept_bytes
    state = TrainState(recipe, model, Distributed(0, 1, torch.device("cpu")), 1)
    state.start(None, initialized=False)
    steps, predictions = [], []
    for _ in range(_STEPS + 1):
        begin = time.process_time()
        state.train_step(batch, 1.0)
        state.read_losses()
        middle = time.process_time()
        with torch.no_grad():
            state.predict(model, batch)
        steps.append(middle - begin)
        predictions.append(time.process_time() - middle)
    step, prediction = (1000 * statistics.median(times[1:]) for times in (steps, predictions))
    return (
        f"{name}: {recipe.batch_size} pictures of {recipe.size}x{recipe.size}, {recipe.precision}: "
        f"a step {step:,.0f} ms, a prediction {prediction:,.0f} ms, {tensors / 2**20:,.0f} MiB"
    )


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        print(measure(name), flush=True)


if __name__ == "__main__":
    main()
