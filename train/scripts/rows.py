"""The first table of train/RESULTS.md: every recipe's results beside what its document reports."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidcolor.training.results.report import data_line, our_figure, read_results
from vidcolor.training.results.tables import cell, duration, finite, table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TRAIN = Path(__file__).resolve().parents[1]
ROWS = ("S0", "S1a", "S1b", "S2", "S3a", "S3b", "S3c", "S4a", "S4b")
FLOORS = ("gray", "mean ab", "half chroma")
HEAD = ("row", "system", "data and scale", "device", "wall time", "epochs")
FIGURES = ("the document reports", "ours", *FLOORS, "our model")
PICTURES = 1000  # fewer test pictures than this, and a note says so


def about_recipe(folder: Path) -> Mapping[str, Any]:
    """The table `about` of a row's recipe (title, document, reported); empty without a recipe."""
    path = folder / "recipe.toml"
    if not path.is_file():
        return {}
    try:
        about = tomllib.loads(path.read_text(encoding="utf-8")).get("about", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        sys.exit(f"{path}: not a TOML file: {error}")
    return about if isinstance(about, dict) else {}


def title(recipe: Mapping[str, Any], name: str) -> str:
    """The recipe's title, less the row's name that stands beside it."""
    text = recipe.get("title") or None
    return cell(text and str(text).removeprefix(f"{name}: "))


def reported_figures(results: Mapping[str, Any], reported: Mapping[str, Any]) -> tuple[str, str]:
    """The document's figures and ours, a line for each."""
    theirs, ours = [], []
    for key, value in reported.items():
        name = cell(key.replace("_", " "))
        figure, part = our_figure(results, key)
        theirs.append(f"{name} {cell(value)}")
        # a name that begins with its part needs no second word for it
        where = f" ({part})" if part and figure is not None and not key.startswith(part) else ""
        ours.append(f"{name} {cell(figure)}{where}")
    return "<br>".join(theirs) or "-", "<br>".join(ours) or "-"


def floor_cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    return (
        f"{cell(finite(row.get('psnr')), '.2f')} / {cell(finite(row.get('margin_error')), '.3f')}"
    )


def table_row(name: str, folder: Path) -> tuple[list[str], list[str]]:
    """The cells of one row, and the notes that belong to it.

    Raises:
        TrainingError: there is a results.json, but it cannot be read.
    """
    about = about_recipe(folder)
    path = folder / "results.json"
    if not path.is_file():
        theirs, _ = reported_figures({}, about.get("reported") or {})
        cells = [name, title(about, name), "not run", *"---", theirs, "not run", *"----"]
        return cells, []
    results = read_results(path)
    recipe, test = results.get("recipe") or {}, results.get("test") or {}
    rows = {row["name"]: row for row in test.get("rows") or []}
    model = test["rows"][-1] if test.get("rows") else None
    diverged = results.get("status") == "diverged"
    reported = results.get("reported") or about.get("reported") or {}
    data = results.get("data") or {}
    size, precision = recipe.get("size"), recipe.get("precision", "fp32")
    scale = f"; {size}x{size}, {precision}" if size else ""
    cells = [
        f"[{name}]({name}/summary.md)" if (folder / "summary.md").is_file() else name,
        title({**about, **recipe}, name),
        f"{data_line(data)}{scale}" if data else "-",
        cell(results.get("device")),
        duration(results.get("wall_seconds")),
        f"{cell(results.get('epochs'))}{', diverged' if diverged else ''}",
        *reported_figures(results, reported),
        *(floor_cell(rows.get(floor)) for floor in FLOORS),
        floor_cell(model),
    ]
    return cells, row_notes(results, test)


def row_notes(results: Mapping[str, Any], test: Mapping[str, Any]) -> list[str]:
    """What a reader of the row has to know: how it ended, what was kept, how it was tested."""
    reason = results.get("reason")
    notes = [f"{cell(results.get('status'))}{f' ({cell(reason)})' if reason else ''}"]
    if results.get("best_epoch"):
        by = f", chosen by {cell(results['monitor'])}" if results.get("monitor") else ""
        notes.append(f"weights of epoch {cell(results['best_epoch'])}{by}")
    if not test:
        notes.append("no test part was measured")
    else:
        few = ", too few for more than two digits" if test["num_pictures"] < PICTURES else ""
        size = test["size"]
        notes.append(f"{cell(test['num_pictures'])} test pictures at {size}x{size}{few}")
    return notes


def rows_markdown(folder: Path) -> str:
    """The table, and its notes, for the recipes below `folder`.

    Raises:
        TrainingError: a results.json cannot be read.
    """
    others = sorted({path.parent.name for path in folder.glob("*/results.json")} - set(ROWS))
    lines, notes = [], []
    for name in (*ROWS, *others):
        cells, remarks = table_row(name, folder / name)
        lines.append(cells)
        if remarks:
            notes.append(f"- {name}: {'; '.join(remarks)}.")
    return "\n\n".join([table([*HEAD, *FIGURES], lines), "\n".join(notes)])
