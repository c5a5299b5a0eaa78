"""`vidcolor train`: train a recipe on folders and zips of colour pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class Assignment(click.ParamType):
    """`key=value`, the value read as TOML, or as text where it is not TOML."""

    name = "key=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Any]:
        """The pair; a usage error without an equals sign."""
        from ..training.recipe import parse_value

        key, equals, text = str(value).partition("=")
        if not equals:
            self.fail(f"'{value}' is not of the form key=value", param, ctx)
        return key.strip(), parse_value(text.strip())


@click.command("train")
@click.option(
    "--recipe",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Recipe file (TOML), such as train/fast/recipe.toml.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Folder or zip of colour pictures; may be given several times.",
)
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Pictures to validate on [one in 64 of the data].",
)
@click.option(
    "--encoder",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="ImageNet weights to start the encoder from (.safetensors).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the checkpoint and the weights.",
)
@click.option(
    "--set",
    "overrides",
    type=Assignment(),
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the recipe; may be given several times.",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in the output folder.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Processes that cut the crops.",
)
def train_command(
    recipe: Path,
    data: tuple[Path, ...],
    validation: tuple[Path, ...],
    encoder: Path | None,
    output: Path,
    overrides: tuple[tuple[str, Any], ...],
    resume: bool,
    device: str,
    workers: int,
) -> None:
    """Train weights by a recipe.

    \b
    vidcolor train --recipe train/fast/recipe.toml --data photos.zip -o runs/fast
    vidcolor run old_film.mp4 --weights runs/fast/weights.safetensors -o color.mp4

    Checkpoints are written every five minutes and on Ctrl-C; --resume goes on from them.
    """
    from rich.console import Console

    from ..colorizer import choose_device
    from ..training.loop import train
    from ..training.recipe import load_recipe

    console = Console(highlight=False)
    chosen = load_recipe(recipe, dict(overrides))

    def report(progress: Any) -> None:
        gain = "" if progress.gain is None else f"  {progress.gain:+.3f} dB over grey"
        left = (chosen.steps - progress.step) * chosen.batch_size / max(progress.rate, 1e-9)
        console.print(
            f"step {progress.step}/{chosen.steps}  loss {progress.loss:.4f}  "
            f"{progress.rate:.1f} pictures/s  {left / 60:.0f} min left{gain}"
        )

    weights = train(
        chosen,
        list(data),
        output,
        validation=list(validation) or None,
        encoder=encoder,
        resume=resume,
        device=str(choose_device(device)),
        workers=workers,
        report=report,
        notice=lambda line: console.print(f"note: {line}"),
    )
    console.print(f"{weights}: use it with 'vidcolor run --weights {weights}'")
