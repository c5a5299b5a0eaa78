"""Lists of shots for editing programs: CMX3600 EDL, OpenTimelineIO, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..run.references.shot_list import FilmFrames, Shot

HOUR = 3600


def timecode(film: FilmFrames, frame: int) -> str:
    """`HH:MM:SS:FF`, non-drop, counted from the film's first frame."""
    base = max(1, round(film.rate))
    seconds, frames = divmod(frame, base)
    return f"{seconds // HOUR:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"


def to_edl(film: FilmFrames, shots: Sequence[Shot]) -> str:
    """A CMX3600 list of cuts, an event for each shot. Its ends are behind the last frame."""
    lines = [f"TITLE: {_plain(film.path.stem)[:70]}"]
    lines += ["FCM: NON-DROP FRAME", ""]
    for i, shot in enumerate(shots, 1):
        begin, end = timecode(film, shot.first), timecode(film, shot.last + 1)
        lines.append(f"{i:03d}  AX       V     C        {begin} {end} {begin} {end}")
        lines.append(f"* FROM CLIP NAME: {_plain(film.path.name)}")
        lines.append(f"* COMMENT: SHOT {shot.number}")
    return "\n".join(lines) + "\n"


def _plain(name: str) -> str:
    """A file's name in printable ASCII, for a line of an EDL."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in name)


def to_otio(film: FilmFrames, shots: Sequence[Shot]) -> str:
    """An OpenTimelineIO timeline with a clip for each shot, in the library's plain JSON form."""
    rate = float(film.rate)

    def time(frames: int) -> dict[str, Any]:
        return {"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": float(frames)}

    def span(first: int, last: int) -> dict[str, Any]:
        length = time(last - first + 1)
        return {"OTIO_SCHEMA": "TimeRange.1", "start_time": time(first), "duration": length}

    media = {
        "OTIO_SCHEMA": "ExternalReference.1",
        "name": film.path.name,
        "available_range": span(0, len(film.pts) - 1),
        "target_url": film.path.absolute().as_uri(),
    }
    clips = [
        {
            "OTIO_SCHEMA": "Clip.2",
            "name": f"shot {shot.number}",
            "source_range": span(shot.first, shot.last),
            "media_references": {"DEFAULT_MEDIA": media},
            "active_media_reference_key": "DEFAULT_MEDIA",
            "metadata": {"vidcolor": {"shot": shot.number, "setup": shot.setup}},
        }
        for shot in shots
    ]
    track = {"OTIO_SCHEMA": "Track.1", "name": "shots", "kind": "Video", "children": clips}
    timeline = {
        "OTIO_SCHEMA": "Timeline.1",
        "name": film.path.stem,
        "global_start_time": time(0),
        "tracks": {"OTIO_SCHEMA": "Stack.1", "name": "tracks", "children": [track]},
    }
    return json.dumps(timeline, indent=1) + "\n"


def to_csv(film: FilmFrames, shots: Sequence[Shot], stills: Mapping[int, Sequence[str]]) -> str:
    """A table with a row for each shot; `stills` are the names of the files, by the shot."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ("shot", "first", "last", "start", "end", "start_seconds", "end_seconds", "setup", "stills")
    )
    for shot in shots:
        table.writerow(
            (
                shot.number,
                shot.first,
                shot.last,
                timecode(film, shot.first),
                timecode(film, shot.last),
                f"{float(film.seconds(shot.first)):.6f}",
                f"{float(film.seconds(shot.last)):.6f}",
                "" if shot.setup is None else shot.setup,
                " ".join(stills[shot.number]),
            )
        )
    return text.getvalue()


_HEAD = """\
# The shots of {film}. Edit this file to change what 'vidcolor run --shots' does.
#
# Merge two shots: delete the second, and give the first its 'last'. Split one: copy it, and give
# both their ends and the second a new number. Move a cut: change 'last' before it and 'first'
# after it. Frames count from 0; every frame lies in one shot.
#
# A shot may also have:
#   saturation = 0.8     temperature = 10     tint = -5     (as the options of these names)
#   strength = 0.5       how strongly the stills count, 0 to 1
#   model = "best"       another model for this shot
#   skip = true          leave the shot gray
# Shots of one 'setup' lend each other their stills.
#
# A hint sets the color of one thing, and follows it through the shot:
#   [[hint]]
#   frame = 350
#   point = [210, 96]    in pixels of the still; or box = [left, top, right, bottom]
#   color = "navy"       a name, "#102040", or Lab [L, a, b]
#   source = "uniform in the museum"
"""


def to_toml(film: FilmFrames, shots: Sequence[Shot], stills: Mapping[int, Sequence[str]]) -> str:
    """The text of a new `shots.toml`."""
    name = film.path.name.encode("unicode_escape").decode()  # a line of a comment, whatever it is
    parts = [_HEAD.format(film=name)]
    for shot in shots:
        begin, end = timecode(film, shot.first), timecode(film, shot.last)
        lines = [
            "[[shot]]",
            f"number = {shot.number}",
            f"first = {shot.first}",
            f"last = {shot.last}  # {begin} to {end}",
            *([] if shot.setup is None else [f"setup = {shot.setup}"]),
            f"# stills: {', '.join(stills[shot.number])}",
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
