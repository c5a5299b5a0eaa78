"""Weights: safetensors files with an entry, checked whenever they are loaded.

Shipped weights lie in the package `vidcolor.weights_data` (the folder `weights/` of a checkout),
their entries in `manifest.json`. Other weights carry their entry as JSON in the safetensors header,
under the key `vidcolor`. Imported weights lie in the user's folder as NAME.safetensors, each with
its entry and SHA-256 in NAME.json.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import json
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import WeightsError
from ..system.files import replacing
from .base import ColorModel
from .entry import Entry, is_name, make_entry, parse_json, parse_manifest
from .registry import DEFAULT_MODEL, MODELS, create_model
from .state_dicts import read_header, read_tensors

_HEADER_KEY = "vidcolor"


def shipped_folder() -> Path:
    """The folder of the shipped weights.

    Raises:
        WeightsError: the installation lacks it.
    """
    try:
        return Path(str(importlib.resources.files("vidcolor.weights_data")))
    except ModuleNotFoundError:
        pass
    checkout = Path(__file__).resolve().parents[2] / "weights"  # run from a source tree
    if (checkout / "manifest.json").is_file():
        return checkout
    raise WeightsError(
        "the shipped weights are missing from this installation: run 'pip install "
        "--force-reinstall vidcolor', or give --weights FILE"
    )


def _read_bytes(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: not readable ({error.strerror}); {remedy}") from error


def manifest() -> Mapping[str, Entry]:
    """The shipped weights by name.

    Raises:
        WeightsError: the manifest is missing or not readable.
    """
    path = shipped_folder() / "manifest.json"
    remedy = "reinstall vidcolor"
    return parse_manifest(_read_bytes(path, remedy), str(path), remedy)


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
    values = parse_json(header[_HEADER_KEY], f"{path}, its entry", "copy or train it again")
    return make_entry(values, str(path))


def _check_tensors(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, architecture: str
) -> None:
    """Raise WeightsError unless `tensors` have the names, shapes and kinds of `wanted`, finite."""
    origin = f"{path}: not weights of '{architecture}'"
    for name, value in wanted.items():
        if name not in tensors:
            if name.endswith(".num_batches_tracked"):
                continue  # files from before PyTorch 0.4.1 lack it, and inference does not read it
            raise WeightsError(f"{origin}: {name} is missing")
        given = tensors[name]
        if given.shape != value.shape:
            raise WeightsError(
                f"{origin}: {name} has shape {tuple(given.shape)}, not {tuple(value.shape)}"
            )
        if given.is_floating_point() != value.is_floating_point():
            raise WeightsError(f"{origin}: {name} holds {given.dtype}, not {value.dtype}")
    extra = sorted(set(tensors) - set(wanted))
    if extra:
        raise WeightsError(f"{origin}: {reprlib.repr(extra[0])[1:-1]} is unknown")
    if not all(v.isfinite().all() for v in tensors.values() if v.is_floating_point()):
        raise WeightsError(f"{path}: holds values that are not finite; train or copy it again")


def _check_sum(path: Path, sha256: str, remedy: str) -> None:
    if not path.is_file() or sha256_of(path) != sha256:
        raise WeightsError(
            f"{path}: missing, cut short or altered (its SHA-256 is not the manifest's); {remedy}"
        )


def _load(
    path: Path, entry: Entry, remedy: str = "copy all files of these weights again"
) -> ColorModel:
    """The model of `entry` with the tensors of `path` and the shards beside it, for inference."""
    with torch.device("meta"):  # before any memory is taken: options may ask for too much
        shapes = create_model(entry.architecture, **entry.options).state_dict()
    tensors = read_tensors(path)
    for shard, sha256 in entry.shards.items():
        _check_sum(path.with_name(shard), sha256, remedy)
        tensors |= read_tensors(path.with_name(shard))
    _check_tensors(tensors, shapes, path, entry.architecture)
    model = create_model(entry.architecture, **entry.options)
    model.load_state_dict(tensors)
    return model.eval()


def _entry_of_file(file: Path, architecture: str | None) -> Entry:
    """The entry in a file, or else one of `architecture`; the two must agree."""
    entry = read_entry(file)
    if entry is None:
        if architecture is None:
            raise WeightsError(f"{file}: does not name its architecture; add --model NAME")
        return Entry(architecture=architecture)
    if architecture is not None and architecture != entry.architecture:
        raise WeightsError(
            f"{file}: weights of '{entry.architecture}', not of '{architecture}'; leave out --model"
        )
    return entry


def load_model(name: str | None = None, file: Path | None = None) -> tuple[ColorModel, Entry]:
    """A model ready for inference, float32 on the CPU, and its entry.

    Args:
        name: of shipped or imported weights; with `file`, the architecture where the file names
            none. The default is `DEFAULT_MODEL`, or what `file` names.
        file: one's own weights instead: safetensors, or the state dict of a public checkpoint
            (`.pth`, `.pt`).

    Raises:
        WeightsError: no such model or file; the file is cut short, altered or of another model.
    """
    if file is not None:
        entry = _entry_of_file(file, name)
        return _load(file, entry), entry
    name = name or DEFAULT_MODEL
    shipped = manifest()
    if name in shipped:
        entry, folder = shipped[name], shipped_folder()
        remedy = "run 'pip install --force-reinstall vidcolor'"
    else:
        stored = stored_weights()
        if name not in stored:
            raise WeightsError(_no_weights(name, list(shipped), list(stored)))
        entry, folder = stored[name], user_folder()
        remedy = "import it again with 'vidcolor weights import FILE --overwrite'"
    _check_sum(folder / entry.file, entry.sha256, remedy)
    return _load(folder / entry.file, entry, remedy), entry


def _no_weights(name: str, shipped: list[str], stored: list[str]) -> str:
    """The message for a name that has no weights here."""
    if name in MODELS:
        model = MODELS[name]
        file = model.public_checkpoint
        source = f"download {file} (see {model.public_source})" if file else "train it"
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
        remedy = "delete it, then import the weights again"
        entry = make_entry(parse_json(_read_bytes(path, remedy), str(path), remedy), str(path))
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
        architecture: a key of `models.MODELS`, needed where the file does not name it.
        overwrite: replace weights that are stored under this name.

    Returns:
        The stored file.

    Raises:
        WeightsError: the file does not hold weights of that architecture, or the name is taken or
            has other characters than letters, digits, `-`, `_` and `.`.
        OutputError: the user's folder cannot be written.
    """
    entry = _entry_of_file(file, architecture)
    name = name or entry.architecture
    if not is_name(name) or len(name) > 100:
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
    model = _load(file, entry)
    entry = dataclasses.replace(entry, parameters=sum(p.numel() for p in model.parameters()))
    entry = dataclasses.replace(entry, file="", sha256="", shards={})
    save_weights(target, model.state_dict(), entry, torch.float32)
    entry = dataclasses.replace(entry, file=target.name, sha256=sha256_of(target))
    with replacing(target.with_suffix(".json")) as temporary:
        text = json.dumps(dataclasses.asdict(entry), indent=1) + "\n"
        temporary.write_text(text, encoding="utf-8")
    return target
