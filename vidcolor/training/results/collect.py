"""Collect a training's results and write them: JSON, summary, curves and contact sheets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import __version__
from ...errors import InputError, TrainingError, WeightsError
from ...evaluation import EvalTable, evaluate
from ...evaluation.sheets import write_contact_sheet
from ...models import ColorModel
from ...models.describe import describe
from ...models.weights import load_model
from ...run.colorizer import Colorizer
from ...system.devices import device_name
from ..data.batch import Batch
from ..data.dataset import PARTS, DataSet, Part
from ..data.loaders import DeviceLoader
from ..distributed import Distributed
from ..options import TrainHeader
from ..prepare import eval_loader, start_weights
from ..recipe import Recipe, recipe_values
from ..recipe_file import RecipeFile
from ..state import TrainState
from .plots import plot_history
from .report import write_file, write_results
from .tensorboard import TensorBoardLog

_CURVES_SECONDS = 30.0


def settings_key(recipe: Recipe, sources: Sequence[str]) -> str:
    """A hash of everything that decides a training's weights."""
    text = json.dumps([recipe_values(recipe), list(sources)], sort_keys=True)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def _pictures(loader: DeviceLoader, part: Part) -> Iterator[tuple[str, Tensor]]:
    """Names and R'G'B' `(3, S, S)` uint8 squares of a part, sized as in training."""
    names = iter(part.names)
    for batch in loader.in_order(loader.batch_size):
        for rgb in (batch.rgb * 255).round().to(torch.uint8):
            yield next(names), rgb


