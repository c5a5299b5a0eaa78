"""What a run will take: seconds, memory, bytes on disk; from a few seconds of it."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import VidcolorError
from ..run.colorizer import Colorizer
from ..run.plan import FilmJob, Job, PicturesJob
from ..run.settings import Report, Settings
from ..system.devices import device_memory, device_name
from ..system.memory import Peak
from .arithmetic import Costs
from .films import Clock, FilmCosts, FilmMeter, copied_size, film_costs, frames_of
from .pictures import PictureMeter, pictures_costs


@dataclass(frozen=True)
class Forecast:
    """One film, or all pictures of a call.

    Attributes:
        input: the film; for pictures the first of them.
        output: what a run would write; for pictures the first file.
        kind: `film` or `pictures`.
        frames: frames, or files.
        width, height: of a film's frames; 0 for pictures.
        seconds: that it takes, without the program's start.
        fps: frames, or files, a second, everything included.
        bytes: of the output, copied streams included.
        copied_bytes: of these, what is copied.
        measured: this very input was measured; else others of the call stand for it.
        notes: one line for each thing that makes the forecast less sure.
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
    copied_bytes: int
    measured: bool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = dataclasses.asdict(self)
        return {**values, "input": str(self.input), "output": str(self.output)}


@dataclass(frozen=True)
class ForecastReport:
    """What a run of some inputs takes.

    Attributes:
        device, model, precision, size: where and how it runs.
        memory: of the device now, in bytes; see `metering.device_memory`.
        rows: one for each film, one for all pictures.
        startup_seconds: from the program's start until the model is ready; None if not measured.
        seconds: of all, the start included.
        memory_bytes: of main memory at the peak, the whole process.
        vram_bytes: of the GPU's memory at the peak, 0 without one.
        disk_bytes: that the outputs need. A run writes nothing else: each output lies under a
            temporary name beside its place until it is whole.
        disk_free: bytes free where the outputs go.
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
    measuring_seconds: float
    problems: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the disk has room for the outputs; True where that is not known."""
        return self.disk_free is None or self.disk_bytes <= self.disk_free

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = {**vars(self), "rows": [row.to_dict() for row in self.rows]}
        return {**values, "problems": list(self.problems), "fits": self.fits}


def free_space(path: Path) -> int | None:
    """Bytes free on the disk where `path` lies or will lie, None if that cannot be found out."""
    for folder in (path.absolute(), *path.absolute().parents):
        if folder.is_dir():
            try:
                return shutil.disk_usage(folder).free
            except OSError:
                return None
    return None


def estimated(job: FilmJob, known: Sequence[tuple[FilmJob, Costs]]) -> Costs:
    """A film's costs by those of others that were measured.

    Films of its own frame size stand for it, where there are any; else all of them, by their
    pixels.

    Args:
        job: the film.
        known: films and what was measured of them, at least one.
    """
    facts = job.source.facts
    pixels = facts.width * facts.height

    def area(other: FilmJob) -> int:
        return other.source.facts.width * other.source.facts.height

    alike = [(j, c) for j, c in known if area(j) == pixels] or list(known)
    scales = [pixels / area(other) for other, _ in alike]
    count = len(alike)
    # a film that follows another starts sooner: least, not mean
    return Costs(
        sum(c.seconds_a_frame * k for (_, c), k in zip(alike, scales, strict=True)) / count,
        min(c.fixed_seconds for _, c in alike),
        sum(c.bytes_a_frame * k for (_, c), k in zip(alike, scales, strict=True)) / count,
        sum(c.fixed_bytes for _, c in alike) / count,
    )


