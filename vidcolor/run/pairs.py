"""Pair each input with the file that its color version is written to."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from ..errors import InputError, OutputError
from ..sinks import is_sequence
from ..sources import Input, expand
from ..system.files import OWN, fitting_name
from ..system.sequences import existing_numbers, is_pattern, sequence_file
from .settings import Report


@dataclass(frozen=True)
class Pair:
    """An input and the file its color version is written to."""

    item: Input
    output: Path
    named: bool = False  # the user chose the file's name, and so its container
    clash: str = ""  # it has another name than it would have, because an input beside it has that

    @property
    def is_sequence(self) -> bool:
        """Whether the output is numbered pictures."""
        return not self.item.is_picture and is_sequence(self.output)

    def existing(self) -> list[Path]:
        """The files that an earlier run may have written; a film that its container does not hold
        was written as `.mkv`."""
        if self.is_sequence:
            return [sequence_file(self.output, n) for n in sorted(existing_numbers(self.output))]
        other = () if self.named or self.item.is_picture else (self.output.with_suffix(".mkv"),)
        return [path for path in (self.output, *other) if path.exists()]


def find_inputs(
    inputs: Sequence[str], target: Path | None, rate: Fraction | None
) -> tuple[list[tuple[Input, Path | None]], list[Report]]:
    """Find the inputs.

    Returns:
        Each input once, with the folder it was found in; and a report for each that is missing.

    Raises:
        OutputError: the output lies in a folder that is searched.
    """
    found: dict[str, tuple[Input, Path | None]] = {}
    missing = []
    for text in inputs:
        folder = Path(text) if Path(text).is_dir() else None
        try:
            problems: list[tuple[Path, str]] = []
            items = expand([text], rate=rate, problems=problems)
            missing += [
                Report(path, target or Path(), "failed", error=f"{path}: cannot be read ({reason})")
                for path, reason in problems
            ]
        except InputError as error:
            missing.append(Report(Path(text), target or Path(), "failed", error=str(error)))
            continue
        if folder and target and folder.resolve() in (target.resolve(), *target.resolve().parents):
            raise OutputError(
                f"{target}: lies in the input folder {folder}, so that a second run would colorize "
                "its pictures again; choose a folder outside with -o"
            )
        for item in items:
            if target and not folder and glob.has_magic(text) and _lies_in(item.path, target):
                continue  # what an earlier run has written
            found.setdefault(os.path.abspath(item.path), (item, folder))
    return list(found.values()), missing


def make_distinct(pairs: Sequence[Pair], target: Path | None) -> tuple[list[Pair], dict[str, Path]]:
    """Give each input an output of its own.

    Where inputs of several folders want one output, all of them are mirrored with their folders;
    where inputs of one folder do (`a.tga` and `a.png`), the second keeps its old suffix within its
    name (`a.tga.png`).

    Returns:
        The pairs in order, and the input of each absolute output.
    """

    def places(some: Sequence[Pair]) -> dict[str, list[Pair]]:
        found: dict[str, list[Pair]] = {}
        for pair in some:
            found.setdefault(os.path.abspath(pair.output), []).append(pair)
        return found

    def folder(pair: Pair) -> Path:
        return pair.item.path.absolute().parent

    several = [same for same in places(pairs).values() if len({folder(p) for p in same}) > 1]
    if target is not None and several:
        top = os.path.commonpath([folder(pair) for pair in pairs])
        pairs = [
            replace(pair, output=target / folder(pair).relative_to(top) / pair.output.name)
            for pair in pairs
        ]
    taken: dict[str, Path] = {}
    kept: dict[int, Pair] = {}
    order = sorted(range(len(pairs)), key=lambda i: pairs[i].item.path.name != pairs[i].output.name)
    for index in order:
        pair = pairs[index]
        first = taken.get(os.path.abspath(pair.output))
        if first is not None:
            output = pair.output.with_name(f"{pair.item.path.name}{pair.output.suffix}")
            number = 2
            while os.path.abspath(output) in taken:
                name = f"{pair.item.path.stem}-{number}{pair.output.suffix}"
                output, number = pair.output.with_name(name), number + 1
            line = f"{pair.item.path}: {pair.output} is for {first}; written to {output} instead"
            pair = replace(pair, output=output, clash=line)
        taken[os.path.abspath(pair.output)] = pair.item.path
        kept[index] = pair
    return [kept[index] for index in range(len(pairs))], taken


def _lies_in(path: Path, folder: Path) -> bool:
    return folder.is_dir() and folder.resolve() in path.resolve().parents


def pair_up(
    found: Sequence[tuple[Input, Path | None]], target: Path | None, folder: bool
) -> Iterator[Pair]:
    """Pair each input with its output.

    The output is the file or the numbered sequence that was named; or the input's path mirrored
    under the folder that was named; or, with no name, `name.color.ext` beside a file and
    `folder.color/` beside a folder.

    Raises:
        OutputError: several inputs, and the output is a file's name.
    """
    films = any(not item.is_picture for item, _ in found)
    sequence = target is not None and films and is_pattern(target) and not folder
    into_folder = target is not None and (
        folder or target.is_dir() or not (target.suffix or sequence)
    )
    several = len(found) > 1 or any(root for _, root in found)
    if target is not None and several and not into_folder:
        name = target.parent if sequence else target.with_suffix("")
        raise OutputError(
            f"{target}: several inputs need a folder as output, and this is a file's name; "
            f"use -o {name}{os.sep}"
        )
    if target is not None and sequence and not target.suffix and found[0][0].takes_rate:
        target = target.with_name(target.name + found[0][0].path.suffix)  # the same kind
    for item, origin in found:
        relative = item.output
        if target is not None:
            yield Pair(item, target / relative if into_folder else target, named=not into_folder)
        elif origin is not None:
            root = origin.resolve()
            yield Pair(item, root.with_name(f"{root.name}{OWN}") / relative)
        else:
            stem, rest = Path(relative.name).stem, f"{OWN}{relative.suffix}"
            output = item.beside.with_name(fitting_name(stem, rest))
            long = item.is_picture and output.name != stem + rest
            clash = (
                f"{item.path}: its name is too long for {OWN}; written to {output}" if long else ""
            )
            yield Pair(item, output, clash=clash)
