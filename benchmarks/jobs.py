"""What is measured of vidcolor, each function in a process of its own (`alone.py`).

Only what is public is called: the whole of `colorize`, and the stages it is made of one by one, on
the same frames.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidcolor.color.compose import compose
from vidcolor.frames import ColorBatch, LumaBatch, Segment
from vidcolor.models.describe import describe
from vidcolor.models.weights import load_model
from vidcolor.motion.shots import mark_cuts
from vidcolor.motion.stabilizer import Stabilizer
from vidcolor.run.colorizer import Colorizer, Seen
from vidcolor.run.films import Progress
from vidcolor.run.pipeline import colorize
from vidcolor.run.plan import FilmJob, plan
from vidcolor.run.settings import Settings
from vidcolor.sinks import FilmSink
from vidcolor.sources import FilmSource
from vidcolor.system.devices import device_name, processors, synchronize
from vidcolor.system.memory import resident_bytes, retain_freed_memory
from vidcolor.system.threads import in_thread, share_threads, side_by_side

from .alone import Stopwatch, peak_bytes

STAGES = ("decode", "cuts", "motion", "model", "stabilise", "compose", "encode")
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
    film: Path, output: Path, colorizer: Colorizer, segment: Segment | None = None
) -> tuple[int, float, float, int]:
    """Colorize a film as `vidcolor run` does, with all defaults.

    Returns:
        Frames, wall seconds, processor seconds, and the frames of the first batch.

    Raises:
        RuntimeError: the run has not ended well.
    """
    settings = Settings(overwrite=True, segment=segment or Segment())
    done: list[int] = []

    def watched(progress: Progress) -> None:
        done.append(progress.done)

    watch = Stopwatch()
    (report,) = colorize(film, output, colorizer=colorizer, settings=settings, watch=watched)
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


class Stages:
    """The stages of one film's colorization, each of which can run alone on all of its frames.

    What each needs is made once and lies ready in memory; on a GPU, the luma lies on the GPU.

    Args:
        film: short, because all of it is kept.
        output: where the encoder writes.
        colorizer: the model.
        batch_size: frames a batch.
    """

    def __init__(self, film: Path, output: Path, colorizer: Colorizer, batch_size: int) -> None:
        self.colorizer, self.batch_size, self.output = colorizer, batch_size, output
        (job,), _ = plan([film], output, Settings(overwrite=True))
        assert isinstance(job, FilmJob)
        self.job = job
        self.source = FilmSource(film)
        self.luma = list(self.source.batches(batch_size))
        self.marked = list(self._marked())
        self.batches = [batch.to(colorizer.device) for batch in self.marked]
        self.seen = self._see()
        self.said = [colorizer.chroma(seen) for seen in self.seen]
        self.ab = self._steady()
        self.colors: list[ColorBatch] = self._compose()
        self.frames = sum(len(batch) for batch in self.luma)

    def _marked(self) -> list[LumaBatch]:
        return list(mark_cuts(iter(self.luma), self.source.facts.time_base))

    def _steady(self) -> list[Tensor]:
        stabilizer, colorizer = Stabilizer(), self.colorizer
        pairs = zip(self.seen, self.said, strict=True)
        return [
            colorizer.finish(seen, colorizer.steady(seen, ab, stabilizer)) for seen, ab in pairs
        ]

    def _see(self) -> list[Seen]:
        stabilizer = Stabilizer()
        return [self.colorizer.see(batch, stabilizer) for batch in self.batches]

    def _compose(self) -> list[ColorBatch]:
        format = self.job.plan.format
        return [compose(*pair, format) for pair in zip(self.batches, self.ab, strict=True)]

    def decode(self) -> None:
        for _ in self.source.batches(self.batch_size):
            pass

    def cuts(self) -> None:
        self._marked()

    def motion(self) -> None:
        self._see()

    def model(self) -> None:
        share = share_threads(self.colorizer.device, self.colorizer.gmacs)

        def work(seen: Seen) -> None:
            self.colorizer.chroma(seen)
            synchronize(self.colorizer.device)

        def given() -> Generator[Seen]:
            yield from self.seen

        for _ in side_by_side(given, work, "model", workers=share.workers, threads=share.model):
            pass

    def stabilise(self) -> None:
        self._steady()

    def compose(self) -> None:
        self._compose()

    def encode(self) -> None:
        """All of the sink's work: encode, copy the sound, check the file."""
        plan, facts = self.job.plan, self.source.facts
        settings = Settings(overwrite=True)
        with FilmSink(
            self.output, facts, settings.encoder, format=plan.format, overwrite=True, plan=plan
        ) as sink:
            for color in self.colors:
                sink.write(color)
            sink.finish()


