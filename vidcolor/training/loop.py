"""A training from its data to its weights: epochs, validation, checkpoints, results."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from ..errors import DivergedError, OutputError, TrainingError
from ..weights import Entry, save_weights
from .augment import Augment
from .batch import Batch
from .checkpoint import Shelf
from .data import DataSet, Part, check_split, load_dataset, write_split
from .feed import DeviceFeed, WorkerFeed, store_bytes
from .memory import keep_memory
from .recipe import RecipeFile
from .results import Results
from .run import Run
from .session import Listener, Options, Progress
from .start import starting_model
from .team import Team, join

_SAMPLE = 512  # training pictures that palettes and class weights are fitted to
_REPORT_SECONDS = 0.5


def open_dataset(file: RecipeFile, options: Options) -> DataSet:
    """The recipe's pictures, split.

    Raises:
        InputError, TrainingError: the data cannot be used, or the recipe names none.
    """
    recipe = file.recipe
    sources = list(options.data) or ([recipe.data] if recipe.data else [])
    if not sources:
        raise TrainingError(
            f"the recipe '{file.name}' names no data: give a folder or zip with --data"
        )
    return load_dataset(
        sources,
        root=options.root,
        split=(recipe.split[0], recipe.split[1], recipe.split[2]),
        test_part=recipe.test_part,
        classes=recipe.classes,
        limit=recipe.limit,
        min_chroma=recipe.min_chroma,
        seed=recipe.seed,
        validation=options.validation,
    )


class Training:
    """One recipe trained into one folder; `train` runs it."""

    def __init__(
        self,
        file: RecipeFile,
        dataset: DataSet,
        output: Path,
        options: Options,
        listener: Listener,
        team: Team,
    ) -> None:
        self.recipe, self.output, self.options = file.recipe, output, options
        self.dataset, self.listener, self.team = dataset, listener, team
        self.shelf = Shelf(output)
        self._claim_folder()
        model = starting_model(self.recipe, options.init)
        space = self._space(model)
        self.feed = self._training_feed(space)
        self.validation = self._plain_feed(dataset.validation, space)
        self.steps = math.ceil(self.feed.epoch_size / self.recipe.batch_size)
        self.run = Run(self.recipe, model, team, self.steps)
        found = self.shelf.load(listener.notice) if options.resume else None
        self.run.begin(None if found else self._sample(), initialised=bool(options.init))
        if found:
            self.run.restore(*found, str(output))
        self.results = Results(file, output, options.command, dataset, self.run, team)
        self.sheet = next(iter(self.validation.in_order(10)))
        measured = self.run.measure([self.sheet.to(team.device)] * team.world)
        if self.recipe.monitor not in measured:
            raise TrainingError(
                f"recipe key 'monitor': the objective '{self.recipe.objective}' measures "
                f"{', '.join(measured)}, not '{self.recipe.monitor}'"
            )
        self.saved, self.saved_step = time.monotonic(), -1

    def _space(self, model: torch.nn.Module) -> str:
        from .objectives import OBJECTIVES

        return OBJECTIVES[self.recipe.objective].space  # type: ignore[attr-defined]

    def _claim_folder(self) -> None:
        """Make the folder, or check that a resumed training goes on with the same pictures."""
        split = self.output / "split.json"
        if self.options.resume:
            check_split(self.dataset, split)
        elif self.shelf.paths():
            raise TrainingError(
                f"{self.output}: holds a training already; go on with --resume, or choose another "
                "folder with -o"
            )
        elif self.team.leads:
            self.output.mkdir(parents=True, exist_ok=True)
            write_split(self.dataset, split)
        self.team.wait()

    def _training_feed(self, space: str) -> DeviceFeed | WorkerFeed:
        recipe = self.recipe
        augment = Augment(recipe.flip, recipe.rotate, recipe.min_scale, recipe.degrade)
        if recipe.fit == "crop":
            return WorkerFeed(
                self.dataset.train,
                size=recipe.size,
                batch_size=recipe.batch_size,
                augment=augment,
                seed=recipe.seed,
                workers=self.options.workers,
                epoch_size=recipe.epoch_size,
            )
        return DeviceFeed(
            self.dataset.train,
            space=space,
            size=recipe.size,
            fit=recipe.fit,
            batch_size=recipe.batch_size,
            augment=augment,
            seed=recipe.seed,
            device=self._store_device(space),
            epoch_size=recipe.epoch_size,
            enlarge=recipe.enlarge,
        )

    def _store_device(self, space: str) -> torch.device:
        """The training device where the pictures take less than a third of its free memory."""
        if self.team.device.type != "cuda":
            return self.team.device
        free, _ = torch.cuda.mem_get_info(self.team.device)
        count = len(self.dataset.train)
        needed = store_bytes(count, self.recipe.size, space, self.recipe.enlarge)
        return self.team.device if needed < free / 3 else torch.device("cpu")

    def _plain_feed(self, part: Part, space: str) -> DeviceFeed:
        """Pictures to measure on: no augmentation, at the size the weights are meant for."""
        recipe = self.recipe
        crops = recipe.fit == "crop"
        size = (recipe.input_size or recipe.size) if crops else recipe.size
        return DeviceFeed(
            part,
            space=space,
            size=size,
            fit="cover" if crops else recipe.fit,
            batch_size=max(1, min(256, 2**20 // size**2)),
            augment=Augment(),
            seed=recipe.seed,
            device=torch.device("cpu"),
        )

    def _sample(self) -> Batch:
        """Training pictures for the objective to fit to, the same whatever the resume point."""
        names = self.dataset.train.names[:_SAMPLE]
        part = Part(names, self.dataset.train.pictures[: len(names)])
        (batch,) = self._plain_feed(part, self._space(self.run.model)).in_order(len(names))
        return batch.to(self.team.device)

    def train(self) -> dict[str, Any]:
        """Run the epochs that are left and return the results."""
        run, began = self.run, time.monotonic() - self.run.seconds
        reason = "every epoch was run"
        try:
            while run.epoch < self.recipe.epochs and not run.stopping.exhausted:
                self._epoch(began)
            if run.stopping.exhausted:
                reason = (
                    f"no better {self.recipe.monitor} for {self.recipe.patience} epochs after "
                    f"epoch {run.stopping.best_epoch}"
                )
        except (KeyboardInterrupt, SystemExit):
            run.seconds = time.monotonic() - began
            self._save(quietly=False)
            self._write(self.results.collect("interrupted", "stopped by the user"))
            self.listener.notice(
                f"stopped in epoch {run.epoch + 1}, at step {run.step}; go on with --resume"
            )
            raise
        except DivergedError as error:
            run.seconds = time.monotonic() - began
            run.history.append(
                {"epoch": run.epoch + 1, "train_loss": math.nan, "lr": run.schedule.rate}
            )
            self._write(self.results.collect("diverged", str(error)))
            raise
        run.seconds = time.monotonic() - began
        if self.saved_step != run.step:
            self._save(quietly=False)
        status = "stopped early" if run.stopping.exhausted else "finished"
        if run.stopping.best is None:
            raise DivergedError(f"{self.output}: no epoch gave a finite {self.recipe.monitor}")
        results = self.results.collect(status, reason, test=self._plain_feed)
        self._write(results)
        self.team.wait()
        return results

    def _epoch(self, began: float) -> None:
        """The rest of the current epoch, its validation, and what follows from it."""
        run, listener = self.run, self.listener
        clock = shown = time.monotonic()
        pictures, start = 0, run.batch
        settle_every = 20 if self.team.device.type == "cuda" else 1
        batches = self.feed.batches(run.epoch, start, self.team.rank, self.team.world)
        for batch, weight in batches:
            run.advance(batch.to(self.team.device), weight)
            pictures += self.recipe.batch_size
            if run.batch % settle_every == 0 or run.batch == self.steps:
                loss = run.settle()
                now = time.monotonic()
                if now - shown > _REPORT_SECONDS:
                    rate = pictures / (now - clock)
                    done = min(run.batch * self.recipe.batch_size, self.feed.epoch_size)
                    left = self.feed.epoch_size * (self.recipe.epochs - run.epoch) - done
                    listener.progress(
                        Progress(
                            run.epoch + 1,
                            self.recipe.epochs,
                            done,
                            self.feed.epoch_size,
                            loss,
                            rate,
                            left / rate,
                        )
                    )
                    shown = now
                if now - self.saved > 60 * self.options.save_minutes:
                    run.seconds = now - began
                    self._save(quietly=True)
        loss = run.settle()
        run.training_seconds += time.monotonic() - clock
        run.pictures += min(pictures, self.feed.epoch_size)
        rate = run.schedule.rate
        sizes = self.validation.in_order(self.validation.batch_size)
        measured = run.measure(batch.to(self.team.device) for batch in sizes)
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
        if self.team.leads:
            try:
                self.results.epoch(row, self.sheet if best else None, self.options.tensorboard)
            except OutputError as error:  # pictures are no reason to lose a training
                listener.notice(str(error))
        listener.epoch(row, best)

    def _keep(self) -> None:
        """The epoch was the best so far: its weights are the ones that stay."""
        run = self.run
        if not self.team.leads:
            return
        entry = Entry(
            self.recipe.model,
            options=self.recipe.model_options,
            input_size=self.recipe.input_size or self.recipe.size,
            parameters=sum(p.numel() for p in run.model.parameters()),
            recipe=self.results.file.name,
            data=", ".join(self.dataset.sources),
        )
        weights = self.output / "weights.safetensors"
        temporary = weights.with_name(weights.name + ".tmp")
        try:
            save_weights(temporary, run.average, entry, torch.float32)
            temporary.replace(weights)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            self.listener.notice(f"{weights}: could not be written ({error}); make room")
        run.best_checkpoint = ""
        self._save(quietly=True)

    def _save(self, *, quietly: bool) -> None:
        """Write a checkpoint; `quietly` goes on with a notice where the disk is full."""
        run = self.run
        self.saved, self.saved_step = time.monotonic(), run.step
        if not self.team.leads:
            return
        loss = run.history[-1]["loss"] if run.history else math.nan
        try:
            path = self.shelf.save(run.epoch, run.step, loss, run.tensors(), run.state())
        except TrainingError as error:
            if not quietly:
                raise
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
            checkpoint cannot be used.
        DivergedError: the loss became nan or infinite; the best weights so far are kept.
    """
    options, listener = options or Options(), listener or Listener()
    with join(options.device) as team:
        if team.device.type == "cpu":
            keep_memory()
        if dataset is None and team.leads:
            dataset = open_dataset(file, options)
        team.wait()  # the first may have had to download
        if dataset is None:
            dataset = open_dataset(file, options)
        if not team.leads:
            listener = Listener()
        if dataset.near_grey:
            listener.notice(f"{dataset.near_grey} near-grey pictures left out")
        if dataset.unreadable:
            first = ", ".join(dataset.unreadable[:5])
            listener.notice(f"{len(dataset.unreadable)} unreadable pictures left out: {first}")
        return Training(file, dataset, output, options, listener, team).train()
