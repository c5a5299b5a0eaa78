"""A training's log for TensorBoard, an extra: `pip install 'vidcolor[tensorboard]'`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ...errors import OutputError, TrainingError

_RUN = {"lr", "seconds", "images_per_second"}  # facts of the run, beside its measures


def _tag(key: str) -> str:
    """TensorBoard groups by what stands before the slash, and overlays nothing across groups."""
    if key.startswith("train_"):
        return f"{key.removeprefix('train_')}/train"
    return f"run/{key}" if key in _RUN else f"{key}/validation"


class TensorBoardLog:
    """Scalars of each epoch, the sheet at every best, and the recipe as text.

    Use it as a context manager, or call `close`, which writes what is still held back.
    """

    def __init__(self, folder: Path, first_epoch: int = 1) -> None:
        """Open a log in `folder`, which is made if need be.

        Args:
            folder: of the event files; `tensorboard --logdir` takes it or one above it.
            first_epoch: the epoch that a resumed training goes on with; what an earlier process
                logged from there on is then not shown.

        Raises:
            TrainingError: the package tensorboard is not installed.
            OutputError: the folder cannot be written.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                f"the TensorBoard log needs the package tensorboard ({error}); run "
                "pip install 'vidcolor[tensorboard]', or train without --tensorboard"
            ) from error
        self.folder = folder
        with self._writing():
            self._writer = SummaryWriter(
                str(folder), purge_step=first_epoch if first_epoch > 1 else None
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self.folder}: the TensorBoard log cannot be written "
                f"({error.strerror or error}); free some space, check the folder's permissions, "
                "or train without --tensorboard"
            ) from error

    def recipe(self, values: Mapping[str, Any]) -> None:
        """Log the settings of the training, as a table of keys and values."""
        lines = [f"| {key} | {value} |" for key, value in values.items()]
        with self._writing():
            self._writer.add_text("recipe", "\n".join(["| key | value |", "| --- | --- |", *lines]))

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Log a row of the history: every number in it but `epoch`, which is the step.

        nan is logged, so that a diverged run shows as such; None is passed over.
        """
        with self._writing():
            for key, value in row.items():
                if key != "epoch" and value is not None:
                    self._writer.add_scalar(_tag(key), float(value), int(row["epoch"]))
            self._writer.flush()  # someone looks at it while the training runs

    def sheet(self, epoch: int, path: Path) -> None:
        """Log the picture file `path`, such as the sheet of the best epoch so far."""
        from PIL import Image

        with self._writing():
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self._writer.add_image("sheet", pixels, epoch, dataformats="HWC")

    def close(self) -> None:
        """Write what is held back and end the log."""
        with self._writing():
            self._writer.close()

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
