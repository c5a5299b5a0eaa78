"""Batch sizes: what each costs, the largest that fits, the fastest."""

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
_MOST = 4096  # frames of a batch; no card gains by more
_GAIN = 1.03  # a larger batch must be this much faster to be worth its memory
_FLAT = 2  # doublings without such a gain after which no larger batch is tried
# A run on the CPU shares main memory with the film's decoder and encoder and with everything else
# on the machine: a batch may take this much of it beside the model.
_CPU_BYTES = 512 << 20
_SHARE = 0.5  # of the memory that is free now, on any device


@dataclass(frozen=True)
class Row:
    """One batch size; all but `batch` are None where it does not fit.

    Attributes:
        batch: frames a batch.
        model_ms, compose_ms: milliseconds a frame.
        fps: frames a second of both steps, one after the other.
        taken_bytes: the peak of the GPU's memory that torch held, or of the process's main memory.
        working_bytes: of these, what the process did not hold before the first batch.
    """

    batch: int
    model_ms: float | None = None
    compose_ms: float | None = None
    fps: float | None = None
    taken_bytes: int | None = None
    working_bytes: int | None = None


def noise(count: int, width: int, height: int) -> LumaBatch:
    """A batch of random frames, `(count, 1, height, width)` uint8, limited range."""
    luma = torch.randint(16, 236, (count, 1, height, width), dtype=torch.uint8)
    return LumaBatch(luma, 8, False, (0,) * count, (0,) * count)


def _held(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved(device)
    return resident_bytes()


def measure_batch(
    colorizer: Colorizer, width: int, height: int, count: int, before: int, least: float = 0.5
) -> Row:
    """Time and memory of the model and the composition on `count` frames, each in as many threads,
    with as many threads of torch, as it has in the pipeline.

    Args:
        colorizer: the model on its device.
        width, height: of the frames, pixels.
        count: frames of the batch.
        before: bytes that were held on the device before the first batch.
        least: seconds that each of the two is measured for at least.
    """
    device = colorizer.device
    share = share_threads(device, colorizer.gmacs)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        with peak_memory(device) as peak:
            batch = noise(count, width, height).to(device)
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
    return Row(
        count,
        1000 * model / count,
        1000 * composing / count,
        count / (model + composing),
        peak.of(device),
        max(0, peak.of(device) - before),
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
        colorizer: the model on its device.
        width, height: of the frames, pixels.
        batches: which to measure; None doubles from 1 on, until two doublings in a row gain less
            than 3 %, memory does not suffice, or half of what is free would be taken.
        least: see `measure_batch`.
    """
    before = _held(colorizer.device)
    rows: list[Row] = []
    if batches is not None:
        for count in sorted(set(batches)):
            rows.append(measure_batch(colorizer, width, height, count, before, least))
        return tuple(rows)
    best, flat, count = 0.0, 0, 1
    limit = _SHARE * (free_memory(colorizer.device))
    while flat < _FLAT and count <= _MOST:
        row = measure_batch(colorizer, width, height, count, before, least)
        rows.append(row)
        if row.fps is None or row.working_bytes is None or 2 * row.working_bytes > limit:
            break
        flat = 0 if row.fps >= best * _GAIN else flat + 1
        best, count = max(best, row.fps), 2 * count
    return tuple(rows)


def largest_fitting(fits: Callable[[int], bool], start: int = 1, most: int = _MOST) -> int:
    """The largest batch that fits: doubling until one does not, then halving the gap.

    Args:
        fits: whether a batch of so many frames fits; once it does not, no larger one does.
        start: a size to begin with.
        most: no larger one is tried.

    Returns:
        0 where not even one frame fits.
    """
    good, bad = 0, most + 1
    count = max(1, min(start, most))
    while count < bad:
        if fits(count):
            good = count
            if count == most:
                return most
            count = min(2 * count, most)
        else:
            bad = count
    while bad - good > 1:
        middle = (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good


def largest_by_memory(rows: Sequence[Row], free: int, most: int = _MOST) -> int:
    """The largest batch that half of the free main memory holds, by how memory grew with the rows.

    Nothing is tried, because a CPU does not say when memory runs out: the system ends the process.

    Args:
        rows: measured batches.
        free: bytes of main memory that are free.
        most: no larger one is given.
    """
    known = [(row.batch, row.working_bytes) for row in rows if row.working_bytes is not None]
    if not known:
        return 0
    a_frame = max(1.0, max(taken / batch for batch, taken in known[-2:]))
    return max(1, min(most, int(_SHARE * free / a_frame)))


def largest_batch(colorizer: Colorizer, width: int, height: int, rows: Sequence[Row]) -> int:
    """The largest batch of such frames that fits.

    On CUDA it is tried: doubling from the largest of `rows` until memory runs out, then halving the
    gap. On the CPU it is reckoned, see `largest_by_memory`.
    """
    device = colorizer.device
    if device.type != "cuda":
        return largest_by_memory(rows, free_memory(device))

    def fits(count: int) -> bool:
        torch.cuda.empty_cache()
        try:
            batch = noise(count, width, height).to(device)
            compose(batch, colorizer(batch), _FORMAT)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    start = max((row.batch for row in rows if row.fps is not None), default=1)
    found = largest_fitting(fits, start)
    torch.cuda.empty_cache()
    return found


def fastest_batch(rows: Sequence[Row], device: torch.device) -> int | None:
    """The batch that `--batch-size auto` should use: the smallest that is within 3 % of the most
    frames a second, among those of bounded memory. None if none fits.

    A small batch begins sooner and takes less memory, and 3 % is about what a measurement is off.
    On the CPU a batch may take 512 MiB beside the model, on a GPU half of what is free.
    """
    limit = _CPU_BYTES if device.type != "cuda" else _SHARE * free_memory(device)
    fitting = [row for row in rows if row.fps is not None and row.working_bytes is not None]
    if not fitting:
        return None
    least = min(row.batch for row in fitting)
    bounded = [r for r in fitting if r.batch == least or (r.working_bytes or 0) <= limit]
    best = max(row.fps or 0.0 for row in bounded)
    return min(row.batch for row in bounded if (row.fps or 0.0) * _GAIN >= best)


def seconds_a_call(device: torch.device, work: Callable[[], object], least: float = 0.5) -> float:
    """Seconds a call of `work`: the mean over `least` seconds and two calls, after one to warm up.

    Args:
        device: that `work` gives its work to.
        work: the same every time.
        least: seconds to measure at least.
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
