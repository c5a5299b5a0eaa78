"""Many still pictures: read ahead, coloured in batches of one model size, saved beside the work.

Reading, colouring and saving are tasks of one pool of threads: Pillow, OpenCV, zlib and torch let
go of Python's lock (it was seen held for 2 % of the time). The caller's thread alone decides what
comes next, so nothing here needs a lock. On the CPU a task's torch work keeps to its own thread:
OpenMP's threads stall each other wherever there are more threads than processors. On a GPU one
thread colours, and the pool reads and saves.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch

from ..color.compose import compose
from ..errors import InputError, VidcolorError
from ..frames import ColorBatch, LumaBatch, picture_format
from ..sinks import PictureReport, PictureSink
from ..sources import PictureSource
from ..system.devices import free_memory, processors
from ..system.threads import Workers, own_threads
from .colorizer import Colorizer
from .plan import PicturesJob
from .settings import Progress, ProgressCallback, Report, Settings

Result = TypeVar("Result")

_MOST_THREADS = 16
_CPU_BATCH, _GPU_BATCH = 4, 16  # on the CPU larger ones gain nothing
WINDOW = 64  # pictures among which those of one size are looked for
# What a picture takes at most between its file and its new file (in 16 bits, while it is encoded),
# and the part of the free memory that all pictures together may take.
_BYTES_A_PIXEL, _SHARE = 48, 1 / 3


def _threads(settings: Settings, count: int) -> int:
    return min(settings.picture_threads or min(processors(), _MOST_THREADS), count)


def pictures_together(colorizer: Colorizer, settings: Settings, count: int) -> int:
    """Pictures a batch in a run of `count` of them: what was asked for, or what suits the device;
    few pictures are shared out one by one."""
    if settings.batch_size:
        return settings.batch_size
    if colorizer.device.type != "cpu":
        return _GPU_BATCH
    return max(1, min(_CPU_BATCH, count // (4 * max(1, _threads(settings, count)))))


@dataclass(frozen=True)
class _Group:
    """Pictures that are worked on together; what `Colorizer.with_backoff` can divide."""

    pictures: tuple[LumaBatch, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, part: slice) -> _Group:
        return _Group(self.pictures[part])

    def to(self, device: torch.device) -> _Group:
        return _Group(tuple(picture.to(device) for picture in self.pictures))


def _color(
    colorizer: Colorizer, settings: Settings, pictures: Sequence[LumaBatch]
) -> list[ColorBatch | VidcolorError]:
    """Each picture in colour, or why not."""

    def work(part: _Group) -> list[ColorBatch]:
        chroma = colorizer.together(part.pictures)
        return [
            compose(picture, ab, picture_format(picture.bit_depth), exact_luma=settings.exact_luma)
            for picture, ab in zip(part.pictures, chroma, strict=True)
        ]

    done: list[ColorBatch | VidcolorError] = []
    try:
        for part in colorizer.with_backoff(_Group(tuple(pictures)), work):
            own = pictures[len(done) :]  # as they were read: nothing stays on the device
            done += [replace(c, source=own[i]) for i, c in enumerate(part)]
    except VidcolorError as error:
        if len(pictures) == 1:
            return [error]
        for picture in pictures[len(done) :]:  # one by one: not all of them need be to blame
            done += _color(colorizer, settings, [picture])
    return done


def _save(sink: PictureSink, color: ColorBatch) -> PictureReport | VidcolorError:
    try:
        return sink.write(color)
    except VidcolorError as error:
        return error


class _Line:
    """The pictures under way, from their files to their reports.

    Pictures are counted off in the order of the job into windows, by their number and pixels.
    Those of one model size in a window are coloured together as soon as they make a full batch,
    and what is left over when the window has been read. So the batches follow from the files and
    not from what happens to be quick. Two windows may be under way at once; a picture that is
    larger than a window comes when all others are through.
    """

    def __init__(
        self, job: PicturesJob, colorizer: Colorizer, settings: Settings, window: int
    ) -> None:
        self._source = PictureSource(job.items)
        self._count = len(job.items)
        self._colorizer, self._settings = colorizer, settings
        self._sink = PictureSink(overwrite=settings.overwrite, quality=settings.quality)
        threads = self._threads = _threads(settings, self._count)
        self._batch = pictures_together(colorizer, settings, self._count)
        self._most = window
        # half of it is a window's
        self._room = int(free_memory(torch.device("cpu")) * _SHARE / _BYTES_A_PIXEL)
        own = own_threads.available()
        each = max(1, own // threads)
        self._pool = self._colorists = Workers(threads, "pictures", each)
        if colorizer.device.type != "cpu":
            self._colorists = Workers(1, "colorist", own)
        self._events: queue.SimpleQueue[tuple[Callable[[Any], None], Future[Any]]]
        self._events = queue.SimpleQueue()
        self._sizes = (self._source.count_pixels(index) for index in range(self._count))
        self._next: int | None = None  # pixels of the picture that waits for room
        self._pixels: dict[int, int] = {}  # of the pictures under way
        self._admitted = self._taken = 0  # pictures sent to be read, and read in their order
        self._window = [0, 0]  # pictures and pixels of the window that is being filled
        self._ends: set[int] = set()  # numbers of the pictures that windows end before
        self._read: dict[int, LumaBatch] = {}  # read before their turn
        self._waiting: dict[tuple[int, int], list[LumaBatch]] = {}  # for others of their size
        self._reports: dict[int, Report] = {}

    def reports(self) -> Iterator[Report]:
        """The reports in the order of the job; the threads end with the iterator."""
        try:
            for index in range(self._count):
                self._admit()
                while index in self._pixels:
                    then, future = self._events.get()
                    then(future.result())
                    self._admit()
                yield self._reports.pop(index)
        finally:
            # what is being written is written, or taken away again
            for pool in (self._colorists, self._pool):
                pool.shutdown(cancel_futures=True)

    def _do(
        self,
        pool: Workers,
        then: Callable[[Result], None],
        work: Callable[..., Result],
        *arguments: Any,
    ) -> None:
        """Have `work` done in a thread, and then its result handed to `then` in this one."""
        future = pool.submit(work, *arguments)
        future.add_done_callback(lambda done: self._events.put((then, done)))

    def _admit(self) -> None:
        """Send as many pictures to be read as there is room for."""
        while self._admitted < self._count:
            index = self._admitted
            if self._next is None:
                self._next = next(self._sizes)
                self._place(index, self._next)
            held = sum(self._pixels.values()) + self._next
            if self._pixels and (held > self._room or len(self._pixels) >= 2 * self._most):
                return
            reading = index - self._taken - len(self._read)
            if reading >= 2 * self._threads:  # threads take what came first; the rest has its turn
                return
            self._pixels[index], self._next = self._next, None
            self._admitted += 1
            path, output = self._source.items[index]
            self._reports[index] = Report(path, output, "done", frames=1)
            self._do(self._pool, self._take, self._source.read, index)

    def _place(self, index: int, pixels: int) -> None:
        """Count a picture into the present window, or end that and begin another with it."""
        count, together = self._window[0] + 1, self._window[1] + pixels
        if index and (count > self._most or together > self._room // 2):
            count, together = 1, pixels
            self._ends.add(index)
            self._end_windows()
        self._window = [count, together]

    def _take(self, batch: LumaBatch) -> None:
        """A picture has been read: those whose turn it is join others of their size."""
        self._read[batch.first_index] = batch
        while self._taken in self._read:
            self._sort(self._read.pop(self._taken))
            self._taken += 1
            self._end_windows()

    def _sort(self, batch: LumaBatch) -> None:
        report = self._reports[batch.first_index]
        if batch.damage:
            self._fail(batch.first_index, InputError("; ".join(batch.damage)))
            return
        report.warnings += batch.notes
        if batch.is_color:
            report.warnings.append(f"{report.input}: is already in colour; only its luma is used")
        size = self._colorizer.seen_size(batch)
        group = self._waiting.setdefault(size, [])
        group.append(batch)
        if len(group) >= self._batch:
            self._start(self._waiting.pop(size))

    def _end_windows(self) -> None:
        """Colour what waits, if the last picture of its window has been read."""
        if self._taken == self._count or self._taken in self._ends:
            while self._waiting:
                self._start(self._waiting.popitem()[1])

    def _start(self, group: list[LumaBatch]) -> None:
        then = partial(self._keep, [batch.first_index for batch in group])
        self._do(self._colorists, then, _color, self._colorizer, self._settings, group)

    def _keep(self, indices: list[int], colors: list[ColorBatch | VidcolorError]) -> None:
        for index, color in zip(indices, colors, strict=True):
            if isinstance(color, VidcolorError):
                self._fail(index, color)
            else:
                self._do(self._pool, partial(self._finish, index), _save, self._sink, color)

    def _finish(self, index: int, written: PictureReport | VidcolorError) -> None:
        if isinstance(written, VidcolorError):
            self._fail(index, written)
            return
        self._reports[index].warnings += written.notes
        del self._pixels[index]

    def _fail(self, index: int, error: VidcolorError) -> None:
        report = self._reports[index]
        report.status, report.error, report.frames = "failed", str(error), 0
        del self._pixels[index]


def colorize_pictures(
    job: PicturesJob,
    colorizer: Colorizer,
    settings: Settings,
    on_progress: ProgressCallback = lambda progress: None,
    *,
    window: int | None = None,
) -> Iterator[Report]:
    """Colorize still pictures.

    Pictures that the model sees at one size are coloured together; reading and saving go on
    meanwhile in threads of this process. How many pictures are under way depends on their pixels
    and the free memory. A picture that fails does not stop the others.

    Args:
        job: the pictures and where they go.
        colorizer: used from the threads until the iterator ends.
        settings: of them `batch_size`, `picture_threads`, `quality`, `overwrite` and
            `exact_luma` matter.
        on_progress: called before each report.
        window: pictures among which those of one size are looked for; None for 64.

    Yields:
        A report for each picture in the order of the job, as soon as it and those before it are
        done; `seconds` is the time since the report before.
    """
    began = time.monotonic()
    for done, report in enumerate(
        _Line(job, colorizer, settings, window or WINDOW).reports(), start=1
    ):
        report.seconds, began = time.monotonic() - began, time.monotonic()
        on_progress(Progress(report.input, done, job.frames))
        yield report
