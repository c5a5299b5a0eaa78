"""The load of other work, the threads beside it, and forecasts."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from vidcolor.system.devices import processors
from vidcolor.training import pace
from vidcolor.training.options import TrainCallbacks, TrainForecast, TrainProgress
from vidcolor.training.pace import OtherLoad, Pace, threads_beside
from vidcolor.training.recipe import Recipe


def test_a_busy_machine_leaves_fewer_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "processors", lambda: 4)
    assert [threads_beside(load, 4) for load in (0, 0.4, 0.6, 2, 3.9, 9)] == [4, 4, 3, 2, 1, 1]
    assert threads_beside(1.0, 2) == 2  # the number that torch was given is never exceeded


def test_other_work_is_measured_and_this_process_is_not() -> None:
    """A busy child that nobody waits for is other work; a loop here is not."""
    load = OtherLoad()
    code = "while True: pass"
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(0.5)
        load.measure()
        time.sleep(1.0)
        beside = load.measure()
    finally:
        child.kill()
        child.wait()
    assert 0.2 < beside <= processors() + 0.1

    load.measure()
    before, end = time.process_time(), time.monotonic() + 1.0
    while time.monotonic() < end:
        pass
    own = time.process_time() - before
    # this process's own share of that second is not in it
    assert load.measure() + own <= processors() + 0.2


class _Steps:
    """As much of a state as a report reads."""

    epoch = 0
    batch = 0


def test_a_forecast_counts_validations_and_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    forecasts: list[TrainForecast] = []
    seen: list[TrainProgress] = []
    callbacks = TrainCallbacks(on_forecast=forecasts.append, on_progress=seen.append)
    recipe = Recipe("plain_cnn", batch_size=10, epochs=3, size=32, fit="crop", input_size=64)
    measured = Pace(recipe, 200, 30, torch.device("cpu"), callbacks)
    state = _Steps()
    for step in range(1, 15):
        clock[0] += 5.0 if step == 1 else 1.0  # the first step is slow, and not counted
        state.batch = step
        measured.count(10)
        measured.report(state, 0.5)  # type: ignore[arg-type]
    (forecast,) = forecasts
    assert (forecast.steps, forecast.rate) == (10, 10.0)
    # 490 pictures more, and three validations of 30 pictures of four times the pixels, without
    # the way back
    assert forecast.seconds == pytest.approx((490 + 3 * 30 * 4 / 3) / 10)
    assert forecast.memory > 2**20
    assert seen[-1].rate == pytest.approx(140 / 18)
    measured.validation_seconds = 7.0
    clock[0] += 1
    measured.report(state, 0.5)  # type: ignore[arg-type]
    assert seen[-1].seconds_left == pytest.approx(460 / (140 / 19) + 21)
    assert len(forecasts) == 1
