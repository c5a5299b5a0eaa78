"""Measure a model on this machine: memory, milliseconds a frame, frames a second."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch

from .colorizer import Colorizer
from .compose import compose
from .devices import is_out_of_memory
from .frames import ColorTags, LumaBatch, PixelFormat

_FORMAT = PixelFormat("yuv420p", 8, (2, 2), False, ColorTags(False, "bt709"))


@dataclass(frozen=True)
class Row:
    """One batch size; all but `batch` are None where it does not fit.

    Attributes:
        batch: frames a batch.
        model_ms, compose_ms: milliseconds a frame.
        fps: frames a second of both steps, one after the other.
        taken_bytes: the peak of device memory on CUDA, the process's resident memory elsewhere.
    """

    batch: int
    model_ms: float | None = None
    compose_ms: float | None = None
    fps: float | None = None
    taken_bytes: int | None = None


@dataclass(frozen=True)
class ProbeReport:
    """What `probe` measured; `memory` is in bytes."""

    device: str
    model: str
    precision: str
    frame: tuple[int, int]
    memory: dict[str, int]
    rows: tuple[Row, ...]

    @property
    def fastest(self) -> int | None:
        """The batch size with the most frames a second, None if none fits."""
        fitting = [(row.fps, row.batch) for row in self.rows if row.fps is not None]
        return max(fitting)[1] if fitting else None

    def to_dict(self) -> dict:
        """JSON values."""
        return {**dataclasses.asdict(self), "fastest": self.fastest}


def device_memory(device: torch.device) -> dict[str, int]:
    """Memory of the device in bytes: VRAM in use, free and in all on CUDA, else main memory."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return {"VRAM_in_use": total - free, "VRAM_free": free, "VRAM_total": total}
    memory = psutil.virtual_memory()
    return {
        "memory_in_use": memory.used,
        "memory_free": memory.available,
        "memory_total": memory.total,
    }


def device_name(device: torch.device) -> str:
    """A device's name for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    processor = platform.processor() or platform.machine()
    return f"{device.type} ({processor}, {torch.get_num_threads()} threads)"


def _bytes_taken(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


def _seconds(device: torch.device, work, least: float = 0.5) -> float:
    """Seconds a call of `work`, after one warm-up call, over at least `least` seconds."""
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    calls, began = 0, time.perf_counter()
    while True:
        work()
        calls += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elapsed = time.perf_counter() - began
        if elapsed >= least and calls >= 2:
            return elapsed / calls


def probe(colorizer: Colorizer, width: int, height: int, batches: Sequence[int]) -> ProbeReport:
    """Measure the model and the composition on noise frames of `width` x `height`.

    Args:
        colorizer: the model on its device.
        width, height: of the frames, pixels.
        batches: batch sizes to try, each on its own.
    """
    device = colorizer.device
    rows = []
    for count in sorted(set(batches)):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            luma = torch.randint(0, 256, (count, 1, height, width), dtype=torch.uint8)
            batch = LumaBatch(luma.to(device), 8, False, (0,) * count, (0,) * count)
            ab = colorizer(batch)
            model = _seconds(device, lambda b=batch: colorizer(b))
            composing = _seconds(device, lambda b=batch, c=ab: compose(b, c, _FORMAT))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            rows.append(Row(count))
            continue
        rows.append(
            Row(
                count,
                1000 * model / count,
                1000 * composing / count,
                count / (model + composing),
                _bytes_taken(device),
            )
        )
    return ProbeReport(
        device_name(device),
        colorizer.name,
        str(colorizer.precision),
        (width, height),
        device_memory(device),
        tuple(rows),
    )
