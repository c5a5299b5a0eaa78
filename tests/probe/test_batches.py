"""Batch sizes: those measured, those that do not fit, the largest and the fastest."""

from __future__ import annotations

import time

import pytest
import torch

from vidcolor.models.base import ColorModel
from vidcolor.probe import batches
from vidcolor.probe.batches import (
    Row,
    fastest_batch,
    largest_batch,
    measure_batches,
    seconds_a_call,
)
from vidcolor.run.colorizer import Colorizer

CPU = torch.device("cpu")
MIB = 1 << 20


def row(batch: int, fps: float, mib: float) -> Row:
    return Row(batch, 1.0, 1.0, fps, int((500 + mib) * MIB), int(mib * MIB))


def test_the_batches_are_measured() -> None:
    rows = measure_batches(Colorizer("_ramp", device="cpu", size=64), 64, 48, [4, 1, 4], least=0)
    assert [each.batch for each in rows] == [1, 4]
    for each in rows:
        assert each.model_ms is not None and each.compose_ms is not None and each.fps is not None
        assert each.model_ms > 0 and each.compose_ms > 0
        assert each.fps == pytest.approx(1000 / (each.model_ms + each.compose_ms))
        assert each.taken_bytes is not None and each.taken_bytes > 50 * MIB  # torch alone
        assert each.working_bytes is not None and each.working_bytes < each.taken_bytes


class Cramped(ColorModel):
    """A network that a memory of so many frames holds."""

    def __init__(self, inner: ColorModel, frames: int) -> None:
        super().__init__()
        self.inner, self.frames = inner, frames

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        if len(lightness) > self.frames:
            raise torch.OutOfMemoryError("injected")
        made: torch.Tensor = self.inner(lightness)
        return made


def test_a_batch_that_does_not_fit_is_said() -> None:
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    colorizer.model = Cramped(colorizer.model, 2)
    rows = measure_batches(colorizer, 64, 48, [1, 2, 8], least=0)
    assert rows[2] == Row(8)
    assert all(each.fps for each in rows[:2])
    assert fastest_batch(rows, CPU) in (1, 2)
    assert measure_batches(colorizer, 64, 48, least=0)[-1] in (Row(4), *rows[:2])


def test_other_errors_are_not_taken_for_a_full_memory() -> None:
    colorizer = Colorizer("_ramp", device="cpu", size=64)

    class Broken(ColorModel):
        def forward(self, lightness: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes do not match")

    colorizer.model = Broken()
    with pytest.raises(RuntimeError, match="shapes"):
        measure_batches(colorizer, 64, 48, [1], least=0)


def test_doubling_ends_when_nothing_is_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {1: 10.0, 2: 15.0, 4: 16.0, 8: 16.2, 16: 16.3, 32: 99.0}

    def measured(
        colorizer: Colorizer, width: int, height: int, count: int, before: int, least: float
    ) -> Row:
        return row(count, speeds[count], 1)

    monkeypatch.setattr(batches, "measure_batch", measured)
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    assert [each.batch for each in measure_batches(colorizer, 64, 48)] == [1, 2, 4, 8, 16]


def test_doubling_ends_before_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU nothing is tried that could take more than half of what is free."""

    def measured(
        colorizer: Colorizer, width: int, height: int, count: int, before: int, least: float
    ) -> Row:
        return row(count, float(count), 100 * count)

    monkeypatch.setattr(batches, "measure_batch", measured)
    monkeypatch.setattr(batches, "free_memory", lambda device: 2000 * MIB)
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    assert [each.batch for each in measure_batches(colorizer, 64, 48)] == [1, 2, 4, 8]


@pytest.mark.parametrize(("kind", "share"), [("cpu", 0.5), ("cuda", 1.0)])
def test_the_largest_is_estimated_from_the_memory_of_a_frame(
    monkeypatch: pytest.MonkeyPatch, kind: str, share: float
) -> None:
    rows, device = [row(1, 9, 30), row(2, 9, 50), row(4, 9, 80), Row(8)], torch.device(kind)

    def largest(rows: list[Row], free: int) -> int:
        monkeypatch.setattr(batches, "free_memory", lambda device: free)
        return largest_batch(rows, device)

    assert largest(rows, 5000 * MIB) == 5000 * share // 25  # the larger of the last two
    assert largest(rows, 1) == 1
    assert largest(rows, 1 << 60) == 4096
    assert largest([Row(1)], 5000 * MIB) == 0


def test_the_fastest_is_the_smallest_of_those_that_are_about_as_fast() -> None:
    rows = [row(1, 10, 10), row(2, 19.8, 20), row(4, 20, 40), row(8, 20.3, 80)]
    assert fastest_batch(rows, CPU) == 2
    assert fastest_batch([*rows, row(16, 25, 160)], CPU) == 16
    assert fastest_batch([*rows, row(16, 25, 600)], CPU) == 2  # it takes too much main memory
    assert fastest_batch([row(1, 10, 900), row(2, 20, 1800)], CPU) == 1  # one frame there must be
    assert fastest_batch([Row(1)], CPU) is None


@pytest.mark.gpu
def test_a_gpus_memory_grows_with_the_batch() -> None:
    colorizer = Colorizer("fast", device="cuda")
    rows = measure_batches(colorizer, 640, 480, [1, 8], least=0.1)
    one, eight = (each.taken_bytes for each in rows)
    assert one is not None and eight is not None and 0 < one < eight
    assert largest_batch(rows, colorizer.device) >= 8


def test_time_a_call_is_the_mean_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: list[float] = [0.0]
    calls: list[float] = []

    def work() -> None:
        calls.append(clock[0])
        clock[0] += 100.0 if len(calls) == 1 else 0.2  # the first call is slow

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert seconds_a_call(CPU, work) == pytest.approx(0.2)
    assert len(calls) == 1 + 3  # which take half a second