def _processor_seconds(work: Callable[[], object]) -> float:
    """Processor seconds of `work` with one thread of torch and of OpenCV: several threads wait for
    each other in loops that count as work, and the more, the busier the machine is."""
    watch = Stopwatch()
    in_thread(work, "measured", 1)
    return watch.read()[1]


def stage_costs(
    *, film: Path, whole: Path, output: Path, model: str, device: str, rounds: int
) -> dict[str, Any]:
    """A film's stages one by one, and in turns with them all together; medians over the rounds.

    Args:
        film: short, see `Stages`.
        whole: a longer one of the same kind, for all together: opening it and filling the queues,
            which no stage does, should count as they do in practice.
        output: where the encoder writes.
        model, device: as of `Colorizer`.
        rounds: of all that is measured.

    Returns:
        `rows`, one for each of `STAGES`, with the `stage_fps` alone, milliseconds a frame
        (`stage_ms`), and those of `_processor_seconds` (`stage_cpu_ms`); `end_to_end_fps` and
        `end_to_end_cpu_ms` of the whole; the two bounds (`slowest_stage`, `slowest_stage_fps`,
        `cores_bound_fps`), and how much of them is reached: `of_slowest_stage`, `of_cores_bound`,
        and `efficiency`, the share of the smaller one.
    """
    colorizer = _film_colorizer(model, device)
    *_, batch_size = run_film(film, output, colorizer)  # its choice; and all stages' warm-up
    stages = Stages(film, output, colorizer, batch_size)
    seconds: dict[str, list[tuple[float, float]]] = {}
    ends: list[tuple[float, float]] = []  # of a frame, from end to end

    def time(name: str, work: Callable[[], object]) -> None:
        watch = Stopwatch()
        work()
        synchronize(colorizer.device)
        seconds.setdefault(name, []).append(watch.read())

    share = share_threads(colorizer.device, colorizer.gmacs)
    threads = {"compose": share.compose, "stabilise": share.compose}
    for _ in range(rounds):
        for name in STAGES:
            work = partial(in_thread, getattr(stages, name), name, threads.get(name, share.model))
            time(name, work)
        whole_frames, wall, cpu, _ = run_film(whole, output, colorizer)
        ends.append((wall / whole_frames, cpu / whole_frames))
    count = stages.frames
    rows = []
    for name in STAGES:
        wall = statistics.median(wall for wall, _ in seconds[name])
        cpu = _processor_seconds(getattr(stages, name))
        rows.append(
            {
                "stage": name,
                "stage_fps": count / wall,
                "stage_ms": 1000 * wall / count,
                "stage_cpu_ms": 1000 * cpu / count,
            }
        )
    wall, cpu = (statistics.median(each) for each in zip(*ends, strict=True))
    return {
        "frames": count,
        "whole_frames": whole_frames,
        "batch_size": batch_size,
        "rows": rows,
        "end_to_end_fps": 1 / wall,
        "end_to_end_cpu_ms": 1000 * cpu,
        **bounds(rows, 1 / wall, processors()),
    }


def bounds(rows: Sequence[dict[str, Any]], fps: float, cores: int) -> dict[str, Any]:
    """How fast the stages allow the whole to be, and the share of it that `fps` reaches.

    No pipeline is faster than its slowest stage, and none does more processor seconds of work in a
    second than there are processors.

    Args:
        rows: `stage`, `stage_fps` and `stage_cpu_ms` of each.
        fps: from end to end.
        cores: that the stages share.
    """
    slowest = min(rows, key=lambda row: row["stage_fps"])
    shared = 1000 * cores / sum(row["stage_cpu_ms"] for row in rows)
    return {
        "slowest_stage": slowest["stage"],
        "slowest_stage_fps": slowest["stage_fps"],
        "cores_bound_fps": shared,
        "of_slowest_stage": fps / slowest["stage_fps"],
        "of_cores_bound": fps / shared,
        "efficiency": fps / min(slowest["stage_fps"], shared),
    }
