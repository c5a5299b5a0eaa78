"""What a training leaves behind beside its weights: results, plots and sheets of pictures."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import __version__
from ...errors import InputError
from ...evaluation import evaluate
from ...evaluation.sheets import write_contact_sheet
from ...models.describe import describe
from ...models.weights import load_model
from ...run.colorizer import Colorizer
from ...system.devices import device_name
from ..data.batch import Batch
from ..data.dataset import DataSet, Part
from ..data.loaders import DeviceFeed
from ..distributed import Team
from ..recipe import Recipe, recipe_values
from ..recipe_files import RecipeFile
from ..state import Run
from .plots import plot_history
from .report import write_file, write_results
from .tensorboard import TensorBoardLog

_CURVES_SECONDS = 30.0


def settings_key(recipe: Recipe, sources: Sequence[str]) -> str:
    """A hash of all that decides a training's weights; equal only for equal settings."""
    text = json.dumps([recipe_values(recipe), list(sources)], sort_keys=True)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def _pictures(feed: DeviceFeed, part: Part) -> Iterator[tuple[str, Tensor]]:
    """Names and R'G'B' `(3, S, S)` uint8 squares of a part, as it was trained on."""
    names = iter(part.names)
    for batch in feed.in_order(feed.batch_size):
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
        run: Run,
        team: Team,
    ) -> None:
        self.file, self.output, self.command = file, output, command
        self.dataset, self.run, self.team = dataset, run, team
        self.drawn = time.monotonic()
        self.board: TensorBoardLog | None = None

    def epoch(self, row: dict[str, float], sheet: Batch | None, tensorboard: bool) -> None:
        """After an epoch: a sheet of ten pictures when it was the best, curves now and then."""
        picture = None
        if sheet is not None:
            picture = self.output / "sheets" / f"epoch-{int(row['epoch']):03d}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            made = self.run.picture(self.run.average, sheet.to(self.team.device)).cpu()
            write_contact_sheet(sheet.grey, made, sheet.rgb, picture)
        if tensorboard:
            if self.board is None:
                self.board = TensorBoardLog(self.output / "tensorboard", int(row["epoch"]))
                self.board.recipe(recipe_values(self.file.recipe))
            self.board.epoch(row)
            if picture is not None:
                self.board.sheet(int(row["epoch"]), picture)
        if time.monotonic() - self.drawn > _CURVES_SECONDS:
            self.draw()

    def draw(self) -> None:
        """Draw `curves.png` anew."""
        if self.run.history:
            plot_history(
                self.run.history,
                self.output / "curves.png",
                self.file.name,
                self.run.stopping.best_epoch or None,
            )
        self.drawn = time.monotonic()

    def collect(self, status: str, reason: str) -> dict[str, Any]:
        """Everything about the training as plain values, but for the test part's figures."""
        run, recipe, dataset = self.run, self.file.recipe, self.dataset
        best = next((r for r in run.history if r["epoch"] == run.stopping.best_epoch), {})
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
            "device": device_name(self.team.device),
            "processes": self.team.world,
            "versions": {
                "vidcolor": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "wall_seconds": run.seconds,
            "images_per_second": run.pictures / max(run.training_seconds, 1e-9),
            "epochs": len(run.history),
            "best_epoch": run.stopping.best_epoch,
            "monitor": recipe.monitor,
            "note": run.objective.note,
            "best": best,
            "history": run.history,
            "data": {
                "sources": dataset.sources,
                "train": len(dataset.train.names),
                "validation": len(dataset.validation.names),
                "test": len(dataset.test.names),
                "near_grey": dataset.near_grey,
                "unreadable": dataset.unreadable,
            },
            "parameters": sum(p.numel() for p in run.model.parameters()),
            "gmacs": describe(run.model, recipe.size).macs / 1e9,
            "test": None,
            "test_measures": None,
        }
        return found

    def measure_test(self, feed: DeviceFeed) -> dict[str, Any]:
        """The best weights on the test part, for the results: `test`, as `vidcolor run` uses them,
        and `test_measures` by the objective. No table where every picture is near-grey."""
        run, part, device = self.run, self.dataset.test, self.team.device
        weights = self.output / "weights.safetensors"
        size = feed.store.shape[-1]
        colorizer = Colorizer(weights=weights, device=str(device), precision="fp32")
        found: dict[str, Any] = {}
        try:
            table = evaluate(
                colorizer, _pictures(feed, part), size=size, name=self.file.recipe.model
            )
            squares = f"{table.num_pictures} pictures, made {size}x{size} as in training"
            found["test"] = {**table.to_dict(), "notes": [squares, *table.notes[1:]]}
        except InputError:
            found["test"] = None
        model = load_model(file=weights)[0].to(device)
        batches = (batch.to(device) for batch in feed.in_order(feed.batch_size))
        found["test_measures"] = run.measure(model, batches, Team(0, 1, device))
        names = part.names[: self.file.estimations]
        if names:
            first = itertools.islice(feed.in_order(10), math.ceil(len(names) / 10))
            made = torch.cat([run.picture(model, batch.to(device)) for batch in first])
            self._write_estimations(names, made[: len(names)])
        return found

    def _write_estimations(self, names: list[str], made: Tensor) -> None:
        """Test pictures' predictions as `(N, S, S, 3)` uint8 R'G'B', and their names."""
        pictures = (made * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        np.save(self.output / "estimations_test.npy", pictures)
        # a file's name need not be UTF-8
        text = ("\n".join(names) + "\n").encode(errors="backslashreplace")
        write_file(self.output / "test_images.txt", text)

    def write(self, results: dict[str, Any]) -> None:
        """Write the results, the summary and the curves."""
        self.draw()
        write_results(self.output, results)
        if self.board is not None:
            self.board.close()
            self.board = None
