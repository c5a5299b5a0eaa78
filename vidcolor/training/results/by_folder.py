"""Measures of a validation by folder, written after each epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...evaluation.metrics import colorfulness
from ...system.files import parse_json
from ..data.batch import Batch
from ..distributed import Distributed
from .report import write_file

FILE = "validation.jsonl"


def group_of(name: str) -> str:
    """The group of a validation picture: its pack and folder.

    >>> group_of("photos.zip:people/012.webp"), group_of("sea/1.png"), group_of("1.png")
    ('photos.zip:people', 'sea', '')
    """
    return name.rpartition("/")[0] or name.rpartition(":")[0]


class FolderFigures:
    """Sums up a validation's measures by group.

    Args:
        names: of the validation's pictures, in the order of the measurement.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.groups = [group_of(name) for name in names]
        # count, sums of PSNR over gray, of the colorfulness, and of the truth's colorfulness
        self.sums = {group: [0.0, 0.0, 0.0, 0.0] for group in sorted(set(self.groups))}

    def add(self, first: int, made: Tensor, batch: Batch, measures: Mapping[str, Tensor]) -> None:
        """Add a batch.

        Args:
            first: index of its first picture.
            made: the predictions, R'G'B' `(B, 3, H, W)` in [0, 1].
            batch: the truth.
            measures: of each picture, `psnr_over_gray` among them.
        """
        color, truth = (colorfulness((rgb * 255).round()).tolist() for rgb in (made, batch.rgb))
        scores = measures["psnr_over_gray"].tolist()
        for row, values in enumerate(zip(scores, color, truth, strict=True), start=first):
            group = self.groups[row]
            new = (1.0, *values)
            self.sums[group] = [a + b for a, b in zip(self.sums[group], new, strict=True)]

    def figures(self, distributed: Distributed) -> dict[str, dict[str, float]]:
        """By group: `pictures`, mean `psnr_over_gray` in dB, `color` as a share of the truth's.

        Sums over all processes, each of which must call this.
        """
        flat = iter(distributed.all_sum([v for sums in self.sums.values() for v in sums]))
        return {
            group: {
                "pictures": int(count),
                "psnr_over_gray": round(score / max(count, 1.0), 4),
                "color": round(color / truth, 4) if truth else 0.0,
            }
            for group, count, score, color, truth in zip(
                self.sums, flat, flat, flat, flat, strict=True
            )
        }


def _epoch(line: bytes) -> float:
    """The epoch of a line of figures; infinity for a damaged one."""
    try:
        return float(parse_json(line)["epoch"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return math.inf


def write_figures(path: Path, row: dict[str, Any]) -> None:
    """Append a line of JSON to `path`; lines of `row["epoch"]` and later are removed first, and
    damaged ones.

    A training that resumes from an older checkpoint writes the same epoch again.

    Raises:
        OutputError: the file cannot be written.
    """
    lines = path.read_bytes().splitlines() if path.is_file() else []
    kept = [line.decode() for line in lines if _epoch(line) < row["epoch"]]
    write_file(path, "\n".join([*kept, json.dumps(row)]) + "\n")
