"""Read a colour film as the truth for a measurement: `ColourFilmSource`, R'G'B' beside luma."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange
from torch import Tensor

from ..color.codes import luma_to_grey
from ..color.convert import yuv_to_rgb
from ..errors import InputError
from ..frames import WHOLE, LumaBatch, Segment
from ..sources.film import FilmSource, _Decoder

_LEAST_SIDE = 16  # of a frame whose motion can be measured


@dataclass(frozen=True)
class ColourBatch(LumaBatch):
    """Frames as a black-and-white film would hold them, 8 bits, and their true colours.

    Attributes:
        rgb: `(B, 3, H, W)` uint8 R'G'B'; stays on the CPU wherever the luma goes.
    """

    rgb: Tensor = field(default_factory=lambda: torch.empty(0, 3, 0, 0, dtype=torch.uint8))

    def __getitem__(self, part: slice) -> ColourBatch:
        """The frames `part` of the batch."""
        batch = super().__getitem__(part)
        assert isinstance(batch, ColourBatch)
        return replace(batch, rgb=self.rgb[part])


class ColourFilmSource:
    """A colour film's frames, resized and upright, as luma and as R'G'B'.

    Attributes:
        path: the film, or the pattern of a numbered sequence.
        facts: of the film as it lies on the disk.
        height, width: of the frames that are delivered, pixels.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        long_side: int,
        segment: Segment = WHOLE,
        rate: Fraction | None = None,
    ) -> None:
        """Probe a film.

        Args:
            path: a film, or with `rate` a numbered sequence such as `frames/%05d.png`.
            long_side: frames whose long side is longer are shrunk to it (bicubic, antialiased);
                others keep their size. Pixel shape is not looked at.
            segment: the stretch to read.
            rate: frames a second of a numbered sequence.

        Raises:
            InputError: it cannot be opened, no frame of it can be decoded, or it is too narrow
                for its motion to be measured.
        """
        self._film = FilmSource(path, segment=segment, rate=rate)
        self.path, self.facts = self._film.path, self._film.facts
        coded = self.facts.width, self.facts.height
        shrink = min(1.0, long_side / max(coded))
        self._size = round(coded[0] * shrink), round(coded[1] * shrink)
        if min(self._size) < _LEAST_SIDE:
            raise InputError(
                f"{self.path}: its frames are {self._size[0]}x{self._size[1]} pixels when "
                f"measured, but motion needs sides of at least {_LEAST_SIDE}; give a larger --at "
                "or another clip"
            )
        turned = self.facts.rotation % 180 != 0
        self.height, self.width = self._size if turned else self._size[::-1]

    def batches(
        self, batch_size: int, limit: int | None = None
    ) -> Generator[ColourBatch, None, None]:
        """The frames in order, at most `limit` of them.

        `luma` is `(B, 1, H, W)` uint8 in the film's own range, its Y' plane; of an R'G'B' film
        BT.601 luma at full range. What could not be read is told in `damage`, as `FilmSource`
        does.

        Raises:
            InputError: size or pixel format change within the film.
        """
        pending: list[tuple[np.ndarray, int, int]] = []
        damage: list[str] = []
        count = 0
        decoder = _Decoder(self._film, self._film.threads)
        for item in decoder.run() if limit != 0 else ():
            if isinstance(item, str):
                damage.append(item)
                continue
            frame, pts, duration = item
            pending.append((self._planes(frame), pts, duration))
            count += 1
            if len(pending) == batch_size or count == limit:
                yield self._batch(pending, damage, count)
                pending, damage = [], []
            if count == limit:
                return
        if pending or damage:
            yield self._batch(pending, damage, count)

    def _planes(self, frame: av.VideoFrame) -> np.ndarray:
        """Y', Cb, Cr of one frame at the wanted size, upright, `(3, H, W)` uint8."""
        span = ColorRange.JPEG if self.facts.tags.full_range else ColorRange.MPEG
        converted = frame.reformat(
            width=self._size[0],
            height=self._size[1],
            format="yuv444p",
            interpolation="BICUBIC",
            # of R'G'B' the range is full, whatever the tags say
            src_color_range=span if self.facts.has_luma else None,
            dst_color_range=span,
        )
        turns = self.facts.rotation // 90
        return np.rot90(converted.to_ndarray(), -turns, (1, 2))

    def _batch(
        self, pending: list[tuple[np.ndarray, int, int]], damage: list[str], count: int
    ) -> ColourBatch:
        full_range = self.facts.tags.full_range
        codes = torch.empty(len(pending), 3, self.height, self.width, dtype=torch.uint8)
        for into, (planes, _, _) in zip(codes, pending, strict=True):
            into.copy_(torch.from_numpy(np.ascontiguousarray(planes)))
        luma = luma_to_grey(codes[:, :1], 8, full_range)
        chroma = (codes[:, 1:].float() - 128) / (255 if full_range else 224)
        matrix = self.facts.tags.matrix if self.facts.has_luma else "smpte170m"
        rgb = yuv_to_rgb(torch.cat([luma, chroma], dim=1), matrix)
        return ColourBatch(
            luma=codes[:, :1],
            bit_depth=8,
            full_range=full_range,
            pts=tuple(pts for _, pts, _ in pending),
            durations=tuple(duration for _, _, duration in pending),
            first_index=count - len(pending),
            damage=tuple(damage),
            rgb=(rgb.clamp_(0, 1) * 255).round_().to(torch.uint8),
        )
