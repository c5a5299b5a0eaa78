"""A sheet of pairs, gray and in color: what a run would give, in seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..color.compose import compose
from ..color.resize import halved
from ..errors import InputError
from ..frames import WHOLE, ColorBatch, LumaBatch, PictureInfo, Segment, picture_format
from ..sinks import PictureSink, check_output
from ..sources import FilmSource, Input, PictureSource
from ..system.stages import run_stages
from .colorizer import Colorizer
from .films import film_stages
from .provenance.settings import make_marks, today
from .settings import Settings

_RGB = picture_format(8)
_WIDTH, _HEIGHT = 480, 720  # of one picture on the sheet at most, pixels
_GAP = 8
_MOST_PIXELS = 1 << 22  # of a picture that is colored as it is


def _film_frames(source: FilmSource, count: int) -> Iterator[LumaBatch]:
    """`count` frames, evenly over the segment; a short film's come more than once."""
    facts, segment = source.facts, source.segment
    start = segment.start or Fraction(0)
    length = Fraction(facts.duration_seconds or count)
    end = min(segment.end, length) if segment.end is not None else length
    last: LumaBatch | None = None
    for i in range(count):
        moment = start + (end - start) * (2 * i + 1) / (2 * count)
        if facts.average_rate:
            # The frame that is shown then began earlier, and not to the tick where rates say.
            shown = math.floor(moment * facts.average_rate)
            moment = (shown - Fraction(1, 2)) / facts.average_rate
        part = Segment(start=max(moment, start), end=segment.end)
        batch = next((b for b in source.at(part).batches(1) if len(b)), last)
        if batch is None:  # nothing follows: a long last frame, or a duration that is wrong
            batch = next((b for b in source.batches(1) if len(b)), None)
        if batch is not None:
            last = batch
            yield batch


def _frames(
    items: Sequence[Input],
    count: int,
    segment: Segment,
    rate: Fraction | None,
    playlists: bool,
    deinterlace: str,
    limits: bool,
    unread: list[str],
) -> Iterator[LumaBatch]:
    """`count` frames, evenly over the inputs; what cannot be read adds a line to `unread`."""
    shares = [count // len(items) + (i < count % len(items)) for i in range(len(items))]
    if count < len(items):  # fewer pairs than inputs: evenly over the inputs
        shares = [0] * len(items)
        for i in range(count):
            shares[(2 * i + 1) * len(items) // (2 * count)] = 1
    for item, share in zip(items, shares, strict=True):
        if not share:
            continue
        try:
            if item.is_picture:
                batch = PictureSource([(item.path, item.path)], limits=limits).read(0)
                unread += batch.damage
                yield _shrunk(batch)
                continue
            own = rate if item.takes_rate else None
            source = item.open(segment, own, playlists=playlists, deinterlace=deinterlace)
            assert isinstance(source, FilmSource)
            yield from _film_frames(source, share)
        except InputError as error:
            unread.append(str(error))


def _shrunk(batch: LumaBatch) -> LumaBatch:
    """A picture of many pixels by halves, as its tile is small: the whole would take 48 bytes a
    pixel in color."""
    codes = batch.luma
    while codes.numel() > _MOST_PIXELS and min(codes.shape[-2:]) > 1:
        codes = halved(codes)
    return replace(batch, luma=codes)


def _tile(color: ColorBatch) -> Tensor:
    """One frame, upright, `(3, h, w)` uint8, as large as a cell of the sheet allows."""
    rgb = torch.stack(color.planes, dim=1).float()
    rgb = torch.rot90(rgb, -(color.source.rotation // 90), (-2, -1))
    scale = min(_WIDTH / rgb.shape[-1], _HEIGHT / rgb.shape[-2])
    size = (max(1, round(rgb.shape[-2] * scale)), max(1, round(rgb.shape[-1] * scale)))
    rgb = F.interpolate(rgb, size=size, mode="bilinear", antialias=True)
    return rgb[0].round().clamp(0, 255).to(torch.uint8)


def _pair(color: ColorBatch) -> list[Tensor]:
    """The tiles of one frame, gray and in color."""
    neutral = torch.zeros(len(color), 2, 8, 8, device=color.source.device)
    return [_tile(each) for each in (compose(color.source, neutral, _RGB), color)]


def write_preview(
    items: Sequence[Input],
    output: Path,
    count: int,
    colorizer: Colorizer,
    *,
    segment: Segment = WHOLE,
    rate: Fraction | None = None,
    playlists: bool = False,
    deinterlace: str = "auto",
    large_pictures: bool = False,
    overwrite: bool = False,
    provenance: bool = True,
) -> tuple[int, list[str]]:
    """Write `count` pairs, gray left and color right, as one picture.

    Args:
        items: films, sequences and pictures; the pairs are spread evenly over them.
        output: a picture file.
        count: pairs in all.
        colorizer: the model to show.
        segment: the part of each film that frames are taken from.
        rate: of sequences.
        playlists: playlists may be opened, and the local files that they name.
        deinterlace: what to do with interlaced films.
        large_pictures: also read what looks like a decompression bomb.
        overwrite: replace an existing sheet.
        provenance: let the sheet say that it is colorized.

    Returns:
        The pairs on the sheet, and one line for each input that could not be read.

    Raises:
        InputError: no frame could be read.
        OutputError: the sheet cannot be written.
    """
    check_output(output, items[0].path, overwrite=overwrite)
    unread: list[str] = []
    limits = not large_pictures
    frames = _frames(items, count, segment, rate, playlists, deinterlace, limits, unread)
    if colorizer.shots is not None:
        if len(items) != 1 or items[0].is_picture:
            raise InputError(f"{items[0].path}: --shots belongs to one film; give that alone")
        own = rate if items[0].takes_rate else None
        film = items[0].open(segment, own, playlists=playlists, deinterlace=deinterlace)
        assert isinstance(film, FilmSource)
        colorizer = colorizer.with_film(film)
    settings = Settings(stabilize=False)
    stages = film_stages(colorizer, settings, _RGB, time_base=None)
    with closing(run_stages(frames, stages)) as colors:
        pairs = [_pair(color) for color in colors]
    if not pairs:
        raise InputError(unread[0] if unread else f"{items[0].path}: holds no frame to preview")
    columns = max(1, math.floor(math.sqrt(len(pairs) / 2)))
    rows = [pairs[i : i + columns] for i in range(0, len(pairs), columns)]
    cell = _WIDTH + _GAP
    height = sum(max(p[0].shape[1] for p in row) + _GAP for row in rows) + _GAP
    sheet = torch.full((3, height, columns * (2 * cell + _GAP)), 255, dtype=torch.uint8)
    y = _GAP
    for row in rows:
        for column, pair in enumerate(row):
            for side, tile in enumerate(pair):
                x = _GAP + column * (2 * cell + _GAP) + side * cell
                sheet[:, y : y + tile.shape[1], x : x + tile.shape[2]] = tile
        y += max(p[0].shape[1] for p in row) + _GAP
    r, g, b = sheet[:, None].unbind(0)
    marks = None
    if provenance:
        marks = make_marks(colorizer, settings, Path(), film=False, date=today())
    info = PictureInfo(path=items[0].path, output=output, marks=marks)
    origin = LumaBatch(r[:, None], 8, True, (0,), (0,), picture=info)
    PictureSink(overwrite=overwrite).write(ColorBatch((r, g, b), _RGB, origin))
    return len(pairs), unread
