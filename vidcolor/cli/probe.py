"""`vidcolor probe`: what the device has, and how fast a model runs on it."""

from __future__ import annotations

import json
from typing import Any

import click

from .run import make_colorizer, model_options


@click.command("probe")
@model_options
@click.option("--frame", default="640x480", show_default=True, help="Size of the test frames.")
@click.option("--batches", default="1,2,4,8,16", show_default=True, help="Batch sizes to measure.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def probe_command(frame: str, batches: str, as_json: bool, **options: Any) -> None:
    """Report memory and throughput of a model on this machine, measured now."""
    from rich.console import Console
    from rich.table import Table

    from ..probe import probe

    try:
        width, height = (int(n) for n in frame.split("x"))
        sizes = [int(n) for n in batches.split(",")]
        if min(width, height, *sizes) < 1:
            raise ValueError
    except ValueError:
        raise click.UsageError(
            "--frame is WIDTHxHEIGHT and --batches a list like 1,2,4, all from 1 on"
        ) from None
    report = probe(make_colorizer(options), width, height, sizes)
    if as_json:
        click.echo(json.dumps(report.to_dict()))
        return
    console = Console()
    memory = ", ".join(
        f"{k.replace('_', ' ')} {v / 2**30:.2f} GiB" for k, v in report.memory.items()
    )
    console.print(f"{report.device}: {memory}")
    table = Table(
        "batch",
        "model ms/frame",
        "compose ms/frame",
        "fps",
        "memory",
        title=f"{report.model}, {report.precision}, frames of {width}x{height}",
    )
    for row in report.rows:
        if row.fps is None or row.taken_bytes is None:
            table.add_row(str(row.batch), "-", "-", "-", "does not fit")
            continue
        table.add_row(
            str(row.batch),
            f"{row.model_ms:.1f}",
            f"{row.compose_ms:.1f}",
            f"{row.fps:.1f}",
            f"{row.taken_bytes / 2**20:.0f} MiB",
        )
    console.print(table)
    console.print(f"fastest batch: {report.fastest}; decoding and encoding are not included")
