"""Frames of another size, pixel format or pixel shape than the film's first: `Fitter`."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import av
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext

from ..frames import VideoInfo
from .color_tags import is_full_range
from .graphs import frame_graph
from .luma import layout

_SAME_SHAPE = 0.02  # relative difference of two shapes of a picture that is stretched away


class Fitter:
    """Brings every frame into the size and pixel format of the film.

    A frame of another shape keeps it: black bars fill the rest, as a player shows it.

    Args:
        facts: the film's.
        context: the decoder, which knows the present shape of a pixel.
        note: takes one line for each change.
    """

    def __init__(
        self, facts: VideoInfo, context: VideoCodecContext, note: Callable[[str], None]
    ) -> None:
        self._facts, self._context, self._note = facts, context, note
        self._first_aspect: Fraction | None = None
        self._known: tuple[object, ...] = ()
        self._graph: Graph | None = None

    def _look(self, frame: av.VideoFrame) -> tuple[tuple[object, ...], Fraction | None, bool]:
        aspect = self._context.sample_aspect_ratio
        if self._first_aspect is None:
            self._first_aspect = aspect
        full = is_full_range(frame, layout(frame.format.name))
        reshaped = bool(aspect) and aspect != self._first_aspect
        now = (frame.format.name, frame.width, frame.height, full, reshaped and aspect)
        return now, aspect, full

    def changed(self, frame: av.VideoFrame) -> bool:
        """Whether a frame just decoded is not as the film's frames are."""
        facts = self._facts
        same = (facts.pix_fmt, facts.width, facts.height, facts.tags.full_range, False)
        return self._look(frame)[0] != same

    def fit(self, frame: av.VideoFrame, time: Fraction) -> av.VideoFrame:
        """The frame as the film's frames are.

        Args:
            frame: with any pts.
            time: of the frame, seconds from the first one, for the note.
        """
        facts = self._facts
        now, aspect, full = self._look(frame)
        if not self.changed(frame):
            self._known, self._graph = (), None
            return frame
        if now != self._known:
            self._known = now
            shape = aspect or facts.sample_aspect_ratio
            self._graph = self._make_graph(frame, full, Fraction(shape or 1))
            self._note(
                f"{facts.path}: the picture changes at {float(time):.3f} s from "
                f"{_words(facts.width, facts.height, facts.pix_fmt, facts.tags.full_range)} to "
                f"{_words(frame.width, frame.height, frame.format.name, full)}; "
                "it is scaled to fit the first"
            )
        assert self._graph is not None
        pts, unit = frame.pts, frame.time_base
        self._graph.push(frame)
        fitted = self._graph.pull()
        assert isinstance(fitted, av.VideoFrame)
        fitted.pts = pts
        if unit is not None:
            fitted.time_base = unit
        return fitted

    def _make_graph(self, frame: av.VideoFrame, full: bool, aspect: Fraction) -> Graph:
        facts = self._facts
        wanted = Fraction(facts.width, facts.height) * (facts.sample_aspect_ratio or 1)
        shape = Fraction(frame.width, frame.height) * aspect
        width, height = facts.width, facts.height
        if abs(float(shape / wanted) - 1) > _SAME_SHAPE:
            if shape > wanted:
                height = max(2, round(facts.height * wanted / shape / 2) * 2)
            else:
                width = max(2, round(facts.width * shape / wanted / 2) * 2)
        ranges = ("limited", "full")
        scale = (
            f"w={width}:h={height}:flags=lanczos:in_range={ranges[full]}:"
            f"out_range={ranges[facts.tags.full_range]}"
        )
        return frame_graph(
            frame,
            ("scale", scale),
            ("format", facts.pix_fmt),
            ("pad", f"w={facts.width}:h={facts.height}:x=(ow-iw)/2:y=(oh-ih)/2"),
            ("format", facts.pix_fmt),
        )


def _words(width: int, height: int, pix_fmt: str, full: bool) -> str:
    return f"{width}x{height} {pix_fmt} {'full' if full else 'limited'} range"
