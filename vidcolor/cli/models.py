"""`vidcolor models`: list the models; describe an architecture.

The list has size, terms and measured quality. `describe` shows an architecture's layers,
parameters, connections, multiply-adds and memory.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..run.settings import ColorizerOptions
from .log import verbosity
from .options import FilePath, make_colorizer, parse_assignment, parsed, takes
from .text import json_text, printable, say

if TYPE_CHECKING:
    from ..models.describe import Description
    from ..models.entry import Entry


# what `describe` compares with the same at twice the input's sides
_COMPARED = {
    "parameters": "parameters",
    "outputs": "outputs",
    "connections": "connections",
    "inference_bytes": "memory in inference",
    "kept_bytes": "memory of a picture in training",
    "training_bytes": "memory in training with Adam",
}


@click.group("models", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbosity
@click.pass_context
def models_command(context: click.Context, as_json: bool) -> None:
    """List the models: size, input, license and measured quality.

    \b
    vidcolor models
    vidcolor models describe pool_cnn --input 32
    """
    if context.invoked_subcommand is None:
        _list(as_json)
    elif as_json:
        raise click.UsageError(f"--json belongs after '{context.invoked_subcommand}'")


@models_command.command("describe")
@click.argument("name")
@click.option(
    "--option",
    "options",
    type=parsed(parse_assignment),
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the architecture, such as filters=16; repeatable.",
)
@click.option(
    "--input",
    "size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Side of the square input, in pixels.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbosity
def describe_command(
    name: str, options: tuple[tuple[str, Any], ...], size: int, as_json: bool
) -> None:
    """Show an architecture's layers, parameters, connections, multiply-adds and memory.

    \b
    vidcolor models describe skip_cnn
    vidcolor models describe pool_cnn --option filters=16 --option colors=24 --input 32

    No weights are needed. Numbers are of one picture; memory is that of the tensors in float32,
    without the library's own.
    """
    from ..models import create_model
    from ..models.describe import describe

    model = create_model(name, **dict(options))
    try:
        description = describe(model, size)
    except ValueError as error:
        raise click.BadParameter(f"{name}: {error}", param_hint="--input") from error
    doubled = describe(model, 2 * size)
    if as_json:
        report = {"architecture": name, "options": dict(options), **description.to_dict()}
        report["doubled"] = {key: getattr(doubled, key) for key in ("input", *_COMPARED)}
        click.echo(json_text(report, indent=1))
    else:
        _show(name, description)
        _show_doubled(description, doubled)


@models_command.command("mean-color")
@click.argument("paths", nargs=-1, required=True, type=FilePath())
@takes(options=ColorizerOptions)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a picture.")
@verbosity
def mean_color_command(paths: tuple[Path, ...], options: ColorizerOptions, as_json: bool) -> None:
    """Print the mean a* and b* that a model predicts of pictures, beside their own.

    \b
    vidcolor models mean-color photos/ --weights runs/S4a/weights.safetensors

    PATHS are folders and zips. The networks of S4a predict nothing else. A gray picture's own mean
    is 0.
    """
    from ..color.convert import rgb_to_lab
    from ..evaluation.picture_sets import stream_pictures

    colorizer, unreadable = make_colorizer(options), list[str]()
    for name, picture in stream_pictures(list(paths), unreadable):
        lab = rgb_to_lab(picture[None].float() / 255)
        predicted = colorizer.predict_full_size(lab[:, :1]).float().mean(dim=(0, 2, 3)).tolist()
        own = lab[:, 1:].mean(dim=(0, 2, 3)).tolist()
        if as_json:
            click.echo(json_text({"picture": name, "predicted": predicted, "own": own}))
        else:
            (a, b), (own_a, own_b) = predicted, own
            say(f"a* {a:+.2f}, b* {b:+.2f} (its own {own_a:+.2f}, {own_b:+.2f})  {name}")
    for name in unreadable:
        say(f"unreadable: {name}", err=True)


def _show(name: str, description: Description) -> None:
    """Print the layers as a table, and the totals."""
    from rich.console import Console
    from rich.table import Table

    def sides(shape: tuple[int, ...]) -> str:
        return "x".join(map(str, shape[1:]))

    table = Table("layer", "kind", "output", title=f"{name}, input {sides(description.input)}")
    for column in ("parameters", "connections = MACs", "output, KiB"):
        table.add_column(column, justify="right")
    for layer in description.layers:
        table.add_row(
            layer.name,
            layer.kind,
            sides(layer.output),
            f"{layer.parameters:,}" if layer.parameters else "-",
            f"{layer.connections:,}" if layer.connections else "-",
            f"{layer.activation_bytes / 1024:,.1f}",
        )
    mib = 2**20
    totals = {
        "parameters": f"{description.parameters:,} (and {description.buffers:,} in buffers)",
        "outputs": f"{description.outputs:,} ({description.native}, {sides(description.output)})",
        "connections": f"{description.connections:,}",
        "multiply-adds": f"{description.macs / 1e9:,.4f} G (FLOPs: twice that)",
        "memory of the model": f"{description.model_bytes / mib:,.2f} MiB",
        "memory in inference, at most": f"{description.inference_bytes / mib:,.2f} MiB",
        "memory in training with Adam": f"{description.training_bytes / mib:,.2f} MiB, of which"
        f" {description.kept_bytes / mib:,.2f} MiB for each picture of a batch",
    }
    console = Console(highlight=False)
    console.print(table)
    for label, text in totals.items():
        console.print(f"{label}: {text}")


def _show_doubled(description: Description, doubled: Description) -> None:
    """Print what grows, and how, where the input's sides are doubled."""
    grown = [
        f"{label} x{getattr(doubled, key) / getattr(description, key):.2f}"
        for key, label in _COMPARED.items()
        if getattr(description, key)
    ]
    click.echo(f"with input {doubled.input[-2]}x{doubled.input[-1]}: {', '.join(grown)}")


