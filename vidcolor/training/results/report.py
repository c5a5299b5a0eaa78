"""Write a training's results: results.json for programs, summary.md for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from ...errors import TrainingError
from ...system.files import read_json, replacing
from .tables import NO_MEASURE, cell, duration, finite, setting, table

_DIGITS = 6  # significant digits of a float in results.json
_SHOWN_NAMES = 10  # unreadable files that the summary names
_TEST_COLUMNS = {
    "psnr": ("PSNR, dB", ".3f"),
    "psnr_over_gray": ("over gray, dB", "+.3f"),
    "psnr_pooled": ("pooled, dB", ".3f"),
    "ssim": ("SSIM", ".4f"),
    "lpips": ("LPIPS", ".4f"),
    "colorfulness": ("colorfulness", ".3f"),
    "margin_error": ("12-margin error", ".4f"),
}


def diverged_epoch(history: Sequence[Mapping[str, Any]]) -> int | None:
    """The first epoch with a loss that is nan or infinite (null in JSON), or None.

    A row without `loss` was not validated; that is no divergence.
    """
    for number, row in enumerate(history, start=1):
        if any(key in row and finite(row[key]) is None for key in ("train_loss", "loss")):
            return int(row.get("epoch", number))
    return None


def write_file(path: Path, data: str | bytes) -> None:
    """Write `path` atomically. Bytes of file names that are not UTF-8 are written as escapes.

    Raises:
        OutputError: the file cannot be written; the old file is kept.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(
            data.encode(errors="backslashreplace") if isinstance(data, str) else data
        )


def read_results(path: Path) -> dict[str, Any]:
    """Read a results.json.

    Raises:
        TrainingError: the file cannot be read, or is not a JSON object.
    """
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path}: not readable as a training's results ({error}); run the training again"
        ) from error
    if not isinstance(values, dict):
        raise TrainingError(f"{path}: not a JSON object; run the training again")
    return values


