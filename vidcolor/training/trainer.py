"""The training loop: epochs, validation, checkpoints, results."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ..color.convert import MIN_CHROMA
from ..errors import DivergedError, OutputError, TrainingError
from ..models import ColorModel
from ..models.describe import describe
from ..models.entry import Entry
from ..system.devices import choose_device, free_memory
from ..system.memory import retain_freed_memory
from .best_weights import BestWeights
from .checkpoint import CheckpointManager
from .data.batch import Batch
from .data.dataset import DataSet, Part, check_split, write_split
from .distributed import Distributed, init_distributed
from .interrupt import Interruption, interruption
from .objectives import create_objective
from .options import TrainCallbacks, TrainOptions
from .pace import OtherLoad, Pace, threads_beside
from .prepare import (
    check_sizes,
    describe_start,
    eval_loader,
    initial_model,
    open_dataset,
    train_loader,
)
from .recipe_file import RecipeFile, write_recipe
from .results.by_folder import FILE, FolderFigures, write_figures
from .results.collect import Results
from .start import settle
from .state import TrainState

_SAMPLE = 512  # training pictures to fit palettes and class weights to
_KEPT_SHARE = 0.05  # of free memory; at large batches retained memory grows by half or more


class Trainer:
    """Trains one recipe into one folder."""

    def __init__(
        self,
        file: RecipeFile,
        dataset: DataSet | None,
        output: Path,
        options: TrainOptions,
        callbacks: TrainCallbacks,
        distributed: Distributed,
    ) -> None:
        recipe = self.recipe = file.recipe
        self.output, self.options = output, options
        self.callbacks, self.distributed = callbacks, distributed
        self.checkpoints = CheckpointManager(output)
        self.load = OtherLoad()
        # a checkpoint holds every value, so what a training began with may be gone
        begun = dataclasses.replace(recipe, init="", encoder="") if options.resume else recipe
        model = initial_model(begun)
        check_sizes(self.recipe, model)
        # to find mistakes before the pictures are read; the state creates its own on the device
        create_objective(self.recipe.objective, model, self.recipe.objective_options)
        dataset = self.dataset = dataset or self._open(file)
        self._claim_folder(file)
        # not before, so that the memory of decoding goes back to the system
        if distributed.device.type == "cpu" and self._activations(model) < _KEPT_SHARE:
            retain_freed_memory()
        self.least_batch = model.min_training_batch * distributed.world
        self.loader = train_loader(self.recipe, dataset.train, distributed.device, options.workers)
        self.validation = eval_loader(self.recipe, dataset.validation)
        self.steps = math.ceil(self.loader.epoch_size / self.recipe.batch_size)
        self.state = TrainState(self.recipe, model, distributed, self.steps)
        self.results = Results(file, output, options.command, dataset, self.state, distributed)
        self.weights = BestWeights(
            output / "weights.safetensors", self._entry(file.name), callbacks.on_notice
        )
        sizes = self.loader.epoch_size, len(dataset.validation)
        self.pace = Pace(recipe, *sizes, distributed.device, callbacks)
        self.most_threads = torch.get_num_threads()
        self.sheet = next(iter(self.validation.in_order(10)))
        self.saved, self.saved_step = time.monotonic(), -1

    def _open(self, file: RecipeFile) -> DataSet:
        """Read the pictures, on rank 0 first: it may have to download them."""
        if not self.distributed.is_main:
            self.distributed.barrier()
        dataset = open_dataset(file, self.options)
        if self.distributed.is_main:
            self.distributed.barrier()
        return dataset

    def _activations(self, model: ColorModel) -> float:
        """Memory of a batch's activations as a share of the free memory."""
        kept = describe(model, self.recipe.size).kept_bytes * self.recipe.batch_size
        return kept / free_memory(torch.device("cpu"))

    def _claim_folder(self, file: RecipeFile) -> None:
        """Create the folder, or check that a resumed training has the same pictures."""
        if not len(self.dataset.validation):
            raise TrainingError(
                "the validation part is empty, and the best epoch is chosen on it: give it a share "
                "of 'split', or use --validation"
            )
        split, begun = self.output / "split.json", self.checkpoints.paths()
        if self.options.resume and not begun:
            raise TrainingError(f"{self.output}: no training to resume; leave out --resume")
        if self.options.resume:
            check_split(self.dataset, split)
        elif begun:
            raise TrainingError(
                f"{self.output}: holds a training already; continue it with --resume, or choose "
                "another folder with -o"
            )
        elif self.distributed.is_main:
            write_recipe(file, self.output / "recipe.toml")
            write_split(self.dataset, split)
        self.distributed.barrier()
        for line in self.dataset.notes:
            self.callbacks.on_notice(line)
        if self.dataset.near_gray:
            self.callbacks.on_notice(f"{self.dataset.near_gray} near-gray pictures left out")
        if unreadable := self.dataset.unreadable:
            first = ", ".join(unreadable[:5])
            self.callbacks.on_notice(f"{len(unreadable)} unreadable pictures left out: {first}")

    def start(self) -> None:
        """Fit the objective to the training pictures, or load the newest checkpoint.

        Raises:
            TrainingError: there is no checkpoint, or it is of another recipe; or the pictures are
                gray.
        """
        state, device = self.state, self.distributed.device
        found = self.checkpoints.load(self.callbacks.on_notice) if self.options.resume else None
        sample = None
        if found is None:
            names = self.dataset.train.names[:_SAMPLE]
            part = Part(names, self.dataset.train.pictures[: len(names)])
            (batch,) = eval_loader(self.recipe, part).in_order(len(names))
            sample = batch.to(device)
            self._check_color(sample)
        state.start(sample, initialized=bool(self.recipe.init))
        if found is not None:
            state.load(*found, str(self.output))
            if self.distributed.is_main and state.stopping.best is not None:
                prefix = "ema." if self.recipe.ema else "model."
                self.weights.restore(self.output / state.best_checkpoint, prefix)

    def _check_color(self, sample: Batch) -> None:
        chroma = sample.ab.square().sum(dim=1).sqrt().mean(dim=(1, 2))
        if float(chroma.max()) < MIN_CHROMA:
            raise TrainingError(
                f"{', '.join(self.dataset.sources)}: the pictures are gray (none of {len(sample)} "
                f"has a mean Lab chroma of {MIN_CHROMA:g}); training needs color pictures"
            )

    def _adapt_threads(self) -> None:
        """Leave the processors that other work keeps busy; a given number of threads stays."""
        if self.options.threads or self.most_threads == 1 or self.distributed.world > 1:
            return
        if self.distributed.device.type == "cpu":
            torch.set_num_threads(threads_beside(self.load.measure(), self.most_threads))

    def train(self) -> dict[str, Any]:
        """Run the remaining epochs and return the results."""
        self.start()
        state, began = self.state, time.monotonic() - self.state.seconds
        self._adapt_threads()
        start = describe_start(self.recipe, state.model)
        if self.options.resume:
            start = f"the checkpoint of epoch {state.epoch}, step {state.step}"
        self.callbacks.on_start(self.results.header(start, self.steps))
        try:
            with interruption() as signals:
                if self.recipe.init and not state.step and not state.history:
                    self._end_epoch(began, 0)
                while state.epoch < self.recipe.epochs and not state.stopping.exhausted:
                    self._adapt_threads()
                    self._steps(began, signals)
                    self._end_epoch(began, state.epoch + 1)
                    signals.check()
        except (KeyboardInterrupt, SystemExit):
            state.seconds = time.monotonic() - began
            if not signals.forced:
                state.read_losses()
                self._save(quietly=False)
            self._write(self.results.collect("interrupted", "stopped by the user"))
            self.callbacks.on_notice(
                f"stopped in epoch {state.epoch + 1}, at step {state.step}; continue with --resume"
            )
            raise
        except DivergedError as error:
            self._note_divergence(began, str(error))
            raise
        state.seconds = time.monotonic() - began
        return self._finish()

    def _note_divergence(self, began: float, reason: str) -> None:
        state = self.state
        state.seconds = time.monotonic() - began
        row = {"epoch": state.epoch + 1, "train_loss": math.nan, "lr": state.used_rate}
        state.history.append(row)
        if self.distributed.is_main:
            self.results.epoch(row, self.sheet, tensorboard=False)  # nan is drawn black
        self._write(self.results.collect("diverged", reason))

    def _finish(self) -> dict[str, Any]:
        """Write the last checkpoint and the results, and measure the test part."""
        state = self.state
        if state.stopping.best is None:
            raise DivergedError(f"{self.output}: no epoch gave a finite {self.recipe.monitor}")
        if self.saved_step != state.step:
            self._save(quietly=False)
        self.weights.retry(quietly=False)
        status, reason = "finished", "all epochs were run"
        if state.stopping.exhausted:
            status = "stopped early"
            reason = (
                f"no better {self.recipe.monitor} for {self.recipe.patience} epochs after epoch "
                f"{state.stopping.best_epoch}"
            )
        if not state.stopping.best_epoch:
            reason += "; none was better than the starting weights, which are kept"
        results = self.results.collect(status, reason)
        self._write(results)
        if self.distributed.is_main and len(self.dataset.test):
            results |= self.results.measure_test(eval_loader(self.recipe, self.dataset.test))
            self._write(results)
        return results

    def _steps(self, began: float, signals: Interruption) -> None:
        """Run the remaining steps of the current epoch."""
        state, recipe, pace = self.state, self.recipe, self.pace
        pace.start_epoch()
        read_every = 20 if self.distributed.device.type == "cuda" else 1
        batches = self._batches(state.batch)
        for batch, weight in batches:
            count = min(recipe.batch_size, self.loader.epoch_size - state.batch * recipe.batch_size)
            if count < self.least_batch:
                state.batch += 1
                continue
            state.train_step(batch.to(self.distributed.device), weight)
            pace.count(count)
            signals.check()
            if state.batch % read_every and state.batch < self.steps:
                continue
            pace.report(state, state.read_losses())
            now = time.monotonic()
            if now - self.saved > 60 * self.options.save_minutes:
                state.seconds = now - began
                self._save(quietly=True)
        state.read_losses()
        state.training_seconds += time.monotonic() - pace.began
        state.pictures += pace.pictures

    def _batches(self, start: int) -> Iterator[tuple[Batch, float]]:
        """This process's parts of the epoch's batches from step `start` on, with weights."""
        rank, world = self.distributed.rank, self.distributed.world
        return self.loader.batches(self.state.epoch, start, rank, world)

    def _end_epoch(self, began: float, epoch: int) -> None:
        """Validate, and keep the weights if they are the best so far.

        Args:
            began: when the training did.
            epoch: that has ended; 0 for the starting weights.
        """
        state, clock = self.state, time.monotonic()
        self.callbacks.on_validation(epoch)
        trained = {"train_loss": state.read_losses(), "lr": state.used_rate} if epoch else {}
        if self.recipe.recalibrate_bn_steps and epoch:
            crops = islice(self._batches(0), self.recipe.recalibrate_bn_steps)
            state.recalibrate_bn(batch for batch, _ in crops)
        batches = self.validation.in_order(self.validation.batch_size)
        on_device = (batch.to(self.distributed.device) for batch in batches)
        figures = FolderFigures(self.dataset.validation.names)
        measured = state.evaluate(state.average, on_device, None, figures.add)
        state.epoch, state.batch, state.partial = epoch, 0, [0.0, 0.0]
        state.seconds = time.monotonic() - began
        row = {"epoch": epoch, **trained, **measured, "seconds": round(state.seconds, 2)}
        state.history.append(row)
        best = state.stopping.update(epoch, measured[self.recipe.monitor])
        if epoch and state.schedule.end_epoch(epoch, best):
            state.stopping.waited = 0  # the new rate gets its full patience
        if best:
            self._keep()
        elif self.distributed.is_main:
            self.weights.retry(quietly=True)
        by_folder = figures.figures(self.distributed)
        if self.distributed.is_main:
            try:
                write_figures(self.output / FILE, {**row, "step": state.step, "folders": by_folder})
                self.results.epoch(row, self.sheet if best else None, self.options.tensorboard)
            except OutputError as error:  # a full disk must not end the training
                self.callbacks.on_notice(str(error))
        self.pace.validation_seconds = time.monotonic() - clock
        self.callbacks.on_epoch(row, best)

    def _keep(self) -> None:
        """Keep the weights of the best epoch so far, and write them."""
        state = self.state
        if not self.distributed.is_main:
            return
        self.weights.keep(state.average.state_dict())
        state.best_checkpoint = ""
        self._save(quietly=True)

    def _entry(self, recipe_name: str) -> Entry:
        return Entry(
            self.recipe.model,
            options=self.recipe.model_options,
            input_size=self.recipe.input_size or self.recipe.size,
            chroma_gain=self.recipe.chroma_gain or 1.0,
            parameters=sum(p.numel() for p in self.state.model.parameters()),
            recipe=recipe_name,
            data=", ".join(self.dataset.sources),
        )

    def _save(self, *, quietly: bool) -> None:
        """Write a checkpoint; `quietly`: on a full disk only call `on_notice`."""
        state = self.state
        self.saved, self.saved_step = time.monotonic(), state.step
        if not self.distributed.is_main:
            return
        # within an epoch the weights are others than those of its last validation
        last = state.history[-1] if state.history and not state.batch else {}
        loss = last.get("loss", math.nan)
        try:
            tensors, values = state.tensors(), state.to_dict()
            path = self.checkpoints.save(state.epoch, state.step, loss, tensors, values)
        except OutputError as error:
            if not quietly:
                raise
            self.saved_step = -1
            self.callbacks.on_notice(str(error))
        else:
            state.best_checkpoint = state.best_checkpoint or path.name

    def _write(self, results: dict[str, Any]) -> None:
        if self.distributed.is_main:
            self.results.write(results)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Set torch's number of threads in this block; None leaves it."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    file: RecipeFile,
    output: Path,
    options: TrainOptions | None = None,
    callbacks: TrainCallbacks | None = None,
    dataset: DataSet | None = None,
) -> dict[str, Any]:
    """Train a recipe into the folder `output` and return its results (see `results.json`).

    `output` gets `weights.safetensors` (of the best epoch), checkpoints, `results.json`,
    `summary.md`, `curves.png` and sheets of pictures. Under `torchrun` the processes share the
    batches, and rank 0 writes the files.

    Args:
        file: the recipe.
        output: the folder.
        options: what does not decide the weights.
        callbacks: functions to call during the training.
        dataset: the result of `open_dataset`, if it was called before.

    Raises:
        InputError, TrainingError, WeightsError: the data, the recipe, the initial weights or the
            checkpoint cannot be used, or the folder cannot be written.
        DivergedError: the loss became nan or infinite; the best weights so far are kept.
    """
    options, callbacks = options or TrainOptions(), callbacks or TrainCallbacks()
    device = str(choose_device("auto")) if options.device == "auto" else options.device
    with _threads(options.threads), init_distributed(device) as distributed:
        file = dataclasses.replace(file, recipe=settle(file.recipe, distributed.device))
        if not distributed.is_main:
            callbacks = TrainCallbacks()
        try:
            return Trainer(file, dataset, output, options, callbacks, distributed).train()
        except OutputError as error:
            raise TrainingError(str(error)) from error
