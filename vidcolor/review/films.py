"""Read an original and its result side by side, frame by frame: `FilmPair`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..color.codes import Codes
from ..errors import InputError
from ..frames import LumaBatch, Segment
from ..motion.bars import mark_bars
from ..motion.listed import mark_listed
from ..motion.shots import mark_cuts
from ..options import OptionError, parse_rate, parse_time
from ..run.references.shot_list import ShotList
from ..run.settings import Settings
from ..sources import FilmSource, Input
from ..sources.decoder import Decoder
from ..sources.luma import luma_plane
from ..sources.marks import read_marks, settings_of
from ..system.opencv import load_problem

_BATCH = 4
_LAYOUTS = {(2, 2): "yuv420p", (2, 1): "yuv422p", (1, 1): "yuv444p"}
_RATE = Fraction(25)  # where a film does not tell its own


@dataclass(frozen=True)
class ColorFrame:
    """A frame of a result, as it is stored, not turned upright.

    Attributes:
        planes: codes of Y', Cb, Cr, the latter of their own sizes; of Y' alone for gray; or of R',
            G', B'.
        luma: `(H, W)` codes of Y'.
        frame: the decoded frame, of PyAV.
    """

    planes: tuple[Codes, ...]
    luma: Codes
    frame: Any


@dataclass(frozen=True)
class Both:
    """A frame of the original, and the same of the result.

    Attributes:
        number: of the frame in the original, from 0.
        seconds: since the first frame that is compared.
        gray: the original, a batch of one, with its shot and bars; None for a frame that only the
            result has.
        color: the result; None where it has no such frame.
        late: seconds by which the result shows it later.
    """

    number: int
    seconds: Fraction
    gray: LumaBatch | None
    color: ColorFrame | None
    late: Fraction = Fraction(0)


def made_with(output: Path) -> dict[str, Any]:
    """The settings that a result's marks name; empty for none."""
    try:
        return settings_of(read_marks(output))
    except (InputError, ValueError):
        return {}


def _settings_of(made: dict[str, Any], given: Settings) -> Settings:
    """The settings that a result was made with, by its marks and by what the user says.

    Raises:
        OptionError: the marks hold what is no time or rate.
    """
    segment, fps, deinterlace = given.segment, given.fps, given.deinterlace
    try:
        if segment.is_full:
            start, end = (made.get(name) for name in ("start", "end"))
            segment = Segment(start and parse_time(start), end and parse_time(end))
        if fps is None and "fps" in made:
            fps = parse_rate(made["fps"])
        if deinterlace == "auto":
            deinterlace = str(made.get("deinterlace", "auto"))
        return replace(given, segment=segment, fps=fps, deinterlace=deinterlace)
    except (ValueError, TypeError, AttributeError) as error:
        raise OptionError("marks", f"of the result cannot be used: {error}") from error


