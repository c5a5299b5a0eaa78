"""Lay a file of colors alone on the film that they were made for: `merge`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..color.chroma import chroma_back
from ..errors import InputError, OutputError
from ..frames import ColorBatch, LumaBatch, PixelFormat
from ..marks import NAMES, Marks
from ..options import parse_rate
from ..sinks import FilmSink, is_sequence
from ..sinks.marking import FilmMarking
from ..sources import FilmSource
from ..sources.chroma import ChromaSource
from ..sources.marks import read_marks, settings_of
from ..system.digest import Digest
from .plan import FilmJob, plan
from .provenance.settings import SOFTWARE
from .settings import Progress, ProgressCallback, Report, Settings

_BATCH = 8  # frames that are read at once
_ROUNDING = Fraction(11, 10_000)  # seconds: Matroska rounds times to milliseconds


def merge(
    master: str | Path,
    chroma: Path,
    output: Path,
    settings: Settings,
    on_progress: ProgressCallback = lambda progress: None,
) -> Report:
    """Write the film that a run without `output_chroma`, but with `exact_luma` would have written.

    Its luma is the master's, bit for bit; its streams are copied as a run copies them.

    Args:
        master: the film, or a numbered sequence.
        chroma: what a run has written to `output_chroma`.
        output: a film.
        settings: of them count encoder, copied streams and overwriting; the rest is as in the run.

    Raises:
        InputError: a file cannot be read, or the colors are not those of this film.
        OutputError: the film cannot be written.
    """
    marks, values = _marks(chroma, settings)
    job = _plan(master, chroma, output, settings, values)
    digest = Digest(job.source.files())
    try:
        if digest.result()[0] != marks.source_sha256:
            raise InputError(
                f"{chroma}: holds the colors of {marks.source}, not of {job.input} (its SHA-256 "
                "is another); give the film that they were made for"
            )
        return _merge(job, chroma, settings, FilmMarking(marks, digest), on_progress)
    finally:
        digest.close()


def _marks(chroma: Path, settings: Settings) -> tuple[Marks, dict[str, Any]]:
    """The marks for the merged film, and the settings that the colors were made with."""
    found = read_marks(chroma)
    try:
        values = settings_of(found)
        name = values.pop("chroma")
        marks = Marks(**{key: text for key, text in found.items() if key in NAMES})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{chroma}: is no file of colors alone; make one with 'vidcolor run FILM "
            "--output-chroma FILE'"
        ) from error
    encoder = {**vars(settings.encoder), "pix_fmt": name}
    values["encoder"] = {key: value for key, value in encoder.items() if value is not None}
    return replace(marks, software=SOFTWARE, settings=json.dumps(values)), {
        **values,
        "chroma": name,
    }


def _plan(
    master: str | Path, chroma: Path, output: Path, settings: Settings, values: dict[str, Any]
) -> FilmJob:
    layout, rate = str(values["chroma"]), values.get("fps")
    wanted = settings.encoder.pix_fmt or layout
    if wanted != layout:
        raise OutputError(f"{chroma}: holds colors for {layout}; leave out --pix-fmt {wanted}")
    settings = replace(
        settings,
        encoder=replace(settings.encoder, pix_fmt=layout),
        exact_luma=True,
        deinterlace=str(values.get("deinterlace", "auto")),
        fps=None if rate is None else parse_rate(str(rate)),
    )
    jobs, reports = plan([master], output, settings)
    if reports:
        raise InputError(reports[0].error or f"{output}: already exists; give --overwrite")
    job = jobs[0]
    if not isinstance(job, FilmJob) or is_sequence(job.output):
        raise InputError(f"{master}: only a film, written as a film, takes colors from a file")
    return job


def _merge(
    job: FilmJob,
    chroma: Path,
    settings: Settings,
    marking: FilmMarking,
    on_progress: ProgressCallback,
) -> Report:
    film, facts, format = job.source, job.source.facts, job.plan.format
    colors = _Colors(chroma, film)
    sink = FilmSink(
        job.output,
        facts,
        settings.encoder,
        format=format,
        copy=film.copyable(settings.copy),
        overwrite=settings.overwrite,
        plan=job.plan,
        marking=marking,
    )
    frames, damage = 0, list[str]()
    report = Report(job.input, job.output, "done", warnings=list(job.plan.notes))
    with sink:
        for batch in film.batches(_BATCH):
            damage += batch.damage
            report.warnings += batch.notes
            if not len(batch):
                continue
            sink.write(colors.under(batch, format))
            frames += len(batch)
            on_progress(Progress(job.input, frames, job.frames))
        colors.end(frames)
        written = sink.finish(incomplete=bool(damage))
    report.output, report.frames = written.path, frames
    report.warnings += written.notes
    if written.incomplete:
        report.status, report.error = "incomplete", [*damage, *written.damage][0]
    return report


class _Colors:
    """The frames of a file of colors alone, which must be those of a film."""

    def __init__(self, path: Path, film: FilmSource) -> None:
        self._path, self._film, self._source = path, film, ChromaSource(path)
        facts, own = film.facts, self._source.facts
        if (own.width, own.height) != (facts.width, facts.height):
            raise InputError(
                f"{path}: is {own.width}x{own.height}, but {film.path} {facts.width}x"
                f"{facts.height}; give the film that the colors were made for"
            )
        self._frames: Iterator[tuple[Tensor, Tensor, Fraction]] = self._source.frames()
        self._first: int | None = None

    def under(self, batch: LumaBatch, format: PixelFormat) -> ColorBatch:
        """The next frames: the film's luma, and the colors of this file.

        Raises:
            InputError: it has no such frames.
        """
        unit = self._film.facts.time_base
        self._first = batch.pts[0] if self._first is None else self._first
        planes: list[list[Tensor]] = [[], []]
        for i, pts in enumerate(batch.pts):
            number, time = batch.first_index + i, (pts - self._first) * unit
            found = next(self._frames, None)
            if found is None:
                raise InputError(f"{self._path}: ends before frame {number}; {self._remedy}")
            if abs(found[2] - time) > _ROUNDING:
                raise InputError(
                    f"{self._path}: shows frame {number} at {float(found[2]):.3f} s, the film at "
                    f"{float(time):.3f} s; {self._remedy}"
                )
            for several, plane in zip(planes, found[:2], strict=True):
                several.append(chroma_back(plane, self._source.format, format))
        luma = batch.luma[:, 0] if batch.bit_depth == 8 else batch.luma[:, 0].to(torch.int32)
        return ColorBatch((luma, torch.stack(planes[0]), torch.stack(planes[1])), format, batch)

    def end(self, frames: int) -> None:
        """Check that no frame is left.

        Raises:
            InputError: there is one.
        """
        if next(self._frames, None) is not None:
            raise InputError(f"{self._path}: goes on after frame {frames - 1}; {self._remedy}")

    @property
    def _remedy(self) -> str:
        return f"make it again from {self._film.path} with 'vidcolor run --output-chroma'"
