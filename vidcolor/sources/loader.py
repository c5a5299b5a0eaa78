"""Bring a source's batches to the device: worker processes decode, a thread copies ahead."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..errors import VidcolorError
from ..frames import LumaBatch
from ..system.threads import ahead


class Source(Protocol):
    """What `load` takes: `FilmSource` and `PictureSource` are such."""

    def batches(self, batch_size: int, worker: int = 0, workers: int = 1) -> Iterator[LumaBatch]:
        """Every `workers`-th batch from number `worker` on, in order."""
        ...


class _Batches(IterableDataset):
    """The batches of a source, each worker giving its own; a VidcolorError is an item, the last.

    DataLoader would wrap an exception's message in the worker's traceback; as an item it arrives
    as it was raised.
    """

    def __init__(self, source: Source, batch_size: int) -> None:
        self.source, self.batch_size = source, batch_size

    def __iter__(self) -> Iterator[LumaBatch | VidcolorError]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        try:
            yield from self.source.batches(self.batch_size, worker, workers)
        except VidcolorError as error:
            # A worker stops only after its own complete batches, so this comes in its turn.
            yield error


class _Loader(DataLoader):
    def check_worker_number_rationality(self) -> None:
        """No warning about more workers than processors: the caller chose the number."""


def _start_worker(_: int) -> None:
    # Ctrl-C reaches the whole process group; the parent alone ends the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _context() -> Any:
    """How workers start.

    Not by fork: this process has threads by then (the prefetcher, OpenMP, the progress display,
    CUDA), and a forked copy of one that holds a lock hangs; Python 3.12 warns of it. A fork server
    imports torch once, about 2 s, while the model loads, and then gives a worker in 0.05 s, where
    spawn would pay the import for each worker of each film.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vidcolor.sources"])
    return context


class _Copier:
    """Copies batches to a device ahead of use; on CUDA on a stream of its own, while the present
    batch is worked on."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def copied(self, batch: LumaBatch) -> tuple[LumaBatch, torch.cuda.Event | None]:
        """The batch on the device, and what its users have to wait for."""
        if self._stream is None:
            return batch.to(self._device), None
        try:
            return self._copy_on(self._stream, batch)
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            return batch, None  # the consumer has its ways when memory runs out

    def _copy_on(
        self, stream: torch.cuda.Stream, batch: LumaBatch
    ) -> tuple[LumaBatch, torch.cuda.Event]:
        with torch.cuda.device(self._device), torch.cuda.stream(stream):
            # The pinned original may go at once: torch keeps its pages until the copy is done.
            copied = batch.to(self._device, non_blocking=True)
            done = torch.cuda.Event()
            done.record(stream)
        return copied, done

    def ready(self, batch: LumaBatch, done: torch.cuda.Event | None) -> LumaBatch:
        """The batch, for work on the present stream."""
        if done is not None:
            stream = torch.cuda.current_stream(self._device)
            # The consumer's kernels begin after the copy, and the memory, which belongs to
            # the copying stream, is not used again before they have read it.
            stream.wait_event(done)
            batch.luma.record_stream(stream)
        return batch


def _until_error(
    items: Iterator[LumaBatch | VidcolorError], errors: list[VidcolorError]
) -> Iterator[LumaBatch]:
    """The batches; an error, which is the last item, goes to `errors`."""
    for item in items:
        if isinstance(item, VidcolorError):
            errors.append(item)
            return
        yield item


def load(
    source: Source,
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
    through: Callable[[Iterator[LumaBatch]], Iterator[LumaBatch]] | None = None,
    prefetch: bool = True,
) -> Generator[LumaBatch, None, None]:
    """A source's batches on a device, in order.

    Args:
        source: its luma arrives on `device` as `(B, 1, H, W)` uint8 or uint16.
        batch_size: frames a batch, at least 1.
        workers: decoding processes; 0 decodes in the thread
            that the batches come from. Each imports the calling
            program anew, so with workers a script needs `if __name__ == "__main__":`.
        device: where the batches go.
        through: a stage on the way there, such as one that marks cuts: it takes the batches in
            order and gives them on, also in order; it runs in that thread.
        prefetch: work ahead in a thread of its own; else in the caller's, when a batch is asked
            for.

    Close the iterator (or let it go) to stop early: that ends its thread and processes.

    Raises:
        VidcolorError: as the source raised it, with its one-line message.
    """
    pin = device.type == "cuda"
    more: dict[str, Any] = {}
    if workers > 0:
        more = {
            "prefetch_factor": 2,
            "multiprocessing_context": _context(),
            "worker_init_fn": _start_worker,
        }
    loader = _Loader(
        _Batches(source, batch_size),
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
        **more,
    )

    def items() -> Generator[LumaBatch | VidcolorError]:
        if through is None:
            yield from loader
            return
        errors: list[VidcolorError] = []
        yield from through(_until_error(iter(loader), errors))
        yield from errors

    copier = _Copier(device)

    def copied() -> Generator[tuple[LumaBatch, torch.cuda.Event | None]]:
        with closing(items()) as found:  # that ends the workers
            for item in found:
                if isinstance(item, VidcolorError):
                    raise item
                yield copier.copied(item)

    with closing(ahead(copied, "prefetcher") if prefetch else copied()) as batches:
        for batch, done in batches:
            yield copier.ready(batch, done)
