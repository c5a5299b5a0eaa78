"""How fast each stage of a run is on its own, and the whole run; which stage sets the pace."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..run.colorizer import Colorizer
from ..run.films import colorize_film, film_stages
from ..run.plan import FilmJob
from ..run.settings import Settings
from ..sinks import check_container
from ..sources import FilmSource
from ..system.devices import processors
from ..system.stages import StageTimer, thread_names


@dataclass(frozen=True)
class Stages:
    """Frames per second of each stage alone, and of all of them together.

    Attributes:
        fps: of each stage by its name, in order; see `run.films.film_stages`.
        processor_seconds: a frame, of the whole process when the stages run one after another.
        processors: that all of them share.
        end_to_end: frames per second of a run, from the first batch written to the last.
        threads: names of the stages of each thread.
    """

    fps: dict[str, float] = field(default_factory=dict)
    processor_seconds: float = 0.0
    processors: int = 1
    end_to_end: float = 0.0
    threads: tuple[tuple[str, ...], ...] = ()

    @property
    def bounds(self) -> dict[str, float]:
        """Frames per second that each thread allows, and that the processors allow: a second has
        no more processor seconds than there are processors."""
        found = {
            " and ".join(some): 1 / sum(1 / self.fps[name] for name in some)
            for some in ([name for name in each if name in self.fps] for each in self.threads)
            if some
        }
        if self.processor_seconds:
            found["processors"] = self.processors / self.processor_seconds
        return found

    @property
    def binds(self) -> str | None:
        """What sets the pace, a key of `bounds`; None if nothing was measured."""
        bounds = self.bounds
        return min(bounds, key=lambda name: bounds[name]) if bounds else None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "fps": dict(self.fps),
            "processor_seconds": self.processor_seconds,
            "processors": self.processors,
            "bounds": self.bounds,
            "end_to_end": self.end_to_end,
            "binds": self.binds,
        }


def measure_stages(
    colorizer: Colorizer, film: FilmSource, settings: Settings, folder: Path, batch: int
) -> Stages:
    """Colorize a film twice: as a run does, and with its stages one after another.

    Args:
        colorizer: the model on its device.
        film: see `synthetic.write_film`.
        settings: encoder, stabilizer and luma of the run.
        folder: for the film that is written, which is removed at once.
        batch: frames in a batch.

    Raises:
        OutputError: a film cannot be written with these settings.
    """
    device, output = colorizer.device, folder / "stages.mkv"
    plan = check_container(output, film.facts, settings.encoder, settings.copy)
    chosen = Settings(
        encoder=settings.encoder,
        exact_luma=settings.exact_luma,
        batch_size=batch,
        overwrite=True,
        stabilize=settings.stabilize,
    )
    job = FilmJob(film, output, plan)
    moments = [(0, time.perf_counter())]
    colorize_film(
        job,
        colorizer,
        chosen,
        lambda progress: moments.append((progress.done, time.perf_counter())),
    )
    # the start is not counted, unless there is nothing else
    (first, began), (last, ended) = moments[len(moments) > 2], moments[-1]
    worked = time.process_time()
    timer = StageTimer(device, overlap=False)
    frames = colorize_film(job, colorizer, chosen, timer=timer).frames
    worked = time.process_time() - worked
    output.unlink()
    stages = film_stages(colorizer, chosen, plan.format, film.facts.time_base)
    workers = {stage.name: max(1, stage.workers) for stage in stages}
    return Stages(
        {name: cost.fps * workers.get(name, 1) for name, cost in timer.costs.items()},
        worked / frames,
        processors(),
        (last - first) / max(1e-9, ended - began),
        tuple(tuple(names) for names in (*thread_names(stages), ["encode"])),
    )
