"""What is measured of vidcolor, each function in a process of its own (`alone.py`).

A film is colorized as `vidcolor run` does it; its stages are measured by running them one after
another with a timer.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from vidcolor.frames import WHOLE, LumaBatch, Segment
from vidcolor.models.describe import describe
from vidcolor.models.weights import load_model
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.pipeline import run
from vidcolor.run.plan import plan
from vidcolor.run.settings import Settings
from vidcolor.system.devices import device_name, processors, synchronize
from vidcolor.system.memory import resident_bytes, retain_freed_memory
from vidcolor.system.stages import StageCost, StageTimer

from .alone import Stopwatch, peak_bytes

_WARM_UP = Segment(None, Fraction(1, 2))  # of a film, so that libraries are awake


def machine(*, device: str, models: Sequence[str]) -> dict[str, Any]:
    """What the figures will be measured on.

    Raises:
        DeviceError: the device is not there.
        WeightsError: a model is not.
    """
    for name in models:
        colorizer = Colorizer(name, device=device)
    return {
        "device": device_name(colorizer.device),
        "device_type": colorizer.device.type,
        "precision": colorizer.precision,
        "cores": processors(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def model_cost(
    *, name: str, size: int, batch: int, device: str, least_seconds: float
) -> dict[str, Any]:
    """Parameters, multiply-adds, time and memory of a model on frames of `size` x `size`.

    `model_ms` is that of `Colorizer.__call__`, a frame: the median over at least three calls and
    `least_seconds`. `peak_bytes` is the GPU's memory with a GPU, else that of the process, Python
    and torch included; `growth_bytes` is how far the process has grown over it.
    """
    network, _ = load_model(name)
    found = describe(network, size)
    del network
    before = resident_bytes()
    colorizer = Colorizer(name, device=device, size=size)
    luma = torch.randint(0, 256, (batch, 1, size, size), dtype=torch.uint8)
    frames = LumaBatch(luma, 8, True, tuple(range(batch)), (1,) * batch).to(colorizer.device)
    for _ in range(2):
        colorizer(frames)
    synchronize(colorizer.device)
    calls: list[float] = []
    while len(calls) < 3 or sum(calls) < least_seconds:
        watch = Stopwatch()
        colorizer(frames)
        synchronize(colorizer.device)
        calls.append(watch.read()[0])
    return {
        "parameters": found.parameters,
        "macs": found.macs,
        "model_ms": 1000 * statistics.median(calls) / batch,
        "peak_bytes": _gpu_bytes(colorizer) or peak_bytes(),
        "growth_bytes": peak_bytes() - before,
    }


def _gpu_bytes(colorizer: Colorizer) -> int | None:
    """The most of the GPU's memory that this process has used, None without a GPU."""
    device = colorizer.device
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def run_film(
    film: Path,
    output: Path,
    colorizer: Colorizer,
    segment: Segment = WHOLE,
    timer: StageTimer | None = None,
) -> tuple[int, float, float, int]:
    """Colorize a film as `vidcolor run` does, with all defaults.

    Args:
        film, output: files.
        colorizer: the model.
        segment: of the film.
        timer: measures the stages.

    Returns:
        Frames, wall seconds, processor seconds, and the frames of the first batch.

    Raises:
        RuntimeError: the run has not ended well.
    """
    settings = Settings(overwrite=True, segment=segment)
    done: list[int] = []
    watch = Stopwatch()
    jobs, _ = plan([film], output, settings)
    (report,) = run(jobs, colorizer, settings, lambda progress: done.append(progress.done), timer)
    wall, cpu = watch.read()
    if report.status != "done":
        raise RuntimeError(f"{film}: {report.status}: {report.error}")
    return report.frames, wall, cpu, done[0]


def _film_colorizer(model: str, device: str) -> Colorizer:
    """The model, in a process that keeps its memory as `vidcolor run` does for one film."""
    colorizer = Colorizer(model, device=device)
    if colorizer.device.type == "cpu":
        retain_freed_memory()
    return colorizer


