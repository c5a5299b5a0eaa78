"""Recipe files: recipes as TOML, shipped or a user's own, read and written.

This module imports neither torch nor the models before a recipe is made.
"""

from __future__ import annotations

import importlib.resources
import json
import reprlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..system.files import replacing
from .recipe import (
    Recipe,
    checked_value,
    field_types,
    make_recipe,
    one_line,
    overridden,
    recipe_values,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class RecipeFile:
    """A recipe with what belongs to it but decides no weights.

    Attributes:
        name: of the recipe: its folder's, or the file's own.
        recipe: the settings.
        title, document: what it trains, and its source, one line each.
        reported: figures of the document, for the results.
        estimations: number of test pictures whose predictions are written as
            `estimations_test.npy`.
        changed: keys that the command line replaced, and their values; also those that it replaced
            when this training began.
        grid: keys and the values that a grid tries, every combination.
        variants: named sets of overrides.
    """

    name: str
    recipe: Recipe
    title: str = ""
    document: str = ""
    reported: dict[str, Any] = field(default_factory=dict)
    estimations: int = 0
    changed: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)


# keys of the table [about]
_ABOUT = ("name", "title", "document", "reported", "estimations", "changed")


def _read_toml(text: str) -> dict[str, Any]:
    """Raises ValueError for all that is not TOML, values that Python cannot hold included."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def parse_value(text: str) -> Any:
    """A value typed on the command line: TOML (`3e-4`, `true`, `[1, 2]`), else plain text; `True`
    and `[cat, dog]` are understood too."""
    try:
        return _read_toml(f"value = {text}")["value"]
    except ValueError:
        pass
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.startswith("[") and text.endswith("]") and "[" not in text[1:]:
        return [parse_value(part.strip()) for part in text[1:-1].split(",")]
    return text


def shipped_recipes() -> dict[str, Path]:
    """The files of the shipped recipes by name, sorted."""
    try:
        folder = Path(str(importlib.resources.files("vidcolor.recipes_data")))
    except ModuleNotFoundError:  # run from a source tree
        folder = Path(__file__).resolve().parents[2] / "train"
    return {path.parent.name: path for path in sorted(folder.glob("*/recipe.toml"))}


def find_recipe(name: str) -> Path:
    """The file of the recipe `name`: a shipped one, in upper or lower case, or a path.

    Raises:
        RecipeError: there is neither.
    """
    for known, path in shipped_recipes().items():
        if known.lower() == name.lower():
            return path
    if Path(name).is_file():
        return Path(name)
    raise RecipeError(
        f"{name}: no such recipe file, and none of the recipes {', '.join(shipped_recipes())}"
    )


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> RecipeFile:
    """Read the TOML file `path`; `overrides` replace its values.

    Raises:
        RecipeError: the file is missing, not TOML, or has a wrong key or value.
    """
    try:
        values = _read_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: no such recipe ({error.strerror})") from error
    except ValueError as error:
        raise RecipeError(f"{path}: not a TOML file: {one_line(str(error))}") from error
    about, grid, variants = (
        checked_value(f"{path}: key '{name}'", values.pop(name, {}), dict)
        for name in ("about", "grid", "variants")
    )
    for key, value in about.items():
        if key not in _ABOUT:
            name = reprlib.repr(f"about.{key}")
            raise RecipeError(f"{path}: unknown key {name}; known: {', '.join(_ABOUT)}")
        checked_value(f"{path}: key 'about.{key}'", value, field_types(RecipeFile)[key])
    recipe = make_recipe(values, str(path))
    for key, choices in grid.items():
        if not isinstance(choices, list) or not choices:
            raise RecipeError(f"{path}: key {one_line(f'grid.{key}')!r} must be a list of values")
        for choice in choices:
            overridden(recipe, {key: choice}, f"{path}, grid")
    for name, changes in variants.items():
        name = one_line(name)
        checked_value(f"{path}: key 'variants.{name}'", changes, dict)
        overridden(recipe, changes, f"{path}, variant '{name}'")
    overrides = overrides or {}
    recipe = overridden(recipe, overrides, "--set")
    changed = {**about.pop("changed", {}), **overrides}
    name = path.absolute().parent.name if path.name == "recipe.toml" else path.stem
    name = about.pop("name", name)
    return RecipeFile(name, recipe, **about, changed=changed, grid=grid, variants=variants)


def _toml(value: Any) -> str:
    """A value as TOML; JSON's strings, numbers, truth values and lists are TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def write_recipe(file: RecipeFile, path: Path) -> None:
    """Write a recipe with all its keys, so that `load_recipe` gives it back.

    Raises:
        OutputError: the file cannot be written.
    """
    about = {key: getattr(file, key) for key in _ABOUT}
    lines = [f"{key} = {_toml(value)}" for key, value in recipe_values(file.recipe).items()]
    lines += ["", "[about]", *(f"{key} = {_toml(value)}" for key, value in about.items())]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
