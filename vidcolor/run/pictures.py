"""Many still pictures: read ahead, colored in batches of one model size, saved.

Reading, coloring and saving share one pool of threads: Pillow, OpenCV, zlib and torch release
Python's lock while they work. On the CPU each of these threads has its share of torch's threads,
because OpenMP's threads slow each other down when they outnumber the processors. On a GPU one
thread colors, and the pool reads and saves.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..color.compose import LARGE, compose, compose_strips
from ..errors import InputError
from ..frames import ColorBatch, LumaBatch, PictureInfo, PixelFormat, picture_format
from ..sinks import PictureReport, PictureSink
from ..sources import PictureSource
from ..system.devices import free_memory, processors
from ..system.disk import DiskGuard
from ..system.stages import Stage, StageTimer, run_stages
from ..system.threads import thread_budget
from .batching import BatchRunner
from .colorizer import Colorizer
from .job.disk_need import free_room
from .job.watch import Observer
from .plan import PicturesJob
from .provenance.attest import PictureOrigins
from .settings import Progress, ProgressCallback, Report, Settings, failed
from .windows import Room, windows

_MOST_THREADS, _CPU_BATCH, _GPU_BATCH = 16, 4, 16  # on the CPU larger batches gain nothing
WINDOW = 64  # pictures among which those of one size are looked for
# Memory of a picture at most, from its file to its new file (in 16 bits, while it is encoded), and
# the part of the free memory that all pictures together may take.
_BYTES_A_PIXEL, SHARE = 48, 1 / 3
_LARGE_BYTES = 8  # a pixel of one that is composed in strips


def _thread_count(settings: Settings, count: int) -> int:
    return min(settings.picture_threads or min(processors(), _MOST_THREADS), count)


def picture_batch_size(colorizer: Colorizer, settings: Settings, count: int) -> int:
    """Pictures in a batch in a run of `count` of them: the size in the settings, or one that suits
    the device; with few pictures, smaller batches keep all threads busy."""
    if settings.batch_size:
        return settings.batch_size
    if colorizer.device.type != "cpu":
        return _GPU_BATCH
    return max(1, min(_CPU_BATCH, count // (4 * max(1, _thread_count(settings, count)))))


@dataclass
class _Picture:
    """A picture under way.

    Attributes:
        index: number of its file in the job.
        page, pages: its number in that file, and how many there are.
        pixels: of the picture, by its file's header; of a large one fewer, by the memory it takes.
        ends_window: it is the last of its window.
        report: of this picture.
        room: it is inside until it is saved or has failed.
        luma: set by `read`.
        color: set by `color`; of a large picture its a*b*.
        info: set by `read`; what the sink is told of it.
        written: its file is complete.
    """

    index: int
    page: int
    pages: int
    pixels: int
    ends_window: bool
    report: Report
    room: Room
    luma: LumaBatch | None = None
    color: ColorBatch | torch.Tensor | None = None
    info: PictureInfo | None = None
    written: bool = False

    def fail(self, error: Exception) -> None:
        """The picture has failed; it takes no further part."""
        self.luma = self.color = None
        found = failed(self.report.input, self.report.output, error)
        self.report.status, self.report.error, self.report.frames = "failed", found.error, 0
        self.report.transient = found.transient


@dataclass(frozen=True)
class _Group:
    """Pictures of one model size, as a `BatchRunner` can divide them."""

    pictures: tuple[LumaBatch, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, part: slice) -> _Group:
        return _Group(self.pictures[part])

    def to(self, device: torch.device) -> _Group:
        return _Group(tuple(picture.to(device) for picture in self.pictures))


def _format(luma: LumaBatch) -> PixelFormat:
    """8 or 16 bits: as its file has, and 16 where the sink converts them to another RGB space."""
    picture = luma.picture
    if picture is None or not picture.bit_depth:
        return picture_format(luma.bit_depth)
    return picture_format(16 if picture.wide else picture.bit_depth)


def _check_memory(picture: _Picture) -> None:
    """Refuse a large picture that does not fit into the free memory.

    Raises:
        InputError: what it would take, and what to do.
    """
    needed, free = picture.pixels * _BYTES_A_PIXEL, free_memory(torch.device("cpu"))
    if needed > free and needed > LARGE:
        raise InputError(
            f"{picture.report.input}: needs about {needed / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} GB is free; scale it down, or close other programs"
        )


def picture_stages(
    source: PictureSource,
    sink: PictureSink,
    colorizer: Colorizer,
    settings: Settings,
    origins: PictureOrigins,
    observer: Observer | None = None,
    guard: DiskGuard | None = None,
) -> list[Stage[Any, Any]]:
    """The stages of pictures, `_Picture` to `_Picture`, in order: `read`, `group`, `color`, `save`.

    `group` brings pictures of one model size together: a full batch goes on at once, the others at
    the end of their window. So batches depend on the files alone, not on which is read first. A
    picture that fails passes through the later stages untouched.

    Args:
        source, sink, origins: of the job's pictures.
        colorizer: used by the stages' threads; it is not changed.
        settings: of them `batch_size`, `picture_threads` and `exact_luma` count.
        observer: is told which pictures are under way.
        guard: waited for before each picture is written.
    """
    watching = (observer or Observer()).watching
    count = len(source.items)
    size = picture_batch_size(colorizer, settings, count)
    runner, label = BatchRunner(colorizer), origins.label or (lambda luma: luma)

    def read(picture: _Picture) -> list[_Picture]:
        report = picture.report
        try:
            with watching([report.input]):
                _check_memory(picture)
                luma = origins.mark(source.read(picture.index, picture.page))
        except Exception as error:
            picture.info = source.info(picture.index, picture.page, picture.pages)
            picture.fail(error)
            return [picture]
        picture.info = luma.picture
        if not len(luma):
            picture.fail(InputError("; ".join(luma.damage)))
            return [picture]
        if luma.damage:
            report.status, report.error = "incomplete", "; ".join(luma.damage)
        report.warnings += luma.notes
        if luma.is_color:
            report.warnings.append(f"{report.input}: is already in color; only its luma is used")
        picture.luma = luma
        return [picture]

    def group(pictures: Iterator[_Picture]) -> Iterator[list[_Picture]]:
        waiting: dict[tuple[int, int], list[_Picture]] = {}  # for others of their model size
        for picture in pictures:
            if picture.luma is None:
                yield [picture]
            else:
                shape = colorizer.input_size(picture.luma)
                waiting.setdefault(shape, []).append(picture)
                if len(waiting[shape]) >= size:
                    yield waiting.pop(shape)
            if picture.ends_window:
                while waiting:
                    yield waiting.popitem()[1]

    def predict(model: Colorizer, group: _Group) -> list[ColorBatch | torch.Tensor]:
        chroma = model.predict_batch(group.pictures)
        return [
            ab.cpu()
            if luma.luma.numel() > LARGE
            else compose(label(luma), ab, _format(luma), exact_luma=settings.exact_luma)
            for luma, ab in zip(group.pictures, chroma, strict=True)
        ]

    def color(pictures: list[_Picture]) -> list[_Picture]:
        left = [(picture, picture.luma) for picture in pictures if picture.luma is not None]
        group = _Group(tuple(luma for _, luma in left))
        try:
            with watching([picture.report.input for picture, _ in left]):
                for made in itertools.chain.from_iterable(runner.run(predict, group)):
                    picture, luma = left.pop(0)
                    picture.luma = luma = label(luma)
                    if isinstance(made, ColorBatch):
                        made = replace(made, source=luma)  # nothing stays on the device
                    picture.color = made
        except Exception as error:
            if len(left) == 1:
                left[0][0].fail(error)
                return pictures
            for picture, _ in left:  # one by one: not all of them need have failed
                color([picture])
        return pictures

    def write(picture: _Picture) -> PictureReport | None:
        color, luma = picture.color, picture.luma
        if isinstance(color, ColorBatch):
            return sink.write(color)
        if color is None or luma is None:
            return None if picture.info is None else sink.lose(picture.info)
        strips = compose_strips(luma, color, _format(luma), exact_luma=settings.exact_luma)
        return sink.write_strips(luma, strips, _format(luma).bit_depth)

    def save(picture: _Picture) -> list[_Picture]:
        try:
            room = free_room(guard, picture.report, picture.pages, picture.room.is_closed)
            with room, watching([picture.report.input]):
                written = write(picture)
            if written is not None:
                if written.failure is not None:
                    picture.fail(written.failure)
                picture.report.warnings += written.notes
                picture.report.output, picture.written = written.path, written.bytes > 0
        except Exception as error:
            picture.fail(error)
        finally:
            picture.luma = picture.color = None
            picture.room.leave(picture.pixels)
        return [picture]

    workers, own = _thread_count(settings, count), thread_budget.available()
    threads, on_cpu = max(1, own // max(1, workers)), colorizer.device.type == "cpu"
    return [
        Stage("read", read, threads=threads, workers=workers, joined=True),
        Stage("group", stream=group),
        Stage(
            "color",
            color,
            threads=threads if on_cpu else own,
            workers=workers if on_cpu else 0,
            joined=True,
        ),
        Stage("save", save, threads=threads, workers=workers),
    ]


def _merged(pictures: list[_Picture]) -> Report:
    """One report of all pictures of a file."""
    pictures.sort(key=lambda picture: picture.page)
    reports = [picture.report for picture in pictures]
    report, errors = reports[0], [each.error for each in reports if each.error]
    if len(reports) == 1:
        return report
    complete = any(picture.written for picture in pictures)
    report.frames = sum(each.frames for each in reports) if complete else 0
    report.warnings = list(dict.fromkeys(line for each in reports for line in each.warnings))
    report.output = max((each.output for each in reports), key=lambda path: path != report.output)
    report.error = "; ".join(dict.fromkeys(errors))
    report.status = ("incomplete" if report.frames else "failed") if errors else "done"
    report.transient = any(each.transient for each in reports)
    return report


def colorize_pictures(
    job: PicturesJob,
    colorizer: Colorizer,
    settings: Settings,
    on_progress: ProgressCallback = lambda progress: None,
    *,
    window: int | None = None,
    share: float = SHARE,
    timer: StageTimer | None = None,
    observer: Observer | None = None,
    guard: DiskGuard | None = None,
) -> Generator[Report, None, None]:
    """Colorize still pictures.

    The job is divided into windows, in its order, by the pictures' number and pixels. Pictures of
    a window that the model sees at one size are colored together; reading, coloring and saving
    overlap. At most two windows are under way, within a part of the free memory; a picture larger
    than that is worked on alone. A picture that fails does not stop the others, whatever the
    error.

    Args:
        job: the pictures, and where they go.
        colorizer: used by threads until the iterator ends; it is not changed.
        settings: of the run.
        on_progress: called before each report.
        window: pictures in a window at most; None for 64.
        share: part of the free memory that they may take.
        timer: measures the stages: those of `picture_stages`, and before them `list`, which reads
            the files' headers and waits for room.
        observer: is told which pictures are under way, before their files are opened.
        guard: pauses the work while the disk has too little space.

    Yields:
        A report for each picture in the order of the job, as soon as it and those before it are
        done; `seconds` is the time since the report before.
    """
    window, observer = window or WINDOW, observer or Observer()
    source = PictureSource(job.items, limits=not settings.large_pictures)
    overwrite: bool | frozenset[Path] = settings.overwrite or job.replaced
    sink = PictureSink(
        overwrite=overwrite, quality=settings.quality, keep_times=settings.keep_times
    )
    pixels = int(free_memory(torch.device("cpu")) * share / _BYTES_A_PIXEL)
    room = Room(pixels, 2 * window)

    def pictures() -> Iterator[_Picture]:
        pages: deque[tuple[int, int, int]] = deque()

        def sizes() -> Iterator[int]:
            for index in range(len(job.items)):
                if index % window == 0:
                    observer.working([path for path, _ in job.items[index : index + window]])
                with observer.watching([job.items[index][0]]):
                    found = source.page_sizes(index)
                for page, size in enumerate(found):
                    pages.append((index, page, len(found)))
                    yield size if size <= LARGE else size * _LARGE_BYTES // _BYTES_A_PIXEL

        for size, last in windows(sizes(), window, pixels // 2):
            if not room.enter(size):
                return
            index, page, count = pages.popleft()
            report = Report(*source.items[index], "done", frames=1)
            yield _Picture(index, page, count, size, last, report, room)

    origins = PictureOrigins(colorizer, settings, job.replaced)
    stages = picture_stages(source, sink, colorizer, settings, origins, observer, guard)
    began, done = time.monotonic(), 0
    waiting: dict[int, list[_Picture]] = {}  # for other pages, and for those before them
    running = run_stages(pictures(), stages, timer=timer, name="list", unblock=room.close)
    with closing(sink), closing(running) as results:
        for picture in results:
            waiting.setdefault(picture.index, []).append(picture)
            while done in waiting and len(waiting[done]) == waiting[done][0].pages:
                report = _merged(waiting.pop(done))
                done += 1
                origins.attest(report)
                report.seconds, began = time.monotonic() - began, time.monotonic()
                on_progress(Progress(report.input, done, len(job.items)))
                yield report
