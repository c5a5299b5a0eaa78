"""Read a film frame by frame: `FilmSource`. Every frame once, in order, with its own time."""

from __future__ import annotations

import copy
import os
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import torch

from ..color.codes import Codes
from ..errors import InputError
from ..frames import WHOLE, Checkpoint, LumaBatch, Segment
from ..system.clock import Clock
from ..system.sequences import sequence_file, sequence_numbers
from .decoder import Decoder
from .deinterlace import Deinterlacer, deinterlaced
from .film_info import open_film, probe
from .interlace import Fields, examine
from .luma import COLOR_THRESHOLD, chroma_amount, luma_plane

_MAX_THREADS = 16
_COLOR_EVERY = 25  # batches; a look for color costs as much as decoding a frame


@dataclass
class _Pending:
    """The frames of the batch in the making."""

    luma: list[Codes] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_color: bool = False


class FilmSource:
    """The luma of a film's frames, in order, in batches.

    Opening a source reads the header and the first frames. The object can be pickled; the film is
    opened again in the process that iterates.

    Attributes:
        path: the film, or the pattern of a numbered sequence.
        rate: frames a second of a numbered sequence, None for a film.
        segment: the stretch to read; its times count from the first frame.
        facts: see `VideoInfo`; of the frames that are delivered, which are deinterlaced.
        changed_at: where a film that is to be split was last read to, because its picture changes
            there: seconds from its first frame. None if it was read to its end.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        segment: Segment = WHOLE,
        rate: Fraction | None = None,
        threads: int = 0,
        playlists: bool = False,
        split: bool = False,
        deinterlace: str = "auto",
        keep_tint: bool = False,
        retime: Fraction | None = None,
    ) -> None:
        """Probe a film.

        Args:
            path: a film, or with `rate` a numbered sequence such as `frames/%05d.png`.
            segment: frames with `start` <= time < `end` are read, no others.
            rate: frames a second of a numbered sequence.
            threads: of the decoder; 0 for as many as the processors allow.
            playlists: a playlist may be opened, and the local files that it names.
            split: end where the size, the pixel format or the shape of the picture changes; `rest`
                gives the film from there. Otherwise later frames are scaled to fit the first.
            deinterlace: what to do with interlaced frames, a choice of `Settings.deinterlace`.
            keep_tint: the tint of a tinted print is added to the predicted colors.
            retime: show each frame of a film 1 / `retime` seconds, whatever its own times are. The
                times of `segment` are then those of the new rate.

        Raises:
            InputError: it cannot be opened, or no frame of it can be decoded.
        """
        self.path = Path(path)
        self.rate = rate
        self.segment = segment
        self.threads = threads
        self.playlists, self.split = playlists, split
        self.changed_at: Fraction | None = None
        self._resume: Checkpoint | None = None
        self.deinterlace, self.keep_tint, self.retime = deinterlace, keep_tint, retime
        self._probed = probe(self.path, rate, playlists)
        self._fields = Fields() if rate is not None else examine(self._probed)
        self._probed = replace(self._probed, guessed_times=self._fields.guessed_times)
        self._set_facts()

    def _set_facts(self) -> None:
        decoded, new = self._probed, self.retime
        facts, self._doing = deinterlaced(decoded, self._fields, self.deinterlace)
        own = facts.average_rate or Fraction(25)
        self._speed = new / own if new else Fraction(1)
        start, end = (t and t * self._speed for t in (self.segment.start, self.segment.end))
        self._part = Segment(start, end)
        if start:
            # The picture may have changed since the first frame of the film.
            decoded = Decoder(decoded, self._part, self.rate, threads=1).first_facts()
            facts, _ = deinterlaced(decoded, self._fields, self.deinterlace)
        self._decoded = decoded
        if new:
            length = facts.duration_seconds
            note = f"plays at {float(new):g} frames a second instead of {float(own):g} (--fps)"
            facts = replace(
                facts,
                time_base=1 / new,
                average_rate=new,
                first_pts=0,
                duration_seconds=length and length / float(self._speed),
                notes=(*facts.notes, f"{note}, without its sound, subtitles and chapters"),
            )
        self.facts = replace(facts, tint=self._fields.tint)

    @property
    def seeks(self) -> bool:
        """Whether reading can begin at a checkpoint. Otherwise all frames before it are decoded."""
        idle = Deinterlacer(self._decoded, self._fields, self._doing).is_idle
        if not idle or self.retime or self.facts.first_pts is None:
            return False
        with open_film(self.path, rate=self.rate, playlists=self.playlists) as (container, _):
            return not Clock(container).may_jump

    def copyable(self, kinds: frozenset[str]) -> frozenset[str]:
        """Of the kinds of streams to copy those that a film of other times can keep."""
        return kinds & {"attachments"} if self.retime else kinds

    def at(self, segment: Segment) -> FilmSource:
        """Another stretch of the same film."""
        other = copy.copy(self)
        other.segment, other.changed_at, other._resume = segment, None, None
        other._set_facts()
        return other

    def batches(self, batch_size: int) -> Generator[LumaBatch, None, None]:
        """The film in batches, in order; the last may be smaller.

        `luma` is `(B, 1, H, W)`, uint8 or uint16; pts and durations are in `facts.time_base`. What
        could not be read is told once, in `damage` of the batch that follows it; after a full last
        batch in that of an empty one (B = 0). `notes` likewise.

        A frame of another size, pixel format or pixel shape than the first is scaled to fit, and a
        line of `notes` says so.

        Raises:
            InputError: behind the checkpoint of `resumed` is another frame than before.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        threads = self.threads or min(_MAX_THREADS, os.cpu_count() or 1)
        deinterlacer = Deinterlacer(self._decoded, self._fields, self._doing)
        resume = self._resume
        # Otherwise the film is read from its beginning, and the frames before are dropped.
        seeks = resume is not None and deinterlacer.is_idle and not self.retime
        pending, count = _Pending(), resume.frames if resume and seeks else 0
        begin = resume.frames if resume else 0
        end = begin + (resume.batch if resume else batch_size)  # of the batch
        decoder = Decoder(
            self._decoded,
            self._part,
            self.rate,
            threads=threads,
            split=self.split,
            resume=resume if seeks else None,
        )
        first = round((self.segment.start or 0) * (self.retime or 0))
        for item in deinterlacer.run(decoder.run()):
            if isinstance(item, str):
                pending.damage.append(item)
                continue
            pending.notes += decoder.take_notes()
            frame, pts, duration = item
            if self.retime:
                pts, duration = first + count, 1
            if count < begin:
                count += 1
                continue
            if resume is not None and count == begin and pts != resume.pts:
                raise InputError(
                    f"{self.path}: frame {count} has another time than before; give --restart"
                )
            if not pending.luma and count // batch_size % _COLOR_EVERY == 0:
                pending.is_color = chroma_amount(frame) > COLOR_THRESHOLD
            pending.luma.append(luma_plane(frame))
            pending.pts.append(pts)
            pending.durations.append(duration)
            count += 1
            if count == end:
                yield self._batch(pending, count - len(pending.luma))
                pending, end = _Pending(), count + batch_size
        at = decoder.changed_at
        self.changed_at = None if at is None else at / self._speed
        pending.notes += decoder.take_notes()
        if pending.luma or pending.damage or pending.notes:
            yield self._batch(pending, count - len(pending.luma))

    def files(self) -> list[Path]:
        """The film's file, or those of a numbered sequence."""
        if self.rate is None:
            return [self.path]
        numbers = sequence_numbers(self.path)
        return [sequence_file(self.path, number) for number in numbers]

    def resumed(self, checkpoint: Checkpoint) -> FilmSource:
        """The same film, read from a checkpoint on."""
        other = copy.copy(self)
        other._resume = checkpoint
        return other

    def rest(self) -> FilmSource | None:
        """The film from where its picture changes, after a reading that ended there."""
        at = self.changed_at
        if at is None or at <= (self.segment.start or 0):
            return None
        return self.at(Segment(at, self.segment.end))

    def _batch(self, pending: _Pending, first_index: int) -> LumaBatch:
        facts = self.facts
        shape = (len(pending.luma), 1, facts.height, facts.width)
        luma = torch.empty(shape, dtype=torch.uint8 if facts.bit_depth == 8 else torch.uint16)
        into = luma.numpy()
        for i, plane in enumerate(pending.luma):
            into[i, 0] = plane
        return LumaBatch(
            luma=luma,
            bit_depth=facts.bit_depth,
            full_range=facts.tags.full_range,
            pts=tuple(pending.pts),
            durations=tuple(pending.durations),
            first_index=first_index,
            rotation=facts.rotation,
            is_color=pending.is_color,
            damage=tuple(pending.damage),
            notes=tuple(pending.notes),
            combed=facts.combed,
            tint=(facts.tint if self.keep_tint else None) or (0.0, 0.0),
            bars=self._fields.bars,
            transfer=facts.tags.transfer,
        )