def _list(as_json: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from ..models.weights import manifest, shipped_folder, stored_weights, user_folder

    shipped = manifest()
    stored = {name: entry for name, entry in stored_weights().items() if name not in shipped}
    entries = {**shipped, **stored}
    if as_json:
        values = {name: dataclasses.asdict(entry) for name, entry in entries.items()}
        click.echo(json_text(values, indent=1))
        return
    table = Table("model", *(escape(printable(name)) for name in entries))
    columns = [
        _facts(entry, user_folder() if name in stored else shipped_folder())
        for name, entry in entries.items()
    ]
    for label in columns[0]:
        table.add_row(label, *(Text(printable(column[label])) for column in columns))
    console = Console()
    console.print(table)
    console.print("Your own weights: vidcolor run --weights FILE.safetensors")


def _facts(entry: Entry, folder: Path) -> dict[str, str]:
    """What the table says of a model, by row."""

    def measured(key: str, form: str) -> str:
        value = entry.metrics.get(key)
        return "-" if value is None else format(value, form)

    files = [folder / file for file in (entry.file, *entry.shards)]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return {
        "parameters": f"{entry.parameters / 1e6:.2f} M",
        "multiply-adds": f"{entry.gmacs:.2f} G" if entry.gmacs else "-",
        "file": f"{size / 2**20:.1f} MiB",
        "input": f"about {entry.input_size}x{entry.input_size} pixels",
        "PSNR, dB": measured("psnr", ".2f"),
        "over gray, dB": measured("psnr_over_gray", "+.2f"),
        "colorfulness, of the truth's": measured("colorfulness", ".2f"),
        "LPIPS": measured("lpips", ".3f"),
        "12-margin error": measured("margin_error", ".3f"),
        "measured on": str(entry.metrics.get("evaluated_on", "-")),
        "trained on": entry.data or "-",
        "terms": entry.license or "-",
    }
