"""Color single shots of a finished film again, and leave all else as it is: `redo`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..color.adjust import ColorAdjustment
from ..errors import InputError, OutputError
from ..frames import WHOLE, Segment
from ..marks import NAMES, Marks
from ..sinks import EncoderSettings
from ..sinks.container import check_container
from ..sinks.files import PendingFile, writing
from ..sinks.joining import FilmIndex, Part, index_film, join
from ..sources import FilmSource
from ..sources.film_info import probe_film
from ..sources.marks import read_marks, settings_of
from ..system.digest import sha256_of
from ..system.files import temporary_path
from .colorizer import Colorizer
from .films import colorize_film
from .plan import FilmJob
from .provenance.settings import UNMARKED, model_sha256, today
from .references.shot_list import ShotList
from .settings import ColorizerOptions, ProgressCallback, Report, Settings

_ROUNDING = Fraction(1, 1000)  # seconds: Matroska's
_SAME = ("stabilize", "exact_luma", "deinterlace", "tint_source")  # settings that marks name


@dataclass(frozen=True)
class RedoRequest:
    """What to color again, and from what.

    Attributes:
        shots: numbers of shots; none for a segment.
        segment: a range, in place of shots.
        source: the original; None for the file that the marks name, beside the film.
        folder: of the shots; None for the one that the marks name, beside film or original.
        given: names of the options and settings that replace the film's own.
    """

    shots: tuple[int, ...] = ()
    segment: Segment = WHOLE
    source: Path | None = None
    folder: Path | None = None
    given: frozenset[str] = frozenset()


def redo(
    film: Path,
    request: RedoRequest,
    options: ColorizerOptions,
    settings: Settings,
    on_progress: ProgressCallback = lambda progress: None,
) -> Report:
    """Color some frames of a film again that a run has written; it is replaced when all is well.

    The named shots must begin and end at key frames, as runs write them. A segment is extended
    to the nearest key frames outside it. All other frames, and the other streams, stay bit for bit.

    Args:
        film: what a run has written, with its marks: MKV, MP4 or MOV.
        request: what to color again, and from what.
        options, settings: those among `request.given` count; the others are as the marks say.

    Raises:
        InputError: the film's marks are missing, or its original is not there or another.
        OutputError: new frames cannot be put into the film.
    """
    marks = read_marks(film)
    try:
        was = settings_of(marks)
        if not was or not isinstance(was.get("encoder", {}), dict):
            raise ValueError("no settings")
        told = Marks(**{key: text for key, text in marks.items() if key in NAMES})
        original = _original(film, told, request.source)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{film}: does not say what it was made from, so it cannot be redone; it needs its "
            "marks (vidcolor inspect)"
        ) from error
    if odd := [name for name in ("chroma", "start", "end", "fps", "label") if name in was]:
        raise InputError(f"{film}: was written with {odd[0]}; color it again with 'vidcolor run'")
    folder = _folder(film, original, was, request.folder)
    colorizer = _colorizer(film, told, was, replace(options, shots=folder), request.given)
    settings = _settings(was, settings, request.given)
    source = FilmSource(
        original, deinterlace=settings.deinterlace, keep_tint=settings.tint_source == "keep"
    )
    index, facts = index_film(film), probe_film(film)
    if request.shots:
        ranges = _of_shots(film, index, request.shots, colorizer.shots)
    else:
        ranges = [_of_segment(film, index, request.segment)]
    folder = temporary_path(film.absolute(), ".part")
    with writing(film), ExitStack() as stack:
        folder.mkdir()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        parts, report = [], Report(film, film, "done")
        for number, (first, last) in enumerate(ranges):
            part = Part(first, last, folder / f"{number}{film.suffix}")
            made = _color(source, index, part, colorizer, settings, on_progress)
            parts.append(part)
            report.frames += made.frames
            report.warnings += [line for line in made.warnings if line not in report.warnings]
        again = {"frames": [f"{a}-{b - 1}" for a, b in ranges], "date": today()}
        was["redone"] = [*was.get("redone", []), again | {"model": colorizer.name}]
        pending = PendingFile(film, original, overwrite=True)
        try:
            join(film, facts, parts, pending.path, replace(told, settings=json.dumps(was)))
            pending.commit()
        finally:
            pending.discard()
    report.warnings.append(f"{film}: colored again: frames {', '.join(again['frames'])}")
    return report


def _original(film: Path, marks: Marks, given: Path | None) -> Path:
    """The film's original.

    Raises:
        InputError: it is not there, or its SHA-256 is another.
    """
    path = given or film.absolute().parent / Path(marks.source).name
    if len(marks.source_sha256) != 64:
        raise ValueError("no SHA-256 of the source")
    if not path.is_file():
        raise InputError(f"{film}: its original {path} is not there; give it with --source")
    if sha256_of([path]) != marks.source_sha256:
        raise InputError(
            f"{path}: is not what {film.name} was made from (its SHA-256 is another); give the "
            "original with --source"
        )
    return path


def _folder(film: Path, original: Path, was: dict[str, Any], given: Path | None) -> Path | None:
    """The folder of shots, None if the film was colored without one."""
    if given is not None or "shots" not in was:
        return given
    name = Path(str(was["shots"])).name
    places = [each.absolute().parent / name for each in (film, original)]
    for place in places:
        if place.is_dir():
            return place
    raise InputError(f"{film}: its shots {places[0]} are not there; give them with --folder")


def _colorizer(
    film: Path, marks: Marks, was: dict[str, Any], options: ColorizerOptions, given: Collection[str]
) -> Colorizer:
    """The colorizer of the film, but for what is given."""
    named = was.get("references") and options.shots is None
    if named and "references" not in given:
        raise InputError(f"{film}: was colored with references; give them with --reference")
    same_model = not {"model", "weights"} & set(given)
    kept: dict[str, Any] = {"model": marks.model} if same_model else {}
    names = ("size", "tta", "reference_strength")
    kept |= {name: was[name] for name in names if name in was and name not in given}
    adjusted = vars(options.adjustment)
    sliders = {
        each.name: adjusted[each.name] if each.name in given else was.get(each.name, each.default)
        for each in fields(ColorAdjustment)
    }
    kept["adjustment"] = ColorAdjustment(**sliders)
    if "size" in kept and not same_model:
        del kept["size"]  # the other model's own
    colorizer = Colorizer(replace(options, **kept))
    if same_model and model_sha256(colorizer) != marks.model_sha256:
        raise InputError(
            f"{film}: the weights '{marks.model}' of this installation are not those that it was "
            "made with; give those with --weights, or choose a --model"
        )
    return colorizer


def _settings(was: dict[str, Any], settings: Settings, given: Collection[str]) -> Settings:
    kept = {name: was[name] for name in _SAME if name in was and name not in given}
    own, before = vars(settings.encoder), was.get("encoder", {})
    encoder = {key: own[key] if key in given else before.get(key, own[key]) for key in own}
    return replace(
        settings,
        **kept,
        encoder=EncoderSettings(**encoder),
        marks=UNMARKED,
        resume=False,
        copy=frozenset(),
    )


def _of_shots(
    film: Path, index: FilmIndex, wanted: Sequence[int], listed: ShotList | None
) -> list[tuple[int, int]]:
    """The frames of shots; neighbors are one range."""
    if listed is None:
        raise InputError(
            f"{film}: was colored without a folder of shots; give one with --folder, or a stretch "
            "with --start and --end"
        )
    if len(listed.film.pts) != len(index.pts):
        raise InputError(
            f"{film}: has {len(index.pts)} frames, but {listed.folder} lists "
            f"{len(listed.film.pts)}; give the folder that it was colored with"
        )
    numbers = {shot.number: shot for shot in listed.shots}
    if missing := [each for each in wanted if each not in numbers]:
        raise InputError(
            f"{listed.folder}: has no shot {missing[0]}; its shots are {min(numbers)} to "
            f"{max(numbers)}"
        )
    ranges: list[tuple[int, int]] = []
    for shot in sorted((numbers[each] for each in set(wanted)), key=lambda shot: shot.first):
        if ranges and ranges[-1][1] == shot.first:
            ranges[-1] = ranges[-1][0], shot.last + 1
        else:
            ranges.append((shot.first, shot.last + 1))
    for bound in (each for one in ranges for each in one):
        if bound < len(index.pts) and bound not in index.starts:
            raise InputError(
                f"{film}: has no key frame at the cut before frame {bound}, so its neighbors would "
                "not stay as they are; give a stretch with --start and --end, or color it again "
                "with 'vidcolor run'"
            )
    return ranges


def _of_segment(film: Path, index: FilmIndex, segment: Segment) -> tuple[int, int]:
    """The frames of a stretch, from the key frame before it to the one after it."""
    count = len(index.pts)
    start, end = segment.start or Fraction(0), segment.end
    inside = [
        n
        for n in range(count)
        if index.seconds(n) >= start - _ROUNDING
        and (end is None or index.seconds(n) < end - _ROUNDING)
    ]
    if not inside:
        raise InputError(f"{film}: no frame lies in the chosen segment; check --start and --end")
    bounds = sorted(index.starts | {0, count})
    first = max(each for each in bounds if each <= inside[0])
    last = min(each for each in bounds if each > inside[-1])
    return first, last


def _color(
    source: FilmSource,
    index: FilmIndex,
    part: Part,
    colorizer: Colorizer,
    settings: Settings,
    on_progress: ProgressCallback,
) -> Report:
    """Color a range of the original into a film of its own."""
    start = max(index.seconds(part.first) - _ROUNDING, Fraction(0))
    end = None if part.last == len(index.pts) else index.seconds(part.last) - _ROUNDING
    film = source.at(Segment(start, end))
    plan = check_container(part.path, film.facts, settings.encoder, frozenset())
    report = colorize_film(FilmJob(film, part.path, plan), colorizer, settings, on_progress)
    if report.status != "done":
        raise OutputError(report.error)
    return report
