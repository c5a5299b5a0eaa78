"""Read the Cb, Cr of a film: `ChromaSource`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..frames import WHOLE, PixelFormat
from .decoder import Decoder
from .film_info import probe


class ChromaSource:
    """Reads the Cb, Cr planes of a film, frame by frame.

    Args:
        path: the film.

    Attributes:
        facts: see `VideoInfo`.
        format: of its planes.

    Raises:
        InputError: it cannot be opened, or no frame of it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.facts = path, probe(path, None, False)
        facts = self.facts
        self.format = PixelFormat(
            facts.pix_fmt, facts.bit_depth, facts.subsampling, False, facts.tags
        )

    def frames(self) -> Iterator[tuple[Tensor, Tensor, Fraction]]:
        """Cb and Cr `(h, w)` int32 of each frame, and its time: seconds from the first frame.

        Raises:
            InputError: a part cannot be read.
        """
        first: int | None = None
        for item in Decoder(self.facts, WHOLE, None, threads=0).run():
            if isinstance(item, str):
                raise InputError(f"{item}; make the file again, its colors are not all there")
            frame, pts, _ = item
            first = pts if first is None else first
            planes = []
            for plane in list(frame.planes)[1:3]:
                dtype = "u1" if self.format.bit_depth == 8 else "<u2"
                rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
                planes.append(torch.from_numpy(rows[:, : plane.width].astype(np.int32)))
            yield planes[0], planes[1], (pts - first) * self.facts.time_base
