"""Classes by name: a package's own, and those that installed packages add.

MODELS = Registry("model", ColorModel, "vidcolor.models", WeightsError)

@MODELS.register("name")
class Name(ColorModel): ...
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from ..errors import VidcolorError

Base = TypeVar("Base")
Class = TypeVar("Class", bound=type)


class Registry(Mapping[str, type[Base]], Generic[Base]):
    """Name to class, in the order of the names.

    The files of the package, and of the packages below it, are imported when a name is first looked
    up, so that their classes register themselves. An installed package adds classes by entry
    points, such as in its pyproject.toml

        [project.entry-points."vidcolor.models"]
        name = "package.module:Name"

    Such a class is imported when its name is first asked for. A registered class comes before it.

    Args:
        kind: what the classes are, for messages.
        base: their base class.
        package: whose files register classes; also the name of the group of entry points.
        error: raised if an installed class cannot be used.
    """

    def __init__(
        self, kind: str, base: type[Base], package: str, error: type[VidcolorError]
    ) -> None:
        self._kind, self._base, self._package, self._error = kind, base, package, error
        self._registered: dict[str, type[Base]] = {}
        self._installed: dict[str, EntryPoint] | None = None

    def register(self, name: str) -> Callable[[Class], Class]:
        """Class decorator that makes a class known as `name`.

        Raises:
            ValueError: another class has that name.
        """

        def register(cls: Class) -> Class:
            known: type = self._registered.setdefault(name, cls)
            if known is not cls:
                raise ValueError(f"two {self._kind}s are called '{name}'")
            return cls

        return register

    def _find(self) -> dict[str, EntryPoint]:
        """Import the package's files, once; the entry points."""
        if self._installed is None:
            self._installed = {point.name: point for point in entry_points(group=self._package)}
            package = importlib.import_module(self._package)
            for module in pkgutil.walk_packages(package.__path__, f"{self._package}."):
                importlib.import_module(module.name)
        return self._installed

    def _load(self, point: EntryPoint) -> type[Base]:
        try:
            cls: Any = point.load()
        except Exception as error:  # another package's code may raise anything
            raise self._error(
                f"the {self._kind} '{point.name}' of {point.value} cannot be imported "
                f"({type(error).__name__}: {error}); update or uninstall that package"
            ) from error
        if not (isinstance(cls, type) and issubclass(cls, self._base)):
            raise self._error(
                f"the {self._kind} '{point.name}' of {point.value} is not a "
                f"{self._base.__name__}; update or uninstall that package"
            )
        return cls

    def __getitem__(self, name: str) -> type[Base]:
        installed = self._find()
        if name in self._registered:
            return self._registered[name]
        return self._load(installed[name])

    def __contains__(self, name: object) -> bool:
        return name in self._find() or name in self._registered

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._find(), *self._registered}))

    def __len__(self) -> int:
        return len({*self._find(), *self._registered})
