"""What a training is given beside its recipe: options and callbacks.

Importing this module must not import torch: the command line's help is made from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..options import check_options, option


@dataclass(frozen=True)
class RecipeChanges:
    """Keys of the recipe that have options of their own; None keeps the recipe's value."""

    data: tuple[str, ...] = option(
        (),
        repeatable=True,
        metavar="PATH",
        help="cifar10, a folder, or a zip of color pictures; may be given several times "
        "[the recipe's own].",
    )
    epochs: int | None = option(None, low=1, help="Most epochs.")
    batch_size: int | None = option(None, low=1, help="Pictures in a step.")
    lr: float | None = option(None, low=0, help="Learning rate.")
    patience: int | None = option(
        None, low=0, help="Stop after so many epochs without a better value; 0: never."
    )
    limit: int | None = option(None, low=0, help="Most pictures of each part; 0: all.")
    seed: int | None = option(None, low=0, help="Of all random numbers.")
    precision: str | None = option(None, metavar="fp32|bf16|fp16", help="Arithmetic.")
    encoder: str | None = option(
        None, help="Pretrained encoder to start from: a file, or 'torchvision' to download it."
    )
    freeze: str | None = option(None, metavar="backbone", help="Train the model's head alone.")

    def __post_init__(self) -> None:
        check_options(self)

    def to_dict(self) -> dict[str, Any]:
        """The keys that were given, and their values."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return {k: v for k, v in given.items() if v is not None and v != ()}


@dataclass(frozen=True)
class TrainOptions:
    """What does not decide the weights.

    Attributes:
        command: the command line, for the results.

    Raises:
        OptionError: a value is out of range; it is a ValueError.
    """

    data_root: Path = option(
        Path("data"), help="Folder where cifar10 is looked for, and downloaded to."
    )
    validation: tuple[Path, ...] = option(
        (),
        repeatable=True,
        metavar="PATH",
        help="Pictures to validate on, instead of a part of the data.",
    )
    init: str | None = option(
        None, help="Trained weights of the same architecture to start from: a file or a name."
    )
    resume: bool = option(
        False,
        help="Continue from the checkpoint in the output folder, with the settings of its start.",
    )
    resume_or_begin: bool = option(
        False, help="Resume if there is a checkpoint, else begin: one command for both."
    )
    device: str = option("auto", help="auto, cpu, cuda, cuda:N or mps.")
    threads: int | None = option(
        None, low=1, help="Threads of the arithmetic on a CPU [one for each core]."
    )
    workers: int = option(
        1, low=0, help="Processes that cut random crops of pictures of mixed sizes."
    )
    save_minutes: float = option(5.0, low=0, help="Minutes between checkpoints.")
    cache: Path | None = option(
        None,
        help="Keep decoded pictures in this folder and map them into memory: the next training of "
        "the same pictures starts at once, and several share them [decode into memory].",
    )
    tensorboard: bool = option(False, help="Write TensorBoard event files too.")
    command: str = ""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class TrainProgress:
    """The state of a running epoch.

    Attributes:
        epoch: 1-based.
        epochs: most epochs.
        done, total: pictures of the epoch.
        loss: mean training loss of the epoch so far.
        rate: training pictures a second.
        seconds_left: until the end of the last epoch at this rate, without validations.
    """

    epoch: int
    epochs: int
    done: int
    total: int
    loss: float
    rate: float
    seconds_left: float


@dataclass(frozen=True)
class TrainCallbacks:
    """Functions that a training calls.

    Attributes:
        on_progress: called twice a second.
        on_epoch: called after each epoch with its row of measures, and whether it is the best.
        on_notice: called with a line about pictures left out, or a file that cannot be written.
    """

    on_progress: Callable[[TrainProgress], None] = lambda progress: None
    on_epoch: Callable[[dict[str, float], bool], None] = lambda row, best: None
    on_notice: Callable[[str], None] = lambda line: None
