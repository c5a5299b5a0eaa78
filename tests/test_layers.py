"""The structure: who may import whom, and what must stay cheap to import."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "vidcolor"

# A package may import from rows above its own, and from itself. Packages of one row never import
# each other. docs/ARCHITECTURE.md says what each is for.
LAYERS = (
    {"errors"},
    {"options", "marks"},
    {"frames"},
    {"system"},
    {"color", "motion"},
    {"models", "sources", "sinks"},
    {"run"},
    {"evaluation", "probe", "review", "shots"},
    {"training"},
    {"cli"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
OUTSIDE = {
    "av": {"system", "sources", "sinks", "evaluation", "probe", "training"},
    "click": {"cli"},
    "pyvips": {"system"},
    "rich": {"cli"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def unit(file: Path) -> str:
    """The layer's name a file belongs to: a top-level module or a subpackage."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> Iterator[str]:
    """Absolute dotted names of all that a file imports, also inside functions."""
    package = ("vidcolor", *file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).strip(".")
            if module == "vidcolor":
                yield from (f"vidcolor.{alias.name}" for alias in node.names)
            else:
                yield module


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down(file: Path) -> None:
    here = unit(file)
    if here in ("__init__", "__main__"):
        return  # the public names and `python -m vidcolor` stand above all layers
    assert here in RANK, (
        f"{here} has no place in LAYERS; docs/ARCHITECTURE.md says where it belongs"
    )
    for name in imports(file):
        first, _, rest = name.partition(".")
        if first == "vidcolor":
            there = rest.partition(".")[0]
            if there == here or there not in RANK:
                continue  # the same subpackage, or a name of vidcolor/__init__.py
            assert RANK[there] < RANK[here], (
                f"{file.relative_to(ROOT)} imports {name}, which is not below it"
            )
        elif first in OUTSIDE:
            where = " and ".join(sorted(OUTSIDE[first]))
            assert here in OUTSIDE[first], f"{file.relative_to(ROOT)}: {first} is for {where} alone"


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from vidcolor.cli import cli; cli.main(['--help'], standalone_mode=False); "
        "slow = {'torch', 'av', 'cv2', 'numpy', 'rich', 'torchmetrics'} & set(sys.modules); "
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Exit codes" in result.stdout


def test_every_package_ships() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = set(config["options"]["packages"].split())
    folders = {".".join(file.relative_to(ROOT).parts[:-1]) for file in PACKAGE.rglob("__init__.py")}
    assert listed == folders | {"vidcolor.recipes_data", "vidcolor.weights_data"}
    # a folder without __init__.py would be left out without a word
    assert {file.parent / "__init__.py" for file in FILES} <= set(FILES)
