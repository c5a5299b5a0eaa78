"""The report of a run: what became of each input, as JSON, CSV or a page to read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from ... import __version__
from ...errors import InputError, OutputError
from ...models.weights import sha256_of
from ...options import option_of
from ...system.devices import processors
from ...system.files import replacing, temporary_path
from ...system.sequences import is_pattern, sequence_file, sequence_numbers
from ...system.text import printable
from ..colorizer import Colorizer
from ..settings import ColorizerOptions, Report, Settings
from .options import JobOptions
from .page import MARK, make_page

# How a report begins; what begins otherwise is not replaced.
_HEADS = {".json": '{"vidcolor_report":', ".csv": "input,output,status,", ".html": MARK}
_COLUMNS = (
    "input", "output", "status", "frames", "seconds", "fps", "resumed", "error", "warnings",
    "input_sha256", "output_sha256", "finished",
)  # fmt: skip
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would calculate what begins so
_WRITTEN = ("done", "renamed", "incomplete")


class JobReport:
    """Collects what a run does, and writes it down.

    The hashes are read when an input is finished, while much of it is still in the system's
    memory: inputs and outputs are read once more, at the speed of the disk or about a gigabyte a
    second.

    Args:
        job: its `report` are the files to write; without any, nothing is collected.
        settings, options: of the run; they are written down.

    Raises:
        OutputError: a report cannot be written, or would replace another kind of file.
    """

    def __init__(self, job: JobOptions, settings: Settings, options: ColorizerOptions) -> None:
        self.paths = [Path(path) for path in job.report]
        for path in self.paths:
            _check(path)
        self._settings = {**_flat(options), **_flat(settings), **_flat(job)}
        self._began = datetime.now().astimezone()
        self._inputs: list[dict[str, Any]] = []
        self._model: dict[str, Any] = {}
        self._device = ""
        self._weights = options.weights

    def use(self, colorizer: Colorizer, precision: str, device: str) -> None:
        """Note the model, and the precision and the device that it runs with."""
        if not self.paths or self._model:
            return
        weights, entry = self._weights, colorizer.entry
        self._model = {
            "name": colorizer.name,
            "architecture": entry.architecture,
            "sha256": sha256_of(weights) if weights is not None else entry.sha256,
            "precision": precision,
            "size": colorizer.size,
        }
        self._device = device

    def add(self, report: Report) -> None:
        """Note what became of an input."""
        if not self.paths:
            return
        row = {**report.to_dict(), "input_sha256": None, "output_sha256": None}
        row["finished"] = _time(datetime.now().astimezone())
        self._inputs.append(row)  # first, so that it stays if hashing is interrupted
        if report.status != "skipped":
            row["input_sha256"] = _sha256(report.input)
        if report.status in _WRITTEN:
            row["output_sha256"] = _sha256(report.output)

    def write(self, event: str, unfinished: Iterable[tuple[Path, Path]] = ()) -> None:
        """Write the reports, each at once or not at all.

        Args:
            event: how the run ended: `done`, `interrupted`, `terminated` or `stopped`.
            unfinished: inputs that were not finished, with their outputs.

        Raises:
            OutputError: one cannot be written.
        """
        if not self.paths:
            return
        values = self._values(event, unfinished)
        for path in self.paths:
            with replacing(path) as temporary:
                temporary.write_text(_text(path, values), "utf-8", "backslashreplace", newline="")

    def _values(self, event: str, unfinished: Iterable[tuple[Path, Path]]) -> dict[str, Any]:
        ended = datetime.now().astimezone()
        rows = list(self._inputs)
        for path, output in unfinished:
            report = Report(path, output, "unfinished").to_dict()
            rows.append({**dict.fromkeys(_COLUMNS), **report})
        return {
            "vidcolor_report": 1,
            "event": event,
            "began": _time(self._began),
            "ended": _time(ended),
            "totals": {
                "inputs": len(rows),
                **Counter(row["status"] for row in rows),
                "frames": sum(row["frames"] for row in rows),
                "seconds": round((ended - self._began).total_seconds(), 3),
                "warnings": sum(len(row["warnings"]) for row in rows),
            },
            "model": self._model,
            "settings": self._settings,
            "machine": {
                "name": platform.node(),
                "system": platform.platform(),
                "device": self._device,
                "processors": processors(),
                "memory": psutil.virtual_memory().total,
            },
            "versions": {
                "vidcolor": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "inputs": rows,
        }


def _text(path: Path, values: dict[str, Any]) -> str:
    """What a report of this suffix holds."""
    if path.suffix.lower() == ".json":
        return json.dumps(values, indent=1).replace("{\n ", "{", 1) + "\n"
    if path.suffix.lower() == ".html":
        return make_page(values)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    writer.writerows(_csv_row(row) for row in values["inputs"])
    return out.getvalue()


def _csv_row(row: dict[str, Any]) -> Iterator[Any]:
    for name in _COLUMNS:
        value = row[name]
        text = "\n".join(value) if isinstance(value, list) else value
        if isinstance(text, str) and text.startswith(_FORMULAS):
            # ./=name is the same file; a sentence that begins so begins with a file's name
            text = f".{os.sep}{text}"
        yield "\n".join(map(printable, text.split("\n"))) if isinstance(text, str) else text


def _check(path: Path) -> None:
    """See now, not hours later, that a report can be written.

    Raises:
        OutputError: it cannot, or would replace a file that is no report.
    """
    head = _HEADS[path.suffix.lower()].encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path, ".tmp")
        temporary.touch()
        temporary.unlink()
        if not path.exists():
            return
        with path.open("rb") as file:
            found = file.read(len(head))
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); choose another name for --report"
        ) from error
    if found and found != head:
        raise OutputError(
            f"{path}: is there and is no report of vidcolor; choose another name for --report"
        )


def _flat(options: Any) -> dict[str, Any]:
    """The fields of a dataclass, those of `EncoderSettings` and the like among them, as JSON
    values."""
    found: dict[str, Any] = {}
    for each in fields(options):
        value = getattr(options, each.name)
        if callable(value):
            continue
        if is_dataclass(value) and option_of(each) is None:
            found |= _flat(value)
        elif isinstance(value, bool | int | float | None):
            found[each.name] = value
        elif isinstance(value, frozenset | tuple | list):
            found[each.name] = sorted(map(str, value))
        elif is_dataclass(value):
            found[each.name] = {key: part and str(part) for key, part in vars(value).items()}
        else:
            found[each.name] = str(value)
    return found


def _sha256(path: Path) -> str | None:
    """Of a file, or of the files of a numbered sequence one after another; None if they cannot be
    read."""
    digest = hashlib.sha256()
    try:
        files = [path]
        if not path.exists() and is_pattern(path):
            files = [sequence_file(path, number) for number in sequence_numbers(path)]
        for each in files:
            with each.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    except (OSError, InputError):
        return None
    return digest.hexdigest()


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
