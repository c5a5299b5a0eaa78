"""Measure a film's costs: the real pipeline runs on a few short stretches of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch

from ..errors import InputError
from ..frames import Segment
from ..motion.shots import LOOKAHEAD
from ..run.colorizer import Colorizer
from ..run.films import batch_size, colorize_film
from ..run.plan import FilmJob
from ..run.settings import Progress, Settings
from ..sinks.encoder_table import find_encoder
from ..sources import FilmSource
from ..system.devices import processors
from ..system.memory import Peak, peak_memory
from ..system.stages import LOOK_AHEAD
from ..system.threads import share_threads
from .arithmetic import Costs, Sample, busyness, costs, stretches
from .packet_sizes import VideoPacket, can_seek, copied_bytes, count_frames, video_packets

Measure = Callable[[float, Segment], Sample]
Clock = Callable[[], float]

_STEADY_FRAMES = 32  # that a stretch goes on for when every stage is busy
_STEADY_SECONDS = 1.0  # and this long at least
_WARM_FRAMES = 8  # beyond the encoder's delay
_PLACES = 3  # after the beginning
_RATE = Fraction(25)  # where a film has none: stretches need moments

_REORDERED = 8  # frames in the encoder that wait for their place in the order of decoding


def lookahead(settings: Settings) -> int:
    """Frames that the encoder looks at before it decides on one."""
    return find_encoder(settings.encoder.encoder).frames_ahead(settings.encoder.preset)


def encoder_delay(settings: Settings) -> int:
    """Frames, about, that go into the encoder before the first comes out of it."""
    if find_encoder(settings.encoder.encoder).intra:
        return 0
    return lookahead(settings) + _REORDERED + 3 * processors() // 2  # one in each of its threads


def key_interval(settings: Settings, rate: Fraction) -> int:
    """Frames, at most, from one key frame to the next."""
    return find_encoder(settings.encoder.encoder).key_frame_interval(rate)


@dataclass(frozen=True)
class FilmCosts:
    """A film's size and what it costs.

    Attributes:
        frames: of the film, or of the chosen segment.
        costs: see `Costs`.
        copied: bytes of the copied streams.
        whole: the film is so short that all of it was run.
        samples: what was measured.
        notes: one line for each thing that makes the forecast less sure.
    """

    frames: int
    costs: Costs
    copied: int
    whole: bool = False
    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()


class FilmMeter:
    """Runs stretches of one film through the pipeline into files of `folder`.

    Args:
        job: the film as it would be run.
        colorizer: the model on its device.
        settings: of the run; a whole film's segment.
        folder: for the files, which are removed at once.
        clock: seconds of the work; `time.process_time` where other programs take turns with it.
    """

    def __init__(
        self,
        job: FilmJob,
        colorizer: Colorizer,
        settings: Settings,
        folder: Path,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.clock = clock
        self.job, self.colorizer, self.settings, self.folder = job, colorizer, settings, folder
        self.peak = Peak()
        self._warm = encoder_delay(settings) + _WARM_FRAMES
        batch = batch_size(colorizer, settings, job.source.facts)
        self.ahead = frames_ahead(batch, colorizer.device)

    def measure(self, place: float, segment: Segment) -> Sample:
        """Run one stretch.

        Raises:
            InputError: no frame lies in it.
            OutputError: it cannot be written.
        """
        job = self.job
        output = self.folder / f"stretch{job.output.suffix}"
        # what is copied is counted, not measured: its size does not follow the frames
        plan = replace(job.plan, output=output, streams=(), num_chapters=0)
        source = FilmSource(job.source.path, segment=segment, rate=job.source.rate)
        settings = replace(self.settings, segment=segment, copy=frozenset(), overwrite=True)
        stamps: list[tuple[int, float]] = []

        def on_progress(progress: Progress) -> None:
            stamps.append((progress.done, self.clock()))

        with peak_memory(self.colorizer.device) as peak:
            began = self.clock()
            report = colorize_film(
                FilmJob(source, output, plan), self.colorizer, settings, on_progress
            )
            seconds = self.clock() - began
        self.peak = Peak(max(self.peak.memory, peak.memory), max(self.peak.vram, peak.vram))
        packets, size = video_packets(report.output), report.output.stat().st_size
        report.output.unlink()
        whole = segment == self.settings.segment
        return self._sample(place, report.frames, seconds, stamps, packets, size, whole)

    def _sample(
        self,
        place: float,
        frames: int,
        seconds: float,
        stamps: list[tuple[int, float]],
        packets: list[VideoPacket],
        size: int,
        whole: bool,
    ) -> Sample:
        steady = steady_part(stamps, self._warm, frames - self.ahead)
        # without what follows it, a frame is coded otherwise than within a film: at x264's medium
        # the last 40 frames of each stretch made an archive film's forecast 9 % too large
        seen = packets[: max(len(packets) // 2, len(packets) - lookahead(self.settings))]
        keys = [packet.bytes for packet in seen if packet.key]
        others = [packet.bytes for packet in seen if not packet.key]
        return Sample(
            place=place,
            frames=frames,
            seconds=seconds,
            steady_frames=steady[0],
            steady_seconds=steady[1],
            keys=len(keys),
            key_bytes=sum(keys),
            others=len(others),
            other_bytes=sum(others),
            coded_bytes=sum(packet.bytes for packet in packets),
            file_bytes=size,
            whole=whole,
        )


def frames_ahead(batch: int, device: torch.device) -> int:
    """Frames, about, that are read and searched for cuts before the present one is written."""
    # in each of the three or four threads before the encoder's one batch is worked on, and behind
    # each of them some wait
    threads = 4 if share_threads(device).prefetch else 3
    return LOOKAHEAD + threads * (LOOK_AHEAD + 1) * batch


def steady_part(stamps: Sequence[tuple[int, float]], warm: int, last: int) -> tuple[int, float]:
    """Frames and seconds of a stretch in which every stage was at work.

    The first frames only fill the encoder, and while the last ones are written there is nothing
    left to read: the pace is another there.

    Args:
        stamps: frames done so far, and when, in seconds.
        warm: frames that fill the encoder.
        last: frames done when reading has come to its end; not looked at where there is no steady
            part before it.

    Returns:
        0 frames where the stretch is too short to have such a part.
    """
    begun = [stamp for stamp in stamps if stamp[0] >= warm]
    within = [stamp for stamp in begun if stamp[0] <= last]
    part = within if len(within) > 1 else begun
    if len(part) < 2:
        return 0, 0.0
    return part[-1][0] - part[0][0], part[-1][1] - part[0][1]


def frames_of(job: FilmJob) -> int:
    """Frames that a run writes: by the header, or counted without decoding.

    Raises:
        InputError: the film cannot be opened.
    """
    if job.frames is not None:
        return job.frames
    counted = count_frames(job.source.path, job.source.rate)
    segment, rate = job.source.segment, job.source.facts.average_rate or _RATE
    first = round((segment.start or Fraction(0)) * rate)
    last = counted if segment.end is None else min(counted, round(segment.end * rate))
    return max(0, last - first)


def copied_size(job: FilmJob, settings: Settings) -> int:
    """Bytes of the streams that a run copies.

    Raises:
        InputError: the film cannot be opened.
    """
    indices = [each.index for each in job.plan.streams]
    whole = copied_bytes(job.source.path, indices, job.source.facts.duration_seconds)
    return round(whole * _share(job, settings))


def film_costs(
    job: FilmJob,
    settings: Settings,
    measure: Measure,
    *,
    budget: float,
    ahead: int = LOOKAHEAD,
    clock: Clock = time.monotonic,
) -> FilmCosts:
    """Measure a film at its beginning and at a few places after it.

    Args:
        job: the film.
        settings: of the run.
        measure: runs one stretch; `FilmMeter.measure`.
        budget: seconds that measuring should take; the beginning is measured in any case.
        ahead: frames that are read before the present one is written; `FilmMeter.ahead`.
        clock: of the budget.

    Raises:
        InputError: the film cannot be read.
        OutputError: a stretch cannot be written.
    """
    began = clock()
    facts, segment = job.source.facts, settings.segment
    frames, rate = frames_of(job), facts.average_rate or _RATE
    copied = copied_size(job, settings)
    length = encoder_delay(settings) + _WARM_FRAMES + _STEADY_FRAMES + ahead
    if frames < 2 * length:
        only = measure(0.0, segment)
        found = costs([only], only.frames, key_interval(settings, rate))
        return FilmCosts(only.frames, found, copied, True, (only,))
    start = segment.start
    first = measure(0.0, _beginning(start, length, rate))
    samples, notes = [first], []
    steady = max(_STEADY_FRAMES, round(_STEADY_SECONDS / max(1e-6, first.seconds_a_frame)))
    # on a quick machine longer stretches, but not more of them than there is film
    length = max(length, min(length + steady - _STEADY_FRAMES, frames // (_PLACES + 1)))
    each = first.fixed_seconds + length * first.seconds_a_frame
    count = max(1, min(_PLACES, int((budget - (clock() - began)) / max(each, 1e-6))))
    middle = float((start or 0) + frames / rate / 2)
    if not can_seek(job.source.path, middle, job.source.rate):
        notes.append(f"{job.input}: cannot be sought, so its beginning stands for all of it")
        places = [(0.0, _beginning(start, length, rate))] if steady > _STEADY_FRAMES else []
    else:
        places = stretches(frames, rate, length, count, start)
    for place, part in places:
        try:
            samples.append(measure(place, part))
        except InputError:
            # a header that promises too much, or a gap in time: the other places stand for it
            notes.append(f"{job.input}: nothing at {float(part.start or 0):.0f} s")
    found = costs(samples, frames, key_interval(settings, rate))
    if segment.is_full and job.source.rate is None:
        sizes = [packet.bytes for packet in video_packets(job.source.path)]
        found = replace(found, bytes_a_frame=found.bytes_a_frame * busyness(samples, sizes))
    return FilmCosts(
        frames,
        found,
        copied,
        False,
        tuple(samples),
        tuple(notes),
    )


def _beginning(start: Fraction | None, length: int, rate: Fraction) -> Segment:
    """The first `length` frames; the end lies between two frames, whatever the rounding."""
    return Segment(start, (start or Fraction(0)) + (length - Fraction(1, 2)) / rate)


def _share(job: FilmJob, settings: Settings) -> float:
    """The part of the film that is run, for what is copied with it."""
    whole, part = job.source.facts.duration_seconds, settings.segment
    if part.is_full or not whole:
        return 1.0
    end = min(whole, float(part.end)) if part.end is not None else whole
    return max(0.0, min(1.0, (end - float(part.start or 0)) / whole))
