"""`vidcolor eval`: measure a model on colour pictures or clips, beside the floors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import OutputError
from .look import look_options
from .run import make_colorizer, model_options
from .work import TimeType, chosen_segment

if TYPE_CHECKING:
    from rich.console import Console

    from ..evaluation import EvalTable, VideoRow

# what an option says is lost on the other kind of input
_FOR_PICTURES = ("lpips_weights", "sheet", "sheet_each", "overwrite", "per_picture")
_FOR_CLIPS = ("start", "end", "limit")


@click.command("eval")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_options
@click.option("--video", is_flag=True, help="PATHS are colour clips, not pictures.")
@click.option(
    "--at",
    type=click.IntRange(64),
    help="Side of the squares [256]; with --video the long side at most [512].",
)
@look_options
@click.option(
    "--lpips-weights",
    type=click.Path(path_type=Path),
    help="AlexNet weights for LPIPS (.pth or .safetensors) [torch's hub cache].",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Write the best, median and worst pictures: grey, prediction, truth.",
)
@click.option(
    "--sheet-each",
    type=click.IntRange(1, 50),
    metavar="N",
    help="Pictures of each of the three [4].",
)
@click.option("-y", "--overwrite", is_flag=True, help="Replace an existing sheet.")
@click.option("--per-picture", is_flag=True, help="With --json: also every picture's figures.")
@click.option("--start", type=TimeType(), help="Begin clips at this time (or HH:MM:SS.fff).")
@click.option("--end", type=TimeType(), help="Stop clips before this time.")
@click.option("--limit", type=click.IntRange(5), metavar="N", help="Frames of a clip at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def evaluate_command(
    paths: tuple[Path, ...], video: bool, at: int | None, as_json: bool, **options: Any
) -> None:
    """Measure a model on folders or zips of colour pictures, or on colour clips, PATHS.

    \b
    vidcolor eval photos/ --sheet sheet.png
    vidcolor eval --video clip.mp4 "clips/*.mkv" --limit 100

    Prints PSNR, SSIM, LPIPS, colourfulness and 12-margin error of the model beside the same of
    grey, of the set's mean colour, of the truth at half chroma and of the truth itself: a number
    means little without those rows. Pictures of several folders are measured folder by folder too.
    Of clips: PSNR, colourfulness, CDC and warp error, beside the truth's and grey's.
    """
    others = _FOR_PICTURES if video else _FOR_CLIPS
    # `is`, because 0 seconds are equal to False
    lost = [key for key in others if options[key] is not None and options[key] is not False]
    if lost:
        flag = "--" + lost[0].replace("_", "-")
        kind, remedy = ("pictures", "leave out") if video else ("clips", "add")
        raise click.UsageError(f"{flag} is for {kind}; {remedy} --video")
    from ..motion import unavailable

    if reason := unavailable():
        raise click.ClickException(f"eval needs OpenCV: {reason}")
    if video:
        _clips(paths, at, as_json, options)
    else:
        _pictures(paths, at, as_json, options)


def _pictures(paths: tuple[Path, ...], at: int | None, as_json: bool, options: Any) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from ..evaluation import evaluate_folders

    if options["per_picture"] and not as_json:
        raise click.UsageError("--per-picture goes with --json")
    sheet = options["sheet"]
    if sheet is None and (options["overwrite"] or options["sheet_each"]):
        raise click.UsageError("--overwrite and --sheet-each go with --sheet")
    if sheet is not None:
        if sheet.suffix.lower() != ".png":
            raise click.UsageError(
                f"a sheet is a PNG file; use --sheet {sheet.with_suffix('.png')}"
            )
        if sheet.exists() and not options["overwrite"]:
            raise OutputError(f"{sheet}: already exists; give --overwrite to replace it")
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
            size=at or 256,
            lpips_weights=options["lpips_weights"],
            name=colorizer.name,
            sheet=sheet,
            each=options["sheet_each"] or 4,
            progress=progress,
        )
    if as_json:
        values = table.to_dict(per_picture=options["per_picture"])
        click.echo(json.dumps(values, ensure_ascii=False))
        return
    _show_pictures(table)
    for name in table.unreadable:
        console.print(f"unreadable: {name}", soft_wrap=True, highlight=False)


def _show_pictures(table: EvalTable) -> None:
    from rich.console import Console
    from rich.table import Table

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
    if table.folders:
        _show_folders(table, out)
    for note in table.notes:
        out.print(note, soft_wrap=True, highlight=False)


def _show_folders(table: EvalTable, out: Console) -> None:
    from rich.table import Table

    view = Table(
        "folder", "pictures", "grey", "PSNR", "over grey", "LPIPS", "below grey's", "colour"
    )
    for row in table.folders:
        lpips, below = "-", "-"
        if row.lpips is not None and row.grey_lpips:
            lpips, below = f"{row.lpips:.4f}", f"{100 * (1 - row.lpips / row.grey_lpips):.1f} %"
        view.add_row(
            row.name or "(none)",
            str(row.num_pictures),
            f"{row.grey_psnr:.2f}",
            f"{row.psnr:.2f}",
            f"{row.gain:+.3f}",
            lpips,
            below,
            f"{row.colourfulness:.3f}",
        )
    out.print(view)


def _clips(paths: tuple[Path, ...], at: int | None, as_json: bool, options: Any) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from ..evaluation import evaluate_video

    segment = chosen_segment(options)
    colorizer = make_colorizer(options)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring", total=None)

        def progress(clip: Path, done: int, total: int | None) -> None:
            bar.update(task, description=clip.name, completed=done, total=total)

        table = evaluate_video(
            colorizer,
            paths,
            long_side=at or 512,
            segment=segment,
            limit=options["limit"],
            name=colorizer.name,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(table.to_dict(), ensure_ascii=False))
    else:
        out = Console()
        for clip in table.clips:
            _show_rows(clip.path, clip.rows)
        if len(table.clips) > 1:
            _show_rows(f"mean over {len(table.clips)} clips", table.mean)
        for note in table.notes:
            out.print(note, soft_wrap=True, highlight=False, markup=False)
    damage = [line for clip in table.clips for line in clip.damage]
    for line in (*damage, *table.failed):
        click.echo(f"error: {line}", err=True)
    if damage or table.failed:
        sys.exit(1)


def _show_rows(title: str, rows: tuple[VideoRow, ...]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from .screen import width_of

    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    columns = ("PSNR", "over grey", "colour", "CDC", "of truth's", "warp error", "of truth's")
    view = Table(box=box.SIMPLE)  # narrow enough for 80 columns
    view.add_column()
    for column in columns:
        view.add_column(column, justify="right", min_width=5)
    for row in rows:
        view.add_row(
            row.name,
            number(row.psnr, 2),
            f"{row.gain:+.2f}",
            number(row.colourfulness, 3),
            number(row.cdc, 6),
            number(row.cdc_ratio, 2),
            number(row.warp_error, 3),
            number(row.warp_ratio, 2),
        )
    out = Console(width=width_of(sys.stdout))
    out.print(title, soft_wrap=True, highlight=False, markup=False)
    out.print(view)
