"""Where the state of a job lies, and what output a state is of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...system.files import OWN, fitting_name

STATE_NAME = ".vidcolor.sqlite"


def state_path(inputs: Sequence[str | Path], output: str | Path | None) -> tuple[Path, bool]:
    """Where the state of a job lies, and whether it stays there when all is done.

    It is `.NAME.vidcolor.sqlite` beside the output, so that a folder of outputs holds them alone. A
    folder in whose parent nothing can be kept (a disk's own folder, one without leave to write) has
    it inside. Outputs beside their inputs have it beside the first one.
    """
    if output is None:
        first = Path(inputs[0])
        if first.is_dir():
            root = first.resolve()
            return _state_of_folder(root.with_name(f"{root.name}{OWN}")), True
        return _beside(first), False
    target = Path(output)
    if str(output).endswith(("/", os.sep)) or target.is_dir() or not target.suffix:
        return _state_of_folder(target), True
    return _beside(target), False


def _beside(output: Path) -> Path:
    target = Path(os.path.abspath(output))
    return target.with_name(fitting_name(f".{target.name}", STATE_NAME))


def _state_of_folder(folder: Path) -> Path:
    target = Path(os.path.abspath(folder))
    shut = target.parent.is_dir() and not os.access(target.parent, os.W_OK | os.X_OK)
    return target / STATE_NAME if shut or os.path.ismount(target) else _beside(target)


def find_states(output: Path) -> list[Path]:
    """The states of an output: of a file, or of a folder with those of single files in it."""
    if not output.is_dir():
        found = [_beside(output), _state_of_folder(Path(os.path.abspath(output)).parent)]
        return [path for path in found if path.is_file()][:1]
    names = (path for path in sorted(output.glob(f".*{STATE_NAME}")) if not is_of_folder(path))
    return [path for path in (_state_of_folder(output), *names) if path.is_file()]


def output_of(path: Path) -> Path:
    """The file or folder that a state is of."""
    name = path.name.removesuffix(STATE_NAME)
    return path.with_name(name[1:]) if name else path.parent


def is_of_folder(path: Path) -> bool:
    """Whether a path is the state of a folder, which is kept."""
    return path.name.endswith(STATE_NAME) and output_of(path).is_dir()
