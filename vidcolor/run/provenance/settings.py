"""What a run writes down of itself: which marks its outputs carry, and what they say.

Importing this module must not import torch: the command line's help is made from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...frames import PixelFormat
from ...marks import Marks, plain
from ...options import OptionError, check_options, option, words
from ...system.digest import sha256_of

if TYPE_CHECKING:
    from ..colorizer import Colorizer
    from ..settings import Settings

SOFTWARE = f"vidcolor {__version__}"
LABEL_SECONDS = 5  # that `--label start` lasts
# Settings that change the colors, beside those of the colorizer.
_FILM, _ALL = ("stabilize", "deinterlace", "tint_source"), ("exact_luma",)


@dataclass(frozen=True)
class ProvenanceSettings:
    """What tells that an output is colorized, and how.

    Raises:
        OptionError: a certificate is given without its key, or a key without its certificate; it
            is a ValueError.
    """

    provenance: bool = option(
        True,
        help="Write into each output that it is colorized: IPTC's digital source type, software, "
        "model, settings, date and the input's SHA-256.",
    )
    label: str = option(
        "none",
        choices=words("none", "start", "all"),
        help=f"Draw the word 'Colorized' into a corner: in the first {LABEL_SECONDS} seconds of a "
        "film, or in all of it. Pictures get it with both. There the lightness is changed.",
    )
    c2pa_cert: Path | None = option(
        None,
        metavar="FILE",
        help="Sign outputs with this certificate (PEM, with its chain), as Content Credentials. "
        "Needs vidcolor[c2pa].",
    )
    c2pa_key: Path | None = option(
        None, metavar="FILE", help="Sign with this private key of the certificate (PEM)."
    )
    dossier: Path | None = option(
        None,
        metavar="FOLDER",
        help="Write a BagIt bag for each output into FOLDER: the output, checksums of every frame "
        "before and after, PREMIS events, the model card. Needs vidcolor[dossier].",
    )

    # Called with input, output, settings of the run and a dossier's folder: puts more into that.
    dossier_extra: Callable[..., None] | None = None

    def __post_init__(self) -> None:
        check_options(self)
        if (self.c2pa_cert is None) != (self.c2pa_key is None):
            missing = "c2pa_key" if self.c2pa_key is None else "c2pa_cert"
            other = "--c2pa-cert" if self.c2pa_key is None else "--c2pa-key"
            raise OptionError(missing, f"is needed with {other}")


UNMARKED = ProvenanceSettings(provenance=False)  # for runs that only measure


def today() -> str:
    """The date and time now, or of SOURCE_DATE_EPOCH (reproducible-builds.org), in UTC.

    Raises:
        OptionError: that variable is not a number of seconds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = (
            datetime.now(timezone.utc)
            if epoch is None
            else datetime.fromtimestamp(int(epoch), timezone.utc)
        )
    except (ValueError, OverflowError, OSError) as error:
        raise OptionError(
            "SOURCE_DATE_EPOCH", f"must be whole seconds since 1970, not {epoch!r}"
        ) from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def color_settings(colorizer: Colorizer, settings: Settings, *, film: bool) -> dict[str, Any]:
    """What shapes the colors, as JSON values: how the model ran and what was done to its colors."""
    options = colorizer.options
    usual = {each.name: each.default for each in fields(options.adjustment)}
    found: dict[str, Any] = {
        "size": colorizer.size,
        "precision": colorizer.precision,
        "device": colorizer.device.type,
        "tta": options.tta,
    }
    adjusted = vars(options.adjustment).items()
    found |= {name: value for name, value in adjusted if value != usual[name]}
    if references := colorizer.references.pictures:
        strength = options.reference_strength
        found["references"] = [each.path.name for each in references]
        found["reference_strength"] = 1.0 if strength is None else strength
    found |= {name: getattr(settings, name) for name in (*_ALL, *(_FILM if film else ()))}
    if film:  # what redo needs to encode single shots alike
        found["encoder"] = {k: v for k, v in vars(settings.encoder).items() if v is not None}
        times = vars(settings.segment).items()
        found |= {name: f"{float(time):.12g}" for name, time in times if time is not None}
        if settings.fps is not None:
            found["fps"] = str(settings.fps)
        if options.shots is not None:
            found["shots"] = Path(options.shots).absolute().name
    if settings.marks.label != "none":
        found["label"] = settings.marks.label
    return found


def model_sha256(colorizer: Colorizer) -> str:
    """SHA-256 of the model's file of weights."""
    weights = colorizer.options.weights
    if colorizer.entry.sha256 or weights is None:
        return colorizer.entry.sha256
    return sha256_of([Path(weights)])


def chroma_marks(marks: Marks, format: PixelFormat, settings: Settings) -> Marks:
    """The marks of a film's file of colors alone.

    Args:
        marks: of the film.
        format: of the color frames whose Cb, Cr the file holds.
        settings: of the run.
    """
    values = {**json.loads(marks.settings), "chroma": format.name}
    return replace(marks, settings=json.dumps(values))


def make_marks(
    colorizer: Colorizer, settings: Settings, source: Path, *, film: bool, date: str = ""
) -> Marks:
    """The marks of an output, but for its source's SHA-256.

    Args:
        colorizer: the model.
        settings: of the run.
        source: the input.
        film: it is a film, not a picture.
        date: when the work on it began, if that is known by now.
    """
    values = color_settings(colorizer, settings, film=film)
    return Marks(
        software=SOFTWARE,
        model=colorizer.name,
        model_sha256=model_sha256(colorizer),
        settings=json.dumps(values),
        date=date,
        source=plain(source.name),
    )
