"""What is recorded of a set of weights, in a manifest or a safetensors header, and its checks."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import WeightsError
from ..system import files


@dataclass(frozen=True)
class Entry:
    """The record of a set of weights.

    Attributes:
        architecture: a key of `models.MODELS`.
        input_size: the model sees a frame resized to about input_size squared pixels, 1 to 4096.
        color_space: what the model reads and predicts; always `lab` (L* in, a*b* out).
        chroma_gain: factor on the predicted a*b*, chosen on validation pictures, 0.1 to 10.
        file: file name beside the manifest, empty for weights without a manifest.
        sha256: of the file, hexadecimal, empty for weights without a manifest.
        recipe, data, license: where the weights come from and the terms they carry.
        parameters, gmacs: size of the network; multiply-adds in billions at input_size squared.
        metrics: measured quality by name; `evaluated_on` names the data.
        options: the architecture's constructor options that are not its defaults.
        shards: further files with the rest of the tensors, and their SHA-256. (Git hosts limit the
            size of a file.)
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


Test = Callable[[Any], bool]


def is_name(value: Any) -> bool:
    """Whether a value can name weights, an architecture or a file in a folder of weights: letters,
    digits, `-`, `_` and `.`, the first a letter or digit or `_`, 120 at most."""
    return isinstance(value, str) and bool(
        re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}", value)
    )


def _number(low: float, high: float, *kinds: type) -> Test:
    # by type, because True is an int; NaN compares with nothing
    return lambda value: type(value) in (kinds or (int, float)) and low <= value <= high


def _mapping(key: Test, value: Test) -> Test:
    return lambda given: (
        isinstance(given, dict)
        and len(given) <= 100
        and all(key(k) and value(v) for k, v in given.items())
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_sum(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{64}", value))


def _is_measure(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))


def is_option(value: Any) -> bool:
    """Whether a value can be an architecture's option: true, false, a short text, or a number up to
    10,000; a larger one would take more memory or time than there is."""
    if isinstance(value, str):
        return len(value) <= 100
    return type(value) is bool or _number(-10_000, 10_000)(value)


_FIELDS: dict[str, tuple[Test, str]] = {
    "architecture": (is_name, "an architecture's name"),
    "input_size": (_number(1, 4096, int), "a whole number from 1 to 4096"),
    "color_space": (_is_text, "text"),
    "chroma_gain": (_number(0.1, 10), "a number from 0.1 to 10"),
    "file": (lambda value: value == "" or is_name(value), "the plain name of a file"),
    "sha256": (lambda value: value == "" or _is_sum(value), "64 hexadecimal digits"),
    "recipe": (_is_text, "text"),
    "data": (_is_text, "text"),
    "license": (_is_text, "text"),
    "parameters": (_number(0, 1e12, int), "a number of parameters"),
    "gmacs": (_number(0, 1e9), "billions of multiply-adds"),
    "metrics": (
        lambda value: (
            _mapping(_is_text, lambda v: _is_measure(v) or _is_text(v))(value)
            and all(key == "evaluated_on" or not _is_text(v) for key, v in value.items())
        ),
        "a table of finite numbers",
    ),
    "options": (
        _mapping(is_name, is_option),
        "a table of true, false, short texts and numbers up to 10000",
    ),
    "shards": (_mapping(is_name, _is_sum), "a table of plain file names and their SHA-256"),
}


def make_entry(values: Any, origin: str) -> Entry:
    """Build an entry from JSON values.

    Raises:
        WeightsError: a key is unknown, `architecture` is missing, or a value has the wrong type or
            range; the message names `origin`.
    """
    if not isinstance(values, dict) or "architecture" not in values:
        raise WeightsError(
            f"{origin}: not a vidcolor manifest entry (no architecture), but "
            f"{reprlib.repr(values)}; get the file again"
        )
    for key, value in values.items():
        if key not in _FIELDS:
            raise WeightsError(
                f"{origin}: not a vidcolor manifest entry (unknown key {reprlib.repr(key)}); was "
                "it written by a newer vidcolor?"
            )
        is_valid, wanted = _FIELDS[key]
        if not is_valid(value):
            raise WeightsError(
                f"{origin}: the manifest entry's '{key}' is {reprlib.repr(value)}, not {wanted}; "
                "get the file again"
            )
    entry = Entry(**values)
    if entry.color_space != "lab":
        raise WeightsError(
            f"{origin}: works in {reprlib.repr(entry.color_space)}, not in lab; this vidcolor "
            "cannot use it"
        )
    return entry


def parse_json(text: str | bytes, origin: str, remedy: str) -> Any:
    """The value of a JSON text.

    Raises:
        WeightsError: it is not JSON, nests too deeply, or holds a number of too many digits; the
            message names `origin` and ends in `remedy`.
    """
    try:
        return files.parse_json(text)
    except ValueError as error:
        raise WeightsError(f"{origin}: not readable as JSON ({error}); {remedy}") from error


def parse_manifest(text: str | bytes, origin: str, remedy: str) -> Mapping[str, Entry]:
    """The entries of a manifest by the names of the weights.

    Raises:
        WeightsError: it is not JSON, or an entry is not valid.
    """
    values = parse_json(text, origin, remedy)
    if not isinstance(values, dict) or not all(map(is_name, values)):
        raise WeightsError(f"{origin}: not a table of weights by name; {remedy}")
    entries = {name: make_entry(entry, f"{origin}, {name}") for name, entry in values.items()}
    for name, entry in entries.items():
        if not entry.file or not entry.sha256:
            raise WeightsError(f"{origin}, {name}: names no file and its SHA-256; {remedy}")
    return entries
