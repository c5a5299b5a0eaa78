"""Short ways to load data in tests."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from vidcolor.errors import VidcolorError
from vidcolor.training.data.dataset import PARTS, DataSet, load_dataset

SHARES = (0.8, 0.1, 0.1)


def load(*sources: str | Path, root: Path = Path("nowhere"), **options: Any) -> DataSet:
    settings: dict[str, Any] = {"split": SHARES, "test_part": "split", **options}
    return load_dataset([str(source) for source in sources], root=root, **settings)


def names(data: DataSet) -> list[list[str]]:
    return [getattr(data, part).names for part in PARTS]


def counts(data: DataSet) -> list[int]:
    return [len(part) for part in names(data)]


def refused(kind: type[VidcolorError], *sources: str | Path, **options: Any) -> str:
    """The one line that `load` ends in."""
    with pytest.raises(kind) as caught:
        load(*sources, **options)
    assert type(caught.value) is kind
    line = str(caught.value)
    assert "\n" not in line
    return line


def zip_folder(folder: Path, pack: Path) -> Path:
    with zipfile.ZipFile(pack, "w") as file:
        for path in sorted(folder.rglob("*.*"), reverse=True):
            file.write(path, path.relative_to(folder).as_posix())
    return pack
