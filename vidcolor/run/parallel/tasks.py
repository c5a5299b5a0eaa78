"""Tasks: pieces of a run that any process with the same colorizer can do.

A task is a picklable object. Files are named by paths that mean the same wherever it is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch

from ...errors import DeviceError
from ...marks import Marks
from ...system.devices import processors
from ...system.opencv import load_problem
from ..colorizer import Colorizer
from ..films import batch_size, colorize_film, needs_shots
from ..identity import Identity, changes, colorizer_identity, identity
from ..pictures import SHARE, colorize_pictures, picture_batch_size
from ..plan import FilmJob, PicturesJob
from ..provenance.attest import reference_files
from ..provenance.settings import make_marks
from ..settings import Report, Settings, failed
from .segments import FilmSegment, color_segment

OnFrames = Callable[[int], None]


class Task(Protocol):
    """What a worker does.

    Attributes:
        input: the file that it is about, for messages.
        repeatable: two workers may do it at the same time; the first result counts.
    """

    @property
    def input(self) -> Path: ...

    @property
    def repeatable(self) -> bool: ...

    def run(self, colorizer: Colorizer, on_frames: OnFrames) -> Any:
        """Do it.

        Args:
            colorizer: of the run.
            on_frames: called with the number of frames or pictures that are done.
        """
        ...


@dataclass(frozen=True)
class TaskAround:
    """A task that does another, and something before and after it; a subclass has `run`."""

    task: Task

    @property
    def input(self) -> Path:
        """See `Task`."""
        return self.task.input

    @property
    def repeatable(self) -> bool:
        """See `Task`."""
        return self.task.repeatable


@dataclass(frozen=True)
class Description:
    """What must be known of the workers' colorizer to divide a job.

    Attributes:
        identity: of the run, see `identity`; of pictures that of the colorizer.
        batch_size: frames or pictures in a batch.
        gmacs: of the model, see `Colorizer.gmacs`.
        shots: shots are looked for in films.
        divisible: a film may be divided; not with a list of shots, or without OpenCV.
        marks: of a film, but for its date and its source's SHA-256.
        references: files that colors are taken from.
        per_shot: there is one for each shot.
    """

    identity: Identity
    batch_size: int
    gmacs: float
    shots: bool
    divisible: bool
    marks: Marks
    references: tuple[Path, ...]
    per_shot: bool

    @property
    def digest(self) -> str:
        """A name for the parts of such a run: others have other frames."""
        text = json.dumps([self.identity, self.batch_size], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Describe:
    """Tells what a run of `job` is like here: a `Description`."""

    job: FilmJob | PicturesJob
    settings: Settings
    repeatable = True

    @property
    def input(self) -> Path:
        return self.job.input if isinstance(self.job, FilmJob) else self.job.items[0][0]

    def run(self, colorizer: Colorizer, on_frames: OnFrames) -> Description:
        """See `Task.run`."""
        job, settings = self.job, self.settings
        shots = needs_shots(colorizer, settings)
        if isinstance(job, FilmJob):
            found = identity(job.source.files(), colorizer, settings)
            size = batch_size(colorizer, settings, job.source.facts)
        else:
            found = colorizer_identity(colorizer)
            size = picture_batch_size(colorizer, settings, len(job.items))
        return Description(
            found,
            size,
            colorizer.gmacs,
            shots,
            divisible=colorizer.shots is None and not (shots and load_problem()),
            marks=make_marks(colorizer, settings, self.input, film=isinstance(job, FilmJob)),
            references=reference_files(colorizer),
            per_shot=bool(colorizer.references) and colorizer.references.per_shot,
        )


@dataclass(frozen=True)
class WholeFilm:
    """Colors a film as one process would.

    Its result is the `Report`, also of a failure, and where the film was last read to if it is to
    be split.

    Attributes:
        slowly: on the CPU, whatever the worker's device.
    """

    job: FilmJob
    settings: Settings
    slowly: bool = False
    repeatable = False

    @property
    def input(self) -> Path:
        return self.job.input

    def run(self, colorizer: Colorizer, on_frames: OnFrames) -> tuple[Report, Fraction | None]:
        """See `Task.run`."""
        job, colorizer = self.job, _on_cpu(colorizer, self.slowly)
        try:
            report = colorize_film(
                job, colorizer, self.settings, lambda progress: on_frames(progress.done)
            )
        except Exception as error:  # here, where its cause is known
            report = failed(job.input, job.output, error)
        return report, job.source.changed_at


@dataclass(frozen=True)
class PartOfFilm:
    """Colors a segment of a film into a film of its own.

    Attributes:
        path: of that film.
        description: of the run; a worker with another model or version refuses.
    """

    job: FilmJob
    settings: Settings
    segment: FilmSegment
    path: Path
    description: Description
    repeatable = True

    @property
    def input(self) -> Path:
        return self.job.input

    def run(self, colorizer: Colorizer, on_frames: OnFrames) -> None:
        """See `Task.run`.

        Raises:
            DeviceError: this worker would make other frames.
            VidcolorError: see `color_segment`.
        """
        check_alike(colorizer, self.description)
        color_segment(
            self.job,
            self.segment,
            self.path,
            self.description.batch_size,
            colorizer,
            self.settings,
            on_frames,
        )


@dataclass(frozen=True)
class SomePictures:
    """Colors pictures of a job; its result is a `Report` for each.

    Attributes:
        job: with these pictures.
        neighbors: number of workers on one machine, which share its memory and processors.
        slowly: on the CPU, whatever the worker's device.
    """

    job: PicturesJob
    settings: Settings
    description: Description
    neighbors: int
    slowly: bool = False
    repeatable = False

    @property
    def input(self) -> Path:
        return self.job.items[0][0]

    def run(self, colorizer: Colorizer, on_frames: OnFrames) -> list[Report]:
        """See `Task.run`.

        Raises:
            DeviceError: this worker would make other pictures.
        """
        check_alike(colorizer, self.description)
        # Nothing was there when the run was planned: a worker that died has made what is now.
        there = {
            path
            for path, output in self.job.items
            if output.exists() and not (self.settings.overwrite or output in self.job.replaced)
        }
        left = tuple(item for item in self.job.items if item[0] not in there)
        reports = {}
        if left:
            job, colorizer = replace(self.job, items=left), _on_cpu(colorizer, self.slowly)
            threads = self.settings.picture_threads or max(1, processors() // self.neighbors)
            settings = replace(self.settings, picture_threads=threads)
            share = SHARE / self.neighbors
            for report in colorize_pictures(job, colorizer, settings, share=share):
                reports[report.input] = report
                on_frames(len(reports))
        return [
            reports.get(path) or Report(path, output, "done", frames=1)
            for path, output in self.job.items
        ]


def _on_cpu(colorizer: Colorizer, wanted: bool) -> Colorizer:
    return colorizer.on(torch.device("cpu")) if wanted else colorizer


_identity = lru_cache(2)(colorizer_identity)  # by the object; it reads all weights


def check_alike(colorizer: Colorizer, description: Description) -> None:
    """Raise a DeviceError if a colorizer is not that of the run."""
    here = _identity(colorizer)
    wanted = {key: description.identity[key] for key in here}
    if changed := changes(wanted, here):
        raise DeviceError(
            f"a worker has another {changed} than the others; give all nodes the same version of "
            "vidcolor and of its weights, and devices of one kind"
        )
