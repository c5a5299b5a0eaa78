"""Estimate a film: run a few parts of it through the real pipeline, then scale up.

A run costs something once (opening files, filling and emptying the pipeline) and something for each
frame. The frames in the middle of a part, while every stage is busy, give the seconds per frame;
the rest of the first part's time is the fixed cost. Every part begins with a key frame, and a film
has one at cuts and at a regular distance, so the bytes of key frames and of other frames are
counted separately. A film not much longer than its parts is run from end to end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.stream import AttachmentStream

from ..errors import InputError
from ..frames import Segment
from ..motion.shots import LOOKAHEAD
from ..run.colorizer import Colorizer
from ..run.films import batch_size, colorize_film
from ..run.plan import FilmJob
from ..run.provenance.settings import UNMARKED
from ..run.settings import Settings
from ..sinks import is_sequence
from ..sinks.encoder_table import find_encoder
from ..sources.film_info import open_film
from ..system.devices import processors
from ..system.stages import LOOK_AHEAD
from ..system.threads import share_threads

_STEADY_FRAMES, _STEADY_SECONDS = 32, 1.0  # of the busy part of a sample, at least
_WARM_FRAMES = 8  # beyond the encoder's delay
_PLACES = 3  # measured after the beginning
_WHOLE = 3  # a film of fewer parts than this is run from end to end
_RATE = Fraction(25)  # of a film without a rate
_REORDERED = 8  # frames in the encoder that wait for their place in decoding order
_FRAME_BYTES = 14  # of MP4's tables and Matroska's blocks per frame, about
_PACKET_BYTES = 12  # the same per copied packet


@dataclass(frozen=True)
class Scan:
    """What a film's packets tell without decoding.

    Attributes:
        sizes: bytes of the coded frames, in display order.
        keys: whether each of them is a key frame.
        copied: bytes of the streams that a run copies.
        seekable: later parts can be reached without decoding all that is before them.
    """

    sizes: tuple[int, ...]
    keys: tuple[bool, ...]
    copied: int = 0
    seekable: bool = True


def scan_film(path: Path, rate: Fraction | None = None, copied: Sequence[int] = ()) -> Scan:
    """Read all packets of a film; of a damaged one, those before the damage.

    Args:
        path: a film, or with `rate` a numbered sequence.
        rate: frames per second of a numbered sequence.
        copied: indices of the streams whose bytes count as copied.

    Raises:
        InputError: it cannot be opened.
    """
    packets: list[tuple[int, int, bool]] = []
    with open_film(path, rate=rate, threads=1) as (container, video):
        others = [container.streams[index] for index in copied]
        attached = [each for each in others if isinstance(each, AttachmentStream)]
        total, seekable = sum(len(each.data or b"") for each in attached), rate is None
        timed = [each for each in others if each not in attached]
        with suppress(av.error.FFmpegError):
            for packet in container.demux([video, *timed]):
                if not packet.size:
                    continue
                if packet.stream_index == video.index:
                    pts = packet.pts if packet.pts is not None else packet.dts
                    seekable = seekable and pts is not None
                    packets.append((pts or 0, packet.size, packet.is_keyframe))
                else:
                    total += packet.size + _PACKET_BYTES
    packets.sort(key=lambda packet: packet[0])
    sizes, keys = tuple(p[1] for p in packets), tuple(p[2] for p in packets)
    # without a key frame between here and there, the decoder works through all that lies between
    near = any(keys[len(keys) // 8 : len(keys) // 2 + 1])
    return Scan(sizes, keys, total, seekable and near)


def encoder_delay(settings: Settings) -> int:
    """Frames, about, that go into the encoder before the first one comes out."""
    encoder = find_encoder(settings.encoder.encoder)
    if encoder.intra:
        return 0
    ahead = encoder.frames_ahead(settings.encoder.preset)
    return ahead + _REORDERED + 3 * processors() // 2  # one in each of its threads


@dataclass(frozen=True)
class Sample:
    """One measured part of a film.

    Attributes:
        place: where it begins, as a share of the film, 0 to 1.
        frames: frames written.
        seconds: of the whole part.
        frame_seconds: seconds per frame while every stage was busy.
        keys, key_bytes: key frames and their bytes.
        others, other_bytes: the other frames. The last frames are counted in neither, because the
            encoder did not see what follows them.
        file_bytes: of the written file.
        container_bytes: of these, beside the frames.
    """

    place: float
    frames: int
    seconds: float
    frame_seconds: float
    keys: int
    key_bytes: int
    others: int
    other_bytes: int
    file_bytes: int
    container_bytes: int = 0

    @property
    def fixed_seconds(self) -> float:
        """Seconds beyond those of the frames."""
        return max(0.0, self.seconds - self.frames * self.frame_seconds)


@dataclass(frozen=True)
class Costs:
    """Seconds and bytes of a film, once and per frame."""

    fixed_seconds: float
    frame_seconds: float
    fixed_bytes: float
    frame_bytes: float


@dataclass(frozen=True)
class FilmEstimate:
    """What a run of one film takes.

    Attributes:
        frames: of the chosen segment.
        costs: see `Costs`.
        copied: bytes of copied streams.
        samples: what was measured; empty for a film that was estimated from others.
        notes: one line for each thing that makes the estimate less certain.
    """

    frames: int
    costs: Costs
    copied: int
    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Of the run."""
        return self.costs.fixed_seconds + self.frames * self.costs.frame_seconds

    @property
    def bytes(self) -> int:
        """Of the output, copied streams included."""
        return round(self.costs.fixed_bytes + self.frames * self.costs.frame_bytes) + self.copied


