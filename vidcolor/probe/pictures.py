"""Measure what pictures cost: the real pipeline runs on a sample of the files."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..run.colorizer import Colorizer
from ..run.pictures import WINDOW, colorize_pictures, picture_batch_size
from ..run.plan import PicturesJob
from ..run.settings import Settings
from ..sources import PictureSource
from ..system.memory import Peak, peak_memory

# A sample has this many windows: the first fills the threads, the last is partly read while those
# before it are coloured, and the two between them are at the pace of a long run.
_WINDOWS = 4
_LEAST_WINDOW = 16  # files; fewer do not stand for a set


@dataclass(frozen=True)
class Written:
    """One finished picture of a sample.

    Attributes:
        pixels: of the picture.
        suffix: of the output.
        bytes: of the output, 0 where it failed.
        moment: when it was finished, seconds from the sample's beginning.
    """

    pixels: int
    suffix: str
    bytes: int
    moment: float


PictureMeasure = Callable[[Sequence[tuple[Path, Path]]], list[Written]]


@dataclass(frozen=True)
class PictureCosts:
    """What a set of pictures costs.

    Attributes:
        files: of the set.
        pixels: of all of them.
        seconds: for all of them.
        bytes: of all outputs.
        sampled: files that were measured.
    """

    files: int
    pixels: int
    seconds: float
    bytes: int
    sampled: int


def window_of(batch: int) -> int:
    """Files of a sample's windows: fewer than a run's, so that measuring is short, but enough for
    the batches to be full as often."""
    return min(WINDOW, max(_LEAST_WINDOW, 2 * batch))


def chosen(items: Sequence[tuple[Path, Path]], sizes: Sequence[int], count: int) -> list[int]:
    """Numbers of `count` files that stand for all: small and large ones as often as in the set.

    They come in mixed order, and each of the sample's windows stands for all too.

    Args:
        items: pairs of a picture and its output.
        sizes: pixels of each.
        count: how many; all of them where there are no more than that.
    """
    by_size = sorted(range(len(items)), key=lambda i: (items[i][1].suffix.lower(), sizes[i]))
    count = min(count, len(items))
    picked = [by_size[(2 * k + 1) * len(items) // (2 * count)] for k in range(count)]
    found = []
    for first in range(_WINDOWS):
        part = picked[first::_WINDOWS]
        step = next(s for s in (7, 5, 3, 1) if len(part) % s or s == 1)
        found += [part[(k * step) % len(part)] for k in range(len(part))]
    return found


class PictureMeter:
    """Runs pictures through the pipeline into files of `folder`, which are removed at once.

    Args:
        colorizer: the model on its device.
        settings: of the run.
        folder: for the files.
        count: files of the run: a sample of them is coloured in batches as large as theirs.
        clock: seconds of the work; see `films.FilmMeter`.

    Attributes:
        window: files of a sample's windows.
        peak: the most memory so far.
    """

    def __init__(
        self,
        colorizer: Colorizer,
        settings: Settings,
        folder: Path,
        count: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.clock, self.count = clock, count
        self.colorizer, self.settings, self.folder = colorizer, settings, folder
        self.batch = picture_batch_size(colorizer, settings, count)
        self.window = window_of(self.batch)
        self.peak = Peak()

    def measure(self, items: Sequence[tuple[Path, Path]]) -> list[Written]:
        """Colorize `items`; a picture that cannot be read counts with its time and no bytes."""
        pairs = tuple(
            (path, self.folder / f"{number}{output.suffix}")
            for number, (path, output) in enumerate(items)
        )
        settings = replace(self.settings, batch_size=self.batch, overwrite=True)
        window = self.window if len(items) < self.count else None
        source = PictureSource(pairs)
        found = []
        with peak_memory(self.colorizer.device) as peak:
            began = self.clock()
            job = PicturesJob(pairs)
            reports = colorize_pictures(job, self.colorizer, settings, window=window)
            for number, report in enumerate(reports):
                moment = self.clock() - began
                size = report.output.stat().st_size if report.status == "done" else 0
                report.output.unlink(missing_ok=True)
                pixels = source.count_pixels(number)
                found.append(Written(pixels, report.output.suffix.lower(), size, moment))
        self.peak = Peak(max(self.peak.memory, peak.memory), max(self.peak.vram, peak.vram))
        return found


def pictures_costs(
    items: Sequence[tuple[Path, Path]], measure: PictureMeasure, window: int = _LEAST_WINDOW
) -> PictureCosts:
    """Measure a sample of pictures, and what all of them cost by it.

    Seconds follow the pixels. A window of pictures is read, and much of it is coloured and saved
    when its last picture has come; so only from one window's end to another's is the work of each
    picture in it done once. The seconds a pixel between the end of the first window and that of the
    last but one count for all; what the sample took beyond that is spent once. Bytes follow the
    pixels too, by kind of file.

    Args:
        items: pairs of a picture and its output.
        measure: runs a sample; `PictureMeter.measure`.
        window: files of a sample's windows; `PictureMeter.window`.
    """
    source = PictureSource(items)
    sizes = [source.count_pixels(index) for index in range(len(items))]
    total = sum(sizes)
    numbers = chosen(items, sizes, _WINDOWS * window)
    written = measure([items[i] for i in numbers])
    if len(numbers) == len(items):
        seconds = written[-1].moment
        return PictureCosts(len(items), total, seconds, sum(w.bytes for w in written), len(items))
    last = (_WINDOWS - 1) * window
    pixels = sum(each.pixels for each in written[window:last]) or 1
    a_pixel = (written[last - 1].moment - written[window - 1].moment) / pixels
    fixed = max(0.0, written[-1].moment - a_pixel * sum(each.pixels for each in written))
    return PictureCosts(
        files=len(items),
        pixels=total,
        seconds=fixed + a_pixel * total,
        bytes=round(sum(_bytes(items, sizes, written))),
        sampled=len(numbers),
    )


def _bytes(
    items: Sequence[tuple[Path, Path]], sizes: Sequence[int], written: Sequence[Written]
) -> Iterator[float]:
    """Bytes of each kind of output, by the bytes a pixel of the sample's files of that kind."""
    pixels: dict[str, int] = defaultdict(int)
    for (_, output), size in zip(items, sizes, strict=True):
        pixels[output.suffix.lower()] += size

    def a_pixel(of: Sequence[Written]) -> float:
        done = [each for each in of if each.bytes]
        return sum(w.bytes for w in done) / max(1, sum(w.pixels for w in done))

    for suffix, count in pixels.items():
        kind = [each for each in written if each.suffix == suffix]
        yield count * a_pixel(kind or written)
