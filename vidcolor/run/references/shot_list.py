"""The shots of a film as a folder holds them: `shots.toml`, which may be edited, and `film.json`.

A `[[shot]]` has the fields of `Shot`, a `[[hint]]` has `frame`, `point = [x, y]` or `box = [left,
top, right, bottom]`, `color` (a name, `#rrggbb` or Lab numbers) and a note, `source`.
"""

from __future__ import annotations

import bisect
import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...color.adjust import ColorAdjustment
from ...errors import InputError
from ...frames import VideoInfo
from ...options import OptionError, check_options, option
from ..packed import pack, unpack

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LIST, FILM, GRAYS = "shots.toml", "film.json", "gray"
_FORMAT = 1  # of film.json
_MOST_FRAMES = 10**8  # more than a film has; a damaged file must not take all memory


@dataclass(frozen=True)
class FilmFrames:
    """The frames of the film that a list of shots was made from.

    Attributes:
        path: the film.
        width, height: coded size of a frame, pixels.
        time_base: unit of the pts, seconds.
        rate: frames a second, for timecodes.
        deinterlace: how its frames were made; see `Settings.deinterlace`.
        pts: of every frame, in order.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    deinterlace: str
    pts: Sequence[int]

    def number(self, pts: int) -> int:
        """The frame that is shown at `pts`, from 0."""
        return max(0, bisect.bisect_right(self.pts, pts) - 1)

    def seconds(self, number: int) -> Fraction:
        """When a frame is shown, counted from the first frame."""
        return (self.pts[min(number, len(self.pts) - 1)] - self.pts[0]) * self.time_base

    def check(self, path: Path, facts: VideoInfo, deinterlace: str, folder: Path) -> None:
        """Check that a film is the one that the list was made from.

        Raises:
            InputError: it is not, or its frames are made in another way.
        """
        size = f"{facts.width}x{facts.height}"
        if (facts.width, facts.height) != (self.width, self.height):
            raise InputError(
                f"{path}: its frames are {size}, but {folder} was made from {self.path.name} with "
                f"{self.width}x{self.height}; give that film, or run 'vidcolor shots' on this one"
            )
        if deinterlace != self.deinterlace:
            raise InputError(
                f"{path}: {folder} was made with --deinterlace {self.deinterlace}; give the same"
            )

    def to_json(self) -> str:
        """The text of `film.json`."""
        values = {
            "format": _FORMAT,
            "film": str(self.path),
            "width": self.width,
            "height": self.height,
            "time_base": str(self.time_base),
            "rate": str(self.rate),
            "deinterlace": self.deinterlace,
            "pts": pack(self.pts),
        }
        return json.dumps(values, indent=1) + "\n"


@dataclass(frozen=True)
class Shot:
    """A shot, and what is set for it alone; None leaves a setting as it is.

    Attributes:
        number: its name; unique.
        first, last: its frames, both included.
        setup: number of its set-up, None for none.
        skip: it stays gray.
        strength: of the stills, 0 to 1.
    """

    number: int = option(0, low=0, high=10**9, help="")
    first: int = option(0, low=0, high=10**9, help="")
    last: int = option(0, low=0, high=10**9, help="")
    setup: int | None = option(None, low=0, high=10**9, help="")
    saturation: float | None = option(None, low=0, high=5, help="")
    temperature: float | None = option(None, low=-100, high=100, help="")
    tint: float | None = option(None, low=-100, high=100, help="")
    strength: float | None = option(None, low=0, high=1, help="")
    model: str | None = option(None, help="")
    skip: bool = option(False, help="")

    def __post_init__(self) -> None:
        check_options(self)

    def adjustment(self, usual: ColorAdjustment) -> ColorAdjustment:
        """The color adjustment of the shot, where `usual` is that of the run."""
        own = {each.name: getattr(self, each.name) for each in fields(ColorAdjustment)}
        values = {k: getattr(usual, k) if v is None else v for k, v in own.items()}
        return ColorAdjustment(**values)


@dataclass(frozen=True)
class Hint:
    """The color of one thing in one frame.

    Attributes:
        frame: its number in the film.
        box: left, top, right, bottom in pixels of the upright frame; one pixel for a point.
        ab: a*, b*.
        source: where the color is known from.
    """

    frame: int
    box: tuple[float, float, float, float]
    ab: tuple[float, float]
    source: str = ""


@dataclass(frozen=True)
class ShotList:
    """The shots of a film in their order, without holes between them.

    Attributes:
        folder: of the list.
        film: what it was made from.
        shots: in order.
        hints: in the order of the file.
    """

    folder: Path
    film: FilmFrames
    shots: tuple[Shot, ...]
    hints: tuple[Hint, ...] = ()

    @cached_property
    def _firsts(self) -> list[int]:
        return [shot.first for shot in self.shots]

    def index(self, number: int) -> int:
        """Which shot a frame lies in; frames behind the last shot belong to it."""
        return max(0, bisect.bisect_right(self._firsts, number) - 1)

    def locate(self, pts: int, *, retimed: bool = False) -> tuple[int, int]:
        """The number of the frame at `pts`, and the index of its shot.

        Args:
            pts: in the film's time base.
            retimed: the film plays at another rate, where the pts are the frames' numbers.
        """
        number = pts if retimed else self.film.number(pts)
        return number, self.index(number)


def read_shots(folder: Path) -> ShotList:
    """Read `shots.toml` and `film.json`.

    Raises:
        InputError: a file is missing or wrong; the line names the file, the place and the remedy.
    """
    film = _read_film(folder / FILM)
    path = folder / LIST
    text = _read(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not TOML: {error}; correct that place") from error
    if unknown := [key for key in table if key not in ("shot", "hint")]:
        raise InputError(
            f"{path}: '{unknown[0]}' is unknown; a list holds [[shot]] and [[hint]] tables"
        )
    shots = tuple(_shot(*each) for each in _tables(path, text, table, "shot"))
    if not shots:
        raise InputError(f"{path}: holds no [[shot]]; run 'vidcolor shots' again")
    shots = _in_order(path, shots, len(film.pts))
    hints = tuple(_hint(*each, len(film.pts)) for each in _tables(path, text, table, "hint"))
    return ShotList(folder, film, shots, hints)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: is missing; make the folder with 'vidcolor shots FILM -o {path.parent}'"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file") from error


def _read_film(path: Path) -> FilmFrames:
    text = _read(path)
    try:
        values = json.loads(text)
        if values["format"] != _FORMAT:
            raise ValueError
        return FilmFrames(
            Path(values["film"]),
            int(values["width"]),
            int(values["height"]),
            Fraction(values["time_base"]),
            Fraction(values["rate"]),
            str(values["deinterlace"]),
            unpack(values["pts"], _MOST_FRAMES),
        )
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise InputError(
            f"{path}: is damaged or of another version; make the folder again with "
            "'vidcolor shots', and keep your shots.toml and stills"
        ) from error


def _tables(
    path: Path, text: str, table: Mapping[str, Any], kind: str
) -> list[tuple[str, dict[str, Any]]]:
    """Each table `[[kind]]` with its place, `FILE: line N (shot 12)`, for messages."""
    found = table.get(kind, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InputError(f"{path}: '{kind}' is no list of tables; write [[{kind}]] above each")
    head = re.compile(rf"\s*\[\[\s*[\"']?{kind}[\"']?\s*\]\]")
    lines = [i for i, line in enumerate(text.splitlines(), 1) if head.match(line)]
    if len(lines) != len(found):  # written as `shot = [{...}]`, or `[[shot]]` stands in a text
        lines = [0] * len(found)
    places = []
    for line, each in zip(lines, found, strict=True):
        name = f"{kind} {each['number']}" if "number" in each else kind
        places.append(f"{path}: {f'line {line}, ' if line else ''}{name}")
    return list(zip(places, found, strict=True))


def _refuse_unknown(place: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            better = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
            raise InputError(f"{place}: '{key}' is unknown; {better}")


def _shot(place: str, values: dict[str, Any]) -> Shot:
    _refuse_unknown(place, values, [each.name for each in fields(Shot)])
    if missing := [key for key in ("number", "first", "last") if key not in values]:
        raise InputError(f"{place}: '{missing[0]}' is missing; add {missing[0]} = NUMBER")
    try:
        shot = Shot(**values)
    except OptionError as error:
        raise InputError(f"{place}: {error}; change the value") from error
    if shot.last < shot.first:
        raise InputError(
            f"{place}: ends at frame {shot.last}, before its first frame {shot.first}; exchange "
            "them or correct one"
        )
    return shot


def _in_order(path: Path, shots: tuple[Shot, ...], frames: int) -> tuple[Shot, ...]:
    """The shots sorted by their frames.

    Raises:
        InputError: two have one number, overlap, or leave frames out.
    """
    numbers = [shot.number for shot in shots]
    if doubled := [number for number in numbers if numbers.count(number) > 1]:
        raise InputError(f"{path}: shot {doubled[0]} comes twice; give each a number of its own")
    shots = tuple(sorted(shots, key=lambda shot: shot.first))
    for one, two in pairwise(shots):
        if two.first != one.last + 1:
            what = "both hold" if two.first <= one.last else "leave out"
            between = sorted((two.first, one.last + 1))
            raise InputError(
                f"{path}: shots {one.number} and {two.number} {what} frames {between[0]} to "
                f"{between[1] - 1}; change 'last' of {one.number} or 'first' of {two.number}"
            )
    if shots[0].first != 0 or shots[-1].last != frames - 1:
        first = shots[0].first != 0
        wrong = shots[0] if first else shots[-1]
        key, wanted = ("first", 0) if first else ("last", frames - 1)
        raise InputError(
            f"{path}: the film has the frames 0 to {frames - 1}, but {key} of shot {wrong.number} "
            f"is {getattr(wrong, key)}; write {key} = {wanted}"
        )
    return shots


def _hint(place: str, values: dict[str, Any], frames: int) -> Hint:
    _refuse_unknown(place, values, ("frame", "point", "box", "color", "source"))
    frame, source = values.get("frame"), values.get("source", "")
    if not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame < frames:
        raise InputError(f"{place}: 'frame' must be a frame of the film, 0 to {frames - 1}")
    if not isinstance(source, str):
        raise InputError(f"{place}: 'source' must be text; put it in quotes")
    if ("point" in values) == ("box" in values):
        raise InputError(
            f"{place}: needs either point = [x, y] or box = [left, top, right, bottom]"
        )
    area: Any = values.get("point", values.get("box"))
    if not _numbers(area, 2 if "point" in values else 4) or min(area) < 0:
        raise InputError(f"{place}: write point = [x, y] or box = [left, top, right, bottom]")
    left, top, right, bottom = (*area, area[0] + 1, area[1] + 1) if len(area) == 2 else area
    if right <= left or bottom <= top:
        raise InputError(f"{place}: the box is empty; write [left, top, right, bottom]")
    return Hint(frame, (left, top, right, bottom), _chroma(place, values.get("color")), source)


def _numbers(value: Any, count: int) -> bool:
    numbers = isinstance(value, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e6 for v in value
    )
    return numbers and len(value) == count


def _chroma(place: str, color: Any) -> tuple[float, float]:
    """a*, b* of a color name, `#rrggbb` or Lab numbers."""
    if _numbers(color, 3):
        if not (0 <= color[0] <= 100 and max(map(abs, color[1:])) <= 128):
            raise InputError(f"{place}: Lab is [0 to 100, -128 to 128, -128 to 128]")
        return float(color[1]), float(color[2])
    import torch
    from PIL import ImageColor

    from ...color.convert import rgb_to_lab

    try:
        rgb = ImageColor.getrgb(color)[:3]
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{place}: color = {color!r} is no color; write a name such as 'navy', '#102040' or "
            "Lab [30, 5, -20]"
        ) from error
    lab = rgb_to_lab(torch.tensor(rgb).view(1, 3, 1, 1) / 255).flatten()
    return float(lab[1]), float(lab[2])