def _to_json(value: Any, key: str) -> Any:
    """`value` in JSON's types: floats rounded, nan and infinity as None."""
    if hasattr(value, "tolist"):  # tensors, and numpy's numbers and arrays
        value = value.tolist()
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(k): _to_json(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(v, f"{key}[{i}]") for i, v in enumerate(value)]
    raise TypeError(f"results key '{key}': a {type(value).__name__} cannot be written as JSON")


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write `folder`/results.json and `folder`/summary.md, each atomically.

    Floats are rounded to six significant digits; nan and infinity become null. A history with such
    a loss makes the status `diverged`. The summary links the curves.png and the sheets that are in
    the folder, so plot them before.

    Args:
        folder: the training's output folder.
        results: the result of `Results.collect`; the summary leaves out missing keys.

    Raises:
        OutputError: a file cannot be written.
        TypeError: a value is not a number, text, path, tensor, list or dict.
    """
    plain = _to_json(results, "")
    if diverged_epoch(plain.get("history") or []) is not None:
        plain["status"] = "diverged"
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_file(folder / "results.json", f"{text}\n")
    pictures = [folder / "curves.png", *sorted(folder.glob("sheets/*.png"))]
    links = [p.relative_to(folder).as_posix() for p in pictures if p.is_file()]
    write_file(folder / "summary.md", summary_markdown(plain, links))


def data_line(data: Mapping[str, Any]) -> str:
    """The data in one line: sources, counts of the parts, pictures left out."""
    parts = [f"{cell(data[p])} {p}" for p in ("train", "validation", "test") if p in data]
    counts = {"near-gray": data.get("near_gray"), "unreadable": len(data.get("unreadable") or [])}
    left_out = [f"{cell(count)} {name}" for name, count in counts.items() if count]
    line = f"{', '.join(cell(s) for s in data.get('sources', []))}: {', '.join(parts)}"
    return f"{line}; left out: {', '.join(left_out)}" if left_out else line


def our_figure(results: Mapping[str, Any], key: str) -> tuple[float | None, str]:
    """Our figure for the one that the document reports as `key`, and the part it was measured on.

    `test_X` and `validation_X` are the measure X on that part, `train_X` that of the training at
    the best epoch. A bare X is looked up on the test part, then at the best epoch's validation,
    then among the numbers of the results, such as `parameters` or `wall_seconds`.

    Returns:
        The value and `test`, `validation`, `train` or an empty word; None if there is none.
    """
    rows = (results.get("test") or {}).get("rows") or [{}]
    epochs = {row.get("epoch"): row for row in results.get("history") or []}
    best = results.get("best") or {}
    test = {**rows[-1], **(results.get("test_measures") or {})}
    train = epochs.get(results.get("best_epoch"), {})
    part, _, name = key.partition("_")
    for where, values, measure in (
        ("test", test, name), ("validation", best, name), ("train", train, key),
    ):  # fmt: skip
        if part == where and name:
            return finite(values.get(measure)), part
    for where, values in (("test", test), ("validation", best)):
        if finite(values.get(key)) is not None:
            return finite(values[key]), where
    return finite(results.get(key)), ""


def _values_table(values: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in values.items() if key not in NO_MEASURE}
    return table(["measure", "value"], [[cell(k), cell(v)] for k, v in shown.items()])


def _reported_table(results: Mapping[str, Any]) -> str:
    rows = []
    for key, value in results["reported"].items():
        ours, part = our_figure(results, key)
        where = f" ({part})" if part and ours is not None else ""
        rows.append([cell(key), cell(value), f"{cell(ours)}{where}"])
    return table(["figure", "document", "ours"], rows)


def _test_table(test: Mapping[str, Any]) -> str:
    columns = [k for k in _TEST_COLUMNS if any(r.get(k) is not None for r in test["rows"])]
    rows = [
        [cell(r["name"]), *(cell(finite(r.get(k)), _TEST_COLUMNS[k][1]) for k in columns)]
        for r in test["rows"]
    ]
    return table(["", *(_TEST_COLUMNS[k][0] for k in columns)], rows)


def _facts(results: Mapping[str, Any]) -> str:
    """The table of the model, the data, the device and the time."""
    recipe, data = results.get("recipe") or {}, results.get("data") or {}
    counts = {"parameters": "parameters", "gmacs": "GMACs a picture"}
    model = [cell(recipe["model"])] if "model" in recipe else []
    model += [f"{cell(results[k])} {s}" for k, s in counts.items() if results.get(k) is not None]
    speed = finite(results.get("images_per_second"))
    versions, changed = results.get("versions") or {}, results.get("changed") or {}
    rows = {
        "document": cell(recipe.get("document")),
        "model": ", ".join(model),
        "data": data_line(data) if data else "",
        "device": cell(results.get("device")),
        "versions": ", ".join(f"{cell(k)} {cell(v)}" for k, v in sorted(versions.items())),
        "changed from the recipe": ", ".join(
            f"{cell(k)} = {setting(v)}" for k, v in changed.items()
        ),
        "wall time": duration(results.get("wall_seconds"))
        + ("" if speed is None else f", {speed:,.0f} images/s"),
        "epochs run": cell(results.get("epochs")),
        "best epoch": cell(results.get("best_epoch")),
        "chosen by": cell(results.get("monitor")),
    }
    known = [[key, value] for key, value in rows.items() if value not in ("", "-")]
    return table(["", ""], known) if known else ""


def summary_markdown(results: Mapping[str, Any], pictures: Sequence[str] = ("curves.png",)) -> str:
    """The text of summary.md.

    Args:
        results: as for `write_results`, or read from results.json.
        pictures: links, relative to the folder of the summary; curves.png is shown, others linked.
    """
    recipe, get = results.get("recipe") or {}, results.get
    title = cell(recipe.get("title") or recipe.get("name") or recipe.get("model") or "Training")
    reason = f": {cell(get('reason'))}" if get("reason") else ""
    blocks = [f"# {title}", f"Status: **{cell(get('status') or 'unknown')}**{reason}"]
    blocks.append(_facts(results))
    if get("command"):
        blocks += ["The command:", f"```sh\n{get('command')}\n```"]
    if test := get("test"):
        notes = "\n".join(f"- {note}" for note in test.get("notes", []))
        blocks += ["## The test part", _test_table(test), notes]
    if get("test_measures"):
        note = f" ({get('note')})" if get("note") else ""
        blocks.append(f"The objective's own measures on the test part{note}:")
        blocks.append(_values_table(results["test_measures"]))
    if get("best"):
        blocks += [
            f"## Validation, epoch {cell(get('best_epoch'))}",
            _values_table(results["best"]),
        ]
    if get("reported"):
        blocks += ["## Beside the document", _reported_table(results)]
    if pictures:
        links = [f"- [{p}]({p})" for p in pictures if p != "curves.png"]
        curves = "![curves](curves.png)" if "curves.png" in pictures else ""
        blocks += ["## Pictures", curves, "\n".join(links)]
    if unreadable := (get("data") or {}).get("unreadable"):
        names = [f"- `{name}`" for name in unreadable[:_SHOWN_NAMES]]
        if len(unreadable) > _SHOWN_NAMES:
            names.append(f"- and {len(unreadable) - _SHOWN_NAMES} more, in results.json")
        blocks += ["## Unreadable files", "\n".join(names)]
    return "\n\n".join(block for block in blocks if block) + "\n"
