"""`vidcolor eval`: measure a model on colour pictures, beside the floors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .look import look_options
from .run import make_colorizer, model_options


@click.command("eval")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_options
@click.option(
    "--at", type=click.IntRange(64), default=256, show_default=True, help="Side of the squares."
)
@look_options
@click.option(
    "--lpips-weights",
    type=click.Path(path_type=Path),
    help="AlexNet weights for LPIPS (.pth or .safetensors) [torch's hub cache].",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def evaluate_command(
    paths: tuple[Path, ...], at: int, lpips_weights: Path | None, as_json: bool, **options: Any
) -> None:
    """Measure a model on folders or zips of colour pictures PATHS.

    Prints PSNR, SSIM, LPIPS, colourfulness and 12-margin error of the model beside the same of
    grey, of the set's mean colour, of the truth at half chroma and of the truth itself: a number
    means little without those rows.
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from ..evaluation import evaluate_folders

    colorizer = make_colorizer(options)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)

        def progress(done: int, total: int | None) -> None:
            bar.update(
                task,
                description="reading" if total is None else "measuring",
                completed=done,
                total=total,
            )

        table = evaluate_folders(
            colorizer,
            list(paths),
            size=at,
            lpips_weights=lpips_weights,
            name=colorizer.name,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(table.to_dict(), ensure_ascii=False))
        return
    view = Table("", "PSNR", "over grey", "pooled", "SSIM", "LPIPS", "colour", "12-margin error")
    for row in table.rows:
        view.add_row(
            row.name,
            f"{row.psnr:.3f}",
            f"{row.gain:+.3f}",
            f"{row.psnr_pooled:.3f}",
            f"{row.ssim:.4f}",
            "-" if row.lpips is None else f"{row.lpips:.4f}",
            f"{row.colourfulness:.3f}",
            f"{row.margin_error:.4f}",
        )
    out = Console()
    out.print(view)
    for note in table.notes:
        out.print(note, soft_wrap=True, highlight=False)
    for name in table.unreadable:
        console.print(f"unreadable: {name}", soft_wrap=True, highlight=False)
