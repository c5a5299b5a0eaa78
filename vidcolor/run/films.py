"""From inputs to finished files.

    for batch in source: sink.write(compose(batch, colorizer(batch)))

For a film these are threads that run ahead of each other (`stages.py`); the motion from frame to
frame is found in one before the model.
Jobs are planned first (`planning.py`), so that what cannot work is said before the work begins; a
job that fails does not stop the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ..color.compose import compose
from ..errors import DamagedInputError, InputError
from ..frames import ColorBatch, FilmFacts
from ..motion.shots import mark_cuts
from ..motion.stabilizer import Stabilizer
from ..sinks import FilmSink
from ..sources import load
from ..system.devices import is_out_of_memory, out_of_memory
from ..system.opencv import load_problem
from ..system.threads import ahead, share_threads, side_by_side
from .batch_cache import cached_batch
from .batching import Divisible
from .colorizer import Colorizer, Seen
from .plan import FilmJob
from .settings import Progress, Report, Settings, Watch

# Code points of ITU-T H.273: PQ and HLG; BT.2020.
_HDR_TRANSFERS, _BT2020_PRIMARIES = (16, 18), 9

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Part = TypeVar("Part", bound="_Placed")
Said = TypeVar("Said", bound="_Predicted")


_CPU_PIXELS, _GPU_PIXELS = 8 * 720 * 576, 4 * 1920 * 1080  # of a batch


def batch_size(colorizer: Colorizer, settings: Settings, facts: FilmFacts) -> int:
    """Frames a batch: what was asked for, what `vidcolor probe` found to be the fastest on this
    device, or as many as keep its memory bounded."""
    if settings.batch_size:
        return settings.batch_size
    if known := cached_batch(colorizer, facts.width, facts.height):
        return known
    cpu = colorizer.device.type == "cpu"
    pixels, most = (_CPU_PIXELS, 8) if cpu else (_GPU_PIXELS, 16)
    return max(1, min(most, pixels // (facts.width * facts.height)))


def colorize_film(
    job: FilmJob, colorizer: Colorizer, settings: Settings, watch: Watch = lambda progress: None
) -> Report:
    """Colorize one film's segment into one file.

    Raises:
        InputError: nothing of the film can be decoded.
        OutputError: the film cannot be written.
    """
    facts = job.source.facts
    report = Report(job.input, job.output, "done", warnings=list(_warnings(job)))
    damage: list[str] = []
    turned = facts.is_color  # the warning is given
    stabilizer = Stabilizer() if settings.stabilize else None
    marked = stabilizer is not None or colorizer.references.per_shot
    if marked and (reason := load_problem()):
        stabilizer, marked = None, False
        report.warnings.append(
            f"{job.input}: no shots are found and colour is not kept in place, because {reason}"
        )
    shots = 0
    threads = share_threads(colorizer.device, colorizer.gmacs)
    source = load(
        job.source,
        batch_size=batch_size(colorizer, settings, facts),
        workers=settings.workers or 0,  # FFmpeg's decoders have threads of their own
        device=colorizer.device,
        through=partial(mark_cuts, time_base=facts.time_base) if marked else None,
        prefetch=threads.prefetch,
    )

    def watched() -> Generator[Seen]:
        nonlocal turned, shots
        with closing(source):
            for batch in source:
                damage.extend(batch.damage)
                report.warnings += batch.notes
                shots = max((shots, *(shot + 1 for shot in batch.shots)))
                if batch.is_color and not turned:
                    turned = True
                    report.warnings.append(f"{job.input}: turns to colour; only its luma is used")
                yield from _with_halving(
                    batch, lambda part: colorizer.see(part, stabilizer), colorizer
                )

    def predicted(seen: Seen) -> list[_Predicted]:
        def chroma(part: Seen) -> _Predicted:
            return _Predicted(part, colorizer.chroma(part))

        return list(colorizer.with_backoff(seen, chroma))

    def steadied(part: _Predicted) -> _Steadied:
        return _Steadied(part.seen, colorizer.steady(part.seen, part.ab, stabilizer))

    def colored(part: _Steadied) -> ColorBatch:
        ab = colorizer.finish(part.seen, part.ab)
        return compose(part.seen.batch, ab, job.plan.format, exact_luma=settings.exact_luma)

    def composed() -> Generator[ColorBatch]:
        model = side_by_side(
            lambda: ahead(watched, "motion", threads=threads.model),
            predicted,
            "model",
            workers=threads.workers,
            threads=threads.model,
        )
        with closing(model) as batches:
            for parts in batches:
                for part in parts:
                    for whole in _with_halving(part, steadied, colorizer):
                        yield from _with_halving(whole, colored, colorizer)

    sink = FilmSink(
        job.output,
        facts,
        settings.encoder,
        format=job.plan.format,
        segment=settings.segment,
        copy=settings.copy,
        overwrite=settings.overwrite,
        plan=job.plan,
    )
    colors = ahead(composed, "compose", threads=threads.compose)
    with sink, closing(colors):
        for color in colors:
            sink.write(color)
            report.frames += len(color.source)
            watch(Progress(job.input, report.frames, job.frames))
        if report.frames == 0:
            raise InputError(
                f"{job.input}: no frame lies in the chosen segment; check --start and --end"
                if not settings.segment.whole
                else f"{job.input}: no frame could be decoded"
            )
        written = sink.finish(incomplete=bool(damage))
    if marked and (note := colorizer.references.unused(shots)):
        report.warnings.append(f"{job.input}: {note}")
    report.output = written.path
    if written.damage:
        damage.append(written.damage)
    if written.incomplete:
        report.status = "incomplete"
        report.error = str(_damaged(job.input, damage, written.path))
    return report


class _Placed(Divisible, Protocol):
    """Frames that can be worked on in parts, and where they are."""

    @property
    def device(self) -> torch.device: ...


@dataclass(frozen=True)
class _Predicted:
    """What was seen of a batch, and what the network says of the frames that it had to see."""

    seen: Seen
    ab: Tensor | None

    @property
    def device(self) -> torch.device:
        return self.seen.batch.device

    def __len__(self) -> int:
        return len(self.seen)

    def __getitem__(self, part: slice) -> _Predicted:
        first, last, _ = part.indices(len(self))
        before, until = (sum(i < end for i in self.seen.looks) for end in (first, last))
        ab = None if self.ab is None or before == until else self.ab[before:until]
        return _Predicted(self.seen[part], ab)

    def to(self: Said, device: torch.device) -> Said:
        ab = None if self.ab is None else self.ab.to(device)
        return replace(self, seen=self.seen.to(device), ab=ab)


@dataclass(frozen=True)
class _Steadied(_Predicted):
    """What was seen of a batch, and the a*b* of all its frames."""

    ab: Tensor

    def __getitem__(self, part: slice) -> _Steadied:
        return _Steadied(self.seen[part], self.ab[part])


def _with_halving(
    part: Part, work: Callable[[Part], Result], colorizer: Colorizer
) -> Iterator[Result]:
    """`work`, in halves where memory does not suffice, and at last on the CPU. Unlike
    `Colorizer.with_backoff` it leaves the model where it is, which other threads use.

    Raises:
        DeviceError: not even one frame can be worked on there.
    """
    half = len(part) // 2
    try:
        result = work(part)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if not half and part.device.type == "cpu":
            raise out_of_memory() from error
    else:
        yield result
        return
    parts = [part.to(torch.device("cpu"))]
    if half:
        colorizer.limit_batch(half)
        parts = [part[:half], part[half:]]
    for each in parts:
        yield from _with_halving(each, work, colorizer)


def _damaged(path: Path, damage: list[str], kept: Path) -> DamagedInputError:
    more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
    return DamagedInputError(f"{damage[0]}{more}; what could be read of {path.name} is in {kept}")


def _warnings(job: FilmJob) -> Iterator[str]:
    facts = job.source.facts
    if facts.is_color:
        yield f"{job.input}: is already in colour; only its luma is used"
    if facts.tags.transfer in _HDR_TRANSFERS or facts.tags.primaries == _BT2020_PRIMARIES:
        yield f"{job.input}: is HDR or BT.2020; it is treated as sRGB, so its colours will be off"
    if facts.interlaced:
        yield f"{job.input}: is interlaced; combing stays (deinterlace it first)"
    yield from job.plan.notes
