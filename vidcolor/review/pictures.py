"""Review pictures beside their originals, and whole folders: `review_picture`, `review_all`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..color.convert import rgb_to_yuv
from ..errors import InputError
from ..frames import LumaBatch
from ..run.pairs import Pair, find_inputs, make_distinct, pair_up
from ..run.settings import Settings
from ..sources import PictureSource, expand, read_color
from ..system.sequences import is_pattern
from ..system.threads import thread_budget
from .colors import SIDE, View, find_blobs, view
from .detect import cast_of, judge_colors
from .films import made_with
from .finding import Finding, Luma, Review
from .luma import largest_place, lightness_table

_ROWS = 256  # rows compared at a time
_PIXELS = 1 << 22  # of a picture whose Y' is compared
# JPEG's noise stays below; of the mean of L* and of a place of 16x16 pixels
_MEAN, _PLACE = 2.5, 6.0

ReviewFilm = Callable[[Pair], Review]


def pairs_of(source: str, output: Path, rate: Fraction | None) -> list[Pair]:
    """Each film and picture of an input, with the result that belongs to it: the one named, or of
    the same place in the folder of results.

    Raises:
        InputError: there is none, or a folder is compared with a file.
    """
    if Path(source).is_dir():
        if not output.is_dir():
            raise InputError(f"{output}: is no folder, but {source} is; give the folder of results")
        found, missing = find_inputs([source], output, rate)
        if not found:
            raise InputError(missing[0].error if missing else f"{source}: holds no film or picture")
        pairs, _ = make_distinct(list(pair_up(found, output, folder=True)), output)
        return pairs
    (item,) = expand([source], rate=rate)[:1]
    if output.is_dir():
        output = output / item.output.name
    if not output.exists() and not is_pattern(output):
        raise InputError(f"{output}: no such file or folder; check the name")
    return [Pair(item, output, named=True)]


def review_all(
    pairs: Sequence[Pair], settings: Settings, review_film: ReviewFilm
) -> Iterator[Review]:
    """Review each pair in order; one that cannot be read does not stop the others."""
    for pair in pairs:
        existing = [pair.output] if pair.is_sequence else pair.existing()
        if not existing:
            review = Review(pair.item.path, pair.output, not pair.item.is_picture)
            review.findings.append(Finding("missing", f"there is no {pair.output}"))
            yield review
            continue
        try:
            if pair.item.is_picture:
                with thread_budget.use(1):
                    yield review_picture(pair.item.path, existing[0], settings)
            else:
                yield review_film(Pair(pair.item, existing[0], pair.named))
        except InputError as error:
            if len(pairs) == 1:
                raise
            review = Review(pair.item.path, existing[0], not pair.item.is_picture)
            review.findings.append(Finding("unreadable", str(error)))
            yield review


def review_picture(source: Path, output: Path, settings: Settings) -> Review:
    """Compare a picture with its original, and look for what needs a look.

    Raises:
        InputError: one of them cannot be read.
    """
    review = Review(source, output, False, frames=1)
    limits = not settings.large_pictures
    files = PictureSource([(source, output), (output, output)], limits=limits)
    one, two = (_read(files, index) for index in (0, 1))
    pages = [each.picture.pages if each.picture else 1 for each in (one, two)]
    if pages[0] != pages[1]:
        text = f"it holds {pages[1]} pictures, the original {pages[0]}"
        review.findings.append(Finding("frames", text))
    shapes = [tuple(each.luma.shape[-2:]) for each in (one, two)]
    if shapes[0] != shapes[1]:
        sizes = [f"{width}x{height}" for height, width in shapes]
        text = f"it is {sizes[1]}, the original {sizes[0]}; nothing else was compared"
        review.findings.append(Finding("size", text))
        return review
    made = made_with(output)
    label = made.get("label", "none") != "none"
    if label:
        review.notes.append("a label is drawn into it; there its lightness is another")
    exact = made.get("exact_luma") is True
    largest, mean, place = _luma(source, output, limits=limits) if exact else _lightness(one, two)
    review.luma = Luma("Y'" if exact else "L*", largest, mean)
    if mean > _MEAN or (place > _PLACE and not label):
        text = f"differs by up to {max(mean, place):.1f} in {review.luma.unit}"
        review.findings.append(Finding("luma", text))
    seen = view_of(one, output, limits=limits)
    cast = cast_of(seen)
    shown = seen.chroma if seen.shown.mean() > 0.1 else None
    review.findings += [Finding(kind, text) for kind, text in judge_colors(shown, cast)]
    for blob in find_blobs(seen):
        text = (
            f"a patch at {blob.x:.0%} of the width and {blob.y:.0%} of the height is of another "
            "color, and belongs to nothing in the picture"
        )
        review.findings.append(Finding("blob", text))
    return review


def _read(files: PictureSource, index: int) -> LumaBatch:
    batch = files.read(index)
    if not len(batch):
        raise InputError(batch.damage[0])
    return batch


def _lightness(one: LumaBatch, two: LumaBatch) -> tuple[float, float, float]:
    """Of all pixels the largest and the mean difference in L*, and the largest of a place."""
    tables = [lightness_table(each) for each in (one, two)]
    total = largest = place = 0.0
    height = one.luma.shape[-2]
    for top in range(0, height, _ROWS):
        rows = slice(top, min(top + _ROWS, height))
        values = [
            table[each.luma[0, 0, rows].numpy()]
            for table, each in zip(tables, (one, two), strict=True)
        ]
        difference = values[1] - values[0]
        amount = np.abs(difference)
        total += float(amount.sum(dtype=np.float64))
        largest, place = max(largest, float(amount.max())), max(place, largest_place(difference))
    return largest, total / one.luma.numel(), place


def _luma(source: Path, output: Path, *, limits: bool) -> tuple[float, float, float]:
    """The same of Y' in codes of 8 bits; of a large picture by means over pixels."""
    one, two = (
        rgb_to_yuv(read_color(path, _PIXELS, limits=limits).rgb, "smpte170m")[0, 0].numpy() * 255
        for path in (source, output)
    )
    difference = two - one
    amount = np.abs(difference)
    return float(amount.max()), float(amount.mean()), largest_place(difference)


def shrunk(planes: Tensor, side: int = SIDE) -> Tensor:
    """Planes `(1, C, H, W)` with a longer side of `side` at most, by means over areas."""
    height, width = planes.shape[-2:]
    scale = min(1.0, side / max(height, width))
    size = [max(1, round(each * scale)) for each in (height, width)]
    return F.interpolate(planes, size=size, mode="area")


def view_of(gray: LumaBatch, output: Path, *, limits: bool = True) -> View:
    """The small view of a picture and its result."""
    rgb = shrunk(read_color(output, 16 * SIDE * SIDE, limits=limits).rgb)
    codes = gray.luma[0, 0].numpy()
    step = max(1, max(codes.shape) // (8 * SIDE))
    top = (1 << gray.bit_depth) - 1
    levels = torch.from_numpy(codes[::step, ::step].astype(np.float32) / top)[None, None]
    levels = F.interpolate(levels, size=rgb.shape[-2:], mode="area")
    return view(levels.expand(1, 3, -1, -1), rgb)
