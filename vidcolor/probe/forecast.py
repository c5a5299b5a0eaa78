"""Estimate a run: seconds, memory, bytes on disk, from a few seconds of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..run.colorizer import Colorizer
from ..run.plan import FilmJob, Job, PicturesJob
from ..run.settings import Report, Settings, error_line
from ..system.devices import device_memory, device_name
from ..system.disk import disk_space
from ..system.memory import peak_memory
from .films import (
    Costs,
    FilmEstimate,
    Scan,
    copied_bytes,
    count_frames,
    estimate_film,
    make_measure,
    scan_film,
)
from .pictures import forecast_pictures


@dataclass(frozen=True)
class Forecast:
    """One film, or all pictures of a call.

    Attributes:
        input, output: of the film, or of the first picture.
        kind: `film` or `pictures`.
        frames: frames, or pictures.
        width, height: of a film's frames; 0 for pictures.
        seconds: without the program's start.
        fps: frames, or pictures, per second.
        bytes: of the outputs, copied streams included.
        copied_bytes: of these, copied streams.
        measured: False if it was estimated from other films.
        notes: one line for each thing that makes the estimate less certain.
    """

    input: Path
    output: Path
    kind: str
    frames: int
    width: int
    height: int
    seconds: float
    fps: float
    bytes: int
    copied_bytes: int = 0
    measured: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForecastReport:
    """What a run of some inputs takes.

    Attributes:
        device, model, precision, size: where and how it runs.
        memory: of the device now, bytes; see `system.devices.device_memory`.
        rows: one for each film, one for all pictures.
        startup_seconds: from the program's start until the model is ready; None if not measured.
        seconds: of all, the start included.
        memory_bytes, vram_bytes: peak main memory of the process, and peak memory of the GPU.
        disk_bytes: of the outputs; a run writes nothing else.
        disk_free: free bytes where the outputs go; None if unknown.
        fits: whether the disk has room for the outputs; True if that is unknown.
        measuring_seconds: that the probe itself took.
        problems: inputs that cannot be run, one line each.
    """

    device: str
    model: str
    precision: str
    size: int
    memory: dict[str, int]
    rows: tuple[Forecast, ...]
    startup_seconds: float | None
    seconds: float
    memory_bytes: int
    vram_bytes: int
    disk_bytes: int
    disk_free: int | None
    fits: bool
    measuring_seconds: float
    problems: tuple[str, ...] = ()


def free_space(path: Path) -> int | None:
    """Free bytes of the disk where `path` lies or will lie; None if unknown."""
    space = disk_space(path)
    return None if space is None else space.free


def estimate_from_others(job: FilmJob, known: Sequence[tuple[FilmJob, Costs]]) -> Costs:
    """A film's costs by measured films of its frame size; if there are none, by all, by pixels.

    Args:
        job: the film.
        known: measured films, at least one.
    """

    def area(film: FilmJob) -> int:
        return film.source.facts.width * film.source.facts.height

    alike = [(j, c) for j, c in known if area(j) == area(job)] or list(known)
    scaled = [(c, area(job) / area(j)) for j, c in alike]
    return Costs(
        min(c.fixed_seconds for c, _ in scaled),  # a film that follows another starts faster
        sum(c.frame_seconds * scale for c, scale in scaled) / len(scaled),
        sum(c.fixed_bytes for c, _ in scaled) / len(scaled),
        sum(c.frame_bytes * scale for c, scale in scaled) / len(scaled),
    )


def forecast(
    jobs: Sequence[Job],
    reports: Sequence[Report],
    colorizer: Colorizer,
    settings: Settings,
    *,
    budget: float = 20.0,
    startup_seconds: float | None = None,
) -> ForecastReport:
    """Estimate what running `jobs` takes, by running parts of films and a sample of pictures.

    Only temporary files are written, in the system's folder for them.

    Args:
        jobs: see `run.plan.plan`; the longest film is measured first.
        reports: of inputs that cannot be run.
        colorizer: the model on its device.
        settings: of the run.
        budget: seconds, about, for measuring films. The longest one is measured in any case; films
            that there is no time for are estimated from the others.
        startup_seconds: from the program's start until the model was ready.

    Raises:
        OutputError: the temporary folder cannot be written.
    """
    began = time.monotonic()
    rows: dict[int, Forecast] = {}
    problems = [report.error or f"{report.input}: {report.status}" for report in reports]
    films: list[tuple[int, int, FilmJob, Scan]] = []
    for index, job in enumerate(jobs):
        if isinstance(job, FilmJob):
            copied = [each.index for each in job.plan.streams]
            try:
                scan = scan_film(job.source.path, job.source.rate, copied)
            except Exception as error:
                problems.append(error_line(job.input, error))
            else:
                films.append((-count_frames(job, scan), index, job, scan))
    known: list[tuple[FilmJob, Costs]] = []
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="vidcolor-probe-") as name,
        peak_memory(colorizer.device) as peak,
    ):
        folder = Path(name)
        for _, index, job, scan in sorted(films, key=lambda film: film[:2]):
            left = budget - (time.monotonic() - started)
            if known and left <= 0:
                costs = estimate_from_others(job, known)
                found = FilmEstimate(count_frames(job, scan), costs, copied_bytes(job, scan))
            else:
                try:
                    measure, ahead = make_measure(job, colorizer, settings, folder)
                    found = estimate_film(job, settings, scan, measure, ahead, left)
                except Exception as error:
                    problems.append(error_line(job.input, error))
                    continue
                known.append((job, found.costs))
            facts = job.source.facts
            rows[index] = Forecast(
                job.input,
                job.output,
                "film",
                found.frames,
                facts.width,
                facts.height,
                found.seconds,
                found.frames / max(1e-9, found.seconds),
                found.bytes,
                found.copied,
                bool(found.samples),
                found.notes,
            )
        for index, job in enumerate(jobs):
            if isinstance(job, PicturesJob):
                one = forecast_pictures(job, colorizer, settings, folder)
                notes = (f"by {one.sampled} of {one.files} files",) * (one.sampled < one.files)
                fps = one.files / max(1e-9, one.seconds)
                rows[index] = Forecast(
                    *job.items[0], "pictures", one.files, 0, 0, one.seconds, fps, one.bytes,
                    notes=notes,
                )  # fmt: skip
    ordered = tuple(rows[index] for index in sorted(rows))
    needed, free = sum(r.bytes for r in ordered), free_space(ordered[0].output) if ordered else None
    return ForecastReport(
        device=device_name(colorizer.device),
        model=colorizer.name,
        precision=colorizer.precision,
        size=colorizer.size,
        memory=device_memory(colorizer.device),
        rows=ordered,
        startup_seconds=startup_seconds,
        seconds=(startup_seconds or 0.0) + sum(row.seconds for row in ordered),
        memory_bytes=peak.memory,
        vram_bytes=peak.vram,
        disk_bytes=needed,
        disk_free=free,
        fits=free is None or needed <= free,
        measuring_seconds=time.monotonic() - began,
        problems=tuple(problems),
    )
