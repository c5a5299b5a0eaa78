"""A validation's figures by the folder that its pictures lie in, written after each epoch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...evaluation.metrics import colourfulness
from ...system.files import replacing
from ..data.batch import Batch
from ..distributed import Team

FILE = "validation.jsonl"


def group_of(name: str) -> str:
    """Which group a picture of a validation part counts in: its pack and folder.

    >>> group_of("photos.zip:people/012.webp"), group_of("sea/1.png"), group_of("1.png")
    ('photos.zip:people', 'sea', '')
    """
    return name.rpartition("/")[0] or name.rpartition(":")[0]


class FolderFigures:
    """Gathers a validation's measures, group by group.

    Args:
        names: of the validation's pictures, in the order in which they are measured.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.groups = [group_of(name) for name in names]
        # pictures, the sums of their gains, of their colourfulness and of the truth's
        self.sums = {group: [0.0, 0.0, 0.0, 0.0] for group in sorted(set(self.groups))}

    def add(self, first: int, made: Tensor, batch: Batch, measures: dict[str, Tensor]) -> None:
        """Count a batch whose first picture has the number `first`.

        Args:
            first: its place among the names.
            made: the predictions, R'G'B' `(B, 3, H, W)` in [0, 1].
            batch: the truth.
            measures: of each picture; `gain` counts, 0 where an objective has none.
        """
        colour, truth = (colourfulness((rgb * 255).round()).tolist() for rgb in (made, batch.rgb))
        gains = measures["gain"].tolist() if "gain" in measures else [0.0] * len(batch)
        for row, values in enumerate(zip(gains, colour, truth, strict=True)):
            sums = self.sums[self.groups[first + row]]
            for place, value in enumerate((1.0, *values)):
                sums[place] += value

    def figures(self, team: Team) -> dict[str, dict[str, float]]:
        """By group: `pictures`, mean `gain` over grey in dB, `colour` as a share of the truth's.

        The sums are those of all processes of `team`, each of which must ask.
        """
        flat = team.sums([value for sums in self.sums.values() for value in sums])
        found = {}
        for place, group in enumerate(self.sums):
            count, gain, colour, truth = flat[4 * place : 4 * place + 4]
            found[group] = {
                "pictures": int(count),
                "gain": round(gain / max(count, 1.0), 4),
                "colour": round(colour / truth, 4) if truth else 0.0,
            }
        return found


def write_figures(path: Path, row: dict[str, Any]) -> None:
    """Append a line of JSON to `path`, in place of what is there of `row["epoch"]` and later.

    A training that went on from an older checkpoint comes by the same epoch again.

    Raises:
        OutputError: it cannot be written.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    kept = [line for line in lines if json.loads(line)["epoch"] < row["epoch"]]
    with replacing(path) as temporary:
        temporary.write_text("\n".join([*kept, json.dumps(row)]) + "\n", encoding="utf-8")
