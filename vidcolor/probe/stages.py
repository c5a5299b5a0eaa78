"""How fast each stage of the pipeline is on its own, and the whole of it; which stage binds."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..color.compose import compose
from ..frames import ColorBatch, LumaBatch
from ..motion.shots import mark_cuts
from ..motion.stabilizer import Stabilizer
from ..run.colorizer import Colorizer, Seen
from ..run.films import colorize_film
from ..run.plan import FilmJob
from ..run.settings import Settings
from ..sinks import FilmSink, check_container
from ..sources import FilmSource
from ..system.devices import processors, synchronize
from ..system.opencv import load_problem
from ..system.threads import Threads, share_threads, side_by_side

STAGES = ("decode", "cuts", "motion", "model", "stabilise", "compose", "encode")
_LATER = (("model",), ("stabilise", "compose"), ("encode",))
_LEAST = 1.0  # seconds that a stage is measured for, if the film is long enough


def threads_of(share: Threads) -> tuple[tuple[str, ...], ...]:
    """The stages that have a thread of the pipeline together."""
    if share.prefetch:
        return (("decode", "cuts"), ("motion",), *_LATER)
    return (("decode", "cuts", "motion"), *_LATER)


@dataclass(frozen=True)
class Stages:
    """Frames a second of each stage alone, and of all of them together.

    Attributes:
        fps: by the names of `STAGES`; `cuts` and `stabilise` are absent where a run leaves them
            out.
        work: processor seconds a frame of each.
        processors: that all of them share.
        end_to_end: frames a second of the whole pipeline, from the first batch written to the
            last.
        threads: see `threads_of`.
    """

    fps: dict[str, float] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    processors: int = 1
    end_to_end: float = 0.0
    threads: tuple[tuple[str, ...], ...] = threads_of(Threads(1, 1))

    @property
    def bounds(self) -> dict[str, float]:
        """Frames a second that each thread of the pipeline allows, and `processors`: none does
        more processor seconds of work in a second than there are processors."""
        found = {
            " and ".join(some): 1 / sum(1 / self.fps[name] for name in some)
            for some in ([name for name in each if name in self.fps] for each in self.threads)
            if some
        }
        if spent := sum(self.work.values()):
            found["processors"] = self.processors / spent
        return found

    @property
    def binds(self) -> str | None:
        """What sets the pace, a key of `bounds`; None if nothing was measured."""
        bounds = self.bounds
        return min(bounds, key=lambda name: bounds[name]) if bounds else None

    @property
    def efficiency(self) -> float | None:
        """Frames a second of the whole pipeline over the smallest of `bounds`."""
        return self.end_to_end / self.bounds[self.binds] if self.binds else None

    def to_dict(self) -> dict:
        """JSON values."""
        return {
            "fps": dict(self.fps),
            "work": dict(self.work),
            "processors": self.processors,
            "bounds": self.bounds,
            "end_to_end": self.end_to_end,
            "binds": self.binds,
            "efficiency": self.efficiency,
        }


def _rate(
    batches: Sequence[LumaBatch | Seen],
    work: Callable[[int], object],
    device: torch.device,
    least: float,
    threads: int,
    workers: int = 1,
) -> tuple[float, float]:
    """Frames a second of `work`, and its processor seconds a frame. It is given the number of each
    batch, from the second batch on until `least` seconds have gone by; of the only one where there
    is no second. It is done in as many threads, with as many threads of torch, as the stage has in
    the pipeline; their start is a part of it."""

    def done(number: int) -> int:
        work(number)
        synchronize(device)
        return len(batches[number])

    def run(numbers: Callable[[], Generator[int]]) -> int:
        return sum(side_by_side(numbers, done, "measured", workers=workers, threads=threads))

    def first() -> Generator[int]:
        yield from range(min(1, len(batches) - 1))

    def others() -> Generator[int]:
        for number in range(min(1, len(batches) - 1), len(batches)):
            yield number
            if clock.seconds >= least:
                break

    run(first)
    clock = _Clock()
    return clock.rates(run(others))


class _Clock:
    """Wall and processor time from its making on."""

    def __init__(self) -> None:
        self._began, self._worked = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def rates(self, frames: int) -> tuple[float, float]:
        """Frames a second, and processor seconds a frame."""
        worked = time.process_time() - self._worked
        return frames / max(1e-9, self.seconds), worked / max(1, frames)


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
    share = share_threads(device, colorizer.gmacs)
    steady = settings.stabilize and not load_problem()
    rates: dict[str, tuple[float, float]] = {}
    clock = _Clock()
    batches = list(film.batches(batch))
    count = sum(map(len, batches))
    rates["decode"] = clock.rates(count)
    marked = batches
    if steady:
        clock = _Clock()
        marked = list(mark_cuts(batches, facts.time_base))
        rates["cuts"] = clock.rates(count)
    there = [each.to(device) for each in marked]

    ab = colorizer(there[0])
    stabilizer = Stabilizer() if steady else None
    seen: list[Seen] = []

    def seeing(number: int) -> None:
        seen.append(colorizer.see(there[number], stabilizer))

    rates["motion"] = _rate(there, seeing, device, least, share.model)
    rates["model"] = _rate(
        seen, lambda i: colorizer.chroma(seen[i]), device, least, share.model, share.workers
    )
    if stabilizer is not None:

        def finishing(number: int) -> None:
            looks = len(seen[number].looks)
            like = ab[:1].expand(looks, -1, -1, -1) if looks else None
            colorizer.finish(seen[number], colorizer.steady(seen[number], like, stabilizer))

        rates["stabilise"] = _rate(seen, finishing, device, least, share.compose)

    output = folder / "stages.mkv"
    plan = check_container(output, facts, settings.encoder, settings.copy)
    composed: list[ColorBatch] = []

    def composing(number: int) -> None:
        part = there[number]
        like = ab[:1].expand(len(part), -1, -1, -1)
        composed.append(compose(part, like, plan.format, exact_luma=settings.exact_luma))

    rates["compose"] = _rate(there, composing, device, least, share.compose)
    done = len(composed)
    for number in range(done, len(there)):
        composing(number)  # for the encoder, whose delay wants the whole film
    clock = _Clock()
    with FilmSink(
        output, facts, settings.encoder, format=plan.format, overwrite=True, plan=plan
    ) as sink:
        for color in composed:
            sink.write(color)
        frames = sink.finish().frames
    rates["encode"] = clock.rates(frames)

    chosen = Settings(
        encoder=settings.encoder,
        exact_luma=settings.exact_luma,
        batch_size=batch,
        overwrite=True,
        stabilize=settings.stabilize,
    )
    moments = [(0, time.perf_counter())]
    colorize_film(
        FilmJob(film, output, plan),
        colorizer,
        chosen,
        lambda progress: moments.append((progress.done, time.perf_counter())),
    )
    output.unlink()
    # the start is not counted, unless there is nothing else
    (first, began), (last, ended) = moments[len(moments) > 2], moments[-1]
    ordered = [name for name in STAGES if name in rates]
    return Stages(
        {name: rates[name][0] for name in ordered},
        {name: rates[name][1] for name in ordered},
        processors(),
        (last - first) / max(1e-9, ended - began),
        threads_of(share),
    )
