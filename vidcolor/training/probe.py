"""What batch sizes a training can have on this machine: images a second, and the largest that fits.

Steps are those of `vidcolor train`, on random pictures that lie ready in memory: what reading and
cutting the pictures takes is not in it. The values that the network starts from change neither time
nor memory, so pretrained ones are not wanted here.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..models.describe import describe
from ..probe.batches import largest_fitting
from ..probe.plot import Panel, plot_panels
from ..system.devices import device_memory, device_name, free_memory, is_out_of_memory
from ..system.memory import peak_memory, retain_freed_memory
from .data.batch import Batch
from .distributed import Distributed
from .prepare import initial_model
from .recipe import Recipe, RecipeFile
from .state import TrainState

ASKED = (8, 16, 32, 48, 64)  # recipe S1 is reported with one of the last three
_MOST = 8192  # pictures of a batch
_SHARE = 0.5  # of the free main memory that a training on the CPU may take
_COPIES = 3  # of each trained parameter, beside itself: its gradient and Adam's two means
_RATE = 1e-8  # so small that no step on random pictures can diverge


@dataclass(frozen=True)
class TrainingRow:
    """One batch size; all but `batch` are None where it does not fit.

    Attributes:
        batch: pictures a step.
        images_per_second: of whole steps: forward, backward and optimiser.
        taken_bytes: the peak of the GPU's memory that torch held, or of the process's main memory.
    """

    batch: int
    images_per_second: float | None = None
    taken_bytes: int | None = None


@dataclass(frozen=True)
class TrainingReport:
    """What a recipe can have.

    Attributes:
        device: its name.
        memory: of the device before the measuring, in bytes; see `metering.device_memory`.
        recipe, model, precision: what is trained.
        size: side of the pictures, pixels.
        parameters, trained: of the network, and those that are trained.
        asked: the recipe's own batch size.
        rows: one for each batch size that was measured.
        largest: the largest batch that fits: on CUDA it was tried, by doubling and halving the gap;
            on the CPU reckoned, so that what autograd keeps takes half of the free memory at most.
    """

    device: str
    memory: dict[str, int]
    recipe: str
    model: str
    precision: str
    size: int
    parameters: int
    trained: int
    asked: int
    rows: tuple[TrainingRow, ...]
    largest: int

    @property
    def fastest(self) -> int | None:
        """The batch with the most images a second, None if none fits."""
        known = [(r.images_per_second, r.batch) for r in self.rows if r.images_per_second]
        return max(known)[1] if known else None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        return {**vars(self), "rows": rows, "fastest": self.fastest}


def _measured(recipe: Recipe) -> Recipe:
    """The recipe as it is measured: from random values, and without a rate to speak of."""
    rates = tuple(_RATE for _ in recipe.lr)
    return dataclasses.replace(recipe, encoder="", lr=rates, encoder_lr=0.0)


class Stepper:
    """A training on random pictures, step by step.

    Args:
        recipe: the settings; its batch size is not looked at.
        device: where to train.

    Raises:
        TrainingError: the recipe's objective or model cannot be made.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = _measured(recipe), device
        self.state = TrainState(
            self.recipe, initial_model(self.recipe), Distributed(0, 1, device), 1
        )
        self.state.start(None, initialized=False)  # no palette: its colours are beside the point

    def pictures(self, count: int) -> Batch:
        """Random pictures `(count, 3, size, size)` on the device."""
        generator = torch.Generator().manual_seed(count)
        shape = (count, 3, self.recipe.size, self.recipe.size)
        return Batch(torch.rand(shape, generator=generator).to(self.device), "rgb")

    def step(self, batch: Batch) -> float:
        """One optimiser step as `vidcolor train` makes it; returns the seconds it took."""
        began = time.perf_counter()
        self.state.train_step(
            Batch(batch.picture, "rgb"), 1.0
        )  # a fresh one: nothing is kept of it
        self.state.read_losses()  # reads the loss, so that a GPU is waited for
        return time.perf_counter() - began

    def row(self, count: int, least: float) -> TrainingRow:
        """Measure one batch size over `least` seconds and two steps, after one to warm up."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            with peak_memory(self.device) as peak:
                batch = self.pictures(count)
                self.step(batch)
                steps: list[float] = []
                while sum(steps) < least or len(steps) < 2:
                    steps.append(self.step(batch))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._recover()
            return TrainingRow(count)
        return TrainingRow(count, count * len(steps) / sum(steps), peak.of(self.device))

    def fits(self, count: int) -> bool:
        """Whether a step with so many pictures fits."""
        try:
            self.step(self.pictures(count))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._recover()
            return False
        return True

    def _recover(self) -> None:
        """Let go of what a step that ran out of memory has left."""
        self.state.optimizer.zero_grad()
        self.state.losses = []
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def kept_bytes(recipe: Recipe) -> tuple[int, int]:
    """What a training keeps of one picture, and of the network whatever the batch, in bytes.

    Args:
        recipe: the settings. In 16 bits about half of the first is kept; that is not counted on.
    """
    model = initial_model(_measured(recipe))
    found = describe(model, recipe.size)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return found.kept_bytes, found.model_bytes + _COPIES * 4 * trained


def largest_by_memory(recipe: Recipe, free: int) -> int:
    """The largest batch for which autograd's tensors and the optimiser's values take half of `free`
    bytes of main memory at most; 0 where not even one picture does.

    Nothing is tried, because a CPU does not say when memory runs out: the system ends the process.
    """
    a_picture, always = kept_bytes(recipe)
    room = _SHARE * free - always
    return max(0, min(_MOST, int(room / max(1, a_picture))))


def probe_training(
    file: RecipeFile,
    device: torch.device,
    batches: Sequence[int] | None = None,
    *,
    least: float = 1.0,
) -> TrainingReport:
    """Measure a recipe's steps.

    Args:
        file: the recipe.
        device: where to train.
        batches: sizes to measure; None for 8 to 64 and the recipe's own.
        least: seconds that each is measured for.

    Raises:
        TrainingError: the recipe's objective or model cannot be made here.
    """
    recipe = file.recipe
    name, memory = device_name(device), device_memory(device)
    if device.type == "cpu":
        retain_freed_memory()  # as `vidcolor train` does
    sizes = sorted({*ASKED, recipe.batch_size} if batches is None else set(batches))
    bound = _MOST if device.type == "cuda" else largest_by_memory(recipe, free_memory(device))
    stepper = Stepper(recipe, device)
    rows = [stepper.row(n, least) if n <= bound else TrainingRow(n) for n in sizes]
    largest = bound
    if device.type == "cuda":
        start = max((row.batch for row in rows if row.images_per_second), default=1)
        largest = largest_fitting(stepper.fits, start, _MOST)
    parameters = list(stepper.state.model.parameters())
    return TrainingReport(
        device=name,
        memory=memory,
        recipe=file.name,
        model=recipe.model,
        precision=recipe.precision,
        size=recipe.size,
        parameters=sum(p.numel() for p in parameters),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        asked=recipe.batch_size,
        rows=tuple(rows),
        largest=largest,
    )


def plot_training(report: TrainingReport, path: Path) -> None:
    """Write bars of images a second and of memory over the batch sizes as a PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = report.rows
    speeds = tuple((str(row.batch), row.images_per_second) for row in rows)
    memory = tuple((str(r.batch), r.taken_bytes / 2**20 if r.taken_bytes else None) for r in rows)
    panels = [
        Panel("steps", "images/s", speeds, (str(report.fastest),)),
        Panel("memory at the peak", "MiB", memory),
    ]
    title = f"{report.recipe}, {report.size}x{report.size}, {report.precision}, {report.device}"
    plot_panels(panels, path, title)
