"""Running out of memory: smaller batches, then the CPU; every frame once, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch

from tests.run.test_colorizer import YUV, frames
from vidcolor.color.compose import compose
from vidcolor.errors import DeviceError
from vidcolor.frames import ColorBatch, LumaBatch
from vidcolor.models.base import ColorModel
from vidcolor.run.batching import BatchRunner
from vidcolor.run.colorizer import Colorizer
from vidcolor.system.stages import Stage, run_stages


class Cramped(ColorModel):
    """Runs out of memory for more than `room` frames."""

    def __init__(self, inner: ColorModel, room: int) -> None:
        super().__init__()
        self.inner, self.room, self.refused = inner, room, 0

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        if len(lightness) > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("injected")
        made: torch.Tensor = self.inner(lightness)
        return made


class Device:
    """Stands for a model: a device, and another for `on`."""

    def __init__(self, name: str) -> None:
        self.device = torch.device(name)

    def on(self, device: torch.device) -> Device:
        return Device(device.type)


def cramped(room: int) -> Colorizer:
    colorizer = Colorizer("fast", device="cpu", size=64, precision="fp32")
    colorizer.model = Cramped(colorizer.model, room)
    return colorizer


def color(model: Colorizer, part: LumaBatch) -> ColorBatch:
    return compose(part, model(part), YUV)


def failing(fails: Callable[[Device, LumaBatch], bool]) -> Callable[[Device, LumaBatch], int]:
    def work(model: Device, part: LumaBatch) -> int:
        assert part.luma.device == model.device
        if fails(model, part):
            raise torch.OutOfMemoryError("injected")
        return len(part)

    return work


def test_the_batch_is_halved_and_the_pixels_are_the_same(caplog: pytest.LogCaptureFixture) -> None:
    batch = frames(7)
    (whole,) = BatchRunner(cramped(7)).run(color, batch)
    runner = BatchRunner(cramped(2))
    parts = list(runner.run(color, batch))
    assert runner.model.model.refused == 2  # seven, then three
    assert [part.source.first_index for part in parts] == list(range(7))
    for plane in range(3):
        joined = torch.cat([part.planes[plane] for part in parts])
        difference = (joined.int() - whole.planes[plane].int()).abs()
        assert difference.max() <= 1 and (difference > 0).float().mean() < 1e-3
    assert "out of memory" in caplog.text
    assert len(list(runner.run(lambda model, part: part, batch))) == 7  # the size is kept
    assert runner.largest == 1


def test_one_frame_that_the_cpu_cannot_hold_is_an_error() -> None:
    with pytest.raises(DeviceError, match="single frame"):
        list(BatchRunner(cramped(0)).run(color, frames(4)))


def test_one_frame_that_a_gpu_cannot_hold_is_done_on_the_cpu(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gpu = Device("meta")  # stands for one
    runner = BatchRunner(gpu)
    work = failing(lambda model, part: model.device.type == "meta")
    assert list(runner.run(work, frames(3))) == [1] * 3
    assert runner.model.device.type == "cpu" and gpu.device.type == "meta"
    assert "on the CPU" in caplog.text
    assert list(runner.run(work, frames(2))) == [1] * 2


def test_what_another_thread_found_is_no_failed_single_frame() -> None:
    """While eight frames fail, another thread finds that only one fits."""
    runner = BatchRunner(Device("cpu"))
    tried: list[int] = []
    crowded = failing(lambda model, part: len(part) > 1)
    other = threading.Thread(target=lambda: list(runner.run(crowded, frames(2))))

    def work(model: Device, part: LumaBatch) -> int:
        tried.append(len(part))
        if len(part) == 8:
            other.start()
            end = time.monotonic() + 20
            while runner.largest is None and time.monotonic() < end:
                time.sleep(0.001)
            raise torch.OutOfMemoryError("injected")
        return len(part)

    assert list(runner.run(work, frames(8))) == [1] * 8
    other.join()
    assert tried == [8] + [1] * 8 and runner.largest == 1


def test_the_size_only_falls(caplog: pytest.LogCaptureFixture) -> None:
    runner = BatchRunner(Device("cpu"))
    assert list(runner.run(failing(lambda model, part: len(part) > 2), frames(4))) == [2, 2]
    assert list(runner.run(failing(lambda model, part: False), frames(5))) == [2, 2, 1]
    assert runner.largest == 2 and len(caplog.records) == 1


def test_two_that_do_not_fit_together_take_turns() -> None:
    """One frame of each thread fails while the other is at work, and succeeds alone."""
    runner = BatchRunner(Device("cpu"))
    at_work, both = [0], threading.Barrier(2, timeout=20)
    lock = threading.Lock()

    def work(model: Device, part: LumaBatch) -> int:
        if runner.largest is None:
            both.wait()
            raise torch.OutOfMemoryError("injected")
        with lock:
            at_work[0] += 1
            assert at_work[0] == 1
        with lock:
            at_work[0] -= 1
        return part.first_index

    def stage(part: LumaBatch) -> list[int]:
        return list(runner.run(work, part))

    batch = frames(6)
    singles = [batch[i : i + 1] for i in range(6)]
    assert list(run_stages(singles, [Stage("work", stage, workers=2)])) == list(range(6))


def test_other_errors_are_not_answered() -> None:
    def work(model: Device, part: LumaBatch) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(BatchRunner(Device("cpu")).run(work, frames(2)))


def test_an_empty_batch_gives_no_result() -> None:
    assert list(BatchRunner(Device("cpu")).run(failing(lambda *_: True), frames(2)[:0])) == []
