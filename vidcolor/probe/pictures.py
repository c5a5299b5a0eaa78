"""Measure what pictures cost: the real pipeline runs on a sample of the files."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..colorizer import Colorizer
from ..metering import Peak, peak_memory
from ..pipeline import colorize_pictures
from ..planning import PicturesJob, Settings
from ..sources.sizes import picture_pixels

_SAMPLE = 32  # files; more than the pipeline colorizes without workers, so that it shows them
_WARM = 4  # files that are not counted: the first of them wait for the others


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


def chosen(items: Sequence[tuple[Path, Path]], sizes: Sequence[int], count: int) -> list[int]:
    """Numbers of `count` files that stand for all: small and large ones as often as in the set.

    They come in mixed order, so that any part of them stands for all too.

    Args:
        items: pairs of a picture and its output.
        sizes: pixels of each.
        count: how many; all of them where there are no more than that.
    """
    by_size = sorted(range(len(items)), key=lambda i: (items[i][1].suffix.lower(), sizes[i]))
    count = min(count, len(items))
    picked = [by_size[(2 * k + 1) * len(items) // (2 * count)] for k in range(count)]
    step = next(s for s in (7, 5, 3, 1) if count % s or count == 1 or s == 1)
    return [picked[(k * step) % count] for k in range(count)]


class PictureMeter:
    """Runs pictures through the pipeline into files of `folder`, which are removed at once.

    Args:
        colorizer: the model on its device.
        settings: of the run.
        folder: for the files.
        clock: seconds of the work; see `films.FilmMeter`.
    """

    def __init__(
        self,
        colorizer: Colorizer,
        settings: Settings,
        folder: Path,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.clock = clock
        self.colorizer, self.settings, self.folder = colorizer, settings, folder
        self.peak = Peak()

    def measure(self, items: Sequence[tuple[Path, Path]]) -> list[Written]:
        """Colorize `items`; a picture that cannot be read counts with its time and no bytes."""
        pairs = tuple(
            (path, self.folder / f"{number}{output.suffix}")
            for number, (path, output) in enumerate(items)
        )
        settings = replace(self.settings, overwrite=True)
        found = []
        self.colorizer.restore()
        with peak_memory(self.colorizer.device) as peak:
            began = self.clock()
            reports = colorize_pictures(PicturesJob(pairs), self.colorizer, settings)
            for report in reports:
                moment = self.clock() - began
                size = report.output.stat().st_size if report.status == "done" else 0
                report.output.unlink(missing_ok=True)
                pixels = picture_pixels(report.input) or 0
                found.append(Written(pixels, report.output.suffix.lower(), size, moment))
        self.peak = Peak(max(self.peak.memory, peak.memory), max(self.peak.vram, peak.vram))
        return found


def pictures_costs(items: Sequence[tuple[Path, Path]], measure: PictureMeasure) -> PictureCosts:
    """Measure a sample of pictures, and what all of them cost by it.

    Seconds follow the pixels: after the first few files, which fill the pipeline, the sample's
    seconds a pixel count for all; what the first ones took beyond that is spent once. Bytes follow
    the pixels too, by kind of file.

    Args:
        items: pairs of a picture and its output.
        measure: runs a sample; `PictureMeter.measure`.
    """
    sizes = [picture_pixels(path) or 0 for path, _ in items]
    total = sum(sizes)
    numbers = chosen(items, sizes, _SAMPLE)
    written = measure([items[i] for i in numbers])
    if len(numbers) == len(items):
        seconds = written[-1].moment
        return PictureCosts(len(items), total, seconds, sum(w.bytes for w in written), len(items))
    warm = min(_WARM, len(written) - 2)
    later = written[warm:]
    pixels = sum(each.pixels for each in later) or 1
    a_pixel = (written[-1].moment - written[warm - 1].moment) / pixels
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
