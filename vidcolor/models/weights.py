"""Weights: safetensors files with a manifest entry, checked whenever they are loaded.

Shipped weights live in the package `vidcolor.weights_data` (the folder `weights/` of a checkout)
with `manifest.json`; one's own weights carry the same entry as JSON in the safetensors header,
under the key `vidcolor`. Imported weights lie in the user's own folder as NAME.safetensors, each
with its entry in NAME.json beside it, which also knows the file's SHA-256.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import WeightsError
from ..system.files import replacing
from . import MODELS, create_model
from .state_dicts import read_header, read_tensors

_HEADER_KEY = "vidcolor"

# The released checkpoints of github.com/richzhang/colorization, by architecture.
_RELEASED = {
    "eccv16": "colorization_release_v2-9b330a0b.pth",
    "siggraph17": "siggraph17-df00044c.pth",
}


@dataclass(frozen=True)
class Entry:
    """What is recorded of a set of weights.

    Attributes:
        architecture: a key of `models.MODELS`.
        options: the architecture's constructor options, where they are not its defaults.
        input_size: the model sees a frame resized to about input_size squared pixels.
        color_space: what the model reads and predicts; always `lab` (L* in, a*b* out).
        chroma_gain: factor on the predicted a*b*, chosen on validation pictures.
        file: file name beside the manifest, empty for weights without a manifest.
        sha256: of the file, hexadecimal, empty for weights without a manifest.
        shards: further files that hold the rest of the tensors, and their SHA-256: a repository
            takes large files badly.
        recipe, data, license: where the weights come from and the terms they carry.
        parameters, gmacs: size of the network; multiply-adds in billions at input_size squared.
        metrics: measured quality, by name; says on which data in `evaluated_on`.
    """

    architecture: str
    input_size: int = 256
    color_space: str = "lab"
    chroma_gain: float = 1.0
    file: str = ""
    sha256: str = ""
    recipe: str = ""
    data: str = ""
    license: str = ""
    parameters: int = 0
    gmacs: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    shards: dict[str, str] = field(default_factory=dict)


def make_entry(values: dict[str, Any], origin: str) -> Entry:
    """Build an entry from JSON values.

    Raises:
        WeightsError: a key is unknown or `architecture` is missing; the message names `origin`.
    """
    if not isinstance(values, dict):
        raise WeightsError(f"{origin}: not a vidcolor manifest entry, but {values!r}")
    known = {f.name for f in dataclasses.fields(Entry)}
    unknown = sorted(set(values) - known)
    if unknown or "architecture" not in values:
        raise WeightsError(
            f"{origin}: not a vidcolor manifest entry "
            f"({'unknown key ' + unknown[0] if unknown else 'no architecture'}); "
            "was it written by a newer vidcolor?"
        )
    entry = Entry(**values)
    for field_ in dataclasses.fields(Entry):
        value, example = values.get(field_.name), getattr(Entry(""), field_.name)
        kinds = (int, float) if isinstance(example, float) else type(example)
        if value is not None and not isinstance(value, kinds):
            raise WeightsError(f"{origin}: the manifest entry's '{field_.name}' is {value!r}")
    if entry.color_space != "lab":
        raise WeightsError(
            f"{origin}: works in '{entry.color_space}', not in lab; this vidcolor cannot use it"
        )
    return entry


def shipped_folder() -> Path:
    """The folder of the shipped weights.

    Raises:
        WeightsError: the installation lacks it.
    """
    try:
        return Path(str(importlib.resources.files("vidcolor.weights_data")))
    except ModuleNotFoundError:
        pass
    checkout = Path(__file__).resolve().parent.parent / "weights"  # run from a source tree
    if (checkout / "manifest.json").is_file():
        return checkout
    raise WeightsError(
        "the shipped weights are missing from this installation: run 'pip install "
        "--force-reinstall vidcolor', or give --weights FILE"
    )


def manifest() -> dict[str, Entry]:
    """The shipped weights by name.

    Raises:
        WeightsError: the manifest is missing or not readable.
    """
    path = shipped_folder() / "manifest.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: not readable ({error}); reinstall vidcolor") from error
    return {name: make_entry(entry, f"{path}, {name}") for name, entry in values.items()}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], entry: Entry, dtype: torch.dtype
) -> None:
    """Write a state dict as safetensors, floating-point values as `dtype`, with `entry` inside.

    Raises:
        OutputError: the file cannot be written; nothing is left of the attempt.
    """
    cast = {
        name: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in tensors.items()
    }
    with replacing(path) as temporary:
        save_file(cast, temporary, {_HEADER_KEY: json.dumps(dataclasses.asdict(entry))})


def read_entry(path: Path) -> Entry | None:
    """The entry in a safetensors header, or None where there is none, as in a `.pth` file.

    Raises:
        WeightsError: the file is missing, cut short or not safetensors.
    """
    header = read_header(path)
    if _HEADER_KEY not in header:
        return None
    try:
        values = json.loads(header[_HEADER_KEY])
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path}: its entry is not JSON ({error}); train it again") from error
    return make_entry(values, str(path))


def _fill(model: nn.Module, tensors: dict[str, Tensor], path: Path, architecture: str) -> None:
    wanted = model.state_dict()
    for name, value in wanted.items():
        if name not in tensors:
            if name.endswith(".num_batches_tracked"):
                continue  # files from before PyTorch 0.4.1 lack it, and inference does not read it
            raise WeightsError(f"{path}: not weights of '{architecture}': {name} is missing")
        if tensors[name].shape != value.shape:
            raise WeightsError(
                f"{path}: not weights of '{architecture}': {name} has shape "
                f"{tuple(tensors[name].shape)}, not {tuple(value.shape)}"
            )
    extra = sorted(set(tensors) - set(wanted))
    if extra:
        raise WeightsError(f"{path}: not weights of '{architecture}': {extra[0]} is unknown")
    if not all(v.isfinite().all() for v in tensors.values() if v.is_floating_point()):
        raise WeightsError(f"{path}: holds values that are not finite; train or copy it again")
    model.load_state_dict(tensors)


def _check_sum(path: Path, sha256: str, remedy: str) -> None:
    if not path.is_file() or sha256_of(path) != sha256:
        raise WeightsError(
            f"{path}: missing, cut short or altered (its SHA-256 is not the manifest's); {remedy}"
        )


def _filled(
    path: Path, entry: Entry, remedy: str = "copy all files of these weights again"
) -> nn.Module:
    """The model of `entry` with the tensors of `path` and the shards beside it, for inference."""
    model = create_model(entry.architecture, **entry.options)
    tensors = read_tensors(path)
    for shard, sha256 in entry.shards.items():
        _check_sum(path.with_name(shard), sha256, remedy)
        tensors |= read_tensors(path.with_name(shard))
    _fill(model, tensors, path, entry.architecture)
    return model.eval()


def _entry_of_file(file: Path, architecture: str | None) -> Entry:
    """What a file says of itself, or else an entry of `architecture`; the two must agree."""
    entry = read_entry(file)
    if entry is None:
        if architecture is None:
            raise WeightsError(f"{file}: does not say which model it belongs to; add --model NAME")
        return Entry(architecture=architecture)
    if architecture is not None and architecture != entry.architecture:
        raise WeightsError(
            f"{file}: weights of '{entry.architecture}', not of '{architecture}'; leave out --model"
        )
    return entry


def load_model(name: str | None = None, file: Path | None = None) -> tuple[nn.Module, Entry]:
    """A model ready for inference, float32 on the CPU, and its entry.

    Args:
        name: of shipped or imported weights; with `file`, the architecture where the file names
            none. The default is `fast`, or what `file` says.
        file: one's own weights instead: safetensors, or the state dict of a public checkpoint
            (`.pth`, `.pt`).

    Raises:
        WeightsError: no such model or file; the file is cut short, altered or of another model.
    """
    if file is not None:
        entry = _entry_of_file(file, name)
        return _filled(file, entry), entry
    name = name or "fast"
    if name.startswith("_") and name in MODELS:
        return create_model(name).eval(), Entry(architecture=name)
    shipped = manifest()
    if name in shipped:
        entry, folder = shipped[name], shipped_folder()
        remedy = "run 'pip install --force-reinstall vidcolor'"
    else:
        stored = stored_weights()
        if name not in stored:
            raise WeightsError(_unknown(name, list(shipped), list(stored)))
        entry, folder = stored[name], user_folder()
        remedy = "import it again with 'vidcolor weights import FILE --overwrite'"
    _check_sum(folder / entry.file, entry.sha256, remedy)
    return _filled(folder / entry.file, entry, remedy), entry


def _unknown(name: str, shipped: list[str], stored: list[str]) -> str:
    """The line for a name that has no weights here."""
    if name in MODELS:
        file = _RELEASED.get(name)
        source = f"download {file} (see github.com/richzhang/colorization)" if file else "train it"
        return (
            f"'{name}' has no weights here: {source}, then run 'vidcolor weights import "
            f"{file or 'FILE'} --model {name}', or give --weights {file or 'FILE'}"
        )
    return (
        f"no model is called '{name}'; 'vidcolor models' lists them: {', '.join(shipped)}; "
        f"imported: {', '.join(stored) or 'none'}"
    )


# --------------------------------------------------------------------------- imported weights


def user_folder() -> Path:
    """Where imported weights lie: `VIDCOLOR_WEIGHTS`, or the user's data folder of the system."""
    own = os.environ.get("VIDCOLOR_WEIGHTS")
    if own:
        return Path(own)
    from platformdirs import user_data_path

    return user_data_path("vidcolor", appauthor=False) / "weights"


