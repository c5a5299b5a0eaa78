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
class AdaptOptions:
    """How `adapt` fits weights to a film.

    Raises:
        OptionError: a value is out of range; it is a ValueError.
    """

    steps: int = option(
        40, low=1, high=100_000, help="Take this many steps in each of the four trainings."
    )
    rate: float = option(4e-4, low=1e-7, high=0.1, help="Set the learning rate.")
    weight_penalty: float = option(
        1.0,
        low=0,
        high=1e6,
        help="Weight the L2 penalty on the distance from the starting weights; 0 turns it off.",
    )

    def __post_init__(self) -> None:
        check_options(self)


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
    data_root: str | None = option(
        None,
        metavar="FOLDER",
        help="Folder where cifar10 is looked for, and downloaded to [data].",
    )
    validation: tuple[str, ...] = option(
        (),
        repeatable=True,
        metavar="PATH",
        help="Pictures to validate on, instead of a part of the data.",
    )
    init: str | None = option(
        None, help="Trained weights of the same architecture to start from: a file or a name."
    )
    epochs: int | None = option(None, low=1, help="Most epochs.")
    batch_size: int | None = option(None, low=1, help="Pictures in a step.")
    lr: float | None = option(None, low=0, help="Learning rate.")
    patience: int | None = option(
        None, low=0, help="Stop after so many epochs without a better value; 0: never."
    )
    limit: int | None = option(None, low=0, help="Most pictures of each part; 0: all.")
    seed: int | None = option(None, low=0, help="Of all random numbers.")
    precision: str | None = option(None, metavar="fp32|bf16|fp16|auto", help="Arithmetic.")
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
class TrainHeader:
    """What is trained on what, known before the first step.

    Attributes:
        recipe, title: its name and what it trains.
        model: the architecture, and its number of parameters.
        start: the first weights, in words.
        sources: names of the data.
        parts: pictures of each part by its name.
        device: where, its name.
        threads: of the arithmetic on a CPU, 0 on others.
        processes: under torchrun, else 1.
        epochs, steps, batch_size, size: most epochs and steps, the pictures of a step, their side.
        objective, precision: the loss and the arithmetic.
        note: what the measures during the training are of, if not of the model's a*b* under the
            true L*.
    """

    recipe: str
    title: str
    model: str
    parameters: int
    start: str
    sources: tuple[str, ...]
    parts: dict[str, int]
    device: str
    threads: int
    processes: int
    epochs: int
    steps: int
    batch_size: int
    size: int
    objective: str
    precision: str
    note: str = ""


@dataclass(frozen=True)
class TrainForecast:
    """What the rest of a training takes, measured over its first steps.

    Attributes:
        seconds: to the end of the last epoch, validations included.
        rate: training pictures a second.
        steps: that were measured.
        memory: peak so far, bytes; of the GPU if the training runs on one, else of this process
            and those that cut its crops.
    """

    seconds: float
    rate: float
    steps: int
    memory: int


@dataclass(frozen=True)
class TrainProgress:
    """The state of a running epoch.

    Attributes:
        epoch: 1-based.
        epochs: most epochs.
        done, total: pictures of the epoch.
        loss: mean training loss of the epoch so far.
        rate: training pictures a second.
        seconds_left: until the end of the last epoch at this rate, validations included.
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
        on_start: called once, before the first step.
        on_forecast: called once, some steps later.
        on_validation: called with the number of the epoch before each validation, 0 before the
            first step.
        on_progress: called twice a second.
        on_epoch: called after each epoch with its row of measures, and whether it is the best;
            for epoch 0, the starting weights, before the first step.
        on_notice: called with a line about pictures left out, or a file that cannot be written.
    """

    on_start: Callable[[TrainHeader], None] = lambda header: None
    on_forecast: Callable[[TrainForecast], None] = lambda forecast: None
    on_validation: Callable[[int], None] = lambda epoch: None
    on_progress: Callable[[TrainProgress], None] = lambda progress: None
    on_epoch: Callable[[dict[str, float], bool], None] = lambda row, best: None
    on_notice: Callable[[str], None] = lambda line: None
