"""Curves over time as inline SVG, which scales with the page and takes its colors."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .finding import timecode

_WIDTH, _HEIGHT = 1000, 120


def curve(
    title: str,
    points: Sequence[tuple[float, float]],
    *,
    cuts: Sequence[float] = (),
    marks: Sequence[float] = (),
    least: float = 1.0,
) -> str:
    """A figure with a curve.

    Args:
        title: what it shows, with its unit.
        points: seconds and values, in order.
        cuts: seconds at which shots begin.
        marks: seconds of findings.
        least: the top of the scale is not below it.
    """
    if len(points) < 2:
        return ""
    begin, end = points[0][0], points[-1][0]
    span = max(end - begin, 1e-6)
    top = max(least, *(value for _, value in points))

    def x(seconds: float) -> str:
        return f"{(seconds - begin) / span * _WIDTH:.1f}"

    line = " ".join(f"{x(at)},{_HEIGHT * (1 - value / top):.1f}" for at, value in points)
    middle = sum(value for _, value in points) / len(points)
    said = f"{title}: mean {middle:.1f}, highest {max(v for _, v in points):.1f}"
    parts = [
        f'<path class="{name}" d="M{x(at)} 0V{_HEIGHT}"/>'
        for name, moments in (("cut", cuts), ("mark", marks))
        for at in moments
        if begin <= at <= end
    ]
    return (
        f'<figure class="curve"><figcaption>{escape(said)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(said)}">{"".join(parts)}<polyline points="{line}"/></svg>'
        f'<p class="axis" aria-hidden="true"><span>{timecode(begin)}</span>'
        f"<span>scale 0 to {top:.1f}</span><span>{timecode(end)}</span></p></figure>"
    )
