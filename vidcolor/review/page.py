"""A page on a result and its original: `film_page`, `folder_page`. Nothing in it is from elsewhere,
and nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import InputError, OutputError
from ..run.job.page import MARK, STYLE, facts_section, page_text
from ..run.provenance.inspection import inspect
from ..sources.marks import settings_of
from ..system.files import replacing
from ..system.text import counted
from .album import FilmAlbum, Picture, PictureAlbum, left_out
from .charts import curve
from .check import FilmReview
from .finding import KINDS, Finding, Review, timecode
from .page_parts import PAGE, SCRIPT
from .page_parts import STYLE as OWN_STYLE

Stills = Mapping[int, Sequence[tuple[str, str]]]
_LISTED = 1000  # findings on a page of a folder


def write_page(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a page; one of an earlier report is replaced.

    Raises:
        OutputError: another file has the name, or it cannot be written.
    """
    check_page(path, overwrite=overwrite)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def check_page(path: Path, *, overwrite: bool) -> None:
    """See before the work that a page may have this name.

    Raises:
        OutputError: it may not.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a page, such as report.html")
    if path.exists() and not overwrite:
        with path.open("rb") as file:
            if not file.read(len(MARK)).startswith(MARK.encode()):
                raise OutputError(f"{path}: exists, and is no report; give another name, or -y")


def film_page(review: FilmReview, album: FilmAlbum, stills: Stills) -> str:
    """The page of a film.

    Args:
        review: what was found.
        album: a pair of each shot.
        stills: names and URLs of colored stills, by the number of the shot.
    """
    names = {shot.first.shot: i for i, shot in enumerate(review.shots, 1)}
    by_shot: dict[int, list[Finding]] = {}
    for each in review.findings:
        if each.shot is not None:
            by_shot.setdefault(each.shot, []).append(each)
    articles, thumbs = [], []
    for shot in review.shots:
        number = shot.first.shot
        shown = album.pictures.get(number)
        if shown is None:
            continue
        begin, end = timecode(shot.first.seconds), timecode(shot.last.seconds)
        name = f"Shot {names[number]}"
        more = [f"<p>{page_text(each.line)}</p>" for each in by_shot.get(number, ())]
        at = f" at {timecode(shown.place.seconds)}" if shown.place else ""
        articles.append(
            _article(
                f"shot-{number}",
                f"{name}, {begin} to {end}",
                _pair(shown, f"{name}{at}"),
                f"<p>{shot.frames} frames, mean chroma {shot.mean_chroma:.1f}, largest reversal "
                f"{shot.reversal:.1f}</p>",
                *more,
                _stills(stills.get(number, ())),
            )
        )
        thumbs.append(_thumb(f"shot-{number}", shown, f"{name}, {begin}"))
    cuts = [shot.first.seconds for shot in review.shots]
    marks = [each.start for each in review.findings if each.start is not None]
    chroma = [(point.seconds, point.chroma) for point in review.curve]
    reversal = [(point.seconds, point.reversal) for point in review.curve]
    curves = curve("Mean chroma, Lab", chroma, cuts=cuts, marks=marks, least=10)
    curves += curve("Flicker: reversals of color, a*b*", reversal, cuts=cuts, marks=marks, least=5)
    note = left_out(album.pictures, len(review.shots), "shots")
    return _page(
        review.output.name,
        f"compared with its original, {review.source.name}",
        _totals(review.findings, review.frames, "frames", [review], shots=len(review.shots)),
        [
            _finding(each, f"shot-{each.shot}" if each.shot in album.pictures else "")
            for each in review.findings
        ],
        [*review.notes, *filter(None, [note])],
        _section("curves", "Over time", curves),
        _sheet(thumbs),
        _shots(articles, "Shots"),
        _origin(review),
    )


def folder_page(folder: Path, reviews: Sequence[Review], album: PictureAlbum) -> str:
    """The page of a folder of pictures.

    Args:
        folder: of the results.
        reviews: of each file, in order.
        album: pairs, by the number of the file.
    """
    articles, thumbs, lines = [], [], []
    for number, review in enumerate(reviews):
        shown = album.pictures.get(number)
        where = f"picture-{number}" if shown else ""
        name = str(review.output.relative_to(folder) if folder in review.output.parents else
                   review.output.name)  # fmt: skip
        lines += [_finding(each, where, name) for each in review.findings]
        if shown is None:
            continue
        found = [f"<p>{page_text(each.line)}</p>" for each in review.findings]
        luma = review.luma
        if luma is not None:
            found.append(f"<p>{luma.unit} differs by {luma.mean:.2f} in the mean, "
                         f"{luma.largest:.1f} at most</p>")  # fmt: skip
        articles.append(_article(where, name, _pair(shown, name), *found))
        thumbs.append(_thumb(where, shown, name))
    findings = [each for review in reviews for each in review.findings]
    notes = list(dict.fromkeys(note for review in reviews for note in review.notes))
    pictures = sum(not review.is_film for review in reviews)
    notes.append(left_out(album.pictures, pictures, "pictures"))
    if films := len(reviews) - pictures:
        notes.append(f"{films} films are in the list of findings, but not shown; make a report of "
                     "each")  # fmt: skip
    if len(lines) > _LISTED:
        notes.append(f"{len(lines) - _LISTED} more findings are left out of the list")
    return _page(
        folder.name,
        "compared with their originals",
        _totals(findings, len(reviews), "files", reviews),
        lines[:_LISTED],
        [note for note in notes if note],
        "",
        _sheet(thumbs),
        _shots(articles, "Pictures"),
        _origin(next((each for each in reviews if each.luma is not None), reviews[0]))
        if reviews
        else "",
    )


def _page(
    name: str,
    when: str,
    totals: str,
    findings: Sequence[str],
    notes: Iterable[str],
    curves: str,
    sheet: str,
    shots: str,
    facts: str,
) -> str:
    found = "".join(findings)
    return PAGE.substitute(
        title=page_text(f"{name}: {counted(len(findings), 'finding')}" if findings else name),
        when=page_text(when),
        style=STYLE + OWN_STYLE,
        totals=totals,
        findings=f'<ol class="findings">{found}</ol>'
        if found
        else '<p class="good">Nothing was found that needs a look.</p>',
        notes="".join(f'<p class="note">{page_text(note)}</p>' for note in notes),
        curves=curves,
        sheet=sheet,
        shots=shots,
        facts=facts,
        script=SCRIPT,
    )


def _totals(
    findings: Sequence[Finding],
    count: int,
    what: str,
    reviews: Sequence[Review],
    *,
    shots: int = 0,
) -> str:
    lumas = [each.luma for each in reviews if each.luma is not None]
    shown = [(f"{count:,}", what), (f"{len(findings):,}", "findings")]
    if shots:
        shown.insert(1, (f"{shots:,}", "shots"))
    if lumas:
        unit = lumas[0].unit
        shown.append((f"{sum(each.mean for each in lumas) / len(lumas):.2f}", f"{unit} mean"))
        shown.append((f"{max(each.largest for each in lumas):.1f}", f"{unit} at most"))
    return "".join(f"<li><b>{value}</b><span>{name}</span></li>" for value, name in shown)


def _finding(each: Finding, where: str, name: str = "") -> str:
    """A line of the list; a link where its shot is on the page."""
    label = page_text(each.when or name or "whole film")
    link = f'<a data-jump href="#{where}">{label}</a>' if where else label
    return (
        f'<li><span class="when">{link}</span><b>{KINDS[each.kind]}</b>'
        f"<span>{page_text(each.text)}</span></li>"
    )


def _section(name: str, title: str, body: str) -> str:
    if not body:
        return ""
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{body}</section>'


def _sheet(thumbs: Sequence[str]) -> str:
    return _section("sheet", "Contact sheet", f'<ul class="sheet">{"".join(thumbs)}</ul>'
                    if len(thumbs) > 1 else "")  # fmt: skip


def _shots(articles: Sequence[str], title: str) -> str:
    if not articles:
        return ""
    hint = "<p>Drag across a picture, or move its slider: left of the line is the original.</p>"
    body = f'{hint}<div class="shots">{"".join(articles)}</div>'
    return _section("pairs", title, body)


def _article(where: str, title: str, *parts: str) -> str:
    return (
        f'<article id="{where}" tabindex="-1" aria-labelledby="{where}-name">'
        f'<h3 id="{where}-name">{page_text(title)}</h3>{"".join(parts)}</article>'
    )


def _pair(shown: Picture, name: str) -> str:
    label, size = page_text(name), f'width="{shown.width}" height="{shown.height}"'
    lazy = f'{size} loading="lazy" decoding="async"'
    return (
        '<figure class="pair"><div class="frames">'
        f'<img src="{shown.after}" alt="{label}: the result" {lazy}>'
        f'<img class="before" src="{shown.before}" alt="{label}: the original" {lazy}></div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{label}: original shown">'
        '<div class="ends" aria-hidden="true"><span>all result</span>'
        "<span>all original</span></div>"
        "</figure>"
    )


def _thumb(where: str, shown: Picture, name: str) -> str:
    label = page_text(name)
    return (
        f'<li><a data-jump href="#{where}"><img src="{shown.thumb}" alt="" loading="lazy" '
        f'decoding="async" width="{shown.width}" height="{shown.height}">{label}</a></li>'
    )


def _stills(stills: Sequence[tuple[str, str]]) -> str:
    items = "".join(
        f'<li><img src="{url}" alt="still {page_text(name)}">{page_text(name)}</li>'
        for name, url in stills
    )
    return f'<ul class="stills">{items}</ul>' if items else ""


def _origin(review: Review) -> str:
    """What the result says of its origin, and whether that is true."""
    source = review.source if review.source.is_file() else None
    try:
        found = inspect(review.output, source)
    except InputError:  # among the findings
        found = None
    if found is None or not found.marks:
        return "<p>The result says nothing of its origin.</p>"
    marks: dict[str, object] = dict(found.marks)
    try:
        settings = settings_of({"settings": str(marks.pop("settings", ""))})
    except ValueError:
        settings = {}
    checks = {each.name: f"{each.state}: {each.detail}" for each in found.checks}
    sections = (("marks", marks), ("checks", checks), ("settings", settings))
    facts = "".join(facts_section(name, values) for name, values in sections)
    return f'<div class="facts">{facts}</div>'.replace("<h2>", "<h3>").replace("</h2>", "</h3>")
