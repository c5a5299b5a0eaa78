"""Estimate what a run writes, before it starts: by the headers of films, by the sizes of pictures'
files. The estimate is rough; `vidcolor probe` measures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ...sinks.encoder_table import EncoderSettings, find_encoder
from ...system.disk import DiskGuard, Reserve, Space, as_size, disk_space, existing_folder
from ..plan import FilmJob, Job
from ..settings import Report

logger = logging.getLogger(__name__)

# Bits a pixel at the encoders' own quality: about the most that 24 frames of four clips took
# (measured without color). NVENC was not measured: it has the figures of its formats.
_BITS = {
    "libx264": 0.35, "libx265": 0.25, "libsvtav1": 0.17, "ffv1": 3.5, "prores_ks": 5.5,
    "dnxhd": 3.6, "h264_nvenc": 0.35, "hevc_nvenc": 0.25,
}  # fmt: skip
_HALVING = 6.0  # steps of crf that halve the bits
_SOUND, _PCM_SOUND = 24_000, 200_000  # bytes a second of a copied track
# How many times the bytes of a gray picture its color version has, by the output's suffix: medians
# of 20 photographs (JPEG of quality 75 to 95, WebP of 80).
_GROWTH = {".jpg": 2.0, ".png": 2.9, ".tif": 3.1, ".bmp": 3.0, ".webp": 1.9, ".avif": 2.2}
# JPEG 2000 at a tenth of the raw size becomes PNG: 14 times the bytes.
_PACKED = frozenset((".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"))


def picture_bytes(path: Path, output: Path) -> int:
    """Bytes, about, of a picture's color version: a multiple of its file's."""
    try:
        size = path.stat().st_size
    except OSError:
        return 0
    growth = _GROWTH.get(output.suffix.lower().replace("jpeg", "jpg").replace("tiff", "tif"), 3.0)
    return round(size * growth * (5 if path.suffix.lower() in _PACKED else 1))


def film_bytes(job: FilmJob, settings: EncoderSettings) -> int:
    """Bytes, about, of a film's color version, copied streams included; 0 for unknown."""
    facts, frames, encoder = job.source.facts, job.frames, find_encoder(settings.encoder)
    if not frames:
        return 0
    bits = _BITS.get(settings.encoder, max(_BITS.values()))
    if settings.crf is not None and encoder.crf is not None:
        bits *= 2 ** ((encoder.crf - settings.crf) / _HALVING)
    seconds = float(frames / (facts.average_rate or 25))
    sound = sum(
        _PCM_SOUND if each.codec.startswith("pcm") else _SOUND
        for each in job.plan.streams
        if each.kind == "audio"
    )
    return round(frames * facts.width * facts.height * bits / 8 + seconds * sound)


def _outputs(job: Job, settings: EncoderSettings) -> Iterator[tuple[Path, int]]:
    if isinstance(job, FilmJob):
        yield job.output, film_bytes(job, settings)
        return
    for path, output in job.items:
        yield output, picture_bytes(path, output)


def warn_of_need(
    jobs: Sequence[Job],
    settings: EncoderSettings,
    reserve: Reserve,
    space: Callable[[Path], Space | None] = disk_space,
) -> None:
    """Write a warning for each disk that the outputs will probably not fit on.

    Args:
        jobs, settings: of the run.
        reserve: what must stay free.
        space: tells a disk's space.
    """
    needs: dict[int, tuple[Path, int]] = {}  # by the disk's number: a folder there, bytes
    folders: dict[Path, Path | None] = {}
    for job in jobs:
        for output, size in _outputs(job, settings):
            if output.parent not in folders:
                folders[output.parent] = existing_folder(output)
            if (folder := folders[output.parent]) is not None:
                disk = folder.stat().st_dev
                needs[disk] = folder, needs.get(disk, (folder, 0))[1] + size
    for folder, need in needs.values():
        found = space(folder / "output")
        left = reserve.of(found.total) if found else 0
        if found is None or found.free - need >= left:
            continue
        logger.warning(
            "%s: about %s will be written, and %s are free; %s; 'vidcolor probe' estimates more "
            "exactly",
            folder,
            as_size(need),
            as_size(found.free),
            f"the run pauses when less than {as_size(left)} are left (--min-free)"
            if left
            else "what does not fit will fail",
        )


def free_room(
    guard: DiskGuard | None, report: Report, pages: int, stopped: Callable[[], bool]
) -> AbstractContextManager[None]:
    """Room on the disk for one of the `pages` of a picture; see `DiskGuard.room`."""
    if guard is None:
        return nullcontext()
    need = picture_bytes(report.input, report.output) // pages
    return guard.room(report.output, need, stopped)
