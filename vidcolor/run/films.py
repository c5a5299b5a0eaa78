"""From a film to a finished file: the stages of a film, in order, and what is reported of it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..color.compose import compose
from ..color.hdr import is_hdr, is_wide
from ..errors import DamagedInputError, InputError
from ..frames import ColorBatch, LumaBatch, PixelFormat, VideoInfo
from ..motion.shots import mark_cuts
from ..motion.stabilizer import Stabilizer
from ..sinks import FilmSink
from ..sources.loader import copy_stages, load
from ..system.opencv import load_problem
from ..system.stages import Stage, StageTimer, run_stages
from ..system.threads import share_threads
from .batch_cache import cached_batch
from .batching import BatchRunner
from .colorizer import Colorizer, Prepared
from .plan import FilmJob, check_memory
from .settings import Progress, ProgressCallback, Report, Settings

_CPU_PIXELS, _GPU_PIXELS = 8 * 720 * 576, 4 * 1920 * 1080  # of a batch


def batch_size(colorizer: Colorizer, settings: Settings, facts: VideoInfo) -> int:
    """Frames in a batch: the size in the settings, or the one that `vidcolor probe` measured as
    the fastest on this device, or as many as keep memory bounded."""
    if settings.batch_size:
        return settings.batch_size
    if known := cached_batch(colorizer, facts.width, facts.height):
        return known
    cpu = colorizer.device.type == "cpu"
    pixels, most = (_CPU_PIXELS, 8) if cpu else (_GPU_PIXELS, 16)
    return max(1, min(most, pixels // (facts.width * facts.height)))


@dataclass(frozen=True)
class Predicted:
    """A batch behind the network.

    Attributes:
        prepared: the batch.
        ab: `(n, 2, h, w)` a*b* of its n `inference_indices`; None if n is 0.
    """

    prepared: Prepared
    ab: Tensor | None

    def __len__(self) -> int:
        return len(self.prepared)

    def __getitem__(self, part: slice) -> Predicted:
        first, last, _ = part.indices(len(self))
        begin, end = (
            sum(i < bound for i in self.prepared.inference_indices) for bound in (first, last)
        )
        ab = None if self.ab is None or begin == end else self.ab[begin:end]
        return Predicted(self.prepared[part], ab)

    def to(self, device: torch.device) -> Predicted:
        """The same with the batch on `device`; `ab` is moved by what needs it there."""
        return replace(self, prepared=self.prepared.to(device))


def film_stages(
    colorizer: Colorizer,
    settings: Settings,
    format: PixelFormat,
    time_base: Fraction | None,
) -> list[Stage[Any, Any]]:
    """The stages from decoded luma to color, `LumaBatch` to `ColorBatch`, in order.

    `cuts` marks shots; `prepare` makes the network's input and finds the motion; `predict` runs
    the network; `stabilize` keeps colors steady; `compose` makes the output's pixels. On a GPU
    `copy` and `receive` bring batches there before `prepare`. Without OpenCV, or if neither
    stabilizing nor references need shots, `cuts` and `stabilize` are left out.

    Args:
        colorizer: used by the stages' threads; it is not changed.
        settings: of them `stabilize` and `exact_luma` count.
        format: of the result.
        time_base: unit of the frames' pts, seconds; None for frames that do not follow each other.
    """
    share = share_threads(colorizer.device, colorizer.gmacs)
    if not _needs_shots(colorizer, settings) or load_problem():
        time_base = None
    stabilizer = Stabilizer() if time_base is not None and settings.stabilize else None
    runner = BatchRunner(colorizer)

    def prepare(model: Colorizer, batch: LumaBatch) -> Prepared:
        return model.prepare(batch, stabilizer)

    def predict(model: Colorizer, prepared: Prepared) -> Predicted:
        return Predicted(prepared, model.predict(prepared))

    def stabilize(model: Colorizer, given: Predicted) -> Predicted:
        assert stabilizer is not None
        ab = model.stabilize(given.prepared, given.ab, stabilizer)
        return Predicted(replace(given.prepared, motions=()), ab)  # from here on of every frame

    def make_color(model: Colorizer, given: Predicted) -> ColorBatch:
        assert given.ab is not None
        ab = model.adjust(given.prepared, given.ab)
        return compose(given.prepared.batch, ab, format, exact_luma=settings.exact_luma)

    stages: list[Stage[Any, Any]] = []
    if time_base is not None:
        stages.append(Stage("cuts", stream=partial(mark_cuts, time_base=time_base), joined=True))
    if share.prefetch:
        stages += copy_stages(colorizer.device)
    stages += [
        runner.stage("prepare", prepare, threads=share.model, joined=True),
        runner.stage(
            "predict",
            predict,
            threads=share.model,
            workers=share.workers if share.workers > 1 else 0,
        ),
    ]
    if stabilizer is not None:
        stages.append(runner.stage("stabilize", stabilize, threads=share.compose))
    stages.append(
        runner.stage("compose", make_color, threads=share.compose, joined=stabilizer is not None)
    )
    return stages


def _needs_shots(colorizer: Colorizer, settings: Settings) -> bool:
    return settings.stabilize or colorizer.references.per_shot


def colorize_film(
    job: FilmJob,
    colorizer: Colorizer,
    settings: Settings,
    on_progress: ProgressCallback = lambda progress: None,
    timer: StageTimer | None = None,
) -> Report:
    """Colorize one film's segment into one file.

    Args:
        job: the film, and where it goes.
        colorizer: used by threads until this returns; it is not changed.
        settings: of the run.
        on_progress: called after every batch written.
        timer: measures the stages: `decode`, those of `film_stages`, and `encode`.

    Raises:
        InputError: nothing of the film can be decoded.
        OutputError: the film cannot be written.
        DeviceError: memory does not suffice for one frame.
    """
    facts = job.source.facts
    found = _Findings(job)
    without_shots = load_problem() if _needs_shots(colorizer, settings) else ""
    if without_shots:
        found.warnings.append(
            f"{job.input}: no shots are found and colors are not kept steady, because "
            f"{without_shots}"
        )
    check_memory(facts)
    size = batch_size(colorizer, settings, facts)
    source = found.read(load(job.source, batch_size=size, device=colorizer.device))
    stages = film_stages(colorizer, settings, job.plan.format, facts.time_base)
    sink = FilmSink(
        job.output,
        facts,
        settings.encoder,
        format=job.plan.format,
        segment=job.source.segment,
        copy=job.source.copyable(settings.copy),
        overwrite=settings.overwrite,
        plan=job.plan,
    )

    def encoding(frames: int) -> AbstractContextManager[None]:
        return timer.measure("encode", frames) if timer else nullcontext()

    frames = shots = 0
    with sink, closing(run_stages(source, stages, timer=timer)) as colors:
        for color in colors:
            with encoding(len(color)):
                sink.write(color)
            frames += len(color)
            shots = max((shots, *(shot + 1 for shot in color.source.shots)))
            on_progress(Progress(job.input, frames, job.frames))
        if frames == 0:
            raise InputError(
                f"{job.input}: no frame lies in the chosen segment; check --start and --end"
                if not job.source.segment.is_full
                else f"{job.input}: no frame could be decoded"
            )
        with encoding(0):
            written = sink.finish(
                incomplete=bool(found.damage), cut=job.source.changed_at is not None
            )
    if not without_shots and (note := colorizer.references.unused(shots)):
        found.warnings.append(f"{job.input}: {note}")
    report = Report(job.input, written.path, "done", frames, warnings=found.warnings)
    found.damage += written.damage
    found.warnings += written.notes
    if written.incomplete:
        report.status = "incomplete"
        report.error = str(_damaged(job.input, found.damage, written.path))
    return report


class _Findings:
    """What is found out about a film while it is read.

    Attributes:
        warnings: one line each.
        damage: one line for each part that could not be read.
    """

    def __init__(self, job: FilmJob) -> None:
        self.warnings = list(_warnings(job))
        self.damage: list[str] = []
        self._input, self._is_color = job.input, job.source.facts.is_color

    def read(self, batches: Generator[LumaBatch, None, None]) -> Generator[LumaBatch, None, None]:
        """Pass the film's batches on, and keep what they tell of it."""
        with closing(batches):
            for batch in batches:
                self.damage += batch.damage
                self.warnings += batch.notes
                if batch.is_color and not self._is_color:
                    self._is_color = True
                    self.warnings.append(f"{self._input}: turns to color; only its luma is used")
                yield batch
                del batch  # not to be kept while the next one is decoded


def _damaged(path: Path, damage: list[str], kept: Path) -> DamagedInputError:
    more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
    return DamagedInputError(f"{damage[0]}{more}; what could be read of {path.name} is in {kept}")


def _warnings(job: FilmJob) -> Iterator[str]:
    facts = job.source.facts
    if facts.tint is not None:
        kept = "it is kept over the colors" if job.source.keep_tint else "only its luma is used"
        yield f"{job.input}: is tinted or toned in one hue; {kept} (--tint-source)"
    elif facts.is_color:
        yield f"{job.input}: is already in color; only its luma is used"
    if is_wide(facts.tags):
        kind = "HDR" if is_hdr(facts.tags.transfer) else "BT.2020"
        yield f"{job.input}: is {kind}; its luma is kept, the colors are made for it, {kind} stays"
    for note in facts.notes:
        yield f"{job.input}: {note}"
    yield from job.plan.notes
