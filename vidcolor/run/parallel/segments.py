"""Divide a film into segments that do not depend on each other, and color one of them.

A scan decodes the film and looks for its shots; it finds the checkpoints that a run by one process
would set. A segment begins at a checkpoint where a shot begins, because there all state is reset,
and ends at a later one. So its frames, pixels and packets are those of one process, whoever makes
them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from ...errors import InputError
from ...frames import Checkpoint, LumaBatch
from ...motion.marks import Marks
from ...motion.shots import Spacing, mark_checkpoints, mark_cuts
from ...sinks import FilmSink
from ...sources.loader import load
from ...system.files import temporary_path
from ...system.stages import Stage, run_stages
from ..colorizer import Colorizer
from ..films import film_stages
from ..plan import FilmJob
from ..provenance.attest import make_label
from ..settings import Settings

# In place of a stabilizer's state that was not kept: no run is resumed at such a checkpoint.
_NOT_KEPT = "in another process"

Frames = list[tuple[int, int]]  # pts and duration of each


@dataclass(frozen=True)
class FilmSegment:
    """Consecutive frames of a film, from one checkpoint to another.

    Attributes:
        begin: the checkpoint before the first frame; None for the film's beginning.
        marks: the shots and checkpoints in it.
        places: the frames up to each checkpoint in it and up to its end, with that checkpoint;
            None for the film's end.
    """

    begin: Checkpoint | None
    marks: Marks
    places: tuple[tuple[Checkpoint | None, Frames], ...]

    @property
    def first(self) -> int:
        """Number of the first frame."""
        return self.begin.frames if self.begin else 0

    @property
    def frames(self) -> Frames:
        """All frames."""
        return [frame for _, frames in self.places for frame in frames]


@dataclass
class _Open:
    """A segment in the making."""

    begin: Checkpoint | None
    places: list[tuple[Checkpoint | None, Frames]] = field(default_factory=list)
    frames: Frames = field(default_factory=list)  # since the last checkpoint
    cuts: list[bool] = field(default_factory=list)
    shots: list[int] = field(default_factory=list)
    checkpoints: dict[int, int] = field(default_factory=dict)
    first_pts: int | None = None
    count: int = 0

    def mark(self, point: Checkpoint) -> None:
        """Set a checkpoint before the next frame."""
        self.checkpoints[self.count] = point.shot
        self._pass(point)

    def add(self, batch: LumaBatch) -> None:
        """Take the next frames."""
        if self.first_pts is None and batch.pts:
            self.first_pts = batch.pts[0]
        self.frames += zip(batch.pts, batch.durations, strict=True)
        self.cuts += batch.cuts
        self.shots += batch.shots
        self.count += len(batch)

    def _pass(self, point: Checkpoint | None) -> None:
        self.places.append((point, self.frames))
        self.frames = []

    def end(self, point: Checkpoint | None) -> FilmSegment:
        """The segment up to `point`."""
        self._pass(point)
        marks = Marks(self.count, tuple(self.cuts), tuple(self.shots), self.checkpoints)
        return FilmSegment(self.begin, marks, tuple(self.places))


def scan(
    batches: Generator[LumaBatch, None, None],
    time_base: Fraction,
    spacing: Spacing,
    *,
    shots: bool,
    length: Fraction,
    begin: Checkpoint | None = None,
) -> Generator[FilmSegment, None, None]:
    """The segments of a film, in order, as soon as each is found.

    Args:
        batches: the film's frames from `begin` on, in batches of the run's size.
        time_base: unit of their pts, seconds.
        spacing: of checkpoints.
        shots: shots are looked for, and segments begin with them; else at any checkpoint.
        length: seconds of a segment at least; only the last may be shorter.
        begin: the checkpoint that the frames begin with; None for the film's beginning.
    """
    if shots:
        mark = partial(mark_cuts, time_base=time_base, spacing=spacing, resume=begin)
    else:
        mark = partial(mark_checkpoints, time_base=time_base, spacing=spacing)
    here = _Open(begin)
    with closing(run_stages(batches, [Stage("cuts", stream=mark, joined=True)])) as marked:
        for batch in marked:
            point: Checkpoint | None = batch.checkpoint
            if point is not None:
                whole = point.cut or not shots
                if not whole:
                    point = replace(point, state=_NOT_KEPT)
                if whole and (point.pts - (here.first_pts or 0)) * time_base >= length:
                    yield here.end(point)
                    here = _Open(point)
                else:
                    here.mark(point)
            here.add(batch)
            del batch
    if here.count:
        yield here.end(None)


def color_segment(
    job: FilmJob,
    segment: FilmSegment,
    path: Path,
    batch_size: int,
    colorizer: Colorizer,
    settings: Settings,
    on_frames: Callable[[int], None] = lambda frames: None,
) -> None:
    """Color a segment into a film of its own, without sound, verified.

    Args:
        job: of the film.
        segment: of it.
        path: of the film to write; it appears when it is complete.
        batch_size: of the run.
        colorizer: used by threads until this returns.
        settings: of the run.
        on_frames: called after each batch with the number of frames written so far.

    Raises:
        InputError: the film does not give the frames that the scan has found.
        OutputError: the part cannot be written.
    """
    facts, begin = job.source.facts, segment.begin
    film = job.source.resumed(begin) if begin else job.source
    source = load(film, batch_size=batch_size, device=colorizer.device)
    stages = film_stages(
        colorizer,
        settings,
        job.plan.format,
        facts.time_base,
        resume=begin,
        marks=segment.marks,
        label=make_label(settings, facts),
    )
    sink = FilmSink(
        path,
        facts,
        settings.encoder,
        format=job.plan.format,
        copy=frozenset(),
        overwrite=True,
        plan=replace(job.plan, streams=(), num_chapters=0),
        work=temporary_path(path, path.suffix),
    )
    found: Frames = []
    with sink, closing(run_stages(source, stages)) as colors:
        for color in colors:
            if color.source.checkpoint is not None:
                sink.checkpoint()
            sink.write(color)
            found += zip(color.source.pts, color.source.durations, strict=True)
            on_frames(len(found))
        if found != segment.frames:
            raise InputError(
                f"{job.input}: other frames are read from frame {segment.first} on than in one go"
            )
        sink.sync()
        sink.finish()
