"""Decide which input is written to which output, and which cannot be, before any work begins.

A job is one film, or all the still pictures of a call.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Container, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ..color.compose import check_exact_luma
from ..color.hdr import is_wide
from ..errors import ContainerError, DeviceError, InputError, OutputError
from ..frames import ColorTags, PictureInfo, PixelFormat, Segment, VideoInfo
from ..sinks import (
    ChromaPlan,
    CopyPlan,
    EncoderSettings,
    PictureSink,
    check_container,
    check_output,
    check_sequence,
    encoder_formats,
    first_number,
    is_sequence,
    plan_chroma,
    plan_sequence,
)
from ..sinks.encoders import encoder_options
from ..sources import FilmSource
from ..system.files import fitting_name
from ..system.limits import allocatable_memory
from .job.state import HeldError
from .pairs import Pair, find_inputs, make_distinct, pair_up
from .settings import Report, Settings, failed

if TYPE_CHECKING:
    from .job.record import Record

logger = logging.getLogger(__name__)

# Main memory that a film takes beside the model: less than was measured with libx264 at 320x240 to
# 1920x1080 and with ffv1 at 1280x720 (248 to 590 MiB), so that no film is refused that would do.
_FILM_BYTES, _PIXEL_BYTES = 150 << 20, 100


@dataclass(frozen=True)
class FilmJob:
    """One film or numbered sequence, written to one film."""

    source: FilmSource
    output: Path
    plan: CopyPlan
    clash: str = ""  # why it has another name than it would have
    planned: Path = Path()  # the output, but for a container that does not hold all of it
    replaces: bool = False  # an existing output is replaced
    chroma: ChromaPlan | None = None  # of its file of colors alone, which may be the output

    @property
    def input(self) -> Path:
        return self.source.path

    @property
    def only_chroma(self) -> bool:
        """Whether the file of colors alone is the output."""
        return self.chroma is not None and self.plan is self.chroma.file

    @property
    def frames(self) -> int | None:
        """Frames expected from the header, None if unknown."""
        return expected_frames(self.source.facts, self.source.segment)


@dataclass(frozen=True)
class PicturesJob:
    """Still pictures, each written to its own file."""

    items: tuple[tuple[Path, Path], ...]
    clashes: Mapping[Path, str] = field(default_factory=dict)  # by input; see `FilmJob.clash`
    replaced: frozenset[Path] = frozenset()  # existing outputs that are replaced

    @property
    def frames(self) -> int:
        return len(self.items)


Job = FilmJob | PicturesJob


def most_pixels(jobs: Sequence[Job]) -> int:
    """Pixels of a frame of the largest film; 0 without films."""
    films = [job.source.facts for job in jobs if isinstance(job, FilmJob)]
    return max((facts.width * facts.height for facts in films), default=0)


def expected_frames(facts: VideoInfo, segment: Segment) -> int | None:
    """Frames expected of a segment by the header; None if the header does not tell."""
    total = facts.num_frames_from_header
    if total is None and facts.duration_seconds and facts.average_rate:
        total = round(facts.duration_seconds * facts.average_rate)
    if segment.is_full or total is None:
        return total
    if facts.average_rate is None:
        return None
    start = segment.start or Fraction(0)
    end = Fraction(total) / facts.average_rate
    if segment.end is not None:
        end = min(segment.end, end)
    return max(0, round((end - start) * facts.average_rate))


def plan(
    inputs: Sequence[str | Path],
    output: str | Path | None,
    settings: Settings,
    record: Record | None = None,
    only: Container[Path] | None = None,
) -> tuple[list[Job], list[Report]]:
    """Decide which input is written to which output.

    Args:
        inputs: films, pictures, folders, globs and numbered sequences.
        output: a file for one input, a folder for several; None writes beside each input.
        settings: see `Settings`.
        record: of what earlier runs have done.
        only: of the inputs those to work on; the others only have their names kept free.

    Returns:
        The jobs in order, and a report for each input that is skipped or cannot be used.

    Raises:
        OutputError: the output lies in an input folder, or its name cannot be used.
    """
    output = settings.output_chroma if output is None else output
    target = None if output is None else Path(output)
    folder = str(output).endswith(("/", os.sep))
    if str(output) == "-":
        raise OutputError("-: nothing is written to standard output; give a file or a folder")
    if target is not None and folder and target.is_file():
        raise OutputError(f"{target}: is a file, not a folder; give another name with -o")
    if target is None or not is_sequence(target):
        _check_encoder(settings.encoder)
    try:
        found, reports = find_inputs([os.fspath(each) for each in inputs], target, settings.fps)
        pairs = list(pair_up(found, target, folder))
    except OSError as error:  # a name that the system refuses, too long for example
        raise OutputError(f"{error.filename}: {error.strerror}; use another name") from error
    pairs, taken = make_distinct(pairs, target)
    if settings.output_chroma and pairs and (len(pairs) > 1 or pairs[0].item.is_picture):
        raise OutputError(f"{settings.output_chroma}: takes the colors of one film; give it alone")
    if only is not None:
        pairs = [pair for pair in pairs if pair.item.path in only]
    sequences = any(p.item.takes_rate for p in pairs)  # --fps is then theirs, not the films'
    if settings.fps is not None and all(p.item.is_picture for p in pairs):
        logger.warning("--fps is for numbered sequences and films; it is ignored here")
    originals = {_identity(pair.item.path): pair.item.path for pair in pairs}
    jobs: list[Job] = []
    pictures: list[tuple[Path, Path]] = []
    clashes: dict[Path, str] = {}
    replaced: set[Path] = set()
    for pair in pairs:
        item, path = pair.item, pair.output
        try:
            earlier = _earlier(pair, settings, record)
            if isinstance(earlier, Report):
                reports.append(earlier)
                continue
            overwrite = settings.overwrite or earlier
            if not pair.is_sequence:
                check_output(path, item.path, overwrite=overwrite)
            if (original := originals.get(_identity(path))) is not None:
                raise OutputError(
                    f"{path}: would replace the input {original}; choose another folder with -o"
                )
            with (
                record.examining(item.path, path)
                if record and not item.is_picture
                else nullcontext()
            ):
                source = item.open(
                    settings.segment,
                    settings.fps if item.takes_rate or not sequences else None,
                    playlists=settings.allow_playlists,
                    split=settings.on_change == "split",
                    deinterlace=settings.deinterlace,
                    keep_tint=settings.tint_source == "keep",
                )
            if isinstance(source, FilmSource):
                job = _plan_film(source, pair, replace(settings, overwrite=overwrite), taken)
                jobs.append(replace(job, clash=pair.clash))
            else:
                PictureSink(overwrite=overwrite).check(PictureInfo(item.path, path))
                pictures.append((item.path, path))
                if overwrite:
                    replaced.add(path)
                if pair.clash:
                    clashes[item.path] = pair.clash
        except HeldError:
            raise
        except OSError as error:  # a name that the system refuses, too long for example
            line = f"{path}: {error.strerror}; use another name or folder with -o"
            reports.append(Report(item.path, path, "failed", error=line))
        except Exception as error:
            reports.append(failed(item.path, path, error))
    if pictures:
        jobs.insert(0, PicturesJob(tuple(pictures), clashes, frozenset(replaced)))
    return jobs, reports


def _earlier(pair: Pair, settings: Settings, record: Record | None) -> Report | bool:
    """The report of an input that needs no work; else whether its output may be replaced.

    Raises:
        OutputError: it was done with other settings.
    """
    by_name = settings.skip_existing
    known: Report | bool = False
    if record is not None:
        replacing = settings.overwrite or by_name
        known = record.earlier(pair.item, pair.output, overwrite=replacing)
    if by_name and not known:
        done = pair.existing()
        return Report(pair.item.path, done[0], "skipped") if done else False
    return known


def _identity(path: Path) -> tuple[int, int] | Path:
    """A key that is equal for all names of one file; for a missing file its absolute path."""
    try:
        return (found := path.stat()).st_dev, found.st_ino
    except OSError:
        return path.absolute()


def _check_encoder(settings: EncoderSettings) -> None:
    """Raise an OutputError if no film can be encoded with these settings."""
    formats = encoder_formats(settings.encoder)
    name = settings.pix_fmt or formats[0]
    if name not in formats:
        raise OutputError(
            f"{settings.encoder} cannot write {name}; it takes --pix-fmt {', '.join(formats)}"
        )
    tags = ColorTags(full_range=False, matrix="bt709")
    encoder_options(settings, PixelFormat(name, 8, (1, 1), False, tags), width=640)


def _plan_film(
    source: FilmSource, pair: Pair, settings: Settings, taken: dict[str, Path]
) -> FilmJob:
    item, path, facts = pair.item, pair.output, source.facts
    check_memory(facts)
    aside, chroma = settings.output_chroma, None
    if aside is not None and os.path.abspath(aside) == os.path.abspath(path):
        chroma = plan_chroma(aside, facts, settings.encoder.pix_fmt)
    try:
        copies = chroma.file if chroma else _check(source, path, settings)
    except ContainerError as error:
        other = path.with_suffix(".mkv")
        if pair.named or other == path or os.path.abspath(other) in taken:
            raise
        copies = _check(source, other, settings)
        note = f"{item.path}: written as .mkv, because {path.suffix} does not hold it all"
        logger.info("%s", error)
        taken[os.path.abspath(other)] = item.path
        path, copies = other, replace(copies, notes=(note, *copies.notes))
    if aside is not None and chroma is None:  # beside the film
        check_output(aside, source.path, overwrite=settings.overwrite)
        chroma = plan_chroma(aside, facts, None, copies.format)
    wide = is_wide(facts.tags)
    if wide and (not facts.has_luma or copies.format.rgb):
        raise InputError(
            f"{item.path}: is HDR or BT.2020 in R'G'B', which is not colorized; convert it to "
            "Y'CbCr (ffmpeg -pix_fmt yuv422p10le) or leave out --pix-fmt"
        )
    if settings.exact_luma or wide:
        try:
            format = chroma.format if chroma else copies.format
            check_exact_luma(format, facts.bit_depth, facts.tags.full_range)
        except OutputError as error:
            raise OutputError(f"{item.path}: {error}") from error
    return FilmJob(
        source, path, copies, planned=pair.output, replaces=settings.overwrite, chroma=chroma
    )


def _check(source: FilmSource, output: Path, settings: Settings) -> CopyPlan:
    """Check that a film can be written to `output`, and say what of it will be there.

    Raises:
        OutputError: it cannot.
    """
    facts, overwrite = source.facts, settings.overwrite
    if is_sequence(output):
        plan = plan_sequence(output, facts, settings.encoder)
        first = first_number(facts, source.segment.start)
        count = expected_frames(facts, source.segment)
        check_sequence(output, first, count, overwrite=overwrite, inputs=source.files())
        return plan
    check_output(output, source.path, overwrite=overwrite)
    return check_container(output, facts, settings.encoder, source.copyable(settings.copy))


def check_memory(facts: VideoInfo) -> None:
    """Refuse a film that surely needs more memory than this process may have: the system would end
    it, or an encoder abort. Memory that others use now is not counted; it may be free in time.

    Raises:
        DeviceError: with both figures.
    """
    need = _FILM_BYTES + _PIXEL_BYTES * facts.width * facts.height
    left = allocatable_memory()
    if left < need:
        raise DeviceError(
            f"{facts.path}: a film of {facts.width}x{facts.height} needs about {need >> 20} MiB of "
            f"memory, and only {left >> 20} MiB are left to this program; raise its limit, or "
            "scale the film down"
        )


def plan_rest(job: FilmJob, first: Path, number: int, settings: Settings) -> FilmJob | None:
    """The job of a film's next part, where the picture changed and the film is to be split.

    Args:
        job: of the part that was just worked on.
        first: output of the first part; the next ones are `<stem>.part2<suffix>` and so on.
        number: of the next part.
        settings: see `Settings`.

    Raises:
        InputError, OutputError: the part cannot be read or written.
    """
    source = job.source.rest()
    if source is None:
        return None
    output = first.with_name(fitting_name(first.stem, f".part{number}{first.suffix}"))
    plan = _check(source, output, replace(settings, overwrite=job.replaces))
    return replace(job, source=source, output=output, plan=plan, clash="")
