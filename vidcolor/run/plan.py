"""Decide which input is written to which output, and which cannot be, before any work begins.

A job is one film, or all the still pictures of a call.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from ..color.compose import check_exact_luma
from ..color.hdr import is_wide
from ..errors import ContainerError, DeviceError, InputError, OutputError
from ..frames import ColorTags, PictureInfo, PixelFormat, Segment, VideoInfo
from ..sinks import (
    CopyPlan,
    EncoderSettings,
    PictureSink,
    check_container,
    check_output,
    encoder_formats,
)
from ..sinks.encoders import encoder_options
from ..sources import FilmSource, Input, expand
from ..sources.inputs import OWN
from ..system.files import fitting_name
from ..system.limits import allocatable_memory
from .settings import Report, Settings, failed

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

    @property
    def input(self) -> Path:
        return self.source.path

    @property
    def frames(self) -> int | None:
        """Frames expected from the header, None if unknown."""
        return expected_frames(self.source.facts, self.source.segment)


@dataclass(frozen=True)
class PicturesJob:
    """Still pictures, each written to its own file."""

    items: tuple[tuple[Path, Path], ...]
    clashes: Mapping[Path, str] = field(default_factory=dict)  # by input; see `FilmJob.clash`

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


@dataclass(frozen=True)
class _Pair:
    """An input and the file its color version is written to."""

    item: Input
    output: Path
    named: bool = False  # the user chose the file's name, and so its container
    clash: str = ""  # it has another name than it would have, because an input beside it has that


def _find(
    inputs: Sequence[str], target: Path | None, rate: Fraction | None
) -> tuple[list[tuple[Input, Path | None]], list[Report]]:
    """Find the inputs.

    Returns:
        Each input once, with the folder it was found in; and a report for each that is missing.

    Raises:
        OutputError: the output lies in a folder that is searched.
    """
    found: dict[str, tuple[Input, Path | None]] = {}
    missing = []
    for text in inputs:
        folder = Path(text) if Path(text).is_dir() else None
        try:
            problems: list[tuple[Path, str]] = []
            items = expand([text], rate=rate, problems=problems)
            missing += [
                Report(path, target or Path(), "failed", error=f"{path}: cannot be read ({reason})")
                for path, reason in problems
            ]
        except InputError as error:
            missing.append(Report(Path(text), target or Path(), "failed", error=str(error)))
            continue
        if folder and target and folder.resolve() in (target.resolve(), *target.resolve().parents):
            raise OutputError(
                f"{target}: lies in the input folder {folder}, so that a second run would colorize "
                "its pictures again; choose a folder outside with -o"
            )
        for item in items:
            if target and not folder and glob.has_magic(text) and _lies_in(item.path, target):
                continue  # what an earlier run has written
            found.setdefault(os.path.abspath(item.path), (item, folder))
    return list(found.values()), missing


def _distinct(pairs: Sequence[_Pair], target: Path | None) -> tuple[list[_Pair], dict[str, Path]]:
    """Give each input an output of its own.

    Where inputs of several folders want one output, all of them are mirrored with their folders;
    where inputs of one folder do (`a.tga` and `a.png`), the second keeps its old suffix within its
    name (`a.tga.png`).

    Returns:
        The pairs in order, and the input of each absolute output.
    """

    def places(some: Sequence[_Pair]) -> dict[str, list[_Pair]]:
        found: dict[str, list[_Pair]] = {}
        for pair in some:
            found.setdefault(os.path.abspath(pair.output), []).append(pair)
        return found

    def folder(pair: _Pair) -> Path:
        return pair.item.path.absolute().parent

    several = [same for same in places(pairs).values() if len({folder(p) for p in same}) > 1]
    if target is not None and several:
        top = os.path.commonpath([folder(pair) for pair in pairs])
        pairs = [
            replace(pair, output=target / folder(pair).relative_to(top) / pair.output.name)
            for pair in pairs
        ]
    taken: dict[str, Path] = {}
    kept: dict[int, _Pair] = {}
    order = sorted(range(len(pairs)), key=lambda i: pairs[i].item.path.name != pairs[i].output.name)
    for index in order:
        pair = pairs[index]
        first = taken.get(os.path.abspath(pair.output))
        if first is not None:
            output = pair.output.with_name(f"{pair.item.path.name}{pair.output.suffix}")
            number = 2
            while os.path.abspath(output) in taken:
                name = f"{pair.item.path.stem}-{number}{pair.output.suffix}"
                output, number = pair.output.with_name(name), number + 1
            line = f"{pair.item.path}: {pair.output} is for {first}; written to {output} instead"
            pair = replace(pair, output=output, clash=line)
        taken[os.path.abspath(pair.output)] = pair.item.path
        kept[index] = pair
    return [kept[index] for index in range(len(pairs))], taken


def _lies_in(path: Path, folder: Path) -> bool:
    return folder.is_dir() and folder.resolve() in path.resolve().parents


def _pair(
    found: Sequence[tuple[Input, Path | None]], target: Path | None, folder: bool
) -> Iterator[_Pair]:
    """Pair each input with its output.

    The output is the file that was named; or the input's path mirrored under the folder that was
    named; or, with no name, `name.color.ext` beside a file and `folder.color/` beside a folder.

    Raises:
        OutputError: several inputs, and the output is a file's name.
    """
    into_folder = target is not None and (folder or target.is_dir() or not target.suffix)
    several = len(found) > 1 or any(root for _, root in found)
    if target is not None and several and not into_folder:
        raise OutputError(
            f"{target}: several inputs need a folder as output, and this is a file's name; "
            f"use -o {target.with_suffix('')}{os.sep}"
        )
    for item, origin in found:
        relative = item.output
        if target is not None:
            yield _Pair(item, target / relative if into_folder else target, named=not into_folder)
        elif origin is not None:
            root = origin.resolve()
            yield _Pair(item, root.with_name(f"{root.name}{OWN}") / relative)
        else:
            stem, rest = Path(relative.name).stem, f"{OWN}{relative.suffix}"
            output = item.beside.with_name(fitting_name(stem, rest))
            long = item.is_picture and output.name != stem + rest
            clash = (
                f"{item.path}: its name is too long for {OWN}; written to {output}" if long else ""
            )
            yield _Pair(item, output, clash=clash)


def plan(
    inputs: Sequence[str | Path], output: str | Path | None, settings: Settings
) -> tuple[list[Job], list[Report]]:
    """Decide which input is written to which output.

    Args:
        inputs: films, pictures, folders, globs and numbered sequences.
        output: a file for one input, a folder for several; None writes beside each input.
        settings: see `Settings`.

    Returns:
        The jobs in order, and a report for each input that is skipped or cannot be used.

    Raises:
        OutputError: the output lies in an input folder, or its name cannot be used.
    """
    target = None if output is None else Path(output)
    folder = str(output).endswith(("/", os.sep))
    if str(output) == "-":
        raise OutputError("-: nothing is written to standard output; give a file or a folder")
    if target is not None and folder and target.is_file():
        raise OutputError(f"{target}: is a file, not a folder; give another name with -o")
    _check_encoder(settings.encoder)
    try:
        found, reports = _find([os.fspath(each) for each in inputs], target, settings.fps)
        pairs = list(_pair(found, target, folder))
    except OSError as error:  # a name that the system refuses, too long for example
        raise OutputError(f"{error.filename}: {error.strerror}; use another name") from error
    pairs, taken = _distinct(pairs, target)
    sequences = any(p.item.takes_rate for p in pairs)  # --fps is then theirs, not the films'
    if settings.fps is not None and all(p.item.is_picture for p in pairs):
        logger.warning("--fps is for numbered sequences and films; it is ignored here")
    originals = {_identity(pair.item.path): pair.item.path for pair in pairs}
    jobs: list[Job] = []
    pictures: list[tuple[Path, Path]] = []
    clashes: dict[Path, str] = {}
    sink = PictureSink(overwrite=settings.overwrite, quality=settings.quality)
    for pair in pairs:
        item, path = pair.item, pair.output
        try:
            done = [p for p in _possible(pair) if p.exists()] if settings.skip_existing else []
            if done:
                reports.append(Report(item.path, done[0], "skipped"))
                continue
            check_output(path, item.path, overwrite=settings.overwrite)
            if (original := originals.get(_identity(path))) is not None:
                raise OutputError(
                    f"{path}: would replace the input {original}; choose another folder with -o"
                )
            source = item.open(
                settings.segment,
                settings.fps if item.takes_rate or not sequences else None,
                playlists=settings.allow_playlists,
                split=settings.on_change == "split",
                deinterlace=settings.deinterlace,
                keep_tint=settings.tint_source == "keep",
            )
            if isinstance(source, FilmSource):
                job = _plan_film(source, pair, settings, taken)
                jobs.append(replace(job, clash=pair.clash))
            else:
                sink.check(PictureInfo(item.path, path))
                pictures.append((item.path, path))
                if pair.clash:
                    clashes[item.path] = pair.clash
        except OSError as error:  # a name that the system refuses, too long for example
            line = f"{path}: {error.strerror}; use another name or folder with -o"
            reports.append(Report(item.path, path, "failed", error=line))
        except Exception as error:
            reports.append(failed(item.path, path, error))
    if pictures:
        jobs.insert(0, PicturesJob(tuple(pictures), clashes))
    return jobs, reports


def _possible(pair: _Pair) -> tuple[Path, ...]:
    """The files that an earlier run may have written; see `_plan_film`."""
    if pair.named or pair.item.is_picture:
        return (pair.output,)
    return pair.output, pair.output.with_suffix(".mkv")


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
    source: FilmSource, pair: _Pair, settings: Settings, taken: dict[str, Path]
) -> FilmJob:
    item, path, facts = pair.item, pair.output, source.facts
    check_memory(facts)
    try:
        copies = check_container(path, facts, settings.encoder, source.copyable(settings.copy))
    except ContainerError as error:
        other = path.with_suffix(".mkv")
        if pair.named or other == path or os.path.abspath(other) in taken:
            raise
        check_output(other, item.path, overwrite=settings.overwrite)
        copies = check_container(other, facts, settings.encoder, source.copyable(settings.copy))
        note = f"{item.path}: written as .mkv, because {path.suffix} does not hold it all"
        logger.info("%s", error)
        taken[os.path.abspath(other)] = item.path
        path, copies = other, replace(copies, notes=(note, *copies.notes))
    wide = is_wide(facts.tags)
    if wide and (not facts.has_luma or copies.format.rgb):
        raise InputError(
            f"{item.path}: is HDR or BT.2020 in R'G'B', which is not colorized; convert it to "
            "Y'CbCr (ffmpeg -pix_fmt yuv422p10le) or leave out --pix-fmt"
        )
    if settings.exact_luma or wide:
        try:
            check_exact_luma(copies.format, facts.bit_depth, facts.tags.full_range)
        except OutputError as error:
            raise OutputError(f"{item.path}: {error}") from error
    return FilmJob(source, path, copies)


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
    check_output(output, job.input, overwrite=settings.overwrite)
    plan = check_container(output, source.facts, settings.encoder, source.copyable(settings.copy))
    return FilmJob(source, output, plan)
