"""Batch sizes: time and memory of each, the largest that fits, the fastest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..color.compose import compose
from ..frames import ColorTags, LumaBatch, PixelFormat
from ..run.colorizer import Colorizer
from ..system.devices import free_memory, is_out_of_memory, synchronize
from ..system.memory import peak_memory, resident_bytes
from ..system.stages import Stage, run_stages
from ..system.threads import share_threads, thread_budget

_FORMAT = PixelFormat("yuv420p", 8, (2, 2), False, ColorTags(False, "bt709"))
_MOST = 4096  # frames in a batch
_GAIN = 1.03  # a larger batch must be this much faster to be worth its memory
_FLAT = 2  # doublings without that gain after which no larger batch is measured
_CPU_BYTES = 512 << 20  # of a batch on the CPU: decoder, encoder and other programs need the rest
_SHARE = 0.5  # of the free memory, for one batch


@dataclass(frozen=True)
class Row:
    """One batch size; all but `batch` are None if it does not fit.

    Attributes:
        batch: frames in the batch.
        model_ms, compose_ms: milliseconds per frame.
        fps: frames per second of both steps, one after the other.
        taken_bytes: peak memory: on a GPU what torch holds there, else the process's main memory.
        working_bytes: the part of it that the process did not hold before the first batch.
    """

    batch: int
    model_ms: float | None = None
    compose_ms: float | None = None
    fps: float | None = None
    taken_bytes: int | None = None
    working_bytes: int | None = None


def _noise(count: int, width: int, height: int) -> LumaBatch:
    """`count` random frames, uint8, limited range."""
    luma = torch.randint(16, 236, (count, 1, height, width), dtype=torch.uint8)
    return LumaBatch(luma, 8, False, (0,) * count, (0,) * count)


def _held(device: torch.device) -> int:
    if device.type != "cuda":
        return resident_bytes()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved(device)


def measure_batch(
    colorizer: Colorizer, width: int, height: int, count: int, before: int, least: float = 0.5
) -> Row:
    """Measure the model and the composition, with the threads that they have in a run.

    Args:
        width, height, count: of the frames, pixels, and their number.
        before: bytes held on the device before the first batch.
        least: seconds to measure each of the two, at least.
    """
    device = colorizer.device
    share = share_threads(device, colorizer.gmacs)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        with peak_memory(device) as peak:
            batch = _noise(count, width, height).to(device)
            ab = colorizer(batch)
            stage: Stage[int, float] = Stage(
                "predict",
                lambda _: [seconds_a_call(device, lambda: colorizer(batch), least)],
                threads=share.model,
                workers=share.workers,
            )
            calls = list(run_stages(range(share.workers), [stage]))
            model = sum(calls) / share.workers**2
            with thread_budget.use(share.compose):
                composing = seconds_a_call(device, lambda: compose(batch, ab, _FORMAT), least)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return Row(count)
    taken = peak.of(device)
    return Row(
        count,
        1000 * model / count,
        1000 * composing / count,
        count / (model + composing),
        taken,
        max(0, taken - before),
    )


def measure_batches(
    colorizer: Colorizer,
    width: int,
    height: int,
    batches: Sequence[int] | None = None,
    least: float = 0.5,
) -> tuple[Row, ...]:
    """Measure batch sizes, ascending.

    Args:
        width, height: of the frames, pixels.
        batches: sizes to measure; None doubles from 1 on, until two doublings gain less than 3 %,
            memory runs out, or the next batch would take more than half of the free memory.
        least: see `measure_batch`.
    """
    before = _held(colorizer.device)
    if batches is not None:
        return tuple(
            measure_batch(colorizer, width, height, count, before, least)
            for count in sorted(set(batches))
        )
    rows: list[Row] = []
    best, flat, count = 0.0, 0, 1
    limit = _SHARE * free_memory(colorizer.device)
    while flat < _FLAT and count <= _MOST:
        row = measure_batch(colorizer, width, height, count, before, least)
        rows.append(row)
        if row.fps is None or row.working_bytes is None or 2 * row.working_bytes > limit:
            break
        flat = 0 if row.fps >= best * _GAIN else flat + 1
        best, count = max(best, row.fps), 2 * count
    return tuple(rows)


def largest_batch(rows: Sequence[Row], device: torch.device) -> int:
    """Estimate the largest batch that fits, 0 if none does, by how memory grows with the batch.

    A GPU can be filled. On the CPU half of the free memory is taken into account, because the
    system ends a process that takes too much.
    """
    known = [(row.batch, row.working_bytes) for row in rows if row.working_bytes is not None]
    if not known:
        return 0
    free = free_memory(device) * (1.0 if device.type == "cuda" else _SHARE)
    frame_bytes = max(1.0, max(taken / batch for batch, taken in known[-2:]))
    return max(1, min(_MOST, int(free / frame_bytes)))


def fastest_batch(rows: Sequence[Row], device: torch.device) -> int | None:
    """The batch for `--batch-size auto`; None if none fits.

    It is the smallest within 3 % of the most frames per second, because a small batch starts sooner
    and takes less memory. A batch may take 512 MiB on the CPU, half of the free memory on a GPU.
    """
    limit = _CPU_BYTES if device.type != "cuda" else _SHARE * free_memory(device)
    fitting = [(row.batch, row.fps, row.working_bytes or 0) for row in rows if row.fps is not None]
    if not fitting:
        return None
    least = min(fitting)
    bounded = [each for each in fitting if each is least or each[2] <= limit]
    best = max(fps for _, fps, _ in bounded)
    return min(batch for batch, fps, _ in bounded if fps * _GAIN >= best)


def seconds_a_call(device: torch.device, work: Callable[[], object], least: float = 0.5) -> float:
    """Mean seconds of a call of `work`, over `least` seconds and two calls, after one to warm up.

    `device` is where `work` runs.
    """
    work()
    synchronize(device)
    calls, began = 0, time.perf_counter()
    while True:
        work()
        calls += 1
        synchronize(device)
        elapsed = time.perf_counter() - began
        if elapsed >= least and calls >= 2:
            return elapsed / calls
