"""Log a training for TensorBoard, an extra: `pip install 'vidcolor[tensorboard]'`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import OutputError, TrainingError
from .tables import table

_RUN = {"lr", "seconds", "images_per_second"}  # not measures


def _tag(key: str) -> str:
    """TensorBoard groups by the text before the slash; train and validation share a group."""
    if key.startswith("train_"):
        return f"{key.removeprefix('train_')}/train"
    return f"run/{key}" if key in _RUN else f"{key}/validation"


class TensorBoardLog:
    """Scalars of each epoch, the contact sheets, and the recipe as text; `close` it at the end.

    Args:
        folder: of the event files; created if it does not exist.
        first_epoch: the epoch that a resumed training continues with; what was logged from there
            on is not shown.

    Raises:
        TrainingError: the package tensorboard is not installed.
        OutputError: the folder cannot be written; every method may raise it.
    """

    def __init__(self, folder: Path, first_epoch: int = 1) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                f"the TensorBoard log needs the package tensorboard ({error}); run "
                "pip install 'vidcolor[tensorboard]', or train without --tensorboard"
            ) from error
        self.folder = folder
        purge = first_epoch if first_epoch > 1 else None
        with self._writing():
            self._writer = SummaryWriter(str(folder), purge_step=purge)

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
        text = table(["key", "value"], [[key, str(value)] for key, value in values.items()])
        with self._writing():
            self._writer.add_text("recipe", text)

    def epoch(self, row: Mapping[str, Any], sheet: Path | None = None) -> None:
        """Log a row of the history, and a picture file.

        nan is logged, to show that a run diverged; None is not.
        """
        from PIL import Image

        epoch = int(row["epoch"])
        with self._writing():
            for key, value in row.items():
                if key != "epoch" and value is not None:
                    self._writer.add_scalar(_tag(key), float(value), epoch)
            if sheet is not None:
                with Image.open(sheet) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                self._writer.add_image("sheet", pixels, epoch, dataformats="HWC")
            self._writer.flush()  # shown while the training runs

    def close(self) -> None:
        """Write what is buffered and end the log."""
        with self._writing():
            self._writer.close()
