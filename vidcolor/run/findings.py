"""The warnings and damage found while a film is read: `Findings`."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from ..color.hdr import is_hdr, is_wide
from ..errors import DamagedInputError
from ..frames import Checkpoint, LumaBatch
from ..sinks.verify import FilmReport
from .journal import Journal
from .plan import FilmJob
from .settings import Report


class Findings:
    """The warnings and damage found while a film is read.

    Attributes:
        warnings: one line each.
        damage: one line for each part that could not be read.
    """

    def __init__(self, job: FilmJob, journal: Journal | None) -> None:
        self.warnings = list(_warnings(job))
        self.damage: list[str] = []
        self._input, self._is_color = job.input, job.source.facts.is_color
        if journal is not None:
            if journal.earlier is not None:
                last = journal.earlier.entries[-1]
                self.add(last.damage, last.warnings)
            self.add((), [f"{job.input}: {note}" for note in journal.notes])

    def add(self, damage: Iterable[str], warnings: Iterable[str]) -> None:
        """Add lines, each once: a run that is resumed comes by some of them again."""
        self.damage += [line for line in damage if line not in self.damage]
        self.warnings += [line for line in warnings if line not in self.warnings]

    def read(self, batches: Generator[LumaBatch, None, None]) -> Generator[LumaBatch, None, None]:
        """Pass the film's batches on, and keep what they tell of it."""
        with closing(batches):
            for batch in batches:
                self.add(batch.damage, batch.notes)
                if batch.is_color and not self._is_color:
                    self._is_color = True
                    self.warnings.append(f"{self._input}: turns to color; only its luma is used")
                yield batch
                del batch  # not to be kept while the next one is decoded

    def report(self, written: FilmReport, point: Checkpoint | None) -> Report:
        """The report of a finished film, which was resumed at `point`."""
        damage, warnings = [*self.damage, *written.damage], [*self.warnings, *written.notes]
        report = Report(self._input, written.path, "done", written.frames, warnings=warnings)
        report.resumed = point.frames if point else 0
        if written.incomplete:
            report.status = "incomplete"
            report.error = str(_damaged(self._input, damage, written.path))
        return report


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