class FilmPair:
    """An original and its result, opened.

    The original is read as the run read it: the range, the rate and the kind of deinterlacing are
    those of the result's marks, or those given.

    Attributes:
        source: the original.
        result: the result.
        made: settings in the marks of the result.
        settings: with which both are read.
        listed: the shots of a folder; None to find them.

    Raises:
        InputError: one of them cannot be opened.
    """

    def __init__(
        self, item: Input, output: Path, settings: Settings, listed: ShotList | None = None
    ) -> None:
        self.made = made_with(output)
        try:
            self.settings = _settings_of(self.made, settings)
        except OptionError as error:
            raise InputError(f"{output}: {error}; give --start, --end or --fps") from error
        self.listed = listed
        source = item.open(
            self.settings.segment,
            self.settings.fps,
            playlists=self.settings.allow_playlists,
            deinterlace=self.settings.deinterlace,
        )
        assert isinstance(source, FilmSource)
        self.source = source
        if listed is not None:
            facts = source.at(replace(source.segment, start=None, end=None)).facts
            listed.film.check(source.path, facts, self.settings.deinterlace, listed.folder)
        rate = source.facts.average_rate or _RATE
        sequence = "%" in output.name and not output.exists()
        self.result = FilmSource(output, rate=rate if sequence else None, deinterlace="off")

    @property
    def origin(self) -> Fraction:
        """Seconds of the original at which the comparison begins."""
        return self.settings.segment.start or Fraction(0)

    @property
    def same_size(self) -> bool:
        """Whether both have frames of one size."""
        one, two = self.source.facts, self.result.facts
        return (one.width, one.height) == (two.width, two.height)

    def frames(self, on_damage: Callable[[str], None]) -> Generator[Both, None, None]:
        """Every frame of both once, in the order of time. Only frames that wait for the decision
        whether a shot begins are held.

        Args:
            on_damage: takes a line for each part that cannot be read.
        """
        step = 1 / (self.source.facts.average_rate or _RATE)
        with (
            closing(self._grays(on_damage)) as grays,
            closing(self._colors(on_damage)) as colors,
        ):
            gray, color = next(grays, None), next(colors, None)
            number = 0
            while gray is not None or color is not None:
                late = Fraction(0) if gray is None or color is None else color[0] - gray[0]
                if color is None or (gray is not None and late > step / 2):
                    assert gray is not None
                    yield Both(number, gray[0], gray[1], None)
                    gray, number = next(grays, None), number + 1
                elif gray is None or late < -step / 2:
                    yield Both(number, color[0], None, color[1])
                    color = next(colors, None)
                else:
                    yield Both(number, gray[0], gray[1], color[1], late)
                    gray, color, number = next(grays, None), next(colors, None), number + 1

    def _grays(
        self, on_damage: Callable[[str], None]
    ) -> Generator[tuple[Fraction, LumaBatch], None, None]:
        unit = self.source.facts.time_base
        with closing(self.source.batches(_BATCH)) as batches:
            first: int | None = None
            for batch in mark_bars(self._marked(batches)):
                for line in batch.damage:
                    on_damage(line)
                for i, pts in enumerate(batch.pts):
                    first = pts if first is None else first
                    yield (pts - first) * unit, batch[i : i + 1]

    def _marked(self, batches: Iterator[LumaBatch]) -> Iterator[LumaBatch]:
        if self.listed is not None:
            retimed = self.settings.fps is not None
            return mark_listed(batches, partial(self.listed.locate, retimed=retimed))
        if load_problem():
            raise InputError(f"{self.source.path}: shots cannot be found, because {load_problem()}")
        return mark_cuts(batches, self.source.facts.time_base)

    def _colors(
        self, on_damage: Callable[[str], None]
    ) -> Generator[tuple[Fraction, ColorFrame], None, None]:
        film = self.result
        decoder = Decoder(film.facts, film.segment, film.rate, threads=film.threads)
        first: int | None = None
        for item in decoder.run():
            if isinstance(item, str):
                on_damage(item)
                continue
            pts = item[1]
            first = pts if first is None else first
            yield (pts - first) * film.facts.time_base, self._color(item[0])

    def _color(self, frame: Any) -> ColorFrame:
        facts, luma = self.result.facts, luma_plane(frame)
        if not facts.has_luma:
            name = "gbrp" if facts.bit_depth == 8 else "gbrp16le"
            green, blue, red = planes_of(frame.reformat(format=name), facts.bit_depth)
            return ColorFrame((red, green, blue), luma, frame)
        if facts.pix_fmt.startswith("gray"):
            return ColorFrame((luma,), luma, frame)
        layout = _LAYOUTS.get(facts.subsampling, "yuv444p")
        name = layout if facts.bit_depth == 8 else f"{layout}{facts.bit_depth}le"
        if frame.format.name not in (name, name.replace("yuv", "yuvj")):
            same = 2 if facts.tags.full_range else 1
            frame = frame.reformat(format=name, src_color_range=same, dst_color_range=same)
        return ColorFrame((luma, *planes_of(frame, facts.bit_depth)[1:]), luma, frame)


def planes_of(frame: Any, depth: int) -> list[Codes]:
    """The planes of a planar frame without the padding of their rows."""
    kind = np.dtype("u1") if depth == 8 else np.dtype("<u2")
    return [
        np.frombuffer(memoryview(each), kind).reshape(each.height, -1)[:, : each.width]
        for each in frame.planes
    ]
