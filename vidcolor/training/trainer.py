"""A training from its data to its weights: epochs, validation, checkpoints, results."""

from __future__ import annotations

import math
import time
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
from ..system.devices import free_memory
from ..system.memory import retain_freed_memory
from .checkpoint import Shelf, load_checkpoint
from .data.batch import Batch
from .data.dataset import DataSet, Part, check_split, write_split
from .distributed import Team, join
from .interrupt import Interruption, interruption
from .objectives import create_objective
from .options import Listener, Options, Progress
from .prepare import check_sizes, open_dataset, plain_feed, training_feed
from .recipe_files import RecipeFile, write_recipe
from .results.by_folder import FILE, FolderFigures, write_figures
from .results.collect import Results
from .start import starting_model
from .state import Run

_SAMPLE = 512  # training pictures that palettes and class weights are fitted to
_REPORT_SECONDS = 0.5
_KEPT_SHARE = 0.05  # kept memory grows by a half or more at large batches


class Training:
    """One recipe trained into one folder; `train` runs it."""

    def __init__(
        self,
        file: RecipeFile,
        dataset: DataSet | None,
        output: Path,
        options: Options,
        listener: Listener,
        team: Team,
    ) -> None:
        self.recipe, self.output, self.options = file.recipe, output, options
        self.listener, self.team = listener, team
        self.shelf = Shelf(output)
        model = starting_model(self.recipe, options.init)
        check_sizes(self.recipe, model)
        # mistakes show before the pictures are read; the run makes its own on the device
        create_objective(self.recipe.objective, model, self.recipe.objective_options)
        dataset = self.dataset = dataset or self._open(file)
        self._claim_folder(file)
        # from here on, so that what decoding took goes back to the system
        if team.device.type == "cpu" and self._activations(model) < _KEPT_SHARE:
            retain_freed_memory()
        self.least_batch = model.min_training_batch * team.world
        self.feed = training_feed(self.recipe, dataset.train, team.device, options.workers)
        self.validation = plain_feed(self.recipe, dataset.validation)
        self.steps = math.ceil(self.feed.epoch_size / self.recipe.batch_size)
        self.run = Run(self.recipe, model, team, self.steps)
        self.results = Results(file, output, options.command, dataset, self.run, team)
        self.sheet = next(iter(self.validation.in_order(10)))
        self.pending: tuple[dict[str, Tensor], Entry] | None = None  # best weights to be written
        self.saved, self.saved_step = time.monotonic(), -1

    def _open(self, file: RecipeFile) -> DataSet:
        """Read the pictures, the first rank before the others, because it may have to download."""
        if not self.team.leads:
            self.team.wait()
        dataset = open_dataset(file, self.options)
        if self.team.leads:
            self.team.wait()
        return dataset

    def _activations(self, model: ColorModel) -> float:
        """What a batch's activations take, as a share of the free memory."""
        kept = describe(model, self.recipe.size).kept_bytes * self.recipe.batch_size
        return kept / free_memory(torch.device("cpu"))

    def _claim_folder(self, file: RecipeFile) -> None:
        """Make the folder, or check that a resumed training goes on with the same pictures."""
        if not len(self.dataset.validation):
            raise TrainingError(
                "the validation part is empty, and the best epoch is chosen on it: give it a share "
                "of 'split', or use --validation"
            )
        split, begun = self.output / "split.json", self.shelf.paths()
        if self.options.resume and not begun:
            raise TrainingError(f"{self.output}: no training to resume; leave out --resume")
        if self.options.resume:
            check_split(self.dataset, split)
        elif begun:
            raise TrainingError(
                f"{self.output}: holds a training already; go on with --resume, or choose another "
                "folder with -o"
            )
        elif self.team.leads:
            write_recipe(file, self.output / "recipe.toml")
            write_split(self.dataset, split)
        self.team.wait()
        for line in self.dataset.notes:
            self.listener.notice(line)
        if self.dataset.near_grey:
            self.listener.notice(f"{self.dataset.near_grey} near-grey pictures left out")
        if unreadable := self.dataset.unreadable:
            first = ", ".join(unreadable[:5])
            self.listener.notice(f"{len(unreadable)} unreadable pictures left out: {first}")

    def begin(self) -> None:
        """Fit the objective to the training pictures, or take up the newest checkpoint.

        Raises:
            TrainingError: there is no checkpoint, or it is of another recipe; or the objective
                does not measure what the recipe monitors.
        """
        run, device = self.run, self.team.device
        found = self.shelf.load(self.listener.notice) if self.options.resume else None
        sample = None
        if found is None:
            names = self.dataset.train.names[:_SAMPLE]
            part = Part(names, self.dataset.train.pictures[: len(names)])
            (batch,) = plain_feed(self.recipe, part).in_order(len(names))
            sample = batch.to(device)
            self._check_colour(sample)
        run.begin(sample, initialised=bool(self.options.init))
        if found is not None:
            run.restore(*found, str(self.output))
            self._restore_weights()
        measured = run.measure(run.average, [self.sheet.to(device)] * self.team.world)
        if self.recipe.monitor not in measured:
            raise TrainingError(
                f"recipe key 'monitor': the objective '{self.recipe.objective}' measures "
                f"{', '.join(measured)}, not '{self.recipe.monitor}'"
            )

    def _check_colour(self, sample: Batch) -> None:
        chroma = sample.ab.square().sum(dim=1).sqrt().mean(dim=(1, 2))
        if float(chroma.max()) < MIN_CHROMA:
            raise TrainingError(
                f"{', '.join(self.dataset.sources)}: the pictures are grey (of {len(sample)} none "
                f"has a mean Lab chroma of {MIN_CHROMA:g}); training wants colour pictures"
            )

    def _restore_weights(self) -> None:
        """Write the best weights anew from their checkpoint where somebody has removed them."""
        best = self.output / self.run.best_checkpoint
        missing = not (self.output / "weights.safetensors").exists()
        if missing and self.run.stopping.best_epoch and best.is_file() and self.team.leads:
            prefix = "ema." if self.recipe.ema else "model."
            tensors, _ = load_checkpoint(best)
            kept = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            self.pending = kept, self._entry()
            self._store_weights(quietly=True)

    def train(self) -> dict[str, Any]:
        """Run the epochs that are left and return the results."""
        self.begin()
        run, began = self.run, time.monotonic() - self.run.seconds
        try:
            with interruption() as signals:
                while run.epoch < self.recipe.epochs and not run.stopping.exhausted:
                    self._steps(began, signals)
                    self._end_epoch(began)
                    signals.check()
        except (KeyboardInterrupt, SystemExit):
            run.seconds = time.monotonic() - began
            if not signals.forced:
                run.settle()
                self._save(quietly=False)
            self._write(self.results.collect("interrupted", "stopped by the user"))
            self.listener.notice(
                f"stopped in epoch {run.epoch + 1}, at step {run.step}; go on with --resume"
            )
            raise
        except DivergedError as error:
            self._note_divergence(began, str(error))
            raise
        run.seconds = time.monotonic() - began
        return self._finish()

    def _note_divergence(self, began: float, reason: str) -> None:
        run = self.run
        run.seconds = time.monotonic() - began
        row = {"epoch": run.epoch + 1, "train_loss": math.nan, "lr": run.schedule.rate}
        run.history.append(row)
        self._write(self.results.collect("diverged", reason))

    def _finish(self) -> dict[str, Any]:
        """Everything is trained: the last checkpoint, the results, the test part."""
        run = self.run
        if run.stopping.best is None:
            raise DivergedError(f"{self.output}: no epoch gave a finite {self.recipe.monitor}")
        if self.saved_step != run.step:
            self._save(quietly=False)
        if self.pending:
            self._store_weights(quietly=False)
        status, reason = "finished", "every epoch was run"
        if run.stopping.exhausted:
            status = "stopped early"
            reason = (
                f"no better {self.recipe.monitor} for {self.recipe.patience} epochs after epoch "
                f"{run.stopping.best_epoch}"
            )
        results = self.results.collect(status, reason)
        self._write(results)
        if self.team.leads and len(self.dataset.test):
            results |= self.results.measure_test(plain_feed(self.recipe, self.dataset.test))
            self._write(results)
        return results

    def _steps(self, began: float, signals: Interruption) -> None:
        """The steps that are left of the current epoch."""
        run, recipe = self.run, self.recipe
        clock = shown = time.monotonic()
        pictures = 0
        settle_every = 20 if self.team.device.type == "cuda" else 1
        batches = self.feed.batches(run.epoch, run.batch, self.team.rank, self.team.world)
        for batch, weight in batches:
            count = min(recipe.batch_size, self.feed.epoch_size - run.batch * recipe.batch_size)
            if count < self.least_batch:
                run.pass_over()
                continue
            run.advance(batch.to(self.team.device), weight)
            pictures += count
            signals.check()
            if run.batch % settle_every and run.batch < self.steps:
                continue
            loss = run.settle()
            now = time.monotonic()
            if now - shown > _REPORT_SECONDS:
                self._report(loss, pictures / (now - clock))
                shown = now
            if now - self.saved > 60 * self.options.save_minutes:
                run.seconds = now - began
                self._save(quietly=True)
        run.settle()
        run.training_seconds += time.monotonic() - clock
        run.pictures += pictures

    def _report(self, loss: float, rate: float) -> None:
        run, recipe, total = self.run, self.recipe, self.feed.epoch_size
        done = min(run.batch * recipe.batch_size, total)
        left = (total * (recipe.epochs - run.epoch) - done) / rate
        progress = Progress(run.epoch + 1, recipe.epochs, done, total, loss, rate, left)
        self.listener.progress(progress)

    def _end_epoch(self, began: float) -> None:
        """Validate, take stock, and keep the weights if they are the best so far."""
        run = self.run
        loss, rate = run.settle(), run.schedule.rate
        if self.recipe.calibrate:
            crops = self.feed.batches(run.epoch, 0, self.team.rank, self.team.world)
            run.calibrate(batch for batch, _ in islice(crops, self.recipe.calibrate))
        batches = self.validation.in_order(self.validation.batch_size)
        on_device = (batch.to(self.team.device) for batch in batches)
        figures = FolderFigures(self.dataset.validation.names)
        measured = run.measure(run.average, on_device, None, figures.add)
        run.epoch, run.batch, run.partial = run.epoch + 1, 0, [0.0, 0.0]
        run.seconds = time.monotonic() - began
        row = {"epoch": run.epoch, "train_loss": loss, **measured, "lr": rate}
        row["seconds"] = round(run.seconds, 2)
        run.history.append(row)
        best = run.stopping.update(run.epoch, measured[self.recipe.monitor])
        if run.schedule.end_epoch(run.epoch, best):
            run.stopping.waited = 0  # the new rate has its chance
        if best:
            self._keep()
        elif self.pending:
            self._store_weights(quietly=True)
        by_folder = figures.figures(self.team)
        if self.team.leads:
            try:
                write_figures(self.output / FILE, {**row, "step": run.step, "folders": by_folder})
                self.results.epoch(row, self.sheet if best else None, self.options.tensorboard)
            except OutputError as error:  # pictures are no reason to lose a training
                self.listener.notice(str(error))
        self.listener.epoch(row, best)

    def _keep(self) -> None:
        """The epoch was the best so far: its weights are the ones that stay."""
        run = self.run
        if not self.team.leads:
            return
        # a copy, so that a full disk can be emptied before the training ends
        tensors = {k: v.detach().cpu().clone() for k, v in run.average.state_dict().items()}
        self.pending = tensors, self._entry()
        self._store_weights(quietly=True)
        run.best_checkpoint = ""
        self._save(quietly=True)

    def _entry(self) -> Entry:
        return Entry(
            self.recipe.model,
            options=self.recipe.model_options,
            input_size=self.recipe.input_size or self.recipe.size,
            parameters=sum(p.numel() for p in self.run.model.parameters()),
            recipe=self.results.file.name,
            data=", ".join(self.dataset.sources),
        )

    def _store_weights(self, *, quietly: bool) -> None:
        """Write the best weights; `quietly` tries again after the next epoch."""
        assert self.pending is not None
        try:
            save_weights(self.output / "weights.safetensors", *self.pending, torch.float32)
        except OutputError as error:
            if not quietly:
                raise
            self.listener.notice(str(error))
        else:
            self.pending = None

    def _save(self, *, quietly: bool) -> None:
        """Write a checkpoint; `quietly` goes on with a notice where the disk is full."""
        run = self.run
        self.saved, self.saved_step = time.monotonic(), run.step
        if not self.team.leads:
            return
        loss = run.history[-1]["loss"] if run.history else math.nan
        try:
            path = self.shelf.save(run.epoch, run.step, loss, run.tensors(), run.state())
        except OutputError as error:
            if not quietly:
                raise
            self.saved_step = -1
            self.listener.notice(str(error))
        else:
            run.best_checkpoint = run.best_checkpoint or path.name

    def _write(self, results: dict[str, Any]) -> None:
        if self.team.leads:
            self.results.write(results)


