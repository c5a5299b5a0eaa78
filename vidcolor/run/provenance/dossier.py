"""A dossier of an output for an archive: a BagIt bag with all that tells how it was made.

An extra: `pip install 'vidcolor[dossier]'`. docs/PROVENANCE.md lists what lies in a bag.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...errors import OutputError
from ...frames import LumaBatch
from ...marks import Marks
from ...models.weights import manifest, shipped_folder
from ...sinks.credentials import sidecar_of
from ...sources import PICTURE_SUFFIXES, FilmSource, PictureSource
from ...system.digest import sha256_of
from ...system.files import temporary_path
from .premis import Agent, Event, File, premis_xml
from .settings import SOFTWARE, today

_FRAMES = "frame_checksums"
_CHROMA = "chroma"  # folder of the file of colors alone
_BATCH = 8  # frames that are read at once
_PROGRAM, _MODEL = "vidcolor", "model"  # agents


@dataclass(frozen=True)
class Subject:
    """What a dossier is of.

    Attributes:
        output: the finished file.
        source: the film it was made from; None for a picture.
        original: the input's path.
        files: the input's file, or those of a numbered sequence.
        marks: what the output says of its origin.
        references: pictures that colors were taken from.
        status: of the run's report.
        signed: the output has Content Credentials.
        chroma: the file of its colors alone; it may be the output. None for none.
    """

    output: Path
    source: FilmSource | None
    original: Path
    files: tuple[Path, ...]
    marks: Marks
    references: tuple[Path, ...] = ()
    status: str = "done"
    signed: bool = False
    chroma: Path | None = None

    @property
    def has_luma(self) -> bool:
        """Whether the output shows the original's luma."""
        return self.chroma is None or self.chroma.absolute() != self.output.absolute()


def _library() -> Any:
    """The module bagit.

    Raises:
        OutputError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library's own imports
            import bagit
    except ImportError as error:
        raise OutputError("a dossier needs bagit: run pip install 'vidcolor[dossier]'") from error
    return bagit


def check_dossier(folder: Path) -> None:
    """See that dossiers can be written into a folder.

    Raises:
        OutputError: the library is missing, or the folder cannot be written.
    """
    _library()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror}); choose another with --dossier"
        ) from error


def write_dossier(
    folder: Path,
    subject: Subject,
    add: Callable[[Path], None] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the bag of one output, `folder/NAME`, and validate it.

    Args:
        folder: where the bags lie.
        subject: what it is of.
        add: puts further files into the folder that it gets, such as a report.
        overwrite: replace a bag of that name.

    Returns:
        The bag.

    Raises:
        OutputError: it exists, or cannot be written.
        InputError: the original cannot be read again.
    """
    bag = folder.absolute() / subject.output.name
    if os.path.lexists(bag) and not overwrite:
        raise OutputError(f"{bag}: already exists; give --overwrite to replace it")
    library = _library()
    made = temporary_path(bag, ".part")
    try:
        made.mkdir(parents=True)
        if add is not None:
            add(made)
        _fill(made, subject)
        info = {
            "Bagging-Date": today()[:10],
            "Bag-Software-Agent": f"{SOFTWARE}, bagit.py {library.VERSION}",
            "External-Description": subject.marks.sentence,
            "External-Identifier": subject.output.name,
        }
        library.make_bag(str(made), info, checksums=["sha256"]).validate()
        if bag.is_dir():
            shutil.rmtree(bag)
        os.replace(made, bag)
    except (OSError, ValueError, library.BagError) as error:  # ValueError: a name that is no text
        raise OutputError(
            f"{bag}: cannot be written ({getattr(error, 'strerror', None) or error}); free some "
            "space, or choose another folder with --dossier"
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return bag


def _fill(folder: Path, subject: Subject) -> None:
    output = subject.output
    _link(output, folder / output.name)
    aside = sidecar_of(output)
    if aside is not None and aside.is_file():
        _link(aside, folder / aside.name)
    sums = [(sha256_of([path]), path) for path in subject.files]
    lines = "".join(f"{sum}  {path.name}\n" for sum, path in sums)
    (folder / "original.sha256").write_text(lines, encoding="utf-8", errors="surrogateescape")
    frames = folder / _FRAMES
    frames.mkdir()
    before = _write_sums(frames / "original.framehash", *_luma_of(subject.original, subject.source))
    after: list[str] = []
    if subject.has_luma:
        after = _write_sums(frames / "output.framehash", *_luma_of(output, None))
        if subject.chroma is not None:
            (folder / _CHROMA).mkdir()
            _link(subject.chroma, folder / _CHROMA / subject.chroma.name)
    record = {**subject.marks.to_dict(), "settings": json.loads(subject.marks.settings or "{}")}
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (folder / "record.json").write_text(text, encoding="utf-8")
    shipped = manifest().get(subject.marks.model)
    if shipped is not None and shipped.sha256 == subject.marks.model_sha256:
        card = shipped_folder() / f"{subject.marks.model}.md"
        _link(card, folder / "model_card.md", copied=True)
    for number, path in enumerate(subject.references, 1):
        (folder / "references").mkdir(exist_ok=True)
        _link(path, folder / "references" / f"{number:03}_{path.name}", copied=True)
    (folder / "premis.xml").write_bytes(_premis(folder, subject, sums, before, after))


def _link(path: Path, target: Path, *, copied: bool = False) -> None:
    """A second name of a file, or where the file system has none, a copy."""
    try:
        if copied:
            raise OSError
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)


