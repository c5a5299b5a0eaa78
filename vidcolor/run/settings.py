"""NEW."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..frames import WHOLE, Segment
from ..sinks import COPY_ALL, EncoderSettings


@dataclass(frozen=True)
class Settings:
    """Everything `run` can be told, but for its inputs and output.

    Attributes:
        encoder: codec, quality and pixel format of films.
        copy: kinds of streams copied into films, among `sinks.COPY_KINDS`.
        segment: the stretch of each film to colorize.
        fps: frame rate of numbered sequences.
        exact_luma: keep the Y' plane bit for bit instead of L*.
        batch_size: frames a batch; None for a size that suits the device.
        workers: decoding processes of a film; 0 decodes in a thread, None chooses by the input. A
            script that asks for processes needs `if __name__ == "__main__":`. Pictures are worked
            on in so many threads instead; 0 and None take as many as there are processors.
        overwrite: replace existing outputs.
        skip_existing: pass over inputs whose output exists.
        quality: of JPEG and WebP pictures, 1 to 100.
        stabilize: keep the colours of a film or numbered sequence in place from frame to frame;
            still pictures are always coloured one by one.
    """

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    copy: frozenset[str] = COPY_ALL
    segment: Segment = WHOLE
    fps: Fraction | None = None
    exact_luma: bool = False
    batch_size: int | None = None
    workers: int | None = 0
    overwrite: bool = False
    skip_existing: bool = False
    quality: int = 95
    stabilize: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.encoder, EncoderSettings):
            raise TypeError(f"encoder must be an EncoderSettings, not {self.encoder!r}")
        if unknown := set(self.copy) - COPY_ALL:
            raise ValueError(f"copy takes {', '.join(sorted(COPY_ALL))}, not {unknown.pop()}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers must not be negative, not {self.workers}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must lie between 1 and 100, not {self.quality}")


@dataclass
class Report:
    """What became of one input.

    Attributes:
        status: `done`, `skipped`, `failed`, `incomplete` (a part could not be read; `output` then
            names the file that holds the rest) or `planned`.
        frames: frames written.
        seconds: wall time.
        error: one line, for `failed` and `incomplete`.
        warnings: one line each.
    """

    input: Path
    output: Path
    status: str
    frames: int = 0
    seconds: float = 0.0
    error: str = ""
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "input": str(self.input),
            "output": str(self.output),
            "status": self.status,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "fps": round(self.frames / self.seconds, 2) if self.seconds > 0 else None,
            "error": self.error,
            "warnings": self.warnings,
        }


@dataclass(frozen=True)
class Progress:
    """So many frames of an input are done; `total` is None where no header says."""

    input: Path
    done: int
    total: int | None


Watch = Callable[[Progress], None]
