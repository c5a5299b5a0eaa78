"""The options that steer the result: saturation, white balance, mirroring, references."""

from __future__ import annotations

import math
from typing import Any

import click


class NumberRange(click.FloatRange):
    """A number within limits; `nan`, which no limit stops, is refused too."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number; a usage error where it is none or out of range."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"'{value}' is not a number", param, ctx)
        return float(number)


def look_options(command: Any) -> Any:
    """The options that steer the result, shared by `run` and `eval`."""
    for option in reversed(
        [
            click.option(
                "--saturation",
                type=NumberRange(0, 5),
                default=1.0,
                show_default=True,
                help="Factor on the colours; 0 is grey.",
            ),
            click.option(
                "--temperature",
                type=NumberRange(-100, 100),
                default=0.0,
                show_default=True,
                help="White balance: -100 colder (blue) to 100 warmer (yellow).",
            ),
            click.option(
                "--tint",
                type=NumberRange(-100, 100),
                default=0.0,
                show_default=True,
                help="White balance: -100 green to 100 magenta.",
            ),
            click.option(
                "--tta",
                is_flag=True,
                help="Predict each frame mirrored too and take the mean: a little better (0.05 "
                "dB), at twice the model's time.",
            ),
            click.option(
                "--reference",
                "references",
                type=click.Path(),
                multiple=True,
                metavar="IMAGE",
                help="A colour picture of the scene to take colours from (fast and best). Of "
                "several the most alike one counts, place by place. A folder gives one picture a "
                "shot, in order of names; in photos and previews all its pictures count.",
            ),
            click.option(
                "--reference-strength",
                type=NumberRange(0, 1),
                help="How far references count, 0 to 1 [1].",
            ),
        ]
    ):
        command = option(command)
    return command


def look_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `Colorizer` that `look_options` give; none for a command without them."""
    if "saturation" not in options:
        return {}
    from ..color.adjust import ColorAdjustment

    strength = options["reference_strength"]
    if "" in options["references"]:
        raise click.UsageError("--reference is an empty name; is a variable unset?")
    if strength is not None and not options["references"]:
        raise click.UsageError("--reference-strength says nothing without --reference")
    return {
        "look": ColorAdjustment(options["saturation"], options["temperature"], options["tint"]),
        "tta": options["tta"],
        "references": options["references"],
        "reference_strength": 1.0 if strength is None else strength,
    }