def forecast(
    jobs: Sequence[Job],
    reports: Sequence[Report],
    colorizer: Colorizer,
    settings: Settings,
    *,
    budget: float = 20.0,
    startup_seconds: float | None = None,
    clock: Clock = time.perf_counter,
) -> ForecastReport:
    """Predict what running `jobs` takes, by running stretches and samples of them.

    Nothing is written but temporary files in the system's folder for such.

    Args:
        jobs: as `planning.plan` gave them; the longest film is measured first.
        reports: of inputs that cannot be run.
        colorizer: the model on its device.
        settings: of the run.
        budget: seconds, about, that films are measured for; the longest is measured in any case,
            and those that time is not left for are estimated by the others.
        startup_seconds: from the program's start until the model was ready.
        clock: seconds of the work; see `films.FilmMeter`.

    Raises:
        OutputError: the temporary folder cannot be written.
    """
    began = time.monotonic()
    device, peak = colorizer.device, Peak()
    rows: dict[int, Forecast] = {}
    problems = [report.error or f"{report.input}: {report.status}" for report in reports]
    films: list[tuple[int, int, FilmJob]] = []  # the longest first
    for index, job in enumerate(jobs):
        if isinstance(job, FilmJob):
            try:
                films.append((-frames_of(job), index, job))
            except VidcolorError as error:
                problems.append(str(error))
    films.sort(key=lambda film: film[:2])
    known: list[tuple[FilmJob, Costs]] = []
    with tempfile.TemporaryDirectory(prefix="vidcolor-probe-") as name:
        folder = Path(name)
        for negative, index, job in films:
            left = budget - (time.monotonic() - began)
            meter = FilmMeter(job, colorizer, settings, folder, clock)
            try:
                if known and left <= 0:
                    copied = copied_size(job, settings)
                    guess = FilmCosts(-negative, estimated(job, known), copied)
                    rows[index] = _row(job, guess, measured=False)
                    continue
                found = film_costs(job, settings, meter.measure, budget=left, ahead=meter.ahead)
            except VidcolorError as error:
                problems.append(str(error))
                continue
            peak = _larger(peak, meter.peak)
            known.append((job, found.costs))
            rows[index] = _row(job, found, measured=True)
        for index, pictures in enumerate(jobs):
            if isinstance(pictures, PicturesJob):
                sampler = PictureMeter(colorizer, settings, folder, len(pictures.items), clock)
                rows[index] = _pictures_row(pictures, sampler)
                peak = _larger(peak, sampler.peak)
    ordered = tuple(rows[index] for index in sorted(rows))
    return ForecastReport(
        device=device_name(device),
        model=colorizer.name,
        precision=colorizer.precision,
        size=colorizer.size,
        memory=device_memory(device),
        rows=ordered,
        startup_seconds=startup_seconds,
        seconds=(startup_seconds or 0.0) + sum(row.seconds for row in ordered),
        memory_bytes=peak.memory,
        vram_bytes=peak.vram,
        disk_bytes=sum(row.bytes for row in ordered),
        disk_free=free_space(ordered[0].output) if ordered else None,
        measuring_seconds=time.monotonic() - began,
        problems=tuple(problems),
    )


def _larger(one: Peak, other: Peak) -> Peak:
    return Peak(max(one.memory, other.memory), max(one.vram, other.vram))


def _row(job: FilmJob, found: FilmCosts, *, measured: bool) -> Forecast:
    facts = job.source.facts
    seconds = found.costs.seconds(found.frames)
    return Forecast(
        input=job.input,
        output=job.output,
        kind="film",
        frames=found.frames,
        width=facts.width,
        height=facts.height,
        seconds=seconds,
        fps=found.frames / seconds if seconds > 0 else 0.0,
        bytes=found.costs.bytes(found.frames) + found.copied,
        copied_bytes=found.copied,
        measured=measured,
        notes=found.notes,
    )


def _pictures_row(job: PicturesJob, meter: PictureMeter) -> Forecast:
    found = pictures_costs(job.items, meter.measure, meter.window)
    notes = () if found.sampled == found.files else (f"by {found.sampled} of {found.files} files",)
    return Forecast(
        input=job.items[0][0],
        output=job.items[0][1],
        kind="pictures",
        frames=found.files,
        width=0,
        height=0,
        seconds=found.seconds,
        fps=found.files / found.seconds if found.seconds > 0 else 0.0,
        bytes=found.bytes,
        copied_bytes=0,
        measured=True,
        notes=notes,
    )
