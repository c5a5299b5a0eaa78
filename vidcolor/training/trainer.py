"""The training loop: epochs, validation, checkpoints, results."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..color.convert import MIN_CHROMA
from ..errors import DivergedError, OutputError, RecipeError, TrainingError
from ..models import ColorModel
from ..models.describe import describe
from ..models.entry import Entry
from ..models.weights import save_weights
from ..system.devices import choose_device, free_memory
from ..system.memory import retain_freed_memory
from .checkpoint import CheckpointManager, load_checkpoint
from .data.batch import Batch
from .data.dataset import DataSet, Part, check_split, write_split
from .distributed import Distributed, init_distributed
from .interrupt import Interruption, interruption
from .objectives import create_objective
from .options import TrainCallbacks, TrainOptions, TrainProgress
from .prepare import check_sizes, eval_loader, initial_model, open_dataset, train_loader
from .recipe import RecipeFile, write_recipe
from .results.by_folder import FILE, FolderFigures, write_figures
from .results.collect import Results
from .state import TrainState

_SAMPLE = 512  # training pictures to fit palettes and class weights to
_REPORT_SECONDS = 0.5
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
        self.recipe, self.output, self.options = file.recipe, output, options
        self.callbacks, self.distributed = callbacks, distributed
        self.checkpoints = CheckpointManager(output)
        model = initial_model(self.recipe, options.init)
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
        self.sheet = next(iter(self.validation.in_order(10)))
        self.pending: tuple[dict[str, Tensor], Entry] | None = None  # best weights to be written
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
        state.start(sample, initialized=bool(self.options.init))
        if found is not None:
            state.load(*found, str(self.output))
            self._restore_weights()

    def _check_color(self, sample: Batch) -> None:
        chroma = sample.ab.square().sum(dim=1).sqrt().mean(dim=(1, 2))
        if float(chroma.max()) < MIN_CHROMA:
            raise TrainingError(
                f"{', '.join(self.dataset.sources)}: the pictures are gray (none of {len(sample)} "
                f"has a mean Lab chroma of {MIN_CHROMA:g}); training needs color pictures"
            )

    def _restore_weights(self) -> None:
        """Write the best weights from their checkpoint if their file was removed."""
        best = self.output / self.state.best_checkpoint
        missing = self.distributed.is_main and not (self.output / "weights.safetensors").exists()
        if missing and self.state.stopping.best_epoch and best.is_file():
            prefix = "ema." if self.recipe.ema else "model."
            tensors, _ = load_checkpoint(best)
            kept = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            self.pending = kept, self._entry()
            self._store_weights(quietly=True)

    def train(self) -> dict[str, Any]:
        """Run the remaining epochs and return the results."""
        self.start()
        state, began = self.state, time.monotonic() - self.state.seconds
        try:
            with interruption() as signals:
                while state.epoch < self.recipe.epochs and not state.stopping.exhausted:
                    self._steps(began, signals)
                    self._end_epoch(began)
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
        row = {"epoch": state.epoch + 1, "train_loss": math.nan, "lr": state.schedule.rate}
        state.history.append(row)
        self._write(self.results.collect("diverged", reason))

    def _finish(self) -> dict[str, Any]:
        """Write the last checkpoint and the results, and measure the test part."""
        state = self.state
        if state.stopping.best is None:
            raise DivergedError(f"{self.output}: no epoch gave a finite {self.recipe.monitor}")
        if self.saved_step != state.step:
            self._save(quietly=False)
        if self.pending:
            self._store_weights(quietly=False)
        status, reason = "finished", "all epochs were run"
        if state.stopping.exhausted:
            status = "stopped early"
            reason = (
                f"no better {self.recipe.monitor} for {self.recipe.patience} epochs after epoch "
                f"{state.stopping.best_epoch}"
            )
        results = self.results.collect(status, reason)
        self._write(results)
        if self.distributed.is_main and len(self.dataset.test):
            results |= self.results.measure_test(eval_loader(self.recipe, self.dataset.test))
            self._write(results)
        return results

    def _steps(self, began: float, signals: Interruption) -> None:
        """Run the remaining steps of the current epoch."""
        state, recipe = self.state, self.recipe
        clock = shown = time.monotonic()
        pictures = 0
        read_every = 20 if self.distributed.device.type == "cuda" else 1
        batches = self._batches(state.batch)
        for batch, weight in batches:
            count = min(recipe.batch_size, self.loader.epoch_size - state.batch * recipe.batch_size)
            if count < self.least_batch:
                state.batch += 1
                continue
            state.train_step(batch.to(self.distributed.device), weight)
            pictures += count
            signals.check()
            if state.batch % read_every and state.batch < self.steps:
                continue
            loss = state.read_losses()
            now = time.monotonic()
            if now - shown > _REPORT_SECONDS:
                self._report(loss, pictures / (now - clock))
                shown = now
            if now - self.saved > 60 * self.options.save_minutes:
                state.seconds = now - began
                self._save(quietly=True)
        state.read_losses()
        state.training_seconds += time.monotonic() - clock
        state.pictures += pictures

    def _batches(self, start: int) -> Iterator[tuple[Batch, float]]:
        """This process's parts of the epoch's batches from step `start` on, with weights."""
        rank, world = self.distributed.rank, self.distributed.world
        return self.loader.batches(self.state.epoch, start, rank, world)

    def _report(self, loss: float, rate: float) -> None:
        state, recipe, total = self.state, self.recipe, self.loader.epoch_size
        done = min(state.batch * recipe.batch_size, total)
        left = (total * (recipe.epochs - state.epoch) - done) / rate
        progress = TrainProgress(state.epoch + 1, recipe.epochs, done, total, loss, rate, left)
        self.callbacks.on_progress(progress)

    def _end_epoch(self, began: float) -> None:
        """Validate, and keep the weights if they are the best so far."""
        state = self.state
        loss, rate = state.read_losses(), state.schedule.rate
        if self.recipe.recalibrate_bn_steps:
            crops = islice(self._batches(0), self.recipe.recalibrate_bn_steps)
            state.recalibrate_bn(batch for batch, _ in crops)
        batches = self.validation.in_order(self.validation.batch_size)
        on_device = (batch.to(self.distributed.device) for batch in batches)
        figures = FolderFigures(self.dataset.validation.names)
        measured = state.evaluate(state.average, on_device, None, figures.add)
        state.epoch, state.batch, state.partial = state.epoch + 1, 0, [0.0, 0.0]
        state.seconds = time.monotonic() - began
        row = {"epoch": state.epoch, "train_loss": loss, **measured, "lr": rate}
        row["seconds"] = round(state.seconds, 2)
        state.history.append(row)
        best = state.stopping.update(state.epoch, measured[self.recipe.monitor])
        if state.schedule.end_epoch(state.epoch, best):
            state.stopping.waited = 0  # the new rate gets its full patience
        if best:
            self._keep()
        elif self.pending:
            self._store_weights(quietly=True)
        by_folder = figures.figures(self.distributed)
        if self.distributed.is_main:
            try:
                write_figures(self.output / FILE, {**row, "step": state.step, "folders": by_folder})
                self.results.epoch(row, self.sheet if best else None, self.options.tensorboard)
            except OutputError as error:  # a full disk must not end the training
                self.callbacks.on_notice(str(error))
        self.callbacks.on_epoch(row, best)

    def _keep(self) -> None:
        """Keep the weights of the best epoch so far, and write them."""
        state = self.state
        if not self.distributed.is_main:
            return
        # a copy, to be written later if the disk is full now
        tensors = {k: v.detach().cpu().clone() for k, v in state.average.state_dict().items()}
        self.pending = tensors, self._entry()
        self._store_weights(quietly=True)
        state.best_checkpoint = ""
        self._save(quietly=True)

    def _entry(self) -> Entry:
        return Entry(
            self.recipe.model,
            options=self.recipe.model_options,
            input_size=self.recipe.input_size or self.recipe.size,
            parameters=sum(p.numel() for p in self.state.model.parameters()),
            recipe=self.results.file.name,
            data=", ".join(self.dataset.sources),
        )

    def _store_weights(self, *, quietly: bool) -> None:
        """Write the best weights; `quietly`: on a full disk try again after the next epoch."""
        assert self.pending is not None
        try:
            save_weights(self.output / "weights.safetensors", *self.pending, torch.float32)
        except OutputError as error:
            if not quietly:
                raise
            self.callbacks.on_notice(str(error))
        else:
            self.pending = None

    def _save(self, *, quietly: bool) -> None:
        """Write a checkpoint; `quietly`: on a full disk only call `on_notice`."""
        state = self.state
        self.saved, self.saved_step = time.monotonic(), state.step
        if not self.distributed.is_main:
            return
        loss = state.history[-1].get("loss", math.nan) if state.history else math.nan
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
        if file.recipe.precision == "fp16" and distributed.device.type == "cpu":
            raise RecipeError("recipe key 'precision': fp16 needs a GPU; use bf16 on the CPU")
        if not distributed.is_main:
            callbacks = TrainCallbacks()
        try:
            return Trainer(file, dataset, output, options, callbacks, distributed).train()
        except OutputError as error:
            raise TrainingError(str(error)) from error
