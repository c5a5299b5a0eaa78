"""Read a film frame by frame: `FilmSource`. Every frame once, in order, with its own time."""

from __future__ import annotations

import copy
import os
from collections.abc import Generator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import torch

from ..color.codes import Codes
from ..errors import InputError
from ..frames import WHOLE, Checkpoint, LumaBatch, Segment, VideoInfo
from .decoder import Decoder
from .film_info import probe, sequence_file, sequence_numbers
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
        facts: see `VideoInfo`.
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
        self.facts: VideoInfo = probe(self.path, rate, playlists)
        if segment.start:
            # The picture may have changed since the first frame of the film.
            self.facts = Decoder(self.facts, segment, rate, threads=1).first_facts()

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
        resume = self._resume
        pending, count = _Pending(), resume.frames if resume else 0
        end = count + (resume.batch if resume else batch_size)  # of the batch
        decoder = Decoder(
            self.facts,
            self.segment,
            self.rate,
            threads=threads,
            split=self.split,
            resume=resume,
        )
        for item in decoder.run():
            if isinstance(item, str):
                pending.damage.append(item)
                continue
            pending.notes += decoder.take_notes()
            frame, pts, duration = item
            if resume is not None and count == resume.frames and pts != resume.pts:
                raise InputError(f"{self.path}: frame {count} has another time than before")
            if not pending.luma and count // batch_size % _COLOR_EVERY == 0:
                pending.is_color = chroma_amount(frame) > COLOR_THRESHOLD
            pending.luma.append(luma_plane(frame))
            pending.pts.append(pts)
            pending.durations.append(duration)
            count += 1
            if count == end:
                yield self._batch(pending, count - len(pending.luma))
                pending, end = _Pending(), count + batch_size
        self.changed_at = decoder.changed_at
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
        return FilmSource(
            self.path,
            segment=Segment(at, self.segment.end),
            rate=self.rate,
            threads=self.threads,
            playlists=self.playlists,
            split=True,
        )

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
        )
