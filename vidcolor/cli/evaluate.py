"""`vidcolor eval`: measure a model on color pictures or clips, beside baselines."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import OutputError
from ..frames import WHOLE, Segment
from ..options import OptionError, check_options, option
from ..run.settings import ColorizerOptions
from .log import verbosity
from .options import flag_of, make_colorizer, takes
from .text import json_text, printable, say

if TYPE_CHECKING:
    from rich.console import Console

    from ..evaluation import EvalTable, VideoRow
    from ..evaluation.stills import Page


COMPARISON = Path("comparison.png")
_JUDGED = 40  # pictures


@dataclass(frozen=True)
class PictureOptions:
    """What is measured of pictures, and drawn."""

    lpips_weights: Path | None = option(
        None, help="AlexNet weights for LPIPS (.pth or .safetensors) [torch's hub cache]."
    )
    sheet: Path | None = option(
        None,
        metavar="FILE.png",
        help="Write a sheet of the best, median and worst pictures: gray, prediction, truth.",
    )
    sheet_each: int | None = option(
        None, low=1, high=50, metavar="N", help="Pictures of each of the three [4]."
    )
    compare: int | None = option(
        None,
        low=1,
        high=100,
        metavar="N",
        help="Write comparison.png: N pictures spread over the set, gray, colored and original "
        "side by side.",
    )
    judge: Path | None = option(
        None,
        metavar="FILE.html",
        help="Write a page on which people judge 40 pictures, real or colored, and that counts.",
    )
    overwrite: bool = option(False, short="-y", help="Replace existing sheets and pages.")
    per_picture: bool = option(False, help="With --json: also the figures of every picture.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.sheet_each and self.sheet is None:
            raise OptionError("sheet_each", "needs --sheet")
        if self.overwrite and not self.files():
            raise OptionError("overwrite", "needs --sheet, --compare or --judge")
        if self.judge is not None and self.judge.suffix.lower() not in (".html", ".htm"):
            raise OptionError("judge", f"must be HTML; use {self.judge.with_suffix('.html')}")
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise OptionError("sheet", f"must be a PNG file; use {self.sheet.with_suffix('.png')}")

    def files(self) -> list[Path]:
        """What is written."""
        compare = COMPARISON if self.compare else None
        return [path for path in (self.sheet, compare, self.judge) if path is not None]


@dataclass(frozen=True)
class ClipOptions:
    """What is measured of clips."""

    segment: Segment = WHOLE
    limit: int | None = option(
        None, low=5, metavar="N", help="Measure at most N frames of each clip."
    )

    def __post_init__(self) -> None:
        check_options(self)


def _refuse(given: PictureOptions | ClipOptions, advice: str) -> None:
    """Raise a usage error for an option that means nothing for this kind of input."""
    for each in fields(given):
        value = getattr(given, each.name)
        if isinstance(value, Segment) and value != WHOLE:
            raise click.UsageError(f"--{'end' if value.start is None else 'start'} {advice}")
        if value != each.default:
            raise click.UsageError(f"{flag_of(each)} {advice}")


@click.command("eval")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@takes(options=ColorizerOptions)
@click.option("--video", is_flag=True, help="PATHS are color clips, not pictures.")
@click.option(
    "--at",
    type=click.IntRange(64),
    help="Side of the square pictures [256]; with --video the longest side of the frames [512].",
)
@takes(for_pictures=PictureOptions, for_clips=ClipOptions)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbosity
def evaluate_command(
    paths: tuple[Path, ...],
    options: ColorizerOptions,
    video: bool,
    at: int | None,
    for_pictures: PictureOptions,
    for_clips: ClipOptions,
    as_json: bool,
) -> None:
    """Measure a model on color pictures or clips.

    \b
    vidcolor eval photos/ --sheet sheet.png
    vidcolor eval photos/ --weights mine.safetensors --compare 10 --judge judge.html
    vidcolor eval --video clip.mp4 "clips/*.mkv" --limit 100

    PATHS are folders and zips of pictures, or clips with --video.

    Pictures: PSNR, SSIM, LPIPS, colorfulness and 12-margin error. Clips: PSNR, colorfulness, CDC
    and warp error, per frame and stabilized. A figure means little alone, so the table also has
    the baselines. For pictures: gray, the set's mean color, the truth at half chroma, and the
    truth. For clips: the truth and gray.
    """
    if video:
        _refuse(for_pictures, "is for pictures; leave out --video")
    else:
        _refuse(for_clips, "is for clips; add --video")
    if for_pictures.per_picture and not as_json:
        raise click.UsageError("--per-picture needs --json")
    from ..system.opencv import load_problem

    if reason := load_problem():
        raise click.ClickException(f"eval needs OpenCV: {reason}")
    if video:
        _clips(paths, at or 512, as_json, options, for_clips)
    else:
        _pictures(paths, at or 256, as_json, options, for_pictures)


def _pictures(
    paths: tuple[Path, ...],
    size: int,
    as_json: bool,
    options: ColorizerOptions,
    chosen: PictureOptions,
) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from ..evaluation import evaluate_folders
    from ..evaluation.judgment import write_judgment_page
    from ..evaluation.sheets import write_comparison

    for path in chosen.files():
        if path.exists() and not chosen.overwrite:
            raise OutputError(f"{path}: already exists; give --overwrite to replace it")
    pages: list[Page] = []
    if chosen.compare:
        pages.append(partial(write_comparison, COMPARISON, chosen.compare))
    if chosen.judge is not None:
        pages.append(partial(write_judgment_page, chosen.judge, _JUDGED, 0))
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
            size=size,
            lpips_weights=chosen.lpips_weights,
            name=colorizer.name,
            sheet=chosen.sheet,
            each=chosen.sheet_each or 4,
            pages=pages,
            progress=progress,
        )
    if as_json:
        click.echo(json_text(table.to_dict(per_picture=chosen.per_picture)))
        return
    _show_pictures(table)
    for name in table.unreadable:
        say(f"unreadable: {name}", err=True)


def _show_pictures(table: EvalTable) -> None:
    from rich.console import Console
    from rich.table import Table

    view = Table("", "PSNR", "over gray", "pooled", "SSIM", "LPIPS", "color", "12-margin error")
    for row in table.rows:
        view.add_row(
            row.name,
            f"{row.psnr:.3f}",
            f"{row.psnr_over_gray:+.3f}",
            f"{row.psnr_pooled:.3f}",
            f"{row.ssim:.4f}",
            "-" if row.lpips is None else f"{row.lpips:.4f}",
            f"{row.colorfulness:.3f}",
            f"{row.margin_error:.4f}",
        )
    out = Console()
    out.print(view)
    if table.folders:
        _show_folders(table, out)
    for note in table.notes:
        say(note)


def _show_folders(table: EvalTable, out: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    view = Table(
        "folder", "pictures", "gray", "PSNR", "over gray", "LPIPS", "below gray's", "color"
    )
    for row in table.folders:
        lpips, below = "-", "-"
        if row.lpips is not None and row.gray_lpips:
            lpips, below = f"{row.lpips:.4f}", f"{100 * (1 - row.lpips / row.gray_lpips):.1f} %"
        view.add_row(
            Text(printable(row.name) or "(none)"),
            str(row.num_pictures),
            f"{row.gray_psnr:.2f}",
            f"{row.psnr:.2f}",
            f"{row.psnr_over_gray:+.3f}",
            lpips,
            below,
            f"{row.colorfulness:.3f}",
        )
    out.print(view)


def _clips(
    paths: tuple[Path, ...],
    size: int,
    as_json: bool,
    options: ColorizerOptions,
    chosen: ClipOptions,
) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    from ..evaluation import evaluate_video

    colorizer = make_colorizer(options)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring", total=None)

        def progress(clip: Path, done: int, total: int | None) -> None:
            name = escape(printable(clip.name))
            bar.update(task, description=name, completed=done, total=total)

        table = evaluate_video(
            colorizer,
            paths,
            long_side=size,
            segment=chosen.segment,
            limit=chosen.limit,
            name=colorizer.name,
            progress=progress,
        )
    if as_json:
        click.echo(json_text(table.to_dict()))
    else:
        for clip in table.clips:
            _show_rows(clip.path, clip.rows)
        if len(table.clips) > 1:
            _show_rows(f"mean over {len(table.clips)} clips", table.mean)
        for note in table.notes:
            say(note)
    damage = [line for clip in table.clips for line in clip.damage]
    for line in (*damage, *table.failed):
        say(f"error: {line}", err=True)
    if damage or table.failed:
        sys.exit(1)


def _show_rows(title: str, rows: tuple[VideoRow, ...]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from .screen import width_of

    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    columns = ("PSNR", "over gray", "color", "CDC", "of truth's", "warp error", "of truth's")
    view = Table(box=box.SIMPLE)  # narrow enough for 80 columns
    view.add_column()
    for column in columns:
        view.add_column(column, justify="right", min_width=5)
    for row in rows:
        view.add_row(
            row.name,
            number(row.psnr, 2),
            f"{row.psnr_over_gray:+.2f}",
            number(row.colorfulness, 3),
            number(row.cdc, 6),
            number(row.cdc_ratio, 2),
            number(row.warp_error, 3),
            number(row.warp_ratio, 2),
        )
    say(title)
    Console(width=width_of(sys.stdout)).print(view)
