"""Keep the weights of the best epoch in a file, also while the disk is full."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import OutputError
from ..models.entry import Entry
from ..models.weights import save_weights
from .checkpoint import load_checkpoint


class BestWeights:
    """Writes the weights of the best epoch so far.

    Args:
        path: of the weights.
        entry: what is recorded with them.
        on_notice: called with a line if they cannot be written now.
    """

    def __init__(self, path: Path, entry: Entry, on_notice: Callable[[str], None]) -> None:
        self.path, self.entry, self.on_notice = path, entry, on_notice
        self._pending: dict[str, Tensor] | None = None

    def keep(self, tensors: Mapping[str, Tensor]) -> None:
        """Write these weights; if that fails, keep a copy for `retry`."""
        self._pending = {k: v.detach().cpu().clone() for k, v in tensors.items()}
        self.retry(quietly=True)

    def retry(self, *, quietly: bool) -> None:
        """Write what could not be written; `quietly`: if that fails again, only say so.

        Raises:
            OutputError: the file cannot be written, and not `quietly`.
        """
        if self._pending is None:
            return
        try:
            save_weights(self.path, self._pending, self.entry, torch.float32)
        except OutputError as error:
            if not quietly:
                raise
            self.on_notice(str(error))
        else:
            self._pending = None

    def restore(self, checkpoint: Path, prefix: str) -> None:
        """Write the weights from a checkpoint if their file was removed.

        Args:
            checkpoint: of the best epoch.
            prefix: of the names of its tensors.
        """
        if self.path.exists() or not checkpoint.is_file():
            return
        tensors, _ = load_checkpoint(checkpoint)
        self.keep({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
