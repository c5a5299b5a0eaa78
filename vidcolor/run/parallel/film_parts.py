"""Color a film in parts: find its segments, have them colored, and join the parts in order.

The parts lie in the folder of the film's journal, so that a run that is resumed finds them again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError, VidcolorError
from ...motion.shots import Spacing
from ...sinks import EarlierFilm, FilmSink
from ...sinks.marking import FilmMarking
from ...sources.loader import load
from ...system.disk import DiskGuard
from ..films import film_sink, no_frame
from ..findings import Findings
from ..journal import PARTS, Journal
from ..plan import FilmJob, check_memory
from ..references.references import unused
from ..settings import Progress, Report, Settings
from .pool import Pool
from .segments import FilmSegment, scan
from .tasks import Description, PartOfFilm

AHEAD = 4  # segments for each worker, between the one that is joined next and the last handed out


class NotDivisibleError(Exception):
    """A film has to be colored as a whole."""


@dataclass(frozen=True)
class _Part:
    """A segment that is being colored.

    Attributes:
        segment: what is colored.
        path: of the film that it becomes.
        future: done when that is there.
        damage, warnings: of the film, as far as it was read when the segment was found.
    """

    segment: FilmSegment
    path: Path
    future: Future[Any]
    damage: list[str]
    warnings: list[str]


class FilmInParts:
    """Scans a film, has its segments colored, and joins the parts.

    Args:
        job: of the film.
        settings: of the run.
        pool: colors the segments.
        description: of the run.
        journal: of the film.
        marking: puts the marks of its origin into the film; None for none.
        tell: is told how far the film is.
        guard: pauses the work while the disk has too little space.
    """

    def __init__(
        self,
        job: FilmJob,
        settings: Settings,
        pool: Pool,
        description: Description,
        journal: Journal,
        marking: FilmMarking | None,
        tell: Callable[[Progress], None],
        guard: DiskGuard,
    ) -> None:
        self._guard, self._marking = guard, marking
        self._job, self._settings, self._pool, self._tell = job, settings, pool, tell
        self._description, self._journal = description, journal
        self._folder = journal.film.parent / PARTS
        self._found = Findings(job, journal)
        self._done: dict[int, int] = {}  # frames that are colored, by the first of their segment
        self._resumed = 0
        self._waiting: deque[_Part] = deque()  # to be joined, in order

    def run(self, length: Fraction, spacing: Spacing, scanning: threading.Semaphore) -> Report:
        """Colorize the film.

        Args:
            length: seconds of a segment, at least.
            spacing: of checkpoints.
            scanning: held while the film is scanned.

        Raises:
            NotDivisibleError: a part could not be made.
            VidcolorError: see `colorize_film`.
        """
        job, journal, facts = self._job, self._journal, self._job.source.facts
        check_memory(facts)
        point = journal.earlier.checkpoint if journal.earlier else None
        if journal.earlier:
            size = journal.earlier.batch_size
            self._description = replace(self._description, batch_size=size)
        size = self._description.batch_size
        film = job.source.resumed(point) if point else job.source
        frames = self._done[-1] = self._resumed = point.frames if point else 0
        shots = point.shot + 1 if point else 0
        segments = scan(
            self._found.read(load(film, batch_size=size, device=torch.device("cpu"))),
            facts.time_base,
            spacing,
            shots=self._description.shots,
            length=length,
            begin=point,
        )
        with self._open_sink() as sink, closing(segments):
            journal.begin(sink, size)
            try:
                with scanning:
                    for segment in segments:
                        frames += segment.marks.frames
                        shots = max((shots, *(shot + 1 for shot in segment.marks.shots)))
                        self._guard.wait(job.output)
                        self._waiting.append(self._begin(segment))
                        while self._waiting and self._is_next():
                            self._join(sink)
                while self._waiting:
                    self._join(sink)
            finally:
                self._pool.drop([part.future for part in self._waiting])
            if not frames:
                raise no_frame(job)
            cut = film.changed_at is not None
            written = sink.finish(incomplete=bool(self._found.damage), cut=cut)
        job.source.changed_at = film.changed_at
        journal.finished = True
        if self._description.per_shot and (note := unused(self._description.references, shots)):
            self._found.warnings.append(f"{job.input}: {note}")
        report = self._found.report(written, point)
        report.resumed = self._resumed
        return report

    def _open_sink(self) -> FilmSink:
        return film_sink(self._job, self._settings, self._journal, self._marking)

    def _is_next(self) -> bool:
        """Whether the next part is to be joined before another segment is looked for."""
        return self._waiting[0].future.done() or len(self._waiting) > AHEAD * self._pool.size

    def _join(self, sink: FilmSink) -> None:
        """Join the next part, when it is done."""
        part = self._waiting.popleft()
        segment, path = part.segment, part.path
        try:
            part.future.result()
            film = EarlierFilm(path)
            if film.frames != segment.marks.frames:
                raise InputError(f"{path} has {film.frames} frames")
        except (VidcolorError, OSError) as error:
            raise NotDivisibleError(f"a part of it failed ({error})") from error
        self._journal.join(film, segment.places, sink, part.damage, part.warnings)
        film.close()
        path.unlink(missing_ok=True)
        self._progress(segment.first, segment.marks.frames)

    def _begin(self, segment: FilmSegment) -> _Part:
        """Have a segment colored, unless an earlier run has done that."""
        first, count = segment.first, segment.marks.frames
        name = f"{first:09}-{first + count:09}-{self._description.digest}"
        path = self._folder / f"{name}{self._job.output.suffix}"
        if path.exists() and EarlierFilm(path).frames == count:
            future: Future[Any] = Future()
            future.set_result(None)
            self._resumed += count
        else:
            task = PartOfFilm(self._job, self._settings, segment, path, self._description)
            future = self._pool.submit(task, partial(self._progress, first))
        found = self._found
        return _Part(segment, path, future, list(found.damage), list(found.warnings))

    def _progress(self, first: int, frames: int) -> None:
        """So many frames of the segment that begins with frame `first` are colored."""
        if frames > self._done.get(first, 0):
            self._done[first] = frames
            self._tell(Progress(self._job.input, sum(self._done.values()), self._job.frames))
