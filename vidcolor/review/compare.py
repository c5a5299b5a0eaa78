"""One film of an original and its result: side by side, or parted by a line that moves (wipe)."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..color.compose import compose
from ..errors import InputError
from ..frames import ColorBatch, PixelFormat, VideoInfo
from ..marks import Marks
from ..run.settings import Progress, ProgressCallback, Settings
from ..sinks import FilmReport, FilmSink, check_container, choose_pixel_format
from ..sinks.files import same_file
from ..sinks.marking import FilmMarking
from ..sources import Input
from ..sources.marks import read_marks
from ..system.digest import Digest
from .films import FilmPair, planes_of

_PERIOD = 8  # seconds in which the line goes to the right and back
_LINE = 2  # pixels of it, at least


def write_comparison(
    item: Input,
    output: Path,
    target: Path,
    settings: Settings,
    *,
    wipe: bool = False,
    on_progress: ProgressCallback = lambda progress: None,
) -> FilmReport:
    """Write a film of both, original left and result right, with the original's sound.

    It has the frames and the times of the original, or of the part that the result was made of. A
    frame that the result lacks stays gray.

    Args:
        item: the original.
        output: the result.
        target: the film to write; its suffix names the container.
        settings: `encoder`, `copy` and `overwrite`, and what `FilmPair` takes.
        wipe: of one frame's size, with a line between both that moves.
        on_progress: called with the number of frames that are done.

    Raises:
        InputError: one of the films cannot be read, or their frames differ in size.
        OutputError: the film cannot be written.
    """
    pair = FilmPair(item, output, settings)
    if not pair.same_size:
        one, two = pair.source.facts, pair.result.facts
        raise InputError(
            f"{output}: its frames are {two.width}x{two.height}, those of {item.path} "
            f"{one.width}x{one.height}; give the result of that film"
        )
    if same_file(target, output):
        raise InputError(f"{target}: is the result itself; choose another name with -o")
    facts = pair.source.facts
    turned = facts.rotation % 180 != 0
    shape = replace(
        facts,
        width=facts.width * (1 if wipe or turned else 2),
        height=facts.height * (2 if turned and not wipe else 1),
        subsampling=pair.result.facts.subsampling,
    )
    format = choose_pixel_format(shape, settings.encoder)
    copy = pair.source.copyable(settings.copy)
    plan = check_container(target, shape, settings.encoder, copy, format=format)
    marks = _marks_of(output)
    digest = Digest(pair.source.files() if marks else ())
    damage: list[str] = []
    frames = 0
    try:
        sink = FilmSink(
            target,
            shape,
            settings.encoder,
            format=format,
            segment=pair.source.segment,
            copy=copy,
            overwrite=settings.overwrite,
            plan=plan,
            marking=FilmMarking(marks, digest) if marks else None,
        )
        with sink, closing(pair.frames(damage.append)) as both:
            for each in both:
                if each.gray is None:
                    continue
                gray = compose(each.gray, torch.zeros(1, 2, 8, 8), format)
                color = gray.planes
                if each.color is not None:
                    color = _planes(each.color.frame, pair.result.facts, format)
                if wipe:
                    share = _share(pair.origin + each.seconds)
                    planes = _wiped(gray.planes, color, share, facts.rotation, format)
                else:
                    planes = _joined(gray.planes, color, facts.rotation)
                sink.write(ColorBatch(planes, format, each.gray))
                frames += 1
                on_progress(Progress(item.path, frames, facts.num_frames_from_header))
            done = sink.finish(incomplete=bool(damage))
        return replace(done, damage=(*damage, *done.damage), notes=(*plan.notes, *done.notes))
    finally:
        digest.close()


def _marks_of(output: Path) -> Marks | None:
    """The result's own marks: what it says of itself, the comparison says too."""
    found = read_marks(output)
    found.pop("source_sha256", None)
    return Marks(**found) if "software" in found else None


def _planes(frame: Any, facts: VideoInfo, format: PixelFormat) -> tuple[Tensor, Tensor, Tensor]:
    """The planes of a decoded frame in another pixel format, `(1, H, W)` each."""
    if frame.format.name != format.name:
        frame = frame.reformat(
            format=format.name,
            src_color_range=2 if facts.tags.full_range else 1,
            dst_color_range=2 if format.tags.full_range else 1,
        )
    kind = np.uint8 if format.bit_depth == 8 else np.int32
    first, second, third = (
        torch.from_numpy(np.ascontiguousarray(each, dtype=kind))[None]
        for each in planes_of(frame, format.bit_depth)
    )
    return (third, first, second) if format.rgb else (first, second, third)


def _joined(
    gray: tuple[Tensor, ...], color: tuple[Tensor, ...], rotation: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Both beside each other, the gray one left in the upright picture."""
    axis = -2 if rotation % 180 else -1
    order = (color, gray) if rotation in (90, 180) else (gray, color)
    # turned clockwise by 90 degrees the bottom of what is stored comes to the left
    first, second, third = (torch.cat(pair, dim=axis) for pair in zip(*order, strict=True))
    return first, second, third


def _share(seconds: Fraction) -> float:
    """Where the line is, as a share of the width: from left to right and back."""
    phase = float(seconds % _PERIOD) / _PERIOD
    return 2 * min(phase, 1 - phase)


def _wiped(
    gray: tuple[Tensor, ...],
    color: tuple[Tensor, ...],
    share: float,
    rotation: int,
    format: PixelFormat,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gray picture left of the line, the result right of it."""
    axis = -2 if rotation % 180 else -1
    block = format.subsampling[1 if rotation % 180 else 0]
    length = gray[0].shape[axis]
    turned = rotation in (90, 180)
    line = round((1 - share if turned else share) * length / block) * block
    one, two = (color, gray) if turned else (gray, color)
    planes = []
    for before, after in zip(one, two, strict=True):
        at = line * before.shape[axis] // length
        size = before.shape[axis]
        planes.append(
            torch.cat([before.narrow(axis, 0, at), after.narrow(axis, at, size - at)], dim=axis)
        )
    width = max(_LINE, block)
    begin = min(line, length - width)
    white = (1 << format.bit_depth) - 1 if format.tags.full_range else 235 << (format.bit_depth - 8)
    middle = white if format.rgb else 1 << (format.bit_depth - 1)
    for plane, value in zip(planes, (white, middle, middle), strict=True):
        size = plane.shape[axis]
        plane.narrow(axis, begin * size // length, max(1, width * size // length)).fill_(value)
    first, second, third = planes
    return first, second, third
