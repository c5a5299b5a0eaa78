"""How fast a training goes, what it will take, and how many threads it should have."""

from __future__ import annotations

import os
import time

import psutil
import torch

from ..system.devices import processors
from ..system.memory import peak_resident_bytes, resident_bytes
from .options import TrainCallbacks, TrainForecast, TrainProgress
from .recipe import Recipe
from .state import TrainState

_REPORT_SECONDS = 0.5
_FORECAST_SECONDS = 10.0  # measured before a forecast
_FORECAST_STEPS = 3
_LOAD_SECONDS = 0.5  # shortest time over which the load of the machine is measured


class OtherLoad:
    """Measures how many processors everything but this process keeps busy."""

    def __init__(self) -> None:
        self._before = self._now()

    def _now(self) -> tuple[float, float, float]:
        machine, own = psutil.cpu_times(), os.times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        # guests are counted among the users; the time that a host takes away is not ours either
        total = sum(machine) - getattr(machine, "guest", 0.0) - getattr(machine, "guest_nice", 0.0)
        return time.monotonic(), total - idle, sum(own[:4])

    def measure(self) -> float:
        """Processors kept busy by others since the last call, or since the beginning."""
        missing = _LOAD_SECONDS - (time.monotonic() - self._before[0])
        if missing > 0:
            time.sleep(missing)
        before, self._before = self._before, self._now()
        seconds, busy, own = (b - a for a, b in zip(before, self._before, strict=True))
        return max(0.0, (busy - own) / seconds)


def threads_beside(load: float, most: int) -> int:
    """Threads for a training beside work that keeps `load` processors busy.

    The threads of a training wait for each other at every layer, so one that has to share its
    processor holds up the others.

    Args:
        load: see `OtherLoad`.
        most: threads on an idle machine.

    >>> [threads_beside(load, 2) for load in (0.0, 0.4, 0.6, 5.0)]
    [2, 2, 1, 1]
    """
    return max(1, min(most, int(processors() - load + 0.5)))


class Pace:
    """Measures the speed of a training, reports its progress, and forecasts its end.

    Args:
        recipe: the settings.
        epoch_size: training pictures of an epoch.
        validation: validation pictures.
        device: of the training.
        callbacks: to report to.

    Attributes:
        validation_seconds: that the last validation took; before the first, a third of the time
            that training takes for as many pixels.
    """

    def __init__(
        self,
        recipe: Recipe,
        epoch_size: int,
        validation: int,
        device: torch.device,
        callbacks: TrainCallbacks,
    ) -> None:
        self.recipe, self.epoch_size, self.device = recipe, epoch_size, device
        self.callbacks = callbacks
        self.validation_seconds: float | None = None
        larger = max(recipe.input_size, recipe.size) if recipe.fit == "crop" else recipe.size
        self._validation = validation * (larger / recipe.size) ** 2 / 3
        self._told = False
        self.start_epoch()

    def start_epoch(self) -> None:
        """Begin to measure the steps of an epoch."""
        self.began = self._shown = time.monotonic()
        self._first: tuple[float, int] | None = None  # the time after the first step
        self.pictures = self._steps = 0

    def count(self, pictures: int) -> None:
        """Count a step of so many pictures."""
        self.pictures += pictures
        self._steps += 1

    def report(self, state: TrainState, loss: float) -> None:
        """Report the progress twice a second, and once the forecast.

        Args:
            state: whose steps are done, not just queued.
            loss: the epoch's mean training loss.
        """
        now = time.monotonic()
        if self._first is None:
            self._first = now, self._steps
        steps, elapsed = self._steps - self._first[1], now - self._first[0]
        if not self._told and steps >= _FORECAST_STEPS and elapsed >= _FORECAST_SECONDS:
            self._told = True
            rate = steps * self.recipe.batch_size / elapsed
            left = self._seconds_left(state, rate)
            forecast = TrainForecast(left, rate, steps, self._memory())
            self.callbacks.on_forecast(forecast)
        if now - self._shown > _REPORT_SECONDS:
            self._shown = now
            rate = self.pictures / (now - self.began)
            self.callbacks.on_progress(
                TrainProgress(
                    state.epoch + 1,
                    self.recipe.epochs,
                    self._done(state),
                    self.epoch_size,
                    loss,
                    rate,
                    self._seconds_left(state, rate),
                )
            )

    def _done(self, state: TrainState) -> int:
        return min(state.batch * self.recipe.batch_size, self.epoch_size)

    def _seconds_left(self, state: TrainState, rate: float) -> float:
        epochs = self.recipe.epochs - state.epoch
        validation = self.validation_seconds
        if validation is None:
            validation = self._validation / rate
        return (self.epoch_size * epochs - self._done(state)) / rate + epochs * validation

    def _memory(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device)
        own = peak_resident_bytes() or resident_bytes()
        for child in psutil.Process().children(recursive=True):
            try:
                own += child.memory_full_info().uss  # the pictures are shared with this process
            except psutil.Error:
                continue  # it has ended
        return own
