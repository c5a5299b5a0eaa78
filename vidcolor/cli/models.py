"""`vidcolor models`: the shipped models with their size, terms and measured quality."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..weights import Entry


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def models_command(as_json: bool) -> None:
    """List the models: size, input, licence and measured quality."""
    from rich.console import Console
    from rich.table import Table

    from ..weights import manifest, shipped_folder

    entries = manifest()
    if as_json:
        click.echo(json.dumps({n: dataclasses.asdict(e) for n, e in entries.items()}, indent=1))
        return
    table = Table("model", *entries)
    columns = [_facts(entry, shipped_folder()) for entry in entries.values()]
    for label in columns[0]:
        table.add_row(label, *(column[label] for column in columns))
    console = Console()
    console.print(table)
    console.print("Your own weights: vidcolor run --weights FILE.safetensors")


def _facts(entry: Entry, folder: Path) -> dict[str, str]:
    """What the table says of a model, by row."""

    def measured(key: str, form: str) -> str:
        value = entry.metrics.get(key)
        return "-" if value is None else format(value, form)

    return {
        "parameters": f"{entry.parameters / 1e6:.2f} M",
        "multiply-adds": f"{entry.gmacs:.2f} G",
        "file": f"{(folder / entry.file).stat().st_size / 2**20:.1f} MiB",
        "input": f"about {entry.input_size}x{entry.input_size} pixels",
        "PSNR, dB": measured("psnr", ".2f"),
        "over grey, dB": measured("gain", "+.2f"),
        "colourfulness, of the truth's": measured("colourfulness", ".2f"),
        "LPIPS": measured("lpips", ".3f"),
        "12-margin error": measured("margin_error", ".3f"),
        "measured on": str(entry.metrics.get("evaluated_on", "-")),
        "trained on": entry.data,
        "terms": entry.license,
    }
