"""From a film to a finished file: the stages of a film, in order, and what is reported of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..color.chroma import chroma_only
from ..color.compose import compose
from ..color.label import Label
from ..errors import InputError
from ..frames import Checkpoint, ColorBatch, LumaBatch, PixelFormat, VideoInfo
from ..motion.bars import mark_bars
from ..motion.listed import mark_listed
from ..motion.marks import Marks
from ..motion.shots import Spacing, mark_checkpoints, mark_cuts
from ..motion.stabilizer import Stabilizer
from ..motion.stabilizer_state import StabilizerState
from ..sinks import FilmSink, SequenceSink, can_resume, is_sequence
from ..sinks.marking import FilmMarking
from ..sources.loader import copy_stages, load
from ..system.opencv import load_problem
from ..system.stages import Stage, StageTimer, run_stages
from ..system.threads import share_threads
from .batch_cache import cached_batch
from .batching import BatchRunner
from .colorizer import Colorizer
from .findings import Findings
from .grading import write_luts
from .identity import checkpoint_spacing, identity
from .journal import Journal, open_journal
from .plan import FilmJob, check_memory
from .prepared import Prepared
from .provenance.attest import FilmOrigin, film_origin, reference_files
from .provenance.settings import make_marks, today
from .settings import Progress, ProgressCallback, Report, Settings

_WORTH_RESUMING = 60  # seconds of film
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
    *,
    spacing: Spacing | None = None,
    resume: Checkpoint | None = None,
    marks: Marks | None = None,
    label: Label | None = None,
) -> list[Stage[Any, Any]]:
    """The stages from decoded luma to color, `LumaBatch` to `ColorBatch`, in order.

    `cuts` marks shots, by the colorizer's list if it has one, `bars` the black bars of each;
    `prepare` makes the network's input and finds the motion; `predict` runs the network;
    `stabilize` keeps colors steady; `compose` makes the output's pixels. On a GPU `copy` and
    `receive` bring batches there before `prepare`. Without OpenCV, or if neither stabilizing nor
    references need shots, `cuts` and `stabilize` are left out.

    Args:
        colorizer: used by the stages' threads; it is not changed.
        settings: of them `stabilize` and `exact_luma` count.
        format: of the result.
        time_base: unit of the frames' pts, seconds; None for frames that do not follow each other.
        spacing: of checkpoints, None for none; only with `time_base`.
        resume: the checkpoint that the frames begin with.
        marks: their shots and checkpoints, if they are known; the stages end behind them.
        label: is drawn into the luma behind the network.
    """
    share = share_threads(colorizer.device, colorizer.gmacs)
    unit = time_base
    if not needs_shots(colorizer, settings) or load_problem():
        time_base = None
    stabilizer = Stabilizer() if time_base is not None and settings.stabilize else None
    if stabilizer is not None and resume is not None and resume.state is not None:
        stabilizer.restore(resume.state)
    runner = BatchRunner(colorizer)

    def prepare(model: Colorizer, batch: LumaBatch) -> Prepared:
        return model.prepare(batch, stabilizer)

    def predict(model: Colorizer, prepared: Prepared) -> Predicted:
        return Predicted(prepared, model.predict(prepared))

    def stabilize(model: Colorizer, given: Predicted) -> Predicted:
        assert stabilizer is not None
        prepared, chroma = given.prepared, stabilizer.chroma
        ab = model.stabilize(prepared, given.ab, stabilizer)
        batch, point, tracking = prepared.batch, prepared.batch.checkpoint, prepared.tracking
        if point is not None and tracking is not None and not point.cut:
            state = StabilizerState(tracking, chroma)
            batch = replace(batch, checkpoint=replace(point, state=state))
        # from here on a*b* of every frame
        return Predicted(replace(prepared, batch=batch, motions=(), tracking=None), ab)

    def make_color(model: Colorizer, given: Predicted) -> ColorBatch:
        assert given.ab is not None
        ab = model.adjust(given.prepared, given.ab)
        batch = given.prepared.batch if label is None else label(given.prepared.batch)
        return compose(batch, ab, format, exact_luma=settings.exact_luma)

    stages: list[Stage[Any, Any]] = []
    if marks is not None:
        stages.append(Stage("cuts", stream=marks.apply, joined=True))
    elif colorizer.shots is not None:
        locate = partial(colorizer.shots.locate, retimed=settings.fps is not None)
        mark = partial(mark_listed, locate=locate, time_base=unit, spacing=spacing, resume=resume)
        stages.append(Stage("cuts", stream=mark, joined=True))
    elif time_base is not None:
        mark = partial(mark_cuts, time_base=time_base, spacing=spacing, resume=resume)
        stages.append(Stage("cuts", stream=mark, joined=True))
    elif unit is not None and spacing is not None:
        mark = partial(mark_checkpoints, time_base=unit, spacing=spacing)
        stages.append(Stage("checkpoints", stream=mark, joined=True))
    stages.append(Stage("bars", stream=partial(mark_bars, resume=resume), joined=True))
    if marks is not None:
        stages.append(Stage("end", stream=marks.limit, joined=True))
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


def needs_shots(colorizer: Colorizer, settings: Settings) -> bool:
    """Whether shots are looked for in a film."""
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
    colorizer = colorizer.with_film(job.source)
    if job.chroma is not None and job.only_chroma:
        settings = replace(settings, encoder=job.chroma.encoder, copy=frozenset())
    if settings.output_lut is not None:
        write_luts(settings.output_lut, colorizer, overwrite=settings.overwrite)
    marks = make_marks(colorizer, settings, job.input, film=True)
    with _journal(job, colorizer, settings) as journal:
        marks = replace(marks, date=journal.date if journal else today())
        with film_origin(job, settings, marks, reference_files(colorizer)) as origin:
            report = _colorize_film(job, colorizer, settings, on_progress, timer, journal, origin)
            origin.attest(report)
            return report


def _journal(
    job: FilmJob, colorizer: Colorizer, settings: Settings
) -> AbstractContextManager[Journal | None]:
    """The journal of a film that can be resumed; None for others, as for one with its colors in a
    second file."""
    beside = job.chroma is not None and not job.only_chroma
    possible = can_resume(job.output) or is_sequence(job.output)
    if not settings.resume or beside or not possible:
        return nullcontext()
    files = job.source.files()
    describe = partial(identity, files, colorizer, settings)
    return open_journal(job.output, describe, restart=settings.restart)


def _colorize_film(
    job: FilmJob,
    colorizer: Colorizer,
    settings: Settings,
    on_progress: ProgressCallback,
    timer: StageTimer | None,
    journal: Journal | None,
    origin: FilmOrigin,
) -> Report:
    facts = job.source.facts
    earlier = journal.earlier if journal else None
    point = earlier.checkpoint if earlier else None
    found = Findings(job, journal)
    if journal is None and settings.resume and (facts.duration_seconds or 0) > _WORTH_RESUMING:
        found.warnings.append(
            f"{job.input}: begins anew if the run is interrupted; MP4, MOV, MKV, WebM, TS and "
            "numbered pictures are resumed, without --output-chroma beside them"
        )
    without_shots = load_problem() if needs_shots(colorizer, settings) else ""
    if without_shots:
        found.warnings.append(
            f"{job.input}: no shots are found and colors are not kept steady, because "
            f"{without_shots}"
        )
    check_memory(facts)
    size = earlier.batch_size if earlier else batch_size(colorizer, settings, facts)
    film = job.source.resumed(point) if point else job.source
    source = found.read(load(film, batch_size=size, device=colorizer.device))
    stages = film_stages(
        colorizer,
        settings,
        job.chroma.format if job.chroma else job.plan.format,
        facts.time_base,
        spacing=checkpoint_spacing(colorizer.gmacs) if journal else None,
        resume=point,
        label=origin.label,
    )
    sink, aside = _open_sink(job, settings, journal, origin), _open_aside(job, settings, origin)

    def encoding(frames: int) -> AbstractContextManager[None]:
        return timer.measure("encode", frames) if timer else nullcontext()

    frames, shots = (point.frames, point.shot + 1) if point else (0, 0)
    with sink, aside or nullcontext(), closing(run_stages(source, stages, timer=timer)) as results:
        colors: Iterator[ColorBatch] = results
        if journal is not None:
            journal.begin(sink, size)
            colors = journal.follow(results, sink, found.damage, found.warnings)
        for color in colors:
            with encoding(len(color)):
                if job.chroma is not None:
                    alone = chroma_only(color, job.chroma.file.format)
                    (aside or sink).write(alone)
                if not job.only_chroma:
                    sink.write(color)
            frames += len(color)
            shots = max((shots, *(shot + 1 for shot in color.source.shots)))
            on_progress(Progress(job.input, frames, job.frames))
        if frames == 0:
            raise no_frame(job)
        with encoding(0):
            if aside is not None:
                aside.finish(incomplete=bool(found.damage))
            written = sink.finish(incomplete=bool(found.damage), cut=film.changed_at is not None)
    job.source.changed_at = film.changed_at
    if journal is not None:
        journal.finished = True
    if not without_shots and (note := colorizer.references.unused(shots)):
        found.warnings.append(f"{job.input}: {note}")
    return found.report(written, point)


def _open_sink(
    job: FilmJob, settings: Settings, journal: Journal | None, origin: FilmOrigin
) -> FilmSink | SequenceSink:
    if is_sequence(job.output):
        return SequenceSink(
            job.output,
            job.source.facts,
            format=job.plan.format,
            overwrite=settings.overwrite or job.replaces,
            work=journal.film if journal else None,
            marking=origin.marking,
        )
    return film_sink(job, settings, journal, origin.marking)


def film_sink(
    job: FilmJob, settings: Settings, journal: Journal | None, marking: FilmMarking | None
) -> FilmSink:
    """The sink of a job's film, with the marks of its origin."""
    return FilmSink(
        job.output,
        job.source.facts,
        settings.encoder,
        format=job.plan.format,
        segment=job.source.segment,
        copy=job.source.copyable(settings.copy),
        overwrite=settings.overwrite or job.replaces,
        plan=job.plan,
        work=journal.film if journal else None,
        marking=marking,
    )


def no_frame(job: FilmJob) -> InputError:
    """The error of a film without a frame."""
    if job.source.segment.is_full:
        return InputError(f"{job.input}: no frame could be decoded")
    return InputError(f"{job.input}: no frame lies in the chosen segment; check --start and --end")


def _open_aside(job: FilmJob, settings: Settings, origin: FilmOrigin) -> FilmSink | None:
    """The file of colors alone beside the output, None for none."""
    if job.chroma is None or job.only_chroma:
        return None
    return FilmSink(
        job.chroma.file.output,
        job.source.facts,
        job.chroma.encoder,
        format=job.chroma.file.format,
        copy=frozenset(),
        overwrite=settings.overwrite or job.replaces,
        plan=job.chroma.file,
        marking=origin.chroma_marking,
    )
