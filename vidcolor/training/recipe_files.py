"""Recipes as small TOML files: shipped ones by name, one's own, and what a training writes."""

from __future__ import annotations

import importlib.resources
import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..system.files import replacing
from .recipe import Recipe, checked, make_recipe, overridden, recipe_values

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT = "S0"

# the keys of the table [about]
_ABOUT = {
    "name": "str",
    "title": "str",
    "document": "str",
    "reported": "dict",
    "estimations": "int",
}


@dataclass(frozen=True)
class RecipeFile:
    """A recipe with what belongs to it but decides no weights.

    Attributes:
        name: of the recipe: the folder's, or the file's own.
        recipe: the settings.
        title: one line: what it trains.
        document: where it comes from.
        reported: figures the document reports, for the results.
        changed: keys that the command line replaced, and their values.
        estimations: how many test pictures' predictions are written as `estimations_test.npy`.
        grid: keys and the values that a grid tries, every combination.
        variants: named sets of overrides.
    """

    name: str
    recipe: Recipe
    title: str = ""
    document: str = ""
    reported: dict[str, Any] = field(default_factory=dict)
    changed: dict[str, Any] = field(default_factory=dict)
    estimations: int = 0
    grid: dict[str, list[Any]] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)


def parse_value(text: str) -> Any:
    """A value typed on the command line: TOML (`3e-4`, `true`, `[1, 2]`), or plain text where it is
    not; `True` and `[cat, dog]` are understood too."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.startswith("[") and text.endswith("]"):
        return [parse_value(part.strip()) for part in text[1:-1].split(",")]
    return text


def _recipes_folder() -> Path:
    try:
        return Path(str(importlib.resources.files("vidcolor.recipes_data")))
    except ModuleNotFoundError:  # run from a source tree
        return Path(__file__).resolve().parents[2] / "train"


def shipped_recipes() -> dict[str, Path]:
    """The files of the shipped recipes by name, sorted."""
    return {path.parent.name: path for path in sorted(_recipes_folder().glob("*/recipe.toml"))}


def find_recipe(name: str) -> Path:
    """The file of the recipe `name`: a shipped one, whatever its case, or a path.

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
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: no such recipe ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a TOML file: {error}") from error
    about, grid, variants = (
        checked(name, values.pop(name, {}), "dict", str(path))
        for name in ("about", "grid", "variants")
    )
    for key, value in about.items():
        if key not in _ABOUT:
            raise RecipeError(f"{path}: unknown key 'about.{key}'; known: {', '.join(_ABOUT)}")
        checked(f"about.{key}", value, _ABOUT[key], str(path))
    recipe = make_recipe(values, str(path))
    for key, choices in grid.items():
        if not isinstance(choices, list) or not choices:
            raise RecipeError(f"{path}: key 'grid.{key}' must be a list of values")
        for choice in choices:
            overridden(recipe, {key: choice}, f"{path}, grid")
    for name, changes in variants.items():
        checked(f"variants.{name}", changes, "dict", str(path))
        overridden(recipe, changes, f"{path}, variant '{name}'")
    recipe = overridden(recipe, overrides or {}, "--set")
    name = path.absolute().parent.name if path.name == "recipe.toml" else path.stem
    name = about.pop("name", name)
    changed = dict(overrides or {})
    return RecipeFile(name, recipe, **about, changed=changed, grid=grid, variants=variants)


def _toml(value: Any) -> str:
    """A value as TOML; JSON's strings, numbers, booleans and lists are."""
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


def combinations(grid: Mapping[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """Every combination of a grid's values: overrides by a name such as `lr=0.1,kernels=8`."""
    runs = {}
    for values in itertools.product(*grid.values()):
        overrides = dict(zip(grid, values, strict=True))
        parts = (f"{key.rpartition('.')[2]}={value}" for key, value in overrides.items())
        runs[",".join(parts)] = overrides
    return runs
