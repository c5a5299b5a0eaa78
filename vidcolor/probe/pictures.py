"""Estimate a set of pictures: run a sample of them through the real pipeline, then scale up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..run.colorizer import Colorizer
from ..run.pictures import WINDOW, colorize_pictures, picture_batch_size
from ..run.plan import PicturesJob
from ..run.settings import Settings
from ..sources import PictureSource

# The first window fills the threads, and the last one is partly read while those before it are
# colored. The two between them run at the pace of a long run.
_WINDOWS = 4
_LEAST_WINDOW = 16  # pictures

Items = Sequence[tuple[Path, Path]]  # of a picture and its output


@dataclass(frozen=True)
class Written:
    """A finished picture of a sample.

    Attributes:
        pixels: of the picture.
        suffix: of the output.
        bytes: of the output, 0 if it failed.
        moment: when it was finished, seconds from the sample's beginning.
    """

    pixels: int
    suffix: str
    bytes: int
    moment: float


@dataclass(frozen=True)
class PicturesEstimate:
    """Seconds and bytes of a run of `files` pictures, of which `sampled` were measured."""

    files: int
    sampled: int
    seconds: float
    bytes: int


def choose_sample(items: Items, sizes: Sequence[int], count: int) -> list[int]:
    """Indices of `count` of the items, or of all: each suffix and size as often as in the set.

    They are ordered so that each window of the sample represents the set too.

    Args:
        items: pairs of a picture and its output.
        sizes: pixels of each picture.
        count: how many.
    """
    by_size = sorted(range(len(items)), key=lambda i: (items[i][1].suffix.lower(), sizes[i]))
    count = min(count, len(items))
    picked = [by_size[(2 * k + 1) * len(items) // (2 * count)] for k in range(count)]
    return [number for first in range(_WINDOWS) for number in picked[first::_WINDOWS]]


def measure_pictures(
    items: Items, colorizer: Colorizer, settings: Settings, folder: Path, window: int | None
) -> list[Written]:
    """Colorize `items` into `folder`, with `window` as of `colorize_pictures`; remove the files."""
    pairs = tuple((path, folder / f"{n}{out.suffix}") for n, (path, out) in enumerate(items))
    marks = replace(settings.marks, c2pa_cert=None, c2pa_key=None, dossier=None)
    settings = replace(settings, marks=marks, overwrite=True)
    source, found, began = PictureSource(pairs), [], time.perf_counter()
    reports = colorize_pictures(PicturesJob(pairs), colorizer, settings, window=window)
    for number, report in enumerate(reports):
        moment = time.perf_counter() - began
        size = report.output.stat().st_size if report.status == "done" else 0
        report.output.unlink(missing_ok=True)
        suffix = report.output.suffix.lower()
        found.append(Written(source.count_pixels(number), suffix, size, moment))
    return found


def window_size(batch: int) -> int:
    """Pictures in a window of a sample: few, so that measuring is short, but two batches."""
    return min(WINDOW, max(_LEAST_WINDOW, 2 * batch))


def forecast_pictures(
    job: PicturesJob, colorizer: Colorizer, settings: Settings, folder: Path
) -> PicturesEstimate:
    """Measure a sample of a job's pictures, in batches of the whole job, and scale up.

    `folder` is for temporary files.
    """
    count = len(job.items)
    batch = picture_batch_size(colorizer, settings, count)
    settings, window = replace(settings, batch_size=batch), window_size(batch)

    def measure(items: Items) -> list[Written]:
        part = window if len(items) < count else None
        return measure_pictures(items, colorizer, settings, folder, part)

    return estimate_pictures(job.items, measure, window)


def estimate_pictures(
    items: Items, measure: Callable[[Items], list[Written]], window: int = _LEAST_WINDOW
) -> PicturesEstimate:
    """Measure a sample of pictures, and scale up by pixels.

    Much of a window is colored and saved when its last picture has been read. So the seconds per
    pixel count from the end of the first window to the end of the last but one; the rest of the
    sample's time is spent once. Bytes per pixel are counted for each suffix.

    Args:
        items: pairs of a picture and its output.
        measure: runs a sample; see `measure_pictures`.
        window: pictures in a window of the sample.
    """
    source = PictureSource(items)
    sizes = [source.count_pixels(index) for index in range(len(items))]
    numbers = choose_sample(items, sizes, _WINDOWS * window)
    written = measure([items[i] for i in numbers])
    seconds, total = written[-1].moment, sum(each.bytes for each in written)
    if len(numbers) < len(items):
        last = (_WINDOWS - 1) * window
        pixels = sum(each.pixels for each in written[window:last]) or 1
        per_pixel = (written[last - 1].moment - written[window - 1].moment) / pixels
        fixed = max(0.0, seconds - per_pixel * sum(each.pixels for each in written))
        seconds = fixed + per_pixel * sum(sizes)
        total = round(_scaled_bytes(items, sizes, written))
    return PicturesEstimate(len(items), len(numbers), seconds, total)


def _scaled_bytes(items: Items, sizes: Sequence[int], written: Sequence[Written]) -> float:
    """Bytes of all outputs, by the bytes per pixel of their suffix."""
    done = [each for each in written if each.bytes]
    total = 0.0
    for suffix in {output.suffix.lower() for _, output in items}:
        pixels = sum(
            size for (_, o), size in zip(items, sizes, strict=True) if o.suffix.lower() == suffix
        )
        same = [each for each in done if each.suffix == suffix] or done
        total += pixels * sum(w.bytes for w in same) / max(1, sum(w.pixels for w in same))
    return total