class Results:
    """Collects and writes `results.json`, `summary.md`, `curves.png`, `sheets/` and TensorBoard."""

    def __init__(
        self,
        file: RecipeFile,
        output: Path,
        command: str,
        dataset: DataSet,
        state: TrainState,
        distributed: Distributed,
    ) -> None:
        self.file, self.output, self.command = file, output, command
        self.dataset, self.state, self.distributed = dataset, state, distributed
        self.drawn = time.monotonic()
        self.board: TensorBoardLog | None = None

    def header(self, start: str, steps: int) -> TrainHeader:
        """What is trained on what.

        Args:
            start: the first weights, in words.
            steps: of an epoch.
        """
        recipe, state, note = self.file.recipe, self.state, self.state.objective.note
        device = self.distributed.device
        return TrainHeader(
            recipe=self.file.name,
            title=self.file.title,
            model=recipe.model,
            parameters=sum(p.numel() for p in state.model.parameters()),
            start=start,
            sources=tuple(self.dataset.sources),
            parts={part: len(getattr(self.dataset, part)) for part in PARTS},
            device=device_name(device),
            threads=torch.get_num_threads() if device.type == "cpu" else 0,
            processes=self.distributed.world,
            epochs=recipe.epochs,
            steps=recipe.epochs * steps,
            batch_size=recipe.batch_size,
            size=recipe.size,
            objective=recipe.objective,
            precision=recipe.precision,
            note=note,
        )

    def epoch(self, row: dict[str, float], sheet: Batch | None, tensorboard: bool) -> None:
        """Write an epoch: a contact sheet of `sheet`, and curves every 30 seconds.

        Args:
            row: of the history.
            sheet: pictures of the validation if the epoch was the best, else None.
            tensorboard: log the epoch for TensorBoard too.
        """
        picture = None
        if sheet is not None:
            picture = self._sheet(self.state.average, sheet, f"epoch-{int(row['epoch']):03d}")
        if tensorboard:
            if self.board is None:
                self.board = TensorBoardLog(self.output / "tensorboard", int(row["epoch"]))
                self.board.recipe(recipe_values(self.file.recipe))
            self.board.epoch(row, picture)
        if time.monotonic() - self.drawn > _CURVES_SECONDS:
            self.draw()

    def _sheet(self, model: ColorModel, batch: Batch, name: str) -> Path:
        """Write `sheets/NAME.png`: gray, prediction and truth of the pictures of `batch`."""
        path = self.output / "sheets" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        made = self.state.predict(model, batch.to(self.distributed.device)).cpu()
        write_contact_sheet(batch.gray, made, batch.rgb, path)
        return path

    def draw(self) -> None:
        """Write `curves.png`."""
        stopping = self.state.stopping
        if self.state.history:
            plot_history(
                self.state.history,
                self.output / "curves.png",
                self.file.name,
                stopping.best_epoch if stopping.best is not None else None,
            )
        self.drawn = time.monotonic()

    def collect(self, status: str, reason: str) -> dict[str, Any]:
        """The training as JSON values, without the measures of the test part."""
        state, recipe, dataset = self.state, self.file.recipe, self.dataset
        best = next((r for r in state.history if r["epoch"] == state.stopping.best_epoch), {})
        found: dict[str, Any] = {
            "reported": self.file.reported,
            "changed": self.file.changed,
            "settings": settings_key(recipe, dataset.sources),
            "recipe": {
                "name": self.file.name,
                "title": self.file.title,
                "document": self.file.document,
                **recipe_values(recipe),
            },
            "command": self.command,
            "status": status,
            "reason": reason,
            "device": device_name(self.distributed.device),
            "processes": self.distributed.world,
            "versions": {
                "vidcolor": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "wall_seconds": state.seconds,
            "images_per_second": state.pictures / max(state.training_seconds, 1e-9),
            "epochs": sum(row["epoch"] > 0 for row in state.history),  # 0: the starting weights
            "best_epoch": state.stopping.best_epoch,
            "monitor": recipe.monitor,
            "note": state.objective.note,
            "best": best,
            "history": state.history,
            "data": {
                "sources": dataset.sources,
                "train": len(dataset.train.names),
                "validation": len(dataset.validation.names),
                "test": len(dataset.test.names),
                "near_gray": dataset.near_gray,
                "unreadable": dataset.unreadable,
            },
            "parameters": sum(p.numel() for p in state.model.parameters()),
            "gmacs": describe(state.model, recipe.size).macs / 1e9,
            "test": None,
            "test_measures": None,
        }
        return found

    def measure_test(self, loader: DeviceLoader) -> dict[str, Any]:
        """Measure the best weights on the test part, and write sheets of it and of the training's.

        Returns:
            `test`: the table that `vidcolor eval` prints, None if all pictures are near-gray; with
            starting weights also their row, `start`;
            `test_measures`: those of the objective.
        """
        state, part, device = self.state, self.dataset.test, self.distributed.device
        weights, recipe = self.output / "weights.safetensors", self.file.recipe
        size = loader.store.shape[-1]
        found: dict[str, Any] = {}
        try:
            table = self._table(None, weights, loader, recipe.model)
            squares = f"{table.num_pictures} pictures, made {size}x{size} as in training"
            found["test"] = {**table.to_dict(), "notes": [squares, *table.notes[1:]]}
            with suppress(TrainingError, WeightsError):  # they may be gone since the start
                if recipe.init:
                    before = self._table(*start_weights(recipe), loader, "start")
                    found["test"]["rows"].insert(-1, dataclasses.asdict(before.rows[-1]))
        except InputError:
            found["test"] = None
        model = load_model(file=weights)[0].to(device)
        batches = (batch.to(device) for batch in loader.in_order(loader.batch_size))
        found["test_measures"] = state.evaluate(model, batches, Distributed(0, 1, device))
        for name, shown in (("train", self.dataset.train), ("test", part)):
            few = eval_loader(recipe, Part(shown.names[:10], shown.pictures[:10]))
            self._sheet(model, next(iter(few.in_order(10))), name)
        names = part.names[: self.file.estimations]
        if names:
            first = islice(loader.in_order(10), math.ceil(len(names) / 10))
            made = torch.cat([state.predict(model, batch.to(device)) for batch in first])
            self._write_estimations(names, made[: len(names)])
        return found

    def _table(
        self, name: str | None, file: Path | None, loader: DeviceLoader, title: str
    ) -> EvalTable:
        """Measure weights on the test part, by their name or file, in a row called `title`."""
        device = str(self.distributed.device)
        colorizer = Colorizer(name, weights=file, device=device, precision="fp32")
        pictures = _pictures(loader, self.dataset.test)
        return evaluate(colorizer, pictures, size=loader.store.shape[-1], name=title)

    def _write_estimations(self, names: list[str], made: Tensor) -> None:
        """Write predictions of test pictures, `(N, S, S, 3)` uint8 R'G'B', and their names."""
        pictures = (made * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        np.save(self.output / "estimations_test.npy", pictures)
        write_file(self.output / "test_images.txt", "\n".join(names) + "\n")

    def write(self, results: dict[str, Any]) -> None:
        """Write the results, the summary and the curves."""
        self.draw()
        write_results(self.output, results)
        if self.board is not None:
            self.board.close()
            self.board = None
