"""What a review of a result finds: `Finding`, `Review`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..system.text import counted

KINDS = {
    "missing": "no result",
    "unreadable": "cannot be read",
    "size": "size",
    "frames": "frames",
    "times": "times",
    "streams": "other streams",
    "luma": "lightness",
    "flicker": "flicker",
    "jump": "color jump",
    "gray": "nearly gray",
    "cast": "color cast",
    "blob": "color blob",
}


def timecode(seconds: float) -> str:
    """`HH:MM:SS.fff`, as `--start` takes it."""
    whole = round(seconds * 1000)
    minutes, rest = divmod(whole, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


@dataclass(frozen=True)
class Finding:
    """One thing that needs a look.

    Attributes:
        kind: a key of `KINDS`.
        text: what it is, and what helps.
        start, end: seconds of the original from its first frame; None for the whole file.
        frame: number of the frame in the result, None for the whole file.
        shot: number of the shot from 0, None for the whole file.
    """

    kind: str
    text: str
    start: float | None = None
    end: float | None = None
    frame: int | None = None
    shot: int | None = None

    @property
    def when(self) -> str:
        """Timecode of its start, empty for the whole file."""
        return "" if self.start is None else timecode(self.start)

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{self.when + ' ' if self.when else ''}{KINDS[self.kind]}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**vars(self), "timecode": self.when or None}


@dataclass
class Luma:
    """How far a result's lightness is from the original's, over all pixels compared.

    Attributes:
        unit: `L*`, 0 to 100, or `Y'` in codes of 8 bits where the run kept that.
        largest: difference of a pixel.
        mean: of all differences.
        exact: the share of the pixels without any difference in the codes of Y'; None where they
            are of another kind.
    """

    unit: str
    largest: float
    mean: float
    exact: float | None = None


@dataclass
class Review:
    """A result beside its original.

    Attributes:
        source, output: their files.
        is_film: a film; otherwise a picture.
        frames: number of frames compared.
        luma: None where nothing could be compared.
        findings: in the order of time, those of the whole file first.
        notes: what was not compared, and why.
    """

    source: Path
    output: Path
    is_film: bool
    frames: int = 0
    luma: Luma | None = None
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "input": str(self.source),
            "output": str(self.output),
            "frames": self.frames,
            "luma": self.luma and vars(self.luma),
            "findings": [each.to_dict() for each in self.findings],
            "notes": self.notes,
        }

    @property
    def summary(self) -> str:
        """One line: what was compared."""
        what = counted(self.frames, "frame") if self.is_film else "picture"
        if self.luma is not None:
            unit, most, mean = self.luma.unit, self.luma.largest, self.luma.mean
            what += f", {unit} differs by {mean:.2f} in the mean, {most:.1f} at most"
            if self.luma.exact == 1:
                what += ", Y' is equal bit for bit"
        found = counted(len(self.findings), "finding") if self.findings else "nothing found"
        return f"{self.output}: {what}; {found}"
