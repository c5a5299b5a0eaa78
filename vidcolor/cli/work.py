"""The options that say what a run makes and how: encoder, segment, batches, workers."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import click

from ..sinks.encoder_table import list_encoders

if TYPE_CHECKING:
    from ..frames import Segment
    from ..run.settings import Settings


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


def work_options(command: Any) -> Any:
    """The options that say what is made and how, shared by `run` and `probe`."""
    for option in reversed(
        [
            click.option(
                "--stabilize/--no-stabilize",
                default=True,
                show_default=True,
                help="Keep colours in place within a film's shots; photos are always coloured one "
                "by one.",
            ),
            click.option(
                "--luma",
                type=click.Choice(["lightness", "exact"]),
                default="lightness",
                show_default=True,
                help="Keep L* of every pixel, or the film's Y' plane bit for bit.",
            ),
            click.option(
                "--encoder",
                default="libx264",
                show_default=True,
                help=f"Encoder of films: {list_encoders()}.",
            ),
            click.option(
                "--crf",
                type=click.FloatRange(0, 63),
                help="Quality, lower is better [by encoder: libx264 18].",
            ),
            click.option(
                "--preset", help="The encoder's speed preset [by encoder: libx264 medium]."
            ),
            click.option("--pix-fmt", help="Pixel format [the film's bit depth and subsampling]."),
            click.option(
                "--copy",
                type=CopyType(),
                default="all",
                show_default=True,
                help="Streams to copy: all, none, or a list of "
                "audio,subtitles,attachments,data,chapters.",
            ),
            click.option(
                "--quality",
                type=click.IntRange(1, 100),
                default=95,
                show_default=True,
                help="Of JPEG and WebP pictures.",
            ),
            click.option(
                "--start", type=TimeType(), help="Begin at this time (seconds or HH:MM:SS.fff)."
            ),
            click.option("--end", type=TimeType(), help="Stop before this time."),
            click.option(
                "--fps",
                type=RateType(),
                help="Frame rate of a numbered sequence (frames/%05d.png).",
            ),
            click.option(
                "--batch-size",
                type=AutoInt(1),
                default="auto",
                show_default=True,
                help="Frames a batch; auto is what 'vidcolor probe' found the fastest, else a "
                "rule.",
            ),
            click.option(
                "--workers",
                type=AutoInt(0),
                default="auto",
                show_default=True,
                help="Processes that decode a film; auto and 0: a thread does. For pictures "
                "threads: with auto and 0 one for each processor, up to 16.",
            ),
        ]
    ):
        command = option(command)
    return command


def chosen_segment(options: dict[str, Any]) -> Segment:
    """The segment of `--start` and `--end`; a usage error where there is nothing between them."""
    from ..frames import Segment

    start, end = options["start"], options["end"]
    if start is not None and end is not None and end <= start:
        raise click.UsageError("--end must be later than --start")
    return Segment(start, end)


def make_settings(options: dict[str, Any], **more: Any) -> Settings:
    """The settings that `work_options` describe, and those of `more`; a usage error where the
    segment is empty."""
    from ..run.settings import Settings
    from ..sinks import EncoderSettings

    encoder = EncoderSettings(
        **{key: options[key] for key in ("encoder", "crf", "preset", "pix_fmt")}
    )
    keys = ("copy", "fps", "batch_size", "workers", "quality", "stabilize")
    return Settings(
        encoder=encoder,
        segment=chosen_segment(options),
        exact_luma=options["luma"] == "exact",
        **{key: options[key] for key in keys},
        **more,
    )
