"""Write a page on a result: `write_report`."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import InputError, OutputError
from ..run.pairs import Pair
from ..run.references.shot_list import ShotList, read_shots
from ..run.settings import ProgressCallback, Settings
from ..sinks.files import same_file
from .album import FilmAlbum, PictureAlbum, still_urls
from .check import FilmReview, review_film
from .finding import Review
from .page import check_page, film_page, folder_page, write_page
from .pictures import pairs_of, review_all


def write_report(
    source: str,
    result: Path,
    page: Path,
    settings: Settings,
    shots: Path | None = None,
    on_progress: ProgressCallback = lambda progress: None,
) -> list[Review]:
    """Compare, and write what was found with pictures onto a page.

    Args:
        source: the original: a film, a picture or a folder.
        result: the result, of the same kind.
        page: the HTML file.
        settings: see `review_film`; with `overwrite` any file of that name is replaced.
        shots: a folder of shots whose stills are shown.
        on_progress: called with the number of a film's frames that are done.

    Returns:
        The reviews.

    Raises:
        InputError: a file cannot be read.
        OutputError: the page cannot be written.
    """
    if any(same_file(page, each) for each in (Path(source), result)):
        raise OutputError(f"{page}: is the original or the result; choose another name with -o")
    check_page(page, overwrite=settings.overwrite)
    pairs = pairs_of(source, result, settings.fps)
    listed = None if shots is None else read_shots(shots)
    if len(pairs) == 1 and not pairs[0].item.is_picture:
        whole, text = _film(pairs[0], settings, listed, on_progress)
        write_page(page, text, overwrite=settings.overwrite)
        return [whole]
    if shots is not None:
        raise InputError(f"{shots}: belongs to one film, but {source} is none; leave out --shots")
    album = PictureAlbum(len(pairs), limits=not settings.large_pictures)
    reviews: list[Review] = []

    def film(pair: Pair) -> Review:
        return review_film(pair.item, pair.output, settings, on_progress=on_progress)

    for number, review in enumerate(review_all(pairs, settings, film)):
        if not review.is_film and review.luma is not None:
            album.see(number, review.source, review.output, flagged=bool(review.findings))
        reviews.append(review)
    folder = result if result.is_dir() else result.parent
    write_page(page, folder_page(folder, reviews, album), overwrite=settings.overwrite)
    return reviews


def add_to_dossier(
    shots: Path | None, source: Path, output: Path, settings: Settings, folder: Path
) -> None:
    """Put the page of a result, and the lists of a folder of shots, into a dossier's folder.

    Args:
        shots: the folder of shots, None for none.
        source: the original.
        output: the result.
        settings: of the run that made it.
        folder: the dossier's.
    """
    write_report(str(source), output, folder / "report.html", settings, shots)
    if shots is not None:
        (folder / "shots").mkdir()
        for path in shots.glob("shots.*"):
            shutil.copy2(path, folder / "shots" / path.name)


def _film(
    pair: Pair, settings: Settings, listed: ShotList | None, on_progress: ProgressCallback
) -> tuple[FilmReview, str]:
    album = FilmAlbum()
    review = review_film(
        pair.item, pair.output, settings, listed=listed, watcher=album, on_progress=on_progress
    )
    for finding in review.findings:
        album.flag(finding.shot)
    album.close()
    stills: dict[int, list[tuple[str, str]]] = {}
    if listed is not None:
        ranges = [range(shot.first, shot.last + 1) for shot in listed.shots]
        stills = still_urls(listed.folder, len(listed.film.pts), ranges)
    return review, film_page(review, album, stills)