def train(
    file: RecipeFile,
    output: Path,
    options: Options | None = None,
    listener: Listener | None = None,
    dataset: DataSet | None = None,
) -> dict[str, Any]:
    """Train a recipe into the folder `output` and return its results (see `results.json`).

    `output` gets `weights.safetensors` (of the best epoch), checkpoints, `results.json`,
    `summary.md`, `curves.png` and sheets of pictures. Under `torchrun` the processes share the
    work, and the first writes the files.

    Args:
        file: the recipe.
        output: the folder.
        options: what does not decide the weights.
        listener: called as the training goes.
        dataset: what `open_dataset` gave, if it is at hand.

    Raises:
        InputError, TrainingError, WeightsError: the data, the recipe, the initial weights or the
            checkpoint cannot be used, or the folder cannot be written.
        DivergedError: the loss became nan or infinite; the best weights so far are kept.
    """
    options, listener = options or Options(), listener or Listener()
    with join(options.device) as team:
        if file.recipe.precision == "fp16" and team.device.type == "cpu":
            raise RecipeError("recipe key 'precision': fp16 is for GPUs; use bf16 on the CPU")
        if not team.leads:
            listener = Listener()
        try:
            return Training(file, dataset, output, options, listener, team).train()
        except OutputError as error:
            raise TrainingError(str(error)) from error
