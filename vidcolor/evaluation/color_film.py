"""Read a color film as ground truth: luma, and the R'G'B' that belongs to it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange
from numpy.typing import NDArray
from torch import Tensor

from ..color.codes import dequantize_chroma, luma_to_gray
from ..color.convert import yuv_to_rgb
from ..errors import InputError
from ..frames import WHOLE, LumaBatch, Segment
from ..sources.decoder import Decoder
from ..sources.film import FilmSource

_MIN_SIDE = 16  # pixels; optical flow needs them


@dataclass(frozen=True)
class RgbBatch(LumaBatch):
    """Frames of a color film: 8-bit luma, as a black-and-white film has it, and the true colors.

    Attributes:
        rgb: `(B, 3, H, W)` uint8 R'G'B'; stays on the CPU when the luma is moved.
    """

    rgb: Tensor = field(default_factory=lambda: torch.empty(0, 3, 0, 0, dtype=torch.uint8))

    def __getitem__(self, part: slice) -> RgbBatch:
        """The frames `part` of the batch."""
        batch = super().__getitem__(part)
        assert isinstance(batch, RgbBatch)
        return replace(batch, rgb=self.rgb[part])


class ColorFilmSource:
    """Reads a color film's frames, resized and upright, as luma and as R'G'B'.

    Attributes:
        path: the film, or the pattern of a numbered sequence.
        facts: properties of the film file.
        height, width: size of the delivered frames, pixels.
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
            long_side: frames with a longer side are shrunk to it (bicubic, antialiased); others
                keep their size. The sample aspect ratio is ignored.
            segment: the part to read.
            rate: frames a second of a numbered sequence.

        Raises:
            InputError: the film cannot be opened, no frame can be decoded, or the frames are too
                small for optical flow.
        """
        self._film = FilmSource(path, segment=segment, rate=rate)
        self.path, self.facts = self._film.path, self._film.facts
        coded = self.facts.width, self.facts.height
        shrink = min(1.0, long_side / max(coded))
        self._size = round(coded[0] * shrink), round(coded[1] * shrink)
        if min(self._size) < _MIN_SIDE:
            raise InputError(
                f"{self.path}: its frames are measured at {self._size[0]}x{self._size[1]} pixels, "
                f"but optical flow needs sides of at least {_MIN_SIDE}; give a larger --at or "
                "another clip"
            )
        turned = self.facts.rotation % 180 != 0
        self.height, self.width = self._size if turned else self._size[::-1]

    def batches(self, batch_size: int, limit: int | None = None) -> Generator[RgbBatch, None, None]:
        """Yield the frames in order, at most `limit` of them.

        `luma` is `(B, 1, H, W)` uint8: the film's Y' plane in its own range, or BT.601 luma at full
        range for an R'G'B' film. `damage` names the parts that could not be read, as in
        `FilmSource`.
        """
        pending: list[tuple[NDArray[np.uint8], int, int]] = []
        damage: list[str] = []
        count = 0
        film = self._film
        decoder = Decoder(film.facts, film.segment, film.rate, threads=film.threads)
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

    def _planes(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """Y', Cb, Cr of one frame, resized and upright, `(3, H, W)` uint8."""
        color_range = ColorRange.JPEG if self.facts.tags.full_range else ColorRange.MPEG
        converted = frame.reformat(
            width=self._size[0],
            height=self._size[1],
            format="yuv444p",
            interpolation="BICUBIC",
            # R'G'B' has full range, whatever its tags are
            src_color_range=color_range if self.facts.has_luma else None,
            dst_color_range=color_range,
        )
        return np.rot90(converted.to_ndarray(), -self.facts.rotation // 90, (1, 2))

    def _batch(
        self, pending: list[tuple[NDArray[np.uint8], int, int]], damage: list[str], count: int
    ) -> RgbBatch:
        full_range = self.facts.tags.full_range
        codes = torch.empty(len(pending), 3, self.height, self.width, dtype=torch.uint8)
        for target, (planes, _, _) in zip(codes, pending, strict=True):
            target.copy_(torch.from_numpy(np.ascontiguousarray(planes)))
        luma = luma_to_gray(codes[:, :1], 8, full_range)
        chroma = dequantize_chroma(codes[:, 1:], 8, full_range)
        matrix = self.facts.tags.matrix if self.facts.has_luma else "smpte170m"
        rgb = yuv_to_rgb(torch.cat([luma, chroma], dim=1), matrix)
        return RgbBatch(
            luma=codes[:, :1],
            bit_depth=8,
            full_range=full_range,
            pts=tuple(pts for _, pts, _ in pending),
            durations=tuple(duration for _, _, duration in pending),
            first_index=count - len(pending),
            damage=tuple(damage),
            rgb=(rgb.clamp_(0, 1) * 255).round_().to(torch.uint8),
        )
