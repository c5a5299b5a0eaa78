"""`vidcolor weights`: check weights from elsewhere and keep them under a name."""

from __future__ import annotations

from pathlib import Path

import click

from .log import verbosity
from .text import say


@click.group("weights")
def weights_command() -> None:
    """Import weights, such as public checkpoints.

    \b
    vidcolor weights import colorization_release_v2-9b330a0b.pth --model eccv16
    vidcolor run film.mp4 --model eccv16
    """


@weights_command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "architecture",
    metavar="NAME",
    help="The architecture. Not needed for a file of 'vidcolor train', which names it.",
)
@click.option("--name", help="Name to load the weights by.  [default: the architecture's]")
@click.option("--overwrite", is_flag=True, help="Replace weights stored under that name.")
@verbosity
def import_command(file: Path, architecture: str | None, name: str | None, overwrite: bool) -> None:
    """Check FILE (.pth, .pt or .safetensors) and store it as safetensors.

    Every tensor must be there, of the right shape and finite, and no other. A .pth file is read
    without running any code in it. The weights go to the user's data folder, or to the folder
    that the environment variable VIDCOLOR_WEIGHTS names. 'vidcolor models' lists them.
    """
    from ..models.weights import import_weights, load_model

    stored = import_weights(file, name, architecture, overwrite=overwrite)
    model, entry = load_model(stored.stem)  # what was written is what is loaded from now on
    say(
        f"{file}: {entry.architecture}, {len(model.state_dict())} tensors, "
        f"{entry.parameters:,} parameters: names and shapes match, all values are finite"
    )
    say(f"stored as {stored}")
    say(f"use it with: vidcolor run FILM --model {stored.stem}")