def stored_weights() -> dict[str, Entry]:
    """The imported weights by name; an entry whose file was deleted is left out.

    Raises:
        WeightsError: an entry is not readable.
    """
    entries = {}
    for path in sorted(user_folder().glob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"{path}: not readable ({error}); delete it, then import the weights again"
            ) from error
        entry = make_entry(values, str(path))
        if entry.file == f"{path.stem}.safetensors" and path.with_name(entry.file).is_file():
            entries[path.stem] = entry
    return entries


def import_weights(
    file: Path,
    name: str | None = None,
    architecture: str | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Check a weights file and store it as safetensors in the user's folder.

    Args:
        file: safetensors, or the state dict of a public checkpoint (`.pth`, `.pt`).
        name: to load it by; the architecture's name by default.
        architecture: a key of `models.MODELS`, needed where the file does not say it.
        overwrite: replace weights that are stored under this name.

    Returns:
        The stored file.

    Raises:
        WeightsError: the file is not weights of that architecture, the name is taken or of odd
            letters.
        OutputError: the user's folder cannot be written.
    """
    entry = _entry_of_file(file, architecture)
    name = name or entry.architecture
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise WeightsError(
            f"'{name}' cannot be the name of stored weights; use letters, digits, '-', '_' and '.'"
        )
    if name in manifest():
        raise WeightsError(f"'{name}' is a model that ships with vidcolor; choose another --name")
    folder = user_folder()
    target = folder / f"{name}.safetensors"
    if target.exists() and not overwrite:
        raise WeightsError(
            f"{target}: there are weights of that name; choose another --name, or add --overwrite"
        )
    model = _filled(file, entry)
    entry = dataclasses.replace(entry, parameters=sum(p.numel() for p in model.parameters()))
    entry = dataclasses.replace(entry, file="", sha256="", shards={})
    save_weights(target, model.state_dict(), entry, torch.float32)
    entry = dataclasses.replace(entry, file=target.name, sha256=sha256_of(target))
    with replacing(target.with_suffix(".json")) as temporary:
        text = json.dumps(dataclasses.asdict(entry), indent=1) + "\n"
        temporary.write_text(text, encoding="utf-8")
    return target
