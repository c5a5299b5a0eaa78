"""Bring a source's batches to the device: a DataLoader decodes, a CUDA stream copies ahead."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, IterableDataset

from ..frames import LumaBatch
from ..system.devices import is_out_of_memory
from ..system.stages import Stage


class Source(Protocol):
    """What `load` takes; `FilmSource` is one."""

    def batches(self, batch_size: int) -> Generator[LumaBatch, None, None]:
        """The batches in order."""
        ...


class _Batches(IterableDataset[LumaBatch]):
    """An iterator as a dataset; its items are whole batches."""

    def __init__(self, batches: Iterator[LumaBatch]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[LumaBatch]:
        return self._batches


def load(
    source: Source, *, batch_size: int, device: torch.device
) -> Generator[LumaBatch, None, None]:
    """Decode a source in the calling thread; FFmpeg's decoders have threads of their own.

    Args:
        source: gives luma as `(B, 1, H, W)` uint8 or uint16.
        batch_size: frames in a batch, at least 1.
        device: where the batches will be copied; for CUDA they lie in page-locked memory.

    Close the iterator to stop early; that closes the source.

    Raises:
        VidcolorError: as the source raises it.
    """
    with closing(source.batches(batch_size)) as batches:
        yield from DataLoader(
            _Batches(batches),
            batch_size=None,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # it draws a seed, else from the caller's random numbers
        )


@dataclass(frozen=True)
class _Copied:
    """A batch on the device, and what its users have to wait for."""

    batch: LumaBatch
    done: torch.cuda.Event | None

    def __len__(self) -> int:
        return len(self.batch)


class _Copier:
    """Copies batches to a device; to CUDA on a stream of its own, while the model works."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if cuda else None

    def copy(self, batch: LumaBatch) -> Iterator[_Copied]:
        """Begin to copy a batch."""
        if self._stream is None:
            yield _Copied(batch.to(self._device), None)
            return
        try:
            copied = self._copy_on(self._stream, batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            copied = _Copied(batch, None)  # whoever works on it copies it, in parts if need be
        yield copied

    def _copy_on(self, stream: torch.cuda.Stream, batch: LumaBatch) -> _Copied:
        with torch.cuda.device(self._device), torch.cuda.stream(stream):
            # The pinned original may go at once: torch keeps its pages until the copy is done.
            copied = batch.to(self._device, non_blocking=True)
            done = torch.cuda.Event()
            done.record(stream)
        return _Copied(copied, done)

    def receive(self, copied: _Copied) -> Iterator[LumaBatch]:
        """The batch, for work on the calling thread's stream."""
        if copied.done is not None:
            stream = torch.cuda.current_stream(self._device)
            # Kernels of this stream begin after the copy, and the memory, which belongs to the
            # copying stream, is not used again before they have read it.
            stream.wait_event(copied.done)
            copied.batch.luma.record_stream(stream)
        yield copied.batch


def copy_stages(device: torch.device) -> list[Stage[Any, Any]]:
    """Stages that copy batches to a device ahead of use: `copy` runs in the thread before it,
    `receive` in a new one that later stages can join."""
    copier = _Copier(device)
    return [Stage("copy", copier.copy, joined=True), Stage("receive", copier.receive)]
