"""What a training says about itself: results.json for programs, summary.md for people.

Nothing here imports torch: the figures come as plain numbers, or as tensors that turn themselves
into such. The keys of `results` are those that `write_results` lists.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from ...errors import TrainingError
from ...system.files import replacing
from ..objectives.measures import higher_is_better
from .markdown import cell, duration, finite, setting, short_key, table

_DIGITS = 6  # significant ones of a float in results.json
_SHOWN_NAMES = 10  # unreadable files that the summary names

# what a row of the history holds beside its measures
_BOOKKEEPING = {"epoch", "lr", "seconds", "images_per_second"}

_TEST_COLUMNS = {
    "psnr": ("PSNR, dB", ".3f"),
    "psnr_over_gray": ("over grey, dB", "+.3f"),
    "gain": ("over grey, dB", "+.3f"),  # the same in results written before it was renamed
    "psnr_pooled": ("pooled, dB", ".3f"),
    "ssim": ("SSIM", ".4f"),
    "lpips": ("LPIPS", ".4f"),
    "colourfulness": ("colourfulness", ".3f"),
    "margin_error": ("12-margin error", ".4f"),
}


def diverged_epoch(history: Sequence[Mapping[str, Any]]) -> int | None:
    """The first epoch of which a loss is nan or infinite (null once in JSON), or None.

    A row without `loss` was not validated; that is no divergence.
    """
    for number, row in enumerate(history, start=1):
        if any(key in row and finite(row[key]) is None for key in ("train_loss", "loss")):
            return int(row.get("epoch", number))
    return None


def write_file(path: Path, data: bytes) -> None:
    """Write `data` as `path`, whole or not at all.

    Raises:
        OutputError: the file cannot be written; what was there before is still there.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def read_results(path: Path) -> dict[str, Any]:
    """Read a results.json.

    Raises:
        TrainingError: the file cannot be read, or is no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path}: not readable as a training's results ({error}); run the training again"
        ) from error
    if not isinstance(values, dict):
        raise TrainingError(f"{path}: not a JSON object; run the training again")
    return values


# --------------------------------------------------------------------------- JSON


def _plain(value: Any, key: str) -> Any:
    """`value` in JSON's own types: floats rounded, nan and infinity as None."""
    if hasattr(value, "tolist"):  # tensors, and numpy's numbers and arrays
        value = value.tolist()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{key}[{i}]") for i, v in enumerate(value)]
    raise TypeError(f"results key '{key}': a {type(value).__name__} cannot be written as JSON")


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write `folder`/results.json and `folder`/summary.md, each atomically.

    The JSON is sorted, its floats are rounded to six significant digits, nan and infinity become
    null; a history with such a loss makes the status `diverged`. Call this after the plots: the
    summary links curves.png and the sheets that it finds in the folder.

    Args:
        folder: the training's output folder.
        results: `recipe` (with `title`, `document`, `model`), `command`, `status` (`finished`,
            `stopped early`, `diverged` or `interrupted`), `reason`, `device`, `versions`,
            `wall_seconds`, `images_per_second`, `epochs`, `best_epoch`, `monitor`, `best` (measure
            to value), `history` (one dict an epoch), `data` (`sources`, `train`, `validation`,
            `test`, `near_grey`: counts; `unreadable`: names), `parameters`, `gmacs`, `test` (an
            `EvalTable.to_dict()` or None), `test_measures`, `reported` (see `our_figure`). What is
            missing is left out of the summary.

    Raises:
        OutputError: a file cannot be written.
        TypeError: a value is neither a number, text, path, tensor, list nor dict.
    """
    plain = _plain(results, "")
    if diverged_epoch(plain.get("history") or []) is not None:
        plain["status"] = "diverged"
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(folder / "results.json", text.encode(errors="backslashreplace"))
    pictures = [folder / "curves.png", *sorted(folder.glob("sheets/*.png"))]
    links = [p.relative_to(folder).as_posix() for p in pictures if p.is_file()]
    write_file(
        folder / "summary.md", summary_markdown(plain, links).encode(errors="backslashreplace")
    )


# --------------------------------------------------------------------------- Markdown


def data_line(data: Mapping[str, Any]) -> str:
    """What was trained on, in one line: sources, counts of the parts, what was left out."""
    parts = [f"{cell(data[p])} {p}" for p in ("train", "validation", "test") if p in data]
    left_out = [f"{cell(data['near_grey'])} near-grey"] if data.get("near_grey") else []
    if data.get("unreadable"):
        left_out.append(f"{len(data['unreadable'])} unreadable")
    line = f"{', '.join(cell(s) for s in data.get('sources', []))}: {', '.join(parts)}"
    return f"{line}; left out: {', '.join(left_out)}" if left_out else line


def our_figure(results: Mapping[str, Any], key: str) -> tuple[float | None, str]:
    """Our figure to set beside the one that the document reports as `key`, and its part.

    `test_X` and `validation_X` are the measure X on that part, `train_X` that of the training at
    the best epoch. A bare X is looked up on the test part (the objective's own measures, then the
    table's row of the model), then at the best epoch's validation, then among the results' own
    numbers, such as `parameters` or `wall_seconds`.

    Returns:
        The value and `test`, `validation`, `train` or an empty word; None where there is none.
    """
    table_rows = (results.get("test") or {}).get("rows") or [{}]
    best = results.get("best_epoch")
    at_best: Mapping[str, Any] = next(
        (r for r in results.get("history") or [] if r.get("epoch") == best), {}
    )
    tests = {**table_rows[-1], **(results.get("test_measures") or {})}
    part, _, name = key.partition("_")
    if part in ("test", "validation") and name:
        return finite((tests if part == "test" else results.get("best") or {}).get(name)), part
    if part == "train" and name:
        return finite(at_best.get(key)), part
    for place, values in (("test", tests), ("validation", results.get("best") or {})):
        if finite(values.get(key)) is not None:
            return finite(values[key]), place
    return finite(results.get(key)), ""


def _figure(value: float | None, part: str) -> str:
    return f"{cell(value)} ({part})" if part and value is not None else cell(value)


def reported_table(results: Mapping[str, Any]) -> str:
    """The document's figures beside ours."""
    rows = [
        [cell(key), cell(value), _figure(*our_figure(results, key))]
        for key, value in results["reported"].items()
    ]
    return table(["figure", "document", "ours"], rows)


def test_table(test: Mapping[str, Any]) -> str:
    """The rows grey, mean ab, half chroma, truth and model; unknown measures are left out."""
    columns = [k for k in _TEST_COLUMNS if any(r.get(k) is not None for r in test["rows"])]
    rows = [
        [cell(r["name"]), *(cell(finite(r.get(k)), _TEST_COLUMNS[k][1]) for k in columns)]
        for r in test["rows"]
    ]
    return table(["", *(_TEST_COLUMNS[k][0] for k in columns)], rows)


def _facts(results: Mapping[str, Any]) -> str:
    """The table of what was trained, on what and for how long."""
    recipe, data = results.get("recipe") or {}, results.get("data") or {}
    model = [cell(recipe[k]) for k in ("model",) if k in recipe]
    if results.get("parameters") is not None:
        model.append(f"{cell(results['parameters'])} parameters")
    if results.get("gmacs") is not None:
        model.append(f"{cell(results['gmacs'])} GMACs a picture")
    speed = finite(results.get("images_per_second"))
    wall = duration(results.get("wall_seconds"))
    versions = results.get("versions") or {}
    rows = {
        "document": cell(recipe.get("document")),
        "model": ", ".join(model) or "-",
        "data": data_line(data) if data else "-",
        "device": cell(results.get("device")),
        "versions": ", ".join(f"{cell(k)} {cell(v)}" for k, v in sorted(versions.items())) or "-",
        "changed from the recipe": ", ".join(
            f"{cell(k)} = {setting(v)}" for k, v in (results.get("changed") or {}).items()
        )
        or "-",
        "wall time": wall if speed is None else f"{wall}, {speed:,.0f} images/s",
        "epochs run": cell(results.get("epochs")),
        "best epoch": cell(results.get("best_epoch")),
        "chosen by": cell(results.get("monitor")),
    }
    known = [[key, value] for key, value in rows.items() if value != "-"]
    return table(["", ""], known) if known else ""


def summary_markdown(results: Mapping[str, Any], pictures: Sequence[str] = ("curves.png",)) -> str:
    """The text of summary.md.

    Args:
        results: as for `write_results`, before or after its way through JSON.
        pictures: links, relative to the folder of the summary; curves.png is shown, others named.
    """
    recipe = results.get("recipe") or {}
    note = f" ({results['note']})" if results.get("note") else ""
    title = cell(recipe.get("title") or recipe.get("name") or recipe.get("model") or "Training")
    reason = cell(results.get("reason") or "")
    status = f"**{cell(results.get('status') or 'unknown')}**{f': {reason}' if reason else ''}"
    blocks = [f"# {title}", f"Status: {status}", _facts(results)]
    if results.get("command"):
        blocks += ["The command:", f"```sh\n{results['command']}\n```"]
    test = results.get("test")
    if test:
        blocks += ["## The test part", test_table(test)]
        blocks.append("\n".join(f"- {note}" for note in test.get("notes", [])))
    if results.get("test_measures"):
        rows = [[cell(k), cell(v)] for k, v in results["test_measures"].items()]
        blocks += [
            f"The objective's own measures on the test part{note}:",
            table(["measure", "value"], rows),
        ]
    if results.get("best"):
        rows = [[cell(k), cell(v)] for k, v in results["best"].items() if k not in _BOOKKEEPING]
        blocks += [
            f"## Validation, epoch {cell(results.get('best_epoch'))}",
            table(["measure", "value"], rows),
        ]
    if results.get("reported"):
        blocks += ["## Beside the document", reported_table(results)]
    links = [f"![curves]({p})" if p == "curves.png" else f"- [{p}]({p})" for p in pictures]
    if links:
        shown = [link for link in links if link.startswith("!")]
        named = [link for link in links if not link.startswith("!")]
        blocks += ["## Pictures", *shown, "\n".join(named)]
    unreadable = (results.get("data") or {}).get("unreadable") or []
    if unreadable:
        names = [f"- `{name}`" for name in unreadable[:_SHOWN_NAMES]]
        if len(unreadable) > _SHOWN_NAMES:
            names.append(f"- and {len(unreadable) - _SHOWN_NAMES} more, in results.json")
        blocks += ["## Unreadable files", "\n".join(names)]
    return "\n\n".join(block for block in blocks if block) + "\n"


# --------------------------------------------------------------------------- grids

# the numbers that a grid's row holds beside its measures
_NO_MEASURE = {"epochs", "best_epoch", *_BOOKKEEPING}


def with_varying(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """The keys of the rows' `settings` whose values differ, and the rows with those alone.

    A grid of one run keeps all its settings. Runs that do not set the same keys are no grid but
    variants: what tells them apart is their `name`, under the key `run`.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row["settings"]))
    if any(set(row["settings"]) != set(keys) for row in rows):
        settings = [{"run": row.get("name", "-")} for row in rows]
        keys = ["run"]
    else:
        settings = [dict(row["settings"]) for row in rows]
        keys = [k for k in keys if len({repr(s[k]) for s in settings}) > 1] or keys
    return keys, [
        {**row, "lr": row["settings"].get("lr", row.get("lr")), "settings": {k: s[k] for k in keys}}
        for row, s in zip(rows, settings, strict=True)
    ]


def is_diverged(row: Mapping[str, Any]) -> bool:
    """Whether a grid's run diverged, by its status or by a loss that is nan or infinite."""
    losses = [row.get(key) for key in ("train_loss", "loss")]
    return row.get("status") == "diverged" or any(
        isinstance(loss, float) and not math.isfinite(loss) for loss in losses
    )


def _status(row: Mapping[str, Any]) -> str:
    if not is_diverged(row):
        return cell(row.get("status"))
    lr = row.get("lr")
    return "diverged" if lr is None else f"diverged at lr {setting(lr)}"


def best_row(rows: Sequence[Mapping[str, Any]], monitor: str) -> int | None:
    """The index of the run that is best by `monitor`, or None; diverged runs never are."""
    values = {
        i: value
        for i, row in enumerate(rows)
        if not is_diverged(row) and (value := finite(row.get(monitor))) is not None
    }
    if not values:
        return None
    return (max if higher_is_better(monitor) else min)(values, key=lambda i: values[i])


def grid_markdown(rows: Sequence[Mapping[str, Any]], monitor: str = "loss") -> str:
    """The table of a grid's runs, the best in bold.

    Args:
        rows: one dict a run: `settings` (the grid's keys and their values in this run), `status`,
            `epochs`, `seconds` and the measures of its best epoch, such as `train_loss`, `loss`
            (of the validation), `margin_error`, `psnr`. Columns that no run fills are left out.
            `lr` names the rate of a run whose grid does not vary it; `name` tells variants apart,
            that is runs whose `settings` have different keys.
        monitor: the measure that says which run is best.
    """
    keys, rows = with_varying(rows)
    usual = ["train_loss", "loss", "margin_error", "psnr"]
    names = {"train_loss": "train loss", "loss": "validation loss", "margin_error": "margin error"}
    present = list(dict.fromkeys(k for row in rows for k in row if k not in _NO_MEASURE))
    numbers = {k for k in present if any(finite(row.get(k)) is not None for row in rows)}
    measures = [k for k in usual + [k for k in present if k not in usual] if k in numbers]
    lines = []
    for row in rows:
        values = [None if is_diverged(row) else finite(row.get(k)) for k in measures]
        lines.append(
            [
                *(setting(row["settings"][k]) for k in keys),
                _status(row),
                cell(row.get("epochs")),
                *(cell(v) for v in values),
                cell(finite(row.get("seconds")), ",.1f"),
            ]
        )
    best = best_row(rows, monitor)
    if best is not None:
        lines[best] = [f"**{text}**" for text in lines[best]]
    head = [
        *map(short_key, keys),
        "status",
        "epochs run",
        *(names.get(k, k) for k in measures),
        "seconds",
    ]
    return table([cell(text) for text in head], lines) + "\n"