Measure = Callable[[float, Segment], Sample]


def make_measure(
    job: FilmJob, colorizer: Colorizer, settings: Settings, folder: Path
) -> tuple[Measure, int]:
    """A function that colorizes a part of a film into `folder` and removes the file.

    Returns:
        The function, and how many frames are read before the first one is written, about.
    """
    size = batch_size(colorizer, settings, job.source.facts)
    threads = 4 if share_threads(colorizer.device).prefetch else 3
    ahead = LOOKAHEAD + threads * (LOOK_AHEAD + 1) * size
    warm = encoder_delay(settings) + _WARM_FRAMES
    unknown = find_encoder(settings.encoder.encoder).frames_ahead(settings.encoder.preset)

    def measure(place: float, segment: Segment) -> Sample:
        sequence = is_sequence(job.output)
        output = folder / f"part{'%06d' if sequence else ''}{job.output.suffix}"
        # copied streams are counted, not measured: their size does not follow the frames
        plan = replace(job.plan, output=output, streams=(), num_chapters=0)
        source = job.source.at(segment)
        chosen = replace(
            settings,
            marks=UNMARKED,
            segment=segment,
            copy=frozenset(),
            overwrite=True,
            output_chroma=None,
            output_lut=None,
        )
        chroma = replace(job.chroma, file=plan) if job.chroma and job.only_chroma else None
        stamps: list[tuple[int, float]] = []
        began = time.perf_counter()
        report = colorize_film(
            FilmJob(source, output, plan, chroma=chroma),
            colorizer,
            chosen,
            lambda progress: stamps.append((progress.done, time.perf_counter())),
        )
        seconds = time.perf_counter() - began
        files = list(folder.glob(f"part*{output.suffix}"))
        file_bytes = sum(each.stat().st_size for each in files)
        if sequence:
            sizes = [each.stat().st_size for each in files]
            pairs = [(size, True) for size in sizes]
        else:
            scan = scan_film(report.output)
            sizes = list(scan.sizes)
            counted = max(len(sizes) // 2, len(sizes) - unknown)
            pairs = list(zip(sizes, scan.keys, strict=True))[:counted]
        for each in files:
            each.unlink()
        keys = [bytes for bytes, key in pairs if key]
        others = [bytes for bytes, key in pairs if not key]
        steady = steady_part(stamps, warm, report.frames - ahead)
        return Sample(
            place,
            report.frames,
            seconds,
            steady[1] / steady[0] if steady[0] else seconds / max(1, report.frames),
            len(keys),
            sum(keys),
            len(others),
            sum(others),
            file_bytes,
            max(0, file_bytes - sum(sizes)),
        )

    return measure, ahead


def steady_part(stamps: Sequence[tuple[int, float]], warm: int, last: int) -> tuple[int, float]:
    """Frames and seconds of a sample while every stage was busy; 0 frames if it is too short.

    Args:
        stamps: frames done so far, and when, in seconds.
        warm, last: frames done when the encoder is full, and when reading ends.
    """
    begun = [stamp for stamp in stamps if stamp[0] >= warm]
    within = [stamp for stamp in begun if stamp[0] <= last]
    part = within if len(within) > 1 else begun
    if len(part) < 2:
        return 0, 0.0
    return part[-1][0] - part[0][0], part[-1][1] - part[0][1]


def estimate_film(
    job: FilmJob, settings: Settings, scan: Scan, measure: Measure, ahead: int, budget: float
) -> FilmEstimate:
    """Measure a film at its beginning and at up to three places after it, or from end to end.

    Args:
        job, settings, scan: the film, the planned run, the film's packets.
        measure, ahead: by `make_measure`.
        budget: seconds for measuring; the beginning is measured in any case.

    Raises:
        InputError: the film cannot be read.
        OutputError: a part cannot be written.
    """
    began = time.monotonic()
    frames, rate = count_frames(job, scan), job.source.facts.average_rate or _RATE
    copied, start = copied_bytes(job, scan), settings.segment.start or Fraction(0)
    length = encoder_delay(settings) + _WARM_FRAMES + _STEADY_FRAMES + ahead

    def whole() -> FilmEstimate:
        one = measure(0.0, settings.segment)
        costs = Costs(0.0, one.seconds / one.frames, 0.0, one.file_bytes / one.frames)
        return FilmEstimate(one.frames, costs, copied, (one,))

    def part(first: int) -> Segment:
        half = Fraction(1, 2) if first else 0  # between two frames, whatever the rounding
        last = first + length - Fraction(1, 2)
        begin = start + (first - half) / rate if first else settings.segment.start
        return Segment(begin, start + last / rate)

    if frames < _WHOLE * length:
        return whole()
    one = measure(0.0, part(0))
    samples, notes = [one], []
    # longer parts on a fast machine
    steady = max(_STEADY_FRAMES, round(_STEADY_SECONDS / max(1e-6, one.frame_seconds)))
    length += steady - _STEADY_FRAMES
    if frames < _WHOLE * length:
        return whole()
    each = max(1e-6, one.fixed_seconds + length * one.frame_seconds)
    room = (frames - length) // length
    count = min(room, max(1, min(_PLACES, int((budget - (time.monotonic() - began)) / each))))
    places = [min(frames - length, round(frames * n / (count + 1))) for n in range(1, count + 1)]
    if not scan.seekable:
        notes.append(f"{job.input}: cannot be sought, so its beginning stands for all of it")
        places = [0] if steady > _STEADY_FRAMES else []
    for first in places:
        try:
            samples.append(measure(first / frames, part(first)))
        except InputError:  # a header that promises too much, or a gap in time
            notes.append(f"{job.input}: no frames at {float(start + first / rate):.0f} s")
    interval = find_encoder(settings.encoder.encoder).key_frame_interval(rate)
    sizes = scan.sizes if settings.segment.is_full and job.source.rate is None else ()
    costs = scale_up(samples, frames, interval, sizes)
    return FilmEstimate(frames, costs, copied, tuple(samples), tuple(notes))


def scale_up(
    samples: Sequence[Sample], frames: int, key_interval: int, sizes: Sequence[int] = ()
) -> Costs:
    """The costs of a film by its samples. Each counts for the part of the film nearest to it.

    Args:
        samples: in the order of their places; the first one is from the film's beginning.
        frames: of the film.
        key_interval: frames from one key frame to the next at most.
        sizes: bytes of the film's own coded frames, to correct for parts of the film that are more
            complex than the samples, within 2/3 and 3/2; empty for no correction.
    """
    edges = [0.0, *((a.place + b.place) / 2 for a, b in pairwise(samples)), 1.0]
    pairs = [(b - a, s) for (a, b), s in zip(pairwise(edges), samples, strict=True)]
    key_bytes = sum(s.key_bytes for s in samples) / max(1, sum(s.keys for s in samples))
    moving = [(w, s) for w, s in pairs if s.others]
    if moving:
        weight = sum(w for w, _ in moving)
        other = sum(w * s.other_bytes / s.others for w, s in moving) / weight
        # every file begins with a key frame: the first one of a sample does not count
        own = sum(w * (s.keys - 1) / max(1, s.keys - 1 + s.others) for w, s in moving) / weight
        share = max(own, min(1.0, 1 / key_interval), 1 / frames)
        frame_bytes = share * key_bytes + (1 - share) * other
    else:  # each frame is coded alone
        frame_bytes = sum(w * s.key_bytes / max(1, s.keys) for w, s in pairs)
    measured = 0.0  # mean bytes of the film's own frames, of those that the samples counted
    for w, s in pairs:
        part = sizes[round(s.place * len(sizes)) :][: max(1, s.keys + s.others)]
        measured += w * sum(part) / len(part) if part else 0.0
    ratio = sum(sizes) / len(sizes) / measured if measured else 1.0
    return Costs(
        samples[0].fixed_seconds,
        sum(w * s.frame_seconds for w, s in pairs),
        sum(max(0, s.container_bytes - _FRAME_BYTES * s.frames) for s in samples) / len(samples),
        frame_bytes * min(3 / 2, max(2 / 3, ratio)) + _FRAME_BYTES,
    )


def count_frames(job: FilmJob, scan: Scan) -> int:
    """Frames that a run writes: by the header, or by the packets."""
    if job.frames is not None:
        return job.frames
    segment, rate = job.source.segment, job.source.facts.average_rate or _RATE
    last = len(scan.sizes)
    if segment.end is not None:
        last = min(last, round(segment.end * rate))
    return max(0, last - round((segment.start or 0) * rate))


def copied_bytes(job: FilmJob, scan: Scan) -> int:
    """Bytes of the copied streams, by the part of the film that the segment covers."""
    whole, part = job.source.facts.duration_seconds, job.source.segment
    if part.is_full or not whole:
        return scan.copied
    end = min(whole, float(part.end)) if part.end is not None else whole
    return round(scan.copied * max(0.0, min(1.0, (end - float(part.start or 0)) / whole)))
