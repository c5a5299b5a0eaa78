"""`vidcolor run`: colorize films, pictures and folders."""

from __future__ import annotations

import logging
import re
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import VidcolorError
from .look import look_arguments, look_options

if TYPE_CHECKING:
    from ..frames import Segment
    from ..planning import Report, Settings


class TimeType(click.ParamType):
    """Seconds (`90`, `12.48`) or `[HH:]MM:SS[.fff]`, as an exact fraction of seconds."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> Fraction:
        """The time in seconds; a usage error where it cannot be read."""
        parts = str(value).split(":")
        if len(parts) > 3 or not all(re.fullmatch(r"\d{1,7}(\.\d{1,12})?", p) for p in parts):
            self.fail(f"'{value}' is not a time; write seconds or HH:MM:SS.fff", param, ctx)
        seconds = Fraction(0)
        for part in parts:
            seconds = seconds * 60 + Fraction(part)
        return seconds


class RateType(click.ParamType):
    """A frame rate, `24`, `23.976` or `30000/1001`, as an exact fraction."""

    name = "rate"

    def convert(self, value: Any, param: Any, ctx: Any) -> Fraction:
        """Frames a second; a usage error where it cannot be read."""
        try:
            rate = Fraction(value)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if rate <= 0:
            self.fail(f"'{value}' is not a frame rate; write 24 or 30000/1001", param, ctx)
        return rate


class AutoInt(click.ParamType):
    """`auto` (None) or a whole number of at least `least`."""

    def __init__(self, least: int) -> None:
        self.least = least
        self.name = "auto|n"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | None:
        """The number, None for `auto`; a usage error otherwise."""
        if value in (None, "auto"):
            return None
        if not str(value).isdigit() or int(value) < self.least:
            self.fail(f"'{value}' is neither 'auto' nor a number from {self.least} on", param, ctx)
        return int(value)


class CopyType(click.ParamType):
    """`all`, `none`, or a comma list of stream kinds."""

    name = "kinds"
    kinds = ("audio", "subtitles", "attachments", "data", "chapters")

    def convert(self, value: Any, param: Any, ctx: Any) -> frozenset[str]:
        """The set of kinds; a usage error for an unknown one."""
        if isinstance(value, frozenset):
            return value
        if value in ("all", "none"):
            return frozenset(self.kinds if value == "all" else ())
        chosen = frozenset(kind.strip() for kind in str(value).split(","))
        unknown = sorted(chosen - set(self.kinds))
        if unknown:
            self.fail(
                f"'{unknown[0]}' is not one of all, none, {', '.join(self.kinds)}", param, ctx
            )
        return chosen


def model_options(command: Any) -> Any:
    """The options that choose a model and where it runs, shared by several commands."""
    for option in reversed(
        [
            click.option("--model", metavar="NAME", help="A model of 'vidcolor models' [fast]."),
            click.option(
                "--weights",
                type=click.Path(path_type=Path),
                help="Your own weights (.safetensors), or a public .pth with --model.",
            ),
            click.option(
                "--device",
                default="auto",
                show_default=True,
                help="auto, cpu, cuda, cuda:N or mps.",
            ),
            click.option(
                "--precision",
                type=click.Choice(["auto", "fp32", "mixed", "bf16", "fp16"]),
                default="auto",
                show_default=True,
                help="Arithmetic of the network. mixed: bf16, but for the encoder. auto: fp16 on "
                "CUDA, mixed on processors that have bf16, else fp32.",
            ),
            click.option(
                "--size",
                type=click.IntRange(32, 4096),
                help="Model resolution: the network sees each frame at about SIZE squared pixels, "
                "in the frame's shape, sides rounded to the model's stride. Time grows with its "
                "square; the output keeps the input's size [the weights' own, 256 for fast].",
            ),
        ]
    ):
        command = option(command)
    return command


@click.command("run")
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    help="A file, or a folder for several inputs [beside each: NAME.color.EXT, FOLDER.color/].",
)
@model_options
@look_options
@click.option(
    "--stabilize/--no-stabilize",
    default=True,
    show_default=True,
    help="Keep colours in place within a film's shots; photos are always coloured one by one.",
)
@click.option(
    "--luma",
    type=click.Choice(["lightness", "exact"]),
    default="lightness",
    show_default=True,
    help="Keep L* of every pixel, or the film's Y' plane bit for bit.",
)
@click.option(
    "--encoder",
    default="libx264",
    show_default=True,
    help="libx264, libx265, libsvtav1, ffv1, prores_ks, h264_nvenc, hevc_nvenc.",
)
@click.option(
    "--crf", type=click.FloatRange(0, 63), help="Quality, lower is better [by encoder: libx264 18]."
)
@click.option("--preset", help="The encoder's speed preset [by encoder: libx264 medium].")
@click.option("--pix-fmt", help="Pixel format [the film's bit depth and subsampling].")
@click.option(
    "--copy",
    type=CopyType(),
    default="all",
    show_default=True,
    help="Streams to copy: all, none, or a list of audio,subtitles,attachments,data,chapters.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="Of JPEG and WebP pictures.",
)
@click.option("--start", type=TimeType(), help="Begin at this time (seconds or HH:MM:SS.fff).")
@click.option("--end", type=TimeType(), help="Stop before this time.")
@click.option("--fps", type=RateType(), help="Frame rate of a numbered sequence (frames/%05d.png).")
@click.option(
    "--batch-size",
    type=AutoInt(1),
    default="auto",
    show_default=True,
    help="Frames a batch; auto is what 'vidcolor probe' found the fastest, else a rule.",
)
@click.option(
    "--workers",
    type=AutoInt(0),
    default="auto",
    show_default=True,
    help="Decoding processes (for pictures threads); 0 decodes in the main process.",
)
@click.option("-y", "--overwrite", is_flag=True, help="Replace existing outputs.")
@click.option("--skip-existing", is_flag=True, help="Pass over inputs whose output exists.")
@click.option(
    "--preview",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Write one sheet of N before/after pairs instead.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each finished input.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Print what is decided on the way.")
@click.pass_context
def run_command(
    ctx: click.Context, inputs: tuple[str, ...], output: str | None, **options: Any
) -> None:
    """Colorize INPUTS: films, pictures, folders, globs, or numbered sequences.

    \b
    vidcolor run old_film.mp4 -o color.mp4
    vidcolor run photos/ scans/*.tif -o color/
    vidcolor run frames/%05d.png --fps 24 -o film.mkv
    vidcolor run old_film.mp4 --preview 6 -o sheet.png

    Sound, subtitles, chapters and attachments are copied. An output appears under its name only
    when it is complete. Of a damaged film what can be read goes to NAME.incomplete.EXT.

    \b
    Exit codes: 0 all done, 1 some input failed or was incomplete, 2 usage, 130 interrupted.
    """
    from ..planning import plan
    from .screen import Screen

    if not all(inputs) or output == "":
        raise click.UsageError("an input or the output is an empty name; is a variable unset?")
    if options["overwrite"] and options["skip_existing"]:
        raise click.UsageError("--overwrite and --skip-existing exclude each other")
    segment = chosen_segment(options)
    screen = Screen(quiet=options["quiet"], verbose=options["verbose"], as_json=options["as_json"])
    settings = _settings(options, segment)
    if options["preview"] is not None:
        _preview(inputs, output, options, settings, screen)
        return
    jobs, reports = plan(inputs, output, settings)
    if options["dry_run"]:
        screen.plan(jobs, reports, _describe_model(options), options["encoder"])
        sys.exit(1 if any(r.status == "failed" for r in reports) else 0)
    for report in reports:
        screen.finished(report)
    if jobs:
        reports += _work(jobs, options, settings, screen)
    screen.summary(reports)
    sys.exit(1 if any(r.status in ("failed", "incomplete") for r in reports) else 0)


def chosen_segment(options: dict[str, Any]) -> Segment:
    """The segment of `--start` and `--end`; a usage error where there is nothing between them."""
    from ..frames import Segment

    start, end = options["start"], options["end"]
    if start is not None and end is not None and end <= start:
        raise click.UsageError("--end must be later than --start")
    return Segment(start, end)


def _settings(options: dict[str, Any], segment: Segment) -> Settings:
    from ..planning import Settings
    from ..sinks import EncoderSettings

    encoder = EncoderSettings(
        **{key: options[key] for key in ("encoder", "crf", "preset", "pix_fmt")}
    )
    keys: tuple[str, ...] = ("copy", "fps", "batch_size", "workers", "overwrite", "skip_existing")
    keys += ("quality", "stabilize")
    return Settings(
        encoder=encoder,
        segment=segment,
        exact_luma=options["luma"] == "exact",
        **{key: options[key] for key in keys},
    )


def make_colorizer(options: dict[str, Any]) -> Any:
    """The colorizer that `model_options`, and `look_options` where there are any, describe."""
    from ..colorizer import Colorizer

    return Colorizer(
        options["model"],
        options["weights"],
        device=options["device"],
        precision=options["precision"],
        size=options["size"],
        **look_arguments(options),
    )


def _describe_model(options: dict[str, Any]) -> str:
    colorizer = make_colorizer(options)
    mirrored = ", mirrored too" if colorizer.tta else ""
    count = len(colorizer.references.pictures)
    pulled = f", {count} reference picture{'s' * (count > 1)}" if count else ""
    return (
        f"{colorizer.name}, {colorizer.precision} on {colorizer.device}, "
        f"at {colorizer.size} squared pixels{mirrored}{pulled}"
    )


def _work(jobs: list, options: dict[str, Any], settings: Settings, screen: Any) -> list[Report]:
    from ..memory import keep_memory
    from ..pipeline import run
    from ..planning import PicturesJob

    colorizer = make_colorizer(options)
    logging.getLogger("vidcolor").info(
        "%s, %s on %s", colorizer.name, colorizer.precision, colorizer.device
    )
    if colorizer.device.type == "cpu" and not any(isinstance(job, PicturesJob) for job in jobs):
        keep_memory()  # pictures of many sizes would leave gaps
    done = []
    with screen.progress() as watch:
        for report in run(jobs, colorizer, settings, watch):
            screen.finished(report)
            done.append(report)
    return done


def _preview(
    inputs: tuple[str, ...],
    output: str | None,
    options: dict[str, Any],
    settings: Settings,
    screen: Any,
) -> None:
    from ..planning import Report
    from ..preview import make_sheet
    from ..sources import PICTURE_SUFFIXES, expand

    items = expand(inputs, rate=settings.fps)
    path = Path(output) if output else items[0].path.with_name(f"{items[0].path.stem}.preview.png")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise click.UsageError(f"a preview is a picture; use -o {path.with_suffix('.png')}")
    colorizer = make_colorizer(options)
    began = time.monotonic()
    try:
        pairs, unread = make_sheet(
            items,
            path,
            options["preview"],
            colorizer,
            segment=settings.segment,
            rate=settings.fps,
            overwrite=settings.overwrite,
        )
    except VidcolorError as error:
        screen.finished(Report(items[0].path, path, "failed", error=str(error)))
        sys.exit(1)
    report = Report(items[0].path, path, "done", pairs, time.monotonic() - began, warnings=unread)
    screen.sheet(report)
    sys.exit(1 if unread else 0)
