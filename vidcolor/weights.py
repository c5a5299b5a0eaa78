"""Weights: safetensors files with a manifest entry, checked whenever they are loaded.

Shipped weights live in the package `vidcolor.weights_data` (the folder `weights/` of a checkout)
with `manifest.json`; one's own weights carry the same entry as JSON in the safetensors header,
under the key `vidcolor`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .errors import WeightsError
from .models import MODELS, create_model

_HEADER_KEY = "vidcolor"


@dataclass(frozen=True)
class Entry:
    """What is recorded of a set of weights.

    Attributes:
        architecture: a key of `models.MODELS`.
        input_size: the model sees a frame resized to about input_size squared pixels.
        color_space: what the model reads and predicts; always `lab` (L* in, a*b* out).
        chroma_gain: factor on the predicted a*b*, chosen on validation pictures.
        file: file name beside the manifest, empty for weights without a manifest.
        sha256: of the file, hexadecimal, empty for weights without a manifest.
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


def save_weights(path: Path, model: nn.Module, entry: Entry, dtype: torch.dtype) -> None:
    """Write `model` as safetensors, floating-point values as `dtype`, with `entry` inside."""
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(tensors, path, metadata={_HEADER_KEY: json.dumps(dataclasses.asdict(entry))})


def read_entry(path: Path) -> Entry | None:
    """The entry in a safetensors header, or None where there is none.

    Raises:
        WeightsError: the file is missing, cut short or not safetensors.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such weights file; check the path, or leave out --weights to use the "
            "shipped ones"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: not a complete safetensors file ({error}); copy or train it again"
        ) from error
    if _HEADER_KEY not in metadata:
        return None
    try:
        values = json.loads(metadata[_HEADER_KEY])
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path}: its entry is not JSON ({error}); train it again") from error
    return make_entry(values, str(path))


def _fill(model: nn.Module, tensors: dict[str, Tensor], path: Path, architecture: str) -> None:
    wanted = model.state_dict()
    for name, value in wanted.items():
        if name not in tensors:
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


def load_model(name: str | None = None, file: Path | None = None) -> tuple[nn.Module, Entry]:
    """A model ready for inference, float32 on the CPU, and its entry.

    Args:
        name: of shipped weights; with `file`, the architecture where the file names none. The
            default is `fast`, or what `file` says.
        file: one's own weights instead of shipped ones.

    Raises:
        WeightsError: no such model or file; the file is cut short, altered or of another model.
    """
    if file is not None:
        entry = read_entry(file)
        if entry is None:
            if name is None:
                raise WeightsError(
                    f"{file}: does not say which model it belongs to; add --model NAME"
                )
            entry = Entry(architecture=name)
        elif name is not None and name != entry.architecture:
            raise WeightsError(
                f"{file}: weights of '{entry.architecture}', not of '{name}'; leave out --model"
            )
        path = file
    else:
        name = name or "fast"
        if name.startswith("_") and name in MODELS:
            return create_model(name).eval(), Entry(architecture=name)
        entries = manifest()
        if name not in entries:
            raise WeightsError(
                f"no model is called '{name}'; 'vidcolor models' lists them: {', '.join(entries)}"
                + (f" ('{name}' can be used with --weights FILE)" if name in MODELS else "")
            )
        entry = entries[name]
        path = shipped_folder() / entry.file
        if not path.is_file() or sha256_of(path) != entry.sha256:
            raise WeightsError(
                f"{path}: missing, cut short or altered (its SHA-256 is not the manifest's); run "
                "'pip install --force-reinstall vidcolor'"
            )
    model = create_model(entry.architecture)
    try:
        tensors = {
            key: value.float() if value.is_floating_point() else value
            for key, value in load_file(path).items()
        }
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a complete safetensors file ({error})") from error
    _fill(model, tensors, path, entry.architecture)
    return model.eval(), entry
