"""The architectures by name.

A model registers itself in its own file, anywhere below this package:

    @register_model("name")
    class Name(ColorModel): ...

The files are imported when an architecture is first looked up. An installed package adds models
without a change here, by entry points of the group `vidcolor.models`, such as in its pyproject.toml

    [project.entry-points."vidcolor.models"]
    name = "package.module:Name"

Such a model is imported when its name is first asked for. A model of this package keeps its name.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import reprlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from ..errors import WeightsError
from .base import ColorModel
from .entry import is_option

DEFAULT_MODEL = "fast"
ENTRY_POINTS = "vidcolor.models"

Model = TypeVar("Model", bound=type[ColorModel])
_registered: dict[str, type[ColorModel]] = {}


def register_model(name: str) -> Callable[[Model], Model]:
    """Class decorator that makes a model known as `name`.

    Raises:
        ValueError: another model has that name.
    """

    def register(model: Model) -> Model:
        if _registered.setdefault(name, model) is not model:
            raise ValueError(f"two models are called '{name}'")
        return model

    return register


@cache
def _import_models() -> None:
    """Import every file of this package, so that its models register themselves."""
    package = importlib.import_module(__package__)
    for module in pkgutil.walk_packages(package.__path__, f"{__package__}."):
        importlib.import_module(module.name)


@cache
def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


@cache
def _load_plugin(name: str) -> type[ColorModel]:
    point = _plugins()[name]
    try:
        model = point.load()
    except Exception as error:  # another package's code may raise anything
        raise WeightsError(
            f"the model '{name}' of {point.value} cannot be imported "
            f"({type(error).__name__}: {error}); update or uninstall that package"
        ) from error
    if not (isinstance(model, type) and issubclass(model, ColorModel)):
        raise WeightsError(
            f"the model '{name}' of {point.value} is not a ColorModel; update or uninstall that "
            "package"
        )
    return model


class _Models(Mapping[str, type[ColorModel]]):
    """Name to class, the package's own and installed ones, in the order of their names."""

    def __getitem__(self, name: str) -> type[ColorModel]:
        _import_models()
        if name in _registered:
            return _registered[name]
        if name in _plugins():
            return _load_plugin(name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        _import_models()
        return name in _registered or name in _plugins()

    def __iter__(self) -> Iterator[str]:
        _import_models()
        return iter(sorted({*_registered, *_plugins()}))

    def __len__(self) -> int:
        return len(list(iter(self)))


MODELS: Mapping[str, type[ColorModel]] = _Models()


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check that an architecture has these options, and that weights can record their values.

    Raises:
        WeightsError: the architecture `name` has no such option, or a value has the wrong type or
            is too large.
    """
    accepted = inspect.signature(MODELS[name]).parameters
    for key, value in options.items():
        if key not in accepted:
            known = ", ".join(accepted) or "none"
            raise WeightsError(
                f"the architecture '{name}' has no option {reprlib.repr(key)}; it has: {known}"
            )
        if not is_option(value):
            raise WeightsError(
                f"the architecture '{name}': {key} must be true, false, a short text or a number "
                f"up to 10000, not {reprlib.repr(value)}"
            )


def create_model(name: str, **options: Any) -> ColorModel:
    """A freshly initialized model of the architecture `name`.

    Args:
        name: a key of `MODELS`.
        options: the architecture's own keyword arguments.

    Raises:
        WeightsError: no architecture has that name, or it has no such option or value.
    """
    if name not in MODELS:
        raise WeightsError(
            f"no model architecture is called {reprlib.repr(name)}; there are: {', '.join(MODELS)}"
        )
    check_options(name, options)
    try:
        return MODELS[name](**options)
    except (TypeError, ValueError, OverflowError, MemoryError, RuntimeError) as error:
        # torch's RuntimeErrors, as of numbers too large for memory, go on for lines
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(f"the architecture '{name}': {reason}") from error
