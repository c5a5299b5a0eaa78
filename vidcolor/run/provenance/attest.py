"""What is done for the provenance of each output: its marks, label, signature and dossier.

`settings` says what the marks are. Here they are given to the sinks, and what follows when an
output is complete is done. An output that is written but could not be signed, or whose dossier
could not be written, is reported as incomplete.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...color.label import Label
from ...errors import OutputError, VidcolorError
from ...frames import LumaBatch, VideoInfo
from ...marks import Marks, plain
from ...sinks.credentials import Credentials
from ...sinks.marking import FilmMarking
from ...system.digest import Digest, sha256_of
from ..colorizer import Colorizer
from ..plan import FilmJob
from ..settings import Report, Settings
from .dossier import Subject, check_dossier, write_dossier
from .settings import LABEL_SECONDS, chroma_marks, make_marks, today


def check_provenance(settings: Settings) -> None:
    """See before the work that outputs can be signed, and dossiers be written.

    Raises:
        OutputError: they cannot.
        OptionError: SOURCE_DATE_EPOCH is not a number of seconds.
    """
    today()
    _credentials(settings)
    if settings.marks.dossier is not None:
        check_dossier(Path(settings.marks.dossier))


def _credentials(settings: Settings) -> Credentials | None:
    cert, key = settings.marks.c2pa_cert, settings.marks.c2pa_key
    return None if cert is None or key is None else Credentials(Path(cert), Path(key))


def make_label(settings: Settings, facts: VideoInfo | None = None) -> Label | None:
    """What draws the label into a film, or without its facts into a picture."""
    chosen = settings.marks.label
    if chosen == "none" or facts is None:
        return None if chosen == "none" else Label()
    frames = round(LABEL_SECONDS * (facts.average_rate or 25)) if chosen == "start" else None
    return Label(frames, facts.sample_aspect_ratio)


def _attest(
    report: Report,
    subject: Subject,
    credentials: Credentials | None,
    settings: Settings,
    *,
    overwrite: bool,
) -> None:
    """Sign a finished output and write its dossier, as far as that is wanted. A failure is
    reported."""
    try:
        if not report.output.is_file():
            raise OutputError(
                f"{report.output}: only a single file is signed and put into a dossier; write a "
                "film, or leave out --c2pa-cert and --dossier"
            )
        if credentials is not None:
            credentials.sign(report.output, subject.marks, report.input, overwrite=overwrite)
            subject = replace(subject, signed=True)
    except VidcolorError as error:
        _report(report, error)
    if settings.marks.dossier is not None and report.output.is_file():
        try:
            add = None
            if settings.marks.dossier_extra is not None and subject.has_luma:
                add = partial(settings.marks.dossier_extra, report.input, report.output, settings)
            write_dossier(Path(settings.marks.dossier), subject, add, overwrite=overwrite)
        except VidcolorError as error:
            _report(report, error)


def _report(report: Report, error: Exception) -> None:
    report.status = "incomplete"
    report.error = "; ".join(filter(None, (report.error, str(error))))


class FilmOrigin:
    """What belongs to the provenance of one film; see `film_origin`.

    Attributes:
        marking: what puts the marks into it; None where none are wanted.
        chroma_marking: the same for a file of its colors alone.
        label: what draws the label into it; None where none is wanted.
    """

    def __init__(
        self,
        job: FilmJob,
        settings: Settings,
        marks: Marks,
        digest: Digest,
        references: tuple[Path, ...],
    ) -> None:
        self._job, self._settings, self._references = job, settings, references
        self._marking = FilmMarking(marks, digest)
        self.chroma_marking: FilmMarking | None = None
        if job.chroma is not None:
            alone = chroma_marks(marks, job.chroma.format, settings)
            self.chroma_marking = FilmMarking(alone, digest)
        if job.only_chroma:
            self._marking = self.chroma_marking or self._marking
        self.marking = self._marking if settings.marks.provenance else None
        self.label = make_label(settings, job.source.facts)

    def attest(self, report: Report) -> None:
        """The film is complete: sign it and write its dossier, as far as that is wanted."""
        job, settings = self._job, self._settings
        if self.label is not None and settings.exact_luma:
            where = "all frames" if settings.marks.label == "all" else f"{LABEL_SECONDS} seconds"
            report.warnings.append(f"{job.input}: under the label the luma changes, in {where}")
        credentials = _credentials(settings)
        if credentials is None and settings.marks.dossier is None:
            return
        chroma = job.chroma.file.output if job.chroma and not job.only_chroma else None
        chroma = report.output if job.only_chroma else chroma
        subject = Subject(
            report.output, job.source, job.input, tuple(job.source.files()),
            self._marking.complete(), self._references, report.status,
            chroma=chroma if chroma is not None and chroma.is_file() else None,
        )  # fmt: skip
        overwrite = settings.overwrite or job.replaces
        _attest(report, subject, credentials, settings, overwrite=overwrite)


@contextmanager
def film_origin(
    job: FilmJob, settings: Settings, marks: Marks, references: tuple[Path, ...]
) -> Iterator[FilmOrigin]:
    """The provenance of a film, whose input is hashed meanwhile.

    Args:
        job: of the film.
        settings: of the run.
        marks: of the film, but for its source's SHA-256.
        references: files that its colors are taken from.
    """
    chosen = settings.marks
    wanted = chosen.provenance or chosen.c2pa_cert is not None or chosen.dossier is not None
    digest = Digest(job.source.files() if wanted else ())
    try:
        yield FilmOrigin(job, settings, marks, digest, references)
    finally:
        digest.close()


class PictureOrigins:
    """What belongs to the provenance of the pictures of one job.

    Args:
        colorizer, settings: of the run.
        replaced: outputs that are replaced.

    Attributes:
        label: what draws the label into them; None where none is wanted.
    """

    def __init__(
        self, colorizer: Colorizer, settings: Settings, replaced: Collection[Path] = ()
    ) -> None:
        self._settings, self._colorizer, self._replaced = settings, colorizer, replaced
        self._marks = make_marks(colorizer, settings, Path(), film=False, date=today())
        self._credentials = _credentials(settings)
        self._sums: dict[Path, str] = {}  # of files of several pictures
        self.label = make_label(settings)

    def mark(self, luma: LumaBatch) -> LumaBatch:
        """Give the marks to a picture that has been read; its file is hashed."""
        picture = luma.picture
        if picture is None or not self._settings.marks.provenance:
            return luma
        marks = self._complete(picture.path, several=picture.pages > 1)
        return replace(luma, picture=replace(picture, marks=marks))

    def _complete(self, path: Path, *, several: bool = False) -> Marks:
        found = self._sums.get(path) or sha256_of([path])
        if several:
            self._sums[path] = found
        return replace(self._marks, source=plain(path.name), source_sha256=found)

    def attest(self, report: Report) -> None:
        """A picture's file is complete: sign it and write its dossier, as far as is wanted."""
        wanted = self._credentials is not None or self._settings.marks.dossier is not None
        if not wanted or not report.frames:
            return
        try:
            marks = self._complete(report.input)
        except OSError as error:
            _report(report, error)
            return
        subject = Subject(
            report.output, None, report.input, (report.input,), marks,
            reference_files(self._colorizer), report.status,
        )  # fmt: skip
        overwrite = self._settings.overwrite or report.output in self._replaced
        _attest(report, subject, self._credentials, self._settings, overwrite=overwrite)


def reference_files(colorizer: Colorizer) -> tuple[Path, ...]:
    """The files of the references that a colorizer uses."""
    return tuple(each.path for each in colorizer.references.pictures)
