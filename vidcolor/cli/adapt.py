"""`vidcolor adapt`: weights for one film, from its colored stills."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from ..errors import InputError, OutputError
from ..run.settings import ColorizerOptions, Settings
from ..training.options import AdaptOptions
from .log import verbosity
from .options import FilePath, make_colorizer, takes
from .text import json_text, say


@click.command("adapt")
@click.argument("film", type=FilePath())
@click.option("-o", "--output", type=FilePath(), required=True, help="Write these weights.")
@takes(
    options=ColorizerOptions,
    settings=Settings,
    adapting=AdaptOptions,
    only={"model", "weights", "device", "size", "shots", "reference_gray", "deinterlace",
          "overwrite", "steps", "rate", "weight_penalty"},
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbosity
def adapt_command(
    film: Path,
    output: Path,
    options: ColorizerOptions,
    settings: Settings,
    adapting: AdaptOptions,
    as_json: bool,
) -> None:
    """Fit a model to FILM by the stills that you have colored, 4 to 64 of them.

    \b
    vidcolor adapt old_film.mp4 --shots shots/ -o film.safetensors
    vidcolor run old_film.mp4 --shots shots/ --weights film.safetensors -o color.mp4

    This takes minutes. The new weights are for this film only. They give parts that no still shows
    colors closer to those of the stills.
    """
    from ..run.references.shot_list import LIST
    from ..sources import FilmSource
    from ..training.adapt import adapt

    if options.shots is None:
        raise click.UsageError("--shots FOLDER is missing")
    if output.suffix.lower() != ".safetensors":
        better = output.with_suffix(".safetensors")
        raise click.UsageError(f"weights are .safetensors; use -o {better}")
    if output.exists() and not settings.overwrite:
        raise OutputError(f"{output}: already exists; give --overwrite to replace it")
    if not film.is_file():
        raise InputError(f"{film}: no such file; check the name")
    colorizer = make_colorizer(replace(options, precision="fp32"))
    colorizer = colorizer.with_film(FilmSource(film, deinterlace=settings.deinterlace))
    made = adapt(colorizer, output, adapting)
    if as_json:
        click.echo(json_text({**asdict(made), "output": str(made.output)}))
    else:
        say(
            f"{made.output}: trained on {made.stills} stills; mean a*b* error {made.before:.1f} "
            f"before, {made.after:.1f} after"
        )
        if not made.changed:
            say(
                "The new weights color the parts of the stills that were left out worse in every "
                f"shot. {made.output} has the starting weights. Color more stills."
            )
        elif made.harmed and options.weights is None:
            say(
                "Probably better with the starting weights: shot "
                f"{', '.join(map(str, made.harmed))}. To keep them there, write model = "
                f'"{colorizer.name}" under these shots in {Path(options.shots) / LIST}.'
            )
