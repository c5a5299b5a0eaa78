"""Identify a run by what decides its frames, to tell whether it can resume an earlier one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import torch

from .. import __version__
from ..motion.shots import Spacing
from .colorizer import Colorizer
from .settings import Settings

_HEAVY = 20.0  # GMACs of a frame, from which on checkpoints are set more often
_ENDS = 1 << 20  # bytes at both ends of an input that identify it
Identity = dict[str, str]

# Settings that do not change a film's frames, pts or streams.
_FREE = frozenset((
    "batch_size", "resume", "restart", "overwrite", "skip_existing", "quality", "keep_times",
    "large_pictures", "picture_threads",
))  # fmt: skip


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
    found = {"input": _digest(files), **colorizer_identity(colorizer)}
    for each in fields(settings):
        value = getattr(settings, each.name)
        if each.name not in _FREE:
            found[each.name] = repr(sorted(value) if isinstance(value, frozenset) else value)
    return found


def colorizer_identity(colorizer: Colorizer) -> Identity:
    """The part of `identity` that does not depend on the film."""
    options = colorizer.options
    model = hashlib.sha256()
    for name, tensor in sorted(colorizer.model.state_dict().items()):
        model.update(f"{name} {tuple(tensor.shape)}".encode())
        model.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    references = hashlib.sha256()
    for reference in colorizer.references.pictures:
        references.update(reference.rgb.cpu().numpy().tobytes())
    return {
        "model": f"{colorizer.name} {model.hexdigest()}",
        "references": f"{references.hexdigest()} {options.reference_strength}",
        "device": f"{colorizer.device.type} {colorizer.precision}",
        "versions": f"vidcolor {__version__}, torch {torch.__version__}, PyAV {version('av')}",
        "size": str(colorizer.size),
        "tta": str(options.tta),
        "adjustment": repr(options.adjustment),
    }


def _digest(files: Sequence[Path]) -> str:
    """Name, size and time of files; if there is one, also its ends."""
    digest = hashlib.sha256()
    for path in files:
        found = path.stat()
        digest.update(f"{path.name} {found.st_size} {found.st_mtime_ns}".encode())
        if len(files) > 1 or not path.is_file():
            continue
        with path.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(0, found.st_size - _ENDS))
            digest.update(file.read(_ENDS))
    return digest.hexdigest()


def changes(before: Identity, now: Identity) -> str:
    """The names of what differs."""
    return ", ".join(key for key in now | before if before.get(key) != now.get(key))
