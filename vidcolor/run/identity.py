"""What decides the frames of a film or picture: its input, the model, settings and versions.

By it a run knows whether it can resume an earlier one, and whether the work is done already.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import fields
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import torch

from .. import __version__
from ..models.weights import sha256_of
from ..motion.shots import Spacing
from .colorizer import Colorizer
from .settings import Settings

_HEAVY = 20.0  # GMACs of a frame, from which on checkpoints are set more often
_ENDS = 1 << 20  # bytes at both ends of an input that identify it
Identity = dict[str, str]

# Settings that do not change a film's frames, pts or streams.
_FREE = frozenset((
    "batch_size", "resume", "restart", "overwrite", "skip_existing", "quality", "keep_times",
    "large_pictures", "picture_threads", "marks", "timeout", "output_lut",
))  # fmt: skip
_OF_PICTURES = ("exact_luma", "quality")  # settings that change a picture


def checkpoint_spacing(gmacs: float) -> Spacing:
    """Seconds of film between two checkpoints, less for slow models; see `Colorizer.gmacs`."""
    if gmacs >= _HEAVY:
        return Spacing(Fraction(3), Fraction(10))
    return Spacing(Fraction(10), Fraction(30))


def identity(files: Sequence[Path], colorizer: Colorizer, settings: Settings) -> Identity:
    """Input, model, settings and versions that decide a film's pixels and streams.

    Returns:
        A text for each, by its name.
    """
    found = {"input": digest(files), **colorizer_identity(colorizer)}
    names = {each.name for each in fields(settings)} - _FREE
    return found | _marks(settings) | _texts(settings, names)


def colorizer_identity(colorizer: Colorizer) -> Identity:
    """The part of `identity` that does not depend on the film."""
    options = colorizer.options
    model = hashlib.sha256()
    for each in (colorizer, *colorizer.others.values()):
        for name, tensor in sorted(each.model.state_dict().items()):
            model.update(f"{name} {tuple(tensor.shape)}".encode())
            model.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return {
        "model": f"{colorizer.name} {model.hexdigest()}",
        "references": colorizer.references.digest(),
        "device": f"{colorizer.device.type} {colorizer.precision}",
        "versions": f"vidcolor {__version__}, torch {torch.__version__}, PyAV {version('av')}",
        "size": str(colorizer.size),
        "tta": str(options.tta),
        "adjustment": repr(options.adjustment),
    }


def chosen(colorizer: Colorizer, settings: Settings, *, picture: bool) -> Identity:
    """What the user has chosen that decides the pixels of an output: model, options, settings.

    Device, precision and versions are left out: a job that goes on elsewhere, or after an update,
    keeps what is done.
    """
    options, entry = colorizer.options, colorizer.entry
    file = entry.sha256 if options.weights is None else sha256_of(Path(options.weights))
    sums = [file, *sorted(entry.shards.values()), str(entry.chroma_gain)]
    found = {
        "model": " ".join([colorizer.name, *sums]),
        "size": str(colorizer.size),
        "tta": str(options.tta),
        "adjustment": repr(options.adjustment),
        "references": colorizer.references.digest(),
    }
    names = {each.name for each in fields(settings)} - _FREE
    found |= _marks(settings) | {"signed": str(settings.marks.c2pa_cert is not None)}
    return found | _texts(settings, set(_OF_PICTURES) if picture else names)


def _marks(settings: Settings) -> Identity:
    return {"provenance": str(settings.marks.provenance), "label": settings.marks.label}


def _texts(settings: Settings, names: set[str]) -> Identity:
    values = {name: getattr(settings, name) for name in sorted(names)}
    return {k: repr(sorted(v) if isinstance(v, frozenset) else v) for k, v in values.items()}


def digest(files: Sequence[Path]) -> str:
    """Name, size and time of files; if there is one, also its ends."""
    total = hashlib.sha256()
    for path in files:
        found = path.stat()
        total.update(os.fsencode(path.name))
        total.update(f" {found.st_size} {found.st_mtime_ns}".encode())
        if len(files) > 1 or not path.is_file():
            continue
        with path.open("rb") as file:
            total.update(file.read(_ENDS))
            file.seek(max(0, found.st_size - _ENDS))
            total.update(file.read(_ENDS))
    return total.hexdigest()


def changes(before: Identity, now: Identity) -> str:
    """The names of what differs."""
    return ", ".join(key for key in now | before if before.get(key) != now.get(key))
