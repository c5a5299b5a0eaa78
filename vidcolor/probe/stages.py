"""How fast each stage of the pipeline is on its own, and the whole of it; which stage binds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F

from ..color import grey_to_lightness
from ..colorizer import Colorizer, model_size
from ..compose import compose, film_grey
from ..cuts import mark_cuts
from ..frames import ColorBatch, LumaBatch
from ..metering import synchronize
from ..motion import unavailable
from ..pipeline import colorize_film
from ..planning import FilmJob, Settings
from ..sinks import FilmSink, check_container
from ..sources import FilmSource
from ..stages import in_thread, share_threads
from ..temporal import Stabilizer

STAGES = ("decode", "cuts", "model", "stabilise", "compose", "encode")
_LEAST = 1.0  # seconds that a stage is measured for, if the film is long enough


@dataclass(frozen=True)
class Stages:
    """Frames a second of each stage alone, and of all of them together.

    Attributes:
        fps: by the names of `STAGES`; `cuts` and `stabilise` are absent where a run leaves them
            out.
        end_to_end: frames a second of the whole pipeline, container and start included.
    """

    fps: dict[str, float] = field(default_factory=dict)
    end_to_end: float = 0.0

    @property
    def binds(self) -> str | None:
        """The slowest stage, which sets the pace; None if none was measured."""
        return min(self.fps, key=lambda name: self.fps[name]) if self.fps else None

    @property
    def efficiency(self) -> float | None:
        """Frames a second of the whole pipeline over those of the slowest stage."""
        return self.end_to_end / self.fps[self.binds] if self.binds else None

    def to_dict(self) -> dict:
        """JSON values."""
        return {
            "fps": dict(self.fps),
            "end_to_end": self.end_to_end,
            "binds": self.binds,
            "efficiency": self.efficiency,
        }


def _rate(
    batches: Sequence[LumaBatch],
    work: Callable[[int], object],
    device: torch.device,
    least: float,
    threads: int,
) -> float:
    """Frames a second of `work`, which is given the number of each batch, from the second batch on
    until `least` seconds have gone by; of the only one where there is no second. It is done in a
    thread with as many threads of torch as the stage has in the pipeline."""
    return in_thread(lambda: _timed(batches, work, device, least), "measured", threads)


def _timed(
    batches: Sequence[LumaBatch],
    work: Callable[[int], object],
    device: torch.device,
    least: float,
) -> float:
    synchronize(device)
    if len(batches) > 1:
        work(0)
        synchronize(device)
    done, began = 0, time.perf_counter()
    for number in range(min(1, len(batches) - 1), len(batches)):
        work(number)
        synchronize(device)
        done += len(batches[number])
        if time.perf_counter() - began >= least:
            break
    return done / max(1e-9, time.perf_counter() - began)


def measure_stages(
    colorizer: Colorizer,
    film: FilmSource,
    settings: Settings,
    folder: Path,
    batch: int,
    least: float = _LEAST,
) -> Stages:
    """Run each stage alone on the film's frames, then the pipeline on the film.

    Args:
        colorizer: the model on its device.
        film: see `synthetic.write_film`; its frames must fit into memory.
        settings: encoder, stabilizer and luma of the run.
        folder: for the films that are written, which are removed at once.
        batch: frames a batch.
        least: seconds that each stage is measured for, if the film is long enough.

    Raises:
        OutputError: a film cannot be written with these settings.
    """
    device, facts = colorizer.device, film.facts
    share = share_threads(device)
    steady = settings.stabilize and not unavailable()
    fps: dict[str, float] = {}
    began = time.perf_counter()
    batches = list(film.batches(batch))
    fps["decode"] = sum(map(len, batches)) / (time.perf_counter() - began)
    marked = batches
    if steady:
        began = time.perf_counter()
        marked = list(mark_cuts(batches, facts.time_base))
        fps["cuts"] = sum(map(len, batches)) / (time.perf_counter() - began)
    there = [each.to(device) for each in marked]

    fps["model"] = _rate(there, lambda i: colorizer(there[i]), device, least, share.model)
    ab = colorizer(there[0])
    if steady:
        # in the model's thread, as in the pipeline
        steadying = _steadying(colorizer, there, ab)
        fps["stabilise"] = _rate(there, steadying, device, least, share.model)

    output = folder / "stages.mkv"
    plan = check_container(output, facts, settings.encoder, settings.copy)
    composed: list[ColorBatch] = []

    def composing(number: int) -> None:
        part = there[number]
        like = ab[:1].expand(len(part), -1, -1, -1)
        composed.append(compose(part, like, plan.format, exact_luma=settings.exact_luma))

    fps["compose"] = _rate(there, composing, device, least, share.compose)
    done = len(composed)
    for number in range(done, len(there)):
        composing(number)  # for the encoder, whose delay wants the whole film
    began = time.perf_counter()
    with FilmSink(
        output, facts, settings.encoder, format=plan.format, overwrite=True, plan=plan
    ) as sink:
        for color in composed:
            sink.write(color)
        frames = sink.finish().frames
    fps["encode"] = frames / (time.perf_counter() - began)

    began = time.perf_counter()
    chosen = Settings(
        encoder=settings.encoder,
        exact_luma=settings.exact_luma,
        batch_size=batch,
        overwrite=True,
        stabilize=settings.stabilize,
    )
    report = colorize_film(FilmJob(film, output, plan), colorizer, chosen)
    end_to_end = report.frames / (time.perf_counter() - began)
    output.unlink()
    return Stages({name: fps[name] for name in STAGES if name in fps}, end_to_end)


def _steadying(
    colorizer: Colorizer, batches: Sequence[LumaBatch], ab: torch.Tensor
) -> Callable[[int], object]:
    """The stabilizer's work on each batch, with its lightness made beforehand."""
    height, width = batches[0].luma.shape[-2:]
    size = model_size(height, width, colorizer.size, colorizer.stride)
    small = [
        grey_to_lightness(F.interpolate(film_grey(each), size, mode="bilinear", antialias=True))
        for each in batches
    ]
    stabilizer = Stabilizer()

    def work(number: int) -> None:
        lightness = small[number]
        like = ab[:1].expand(len(lightness), -1, -1, -1)
        stabilizer(lightness, like, batches[number].cuts)
        stabilizer.commit()

    return work
