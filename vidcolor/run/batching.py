"""Batch sizes, and the one answer to running out of memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

import torch

from ..system.devices import is_out_of_memory, out_of_memory
from ..system.stages import Stage

logger = logging.getLogger(__name__)


class Divisible(Protocol):
    """Frames that can be worked on in parts and on another device."""

    def __len__(self) -> int: ...

    def __getitem__(self: Part, part: slice, /) -> Part: ...

    def to(self: Part, device: torch.device, /) -> Part: ...


class Movable(Protocol):
    """What works on batches: a `Colorizer`."""

    @property
    def device(self) -> torch.device: ...

    def on(self: Model, device: torch.device, /) -> Model:
        """The same on another device; itself is not changed."""
        ...


Part = TypeVar("Part", bound=Divisible)
Model = TypeVar("Model", bound=Movable)
Result = TypeVar("Result")


class BatchRunner(Generic[Model]):
    """Runs work on batches of one film or job, and on parts of them if memory runs out.

    Out of memory halves the batch, down to one frame; the size that fits is kept for all later
    batches of all stages, and from then on only one thread works at a time. If one frame alone does
    not fit, all further work is done on the CPU. Each step is logged as a warning.

    Args:
        model: passed to the work; its device is where the batches go.

    Attributes:
        largest: frames in a batch at most; None as long as memory has not run out.
        model: the one in use: the one given, or its copy on the CPU.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.largest: int | None = None
        self._changed = threading.Condition()
        self._running = 0

    def stage(
        self, name: str, work: Callable[[Model, Part], Result], **options: Any
    ) -> Stage[Part, Result]:
        """A stage that does `work` by `run`; `options` are fields of `Stage`."""
        return Stage(name, lambda batch: self.run(work, batch), **options)

    def run(self, work: Callable[[Model, Part], Result], batch: Part) -> Iterator[Result]:
        """Work on a batch, or on parts of it; several threads may call it.

        Args:
            work: called with the model and a part on its device; each frame is worked on once, in
                order. If it raises because memory ran out, it is called again for the same frames.
            batch: an empty one gives no result.

        Yields:
            The results of `work`, in the order of the frames.

        Raises:
            DeviceError: memory does not suffice for one frame on the CPU.
        """
        first, count, alone, model = 0, 0, False, self.model
        failed: RuntimeError | None = None
        while first < len(batch):
            if failed is not None:  # not in the handler, which would hold on to the memory
                self._reduce(count, model, alone, failed)
                failed = None
            count, model = min(len(batch) - first, self.largest or len(batch)), self.model
            try:
                with self._turn() as alone:
                    result = work(model, batch[first : first + count].to(model.device))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                failed = error.with_traceback(None)
                continue
            first += count
            yield result
            del result

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Hold a turn; once memory was short, one at a time. Gives whether no other is held."""
        with self._changed:
            alone = self.largest is not None
            self._changed.wait_for(lambda: not (alone and self._running))
            self._running += 1
        try:
            yield alone
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _reduce(self, count: int, model: Model, alone: bool, error: RuntimeError) -> None:
        """Take smaller batches, or the CPU, because `count` frames did not fit."""
        device = model.device
        with self._changed:
            if model is not self.model:
                return  # another thread has gone to the CPU meanwhile
            if count > 1 or not alone:
                half = max(1, count // 2)
                if self.largest is None or self.largest > half:
                    self.largest = half
                    logger.warning(
                        "out of memory on %s: continuing with batches of %d", device, half
                    )
            elif device.type != "cpu":
                logger.warning("out of memory on %s for one frame: continuing on the CPU", device)
                self.model = self.model.on(torch.device("cpu"))
            else:
                raise out_of_memory() from error
        torch.cuda.empty_cache()  # nothing where CUDA is not in use