Luma = Iterator[LumaBatch]


def _luma_of(path: Path, source: FilmSource | None) -> tuple[Luma, Fraction]:
    """The luma of a film or picture, and the unit of its frames' times in seconds."""
    if source is None and path.suffix.lower() in PICTURE_SUFFIXES:
        pictures = PictureSource([(path, path)], limits=False)
        return _pages(pictures), Fraction(1)
    source = copy.copy(source) if source is not None else FilmSource(path, deinterlace="off")
    return source.batches(_BATCH), source.facts.time_base


def _pages(source: PictureSource) -> Luma:
    page, pages = 0, 1
    while page < pages:
        batch = source.read(0, page)
        pages, page = batch.picture.pages if batch.picture else 1, page + 1
        yield batch


def _write_sums(path: Path, batches: Luma, unit: Fraction) -> list[str]:
    """Write the SHA-256 of each frame's luma, as FFmpeg's `framehash` muxer does.

    Returns:
        The sums.
    """
    found = []
    with path.open("w", encoding="ascii") as file:
        file.write("#format: frame checksums\n#version: 2\n#hash: SHA256\n")
        file.write(f"#tb 0: {unit}\n#media_type 0: video\n#codec_id 0: rawvideo\n")
        file.write("#stream#, dts,        pts, duration,     size, hash\n")
        for batch in batches:
            for frame, pts, duration in zip(batch.luma, batch.pts, batch.durations, strict=True):
                data = frame.numpy().tobytes()
                found.append(hashlib.sha256(data).hexdigest())
                file.write(f"0, {pts:10}, {pts:10}, {duration:8}, {len(data):8}, {found[-1]}\n")
    return found


def _premis(
    folder: Path,
    subject: Subject,
    sums: Sequence[tuple[str, Path]],
    before: Sequence[str],
    after: Sequence[str],
) -> bytes:
    marks, date, now = subject.marks, subject.marks.date, today()
    output = folder / subject.output.name
    name = f"data/{output.name}"
    program, version = SOFTWARE.split(" ")
    agents = [
        Agent(_PROGRAM, program, version=version),
        Agent(_MODEL, marks.model, note=f"SHA-256 of the weights: {marks.model_sha256}"),
    ]
    originals = [
        File(path.name, sum, path.stat().st_size, path.suffix[1:].upper()) for sum, path in sums
    ]
    kind = output.suffix[1:].upper()
    made = [File(name, sha256_of([output]), output.stat().st_size, kind, originals[0].id,
                 "colorization", date)]  # fmt: skip
    if subject.chroma is not None and subject.has_luma:
        alone = folder / _CHROMA / subject.chroma.name
        size, kind = alone.stat().st_size, alone.suffix[1:].upper()
        place, origin = f"data/{_CHROMA}/{alone.name}", originals[0].id
        made.append(File(place, sha256_of([alone]), size, kind, origin, "colorization", date))
    references = [
        File(f"data/references/{n:03}_{path.name}", sha256_of([path]), path.stat().st_size,
             path.suffix[1:].upper())
        for n, path in enumerate(subject.references, 1)
    ]  # fmt: skip
    same = sum(a == b for a, b in zip(before, after, strict=False))
    who = ((_PROGRAM, "executing program"),)
    sources = tuple((each.id, "source") for each in originals[:1])
    both = (*sources, *((each.id, "outcome") for each in made))
    events = [
        Event("digest", "message digest calculation", date, "SHA-256 of the original", "success",
              agents=who, files=sources),
        Event("colorization", "creation", date,
              f"{marks.sentence} Settings: {marks.settings}", subject.status,
              agents=(*who, (_MODEL, "executing program")),
              files=(*both, *((each.id, "source") for each in references))),
    ]  # fmt: skip
    if subject.has_luma:
        events.append(
            Event("comparison", "validation", now,
                  "The luma of each frame of original and output, as decoded, by SHA-256",
                  "success",
                  f"{len(before)} frames before, {len(after)} after, {same} identical",
                  agents=who, files=(*sources, (name, "outcome")))
        )  # fmt: skip
    if subject.signed:
        events.append(
            Event("signature", "digital signature generation", now,
                  "Content Credentials (C2PA)", "success", agents=who, files=((name, "outcome"),))
        )  # fmt: skip
    return premis_xml([*originals, *made, *references], events, agents)
