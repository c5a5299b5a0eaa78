"""What a training is asked for beside its recipe, and whom it tells how it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        epoch: 1-based.
        epochs: at most.
        done, total: pictures of the epoch.
        loss: mean training loss of the epoch so far.
        rate: training pictures a second.
        seconds_left: until the last epoch's end at this rate, without validations.
    """

    epoch: int
    epochs: int
    done: int
    total: int
    loss: float
    rate: float
    seconds_left: float


@dataclass(frozen=True)
class Listener:
    """What a training calls as it goes: progress twice a second, each epoch's measures, and lines
    about what was left out or went wrong."""

    progress: Callable[[Progress], None] = lambda progress: None
    epoch: Callable[[dict[str, float], bool], None] = lambda row, best: None
    notice: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Options:
    """What does not decide the weights.

    Attributes:
        root: where `cifar10` is looked for, and downloaded to.
        validation: pictures to validate on instead of the split's part.
        init: weights to go on from (a file, or a name).
        resume: go on from the checkpoint in the output folder.
        device: `cpu`, `cuda`, `cuda:N` or `mps`.
        workers: processes that cut the crops (`fit = "crop"`).
        save_minutes: time between checkpoints.
        tensorboard: write TensorBoard's event files too.
        command: the command line, for the results.
        cache: folder of decoded pictures, kept for the trainings to come and mapped into memory;
            None decodes them into memory.
    """

    root: Path = Path("data")
    validation: Sequence[Path] = ()
    init: str | None = None
    resume: bool = False
    device: str = "cpu"
    workers: int = 1
    save_minutes: float = 5.0
    tensorboard: bool = False
    command: str = ""
    cache: Path | None = None