def film_cost(*, film: Path, output: Path, model: str, device: str) -> dict[str, Any]:
    """A film from end to end, once, after half a second of it to warm up; the peak of the GPU's
    memory is `gpu_bytes`, None without a GPU."""
    colorizer = _film_colorizer(model, device)
    run_film(film, output, colorizer, _WARM_UP)
    frames, wall, cpu, batch = run_film(film, output, colorizer)
    return {
        "frames": frames,
        "batch_size": batch,
        "seconds": wall,
        "cpu_seconds": cpu,
        "fps": frames / wall,
        "gpu_bytes": _gpu_bytes(colorizer),
    }


def stage_costs(
    *, film: Path, whole: Path, output: Path, model: str, device: str, rounds: int
) -> dict[str, Any]:
    """A film's stages one by one, and in turns with them all together; medians over the rounds.

    Args:
        film: for the stages one after another.
        whole: a longer one of the same kind, for all together: opening it and filling the queues,
            which no stage does, should count as they do in practice.
        output: where the encoder writes.
        model, device: as of `Colorizer`.
        rounds: of all that is measured.

    Returns:
        `rows`, one for each stage, with the `stage_fps` alone, milliseconds a frame (`stage_ms`),
        and processor milliseconds a frame of the stage's own thread (`stage_cpu_ms`);
        `stages_cpu_ms` of the whole process while the stages run one after another, threads of
        decoder and encoder included; `end_to_end_fps` and `end_to_end_cpu_ms` of the whole; the
        two bounds (`slowest_stage`, `slowest_stage_fps`, `cores_bound_fps`), and how much of them
        is reached: `of_slowest_stage`, `of_cores_bound`, and `efficiency`, the share of the
        smaller one.
    """
    colorizer = _film_colorizer(model, device)
    *_, batch_size = run_film(film, output, colorizer)  # warms everything up
    costs: dict[str, list[StageCost]] = {}
    processor: list[float] = []  # seconds a frame, stage by stage
    ends: list[tuple[float, float]] = []  # seconds and processor seconds a frame, end to end
    for _ in range(rounds):
        timer = StageTimer(colorizer.device, overlap=False)
        count, _, cpu, _ = run_film(film, output, colorizer, timer=timer)
        processor.append(cpu / count)
        for name, cost in timer.costs.items():
            costs.setdefault(name, []).append(cost)
        whole_frames, wall, cpu, _ = run_film(whole, output, colorizer)
        ends.append((wall / whole_frames, cpu / whole_frames))
    rows = []
    for name, found in costs.items():
        wall = statistics.median(cost.seconds for cost in found)
        cpu = statistics.median(cost.processor_seconds for cost in found)
        rows.append(
            {
                "stage": name,
                "stage_fps": count / wall,
                "stage_ms": 1000 * wall / count,
                "stage_cpu_ms": 1000 * cpu / count,
            }
        )
    wall, cpu = (statistics.median(each) for each in zip(*ends, strict=True))
    stages_cpu_ms = 1000 * statistics.median(processor)
    return {
        "frames": count,
        "whole_frames": whole_frames,
        "batch_size": batch_size,
        "rows": rows,
        "stages_cpu_ms": stages_cpu_ms,
        "end_to_end_fps": 1 / wall,
        "end_to_end_cpu_ms": 1000 * cpu,
        **bounds(rows, stages_cpu_ms, 1 / wall, processors()),
    }


def bounds(
    rows: Sequence[dict[str, Any]], stages_cpu_ms: float, fps: float, cores: int
) -> dict[str, Any]:
    """How fast the stages allow the whole to be, and the share of it that `fps` reaches.

    No pipeline is faster than its slowest stage, and none does more processor seconds of work in a
    second than there are processors.

    Args:
        rows: `stage` and `stage_fps` of each.
        stages_cpu_ms: processor milliseconds that all stages take for a frame.
        fps: from end to end.
        cores: that the stages share.
    """
    slowest = min(rows, key=lambda row: row["stage_fps"])
    shared = 1000 * cores / stages_cpu_ms
    return {
        "slowest_stage": slowest["stage"],
        "slowest_stage_fps": slowest["stage_fps"],
        "cores_bound_fps": shared,
        "of_slowest_stage": fps / slowest["stage_fps"],
        "of_cores_bound": fps / shared,
        "efficiency": fps / min(slowest["stage_fps"], shared),
    }
