"""Find training pictures, split them by name and seed, filter and decode them.

A source is the name `cifar10`, a folder or a zip. The split depends on the pictures' names and the
seed alone: not on the machine, the order of sources or files, or the origin of CIFAR-10.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...errors import InputError, TrainingError
from ...evaluation.picture_sets import ArchiveMember, list_pictures, map_pictures, mean_chroma
from ...system.files import read_json, replacing
from .cifar10 import find_cifar10
from .picture_cache import Decoded, MemoryStore, PictureCache, Store

CIFAR10 = "cifar10"
PARTS = ("train", "validation", "test")
_TEST_FOLDERS = {"test", "val"}
_CIFAR10_PICTURES = 60_000


@dataclass
class Part:
    """Pictures `(H, W, 3)` uint8 R'G'B' and their names, in the split's shuffled order."""

    names: list[str] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)


@dataclass
class DataSet:
    """The three parts of a training's data, and the pictures left out.

    Attributes:
        train, validation, test: the parts.
        near_gray: number of pictures left out for their low chroma.
        unreadable: names of the pictures that could not be read, sorted.
        sources: the sources' names without their folders, sorted.
        seed, split: arguments of the split.
        notes: remarks for the user, one line each.
    """

    train: Part
    validation: Part
    test: Part
    near_gray: int = 0
    unreadable: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    seed: int = 0
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Found:
    """A picture by name; `content` is in memory or in its file."""

    name: str
    kind: str  # its class
    folders: frozenset[str]  # the folders of its path, inside its source
    content: ArchiveMember | np.ndarray


def split_names(
    names: Sequence[str], shares: tuple[float, float, float], seed: int
) -> tuple[list[str], list[str], list[str]]:
    """Shuffle the sorted `names` by `seed` and cut them into training, validation and test.

    The counts are rounded by largest remainder, so that they sum up.
    """
    ordered = sorted(names)
    generator = torch.Generator().manual_seed(seed)
    shuffled = [ordered[i] for i in torch.randperm(len(ordered), generator=generator).tolist()]
    exact = [round(share * len(ordered), 6) for share in shares]  # 0.1 and 0.8 are not binary
    counts = [math.floor(value) for value in exact]
    by_remainder = sorted(range(3), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: len(ordered) - sum(counts)]:
        counts[i] += 1
    first, second = counts[0], counts[0] + counts[1]
    return shuffled[:first], shuffled[first:second], shuffled[second:]


def load_dataset(
    sources: Sequence[str],
    *,
    root: Path,
    split: tuple[float, float, float],
    test_part: str,
    classes: Sequence[str] = (),
    limit: int = 0,
    min_chroma: float = 0.0,
    seed: int = 0,
    validation: Sequence[Path] = (),
    download: Callable[[Path], None] | None = None,
    shrink: Callable[[np.ndarray], np.ndarray] | None = None,
    cache: PictureCache | None = None,
) -> DataSet:
    """Find the pictures of `sources`, split them, and decode the needed ones.

    Args:
        sources: `cifar10`, folders (searched recursively) and zips. A picture's class is the
            name of its folder. A picture's name is its path inside the source, or `pack.zip:entry`;
            if two sources share a name, the sources' own names are put before it.
        root: folder of CIFAR-10, which is downloaded there: packs `cifar10-*.zip` with entries
            `train/<class>/<name>` and `test/<class>/<name>`, or torchvision's files.
        split: shares of training, validation and test, which sum to 1.
        test_part: `split` cuts all pictures by `split`; with `folder` the pictures below a
            folder `test` or `val` are the test part, and the first two shares divide the rest.
        classes: only pictures of these classes; empty: all. Not for `validation`.
        limit: most pictures of each part, the first of the shuffled part; 0: all. The others are
            not decoded.
        min_chroma: leave out pictures of a lower mean Lab chroma; 0 keeps all.
        seed: of the shuffle.
        validation: folders and zips of the validation part; then its share of `sources` is
            trained on, and pictures that are in both are not trained on.
        download: downloads CIFAR-10's files into a folder; by default by torchvision.
        shrink: reduces each picture to what is kept of it, see `loaders.shrinker`; by default
            the whole picture. It is called by several threads, after the filter by chroma.
        cache: of decoded pictures; by default they are kept in memory. Its label describes
            `shrink`.

    Raises:
        InputError: a source does not exist, or holds no usable picture.
        TrainingError: a bad option, too few pictures, or CIFAR-10 cannot be downloaded.
    """
    _check_options(split, test_part, seed)
    found, apart = _find(sources, validation, root, download)
    notes = _cifar10_notes(found, root)
    found = _of_classes(found, classes)
    in_folder = [f for f in found if test_part == "folder" and f.folders & _TEST_FOLDERS]
    if test_part == "folder" and not in_folder:
        raise TrainingError(
            f"{', '.join(sources)}: no picture lies in a folder called test or val; set test_part "
            "to 'split'"
        )
    tested = {f.name for f in in_folder}
    names = [f.name for f in found if f.name not in tested]
    train, held, test = split_names(names, _shares(split, test_part, bool(apart)), seed)
    if in_folder:
        test = split_names(list(tested), (0.0, 0.0, 1.0), seed)[2]
    if apart:
        held = split_names([f.name for f in apart], (0.0, 1.0, 0.0), seed)[1]
    by_name = {f.name: f for f in [*found, *apart]}

    labels = sorted({s if s == CIFAR10 else Path(s).resolve().name for s in sources})
    data = DataSet(Part(), Part(), Part(), sources=labels, seed=seed, split=split, notes=notes)
    wanted = []
    for part, share, chunk in zip(PARTS, split, (train, held, test), strict=True):
        group = [by_name[name] for name in chunk]
        decode = partial(_decode, group, limit, min_chroma, shrink)
        contents = ((found.name, found.content) for found in group)
        made = cache.part(contents, (limit, min_chroma), decode) if cache else decode(MemoryStore())
        setattr(data, part, Part(made.names, made.pictures))
        data.near_gray += made.near_gray
        data.unreadable += made.unreadable
        if chunk or share:
            wanted.append(part)
    data.unreadable.sort()
    _check_parts(data, wanted, ", ".join(sources), min_chroma)
    return data


def write_split(data: DataSet, path: Path) -> None:
    """Write the names of the pictures of each part as JSON to `path`.

    Raises:
        OutputError: it cannot be written.
    """
    parts: dict[str, list[str]] = {part: getattr(data, part).names for part in PARTS}
    content = {
        "seed": data.seed,
        "shares": list(data.split),
        "counts": {part: len(names) for part, names in parts.items()},
        "near_gray": data.near_gray,
        "unreadable": data.unreadable,
        "sources": data.sources,
        **parts,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def check_split(data: DataSet, path: Path) -> None:
    """Compare `data` with the split at the start of the training.

    Raises:
        TrainingError: a part holds other pictures or another order than in `path`, or `path`
            cannot be read.
    """
    try:
        before = read_json(path)
        parts = {part: [str(name) for name in before[part]] for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path}: not a usable split ({error or type(error).__name__}); without it a training "
            "cannot resume, choose another output folder"
        ) from error
    changes = []
    for part, old in parts.items():
        new = getattr(data, part).names
        gone, added = len(set(old) - set(new)), len(set(new) - set(old))
        if gone or added:
            changes.append(f"the {part} part lost {gone} and gained {added} of {len(old)} pictures")
        elif old != new:
            changes.append(f"the {part} part's {len(old)} pictures are in another order")
    if changes:
        raise TrainingError(
            f"{path}: the data changed since this training began: {'; '.join(changes)}; give the "
            "same data and seed, or choose another output folder"
        )


# ------------------------------------------------------------------ finding


def _find(
    sources: Sequence[str],
    validation: Sequence[Path],
    root: Path,
    download: Callable[[Path], None] | None,
) -> tuple[list[_Found], list[_Found]]:
    """The pictures of `sources` less those of `validation`, and those of `validation`.

    Each picture is listed once, and all names differ, even if a folder lies in another.
    """
    apart = _files([path.resolve() for path in validation])
    chosen = _files([Path(source).resolve() for source in sources if source != CIFAR10])
    chosen = {path: file for path, file in chosen.items() if path not in apart}
    files = [*chosen.values(), *apart.values()]
    depth, names = 0, [_name(file, 0) for file in files]
    while len(set(names)) < len(names):
        depth += 1
        names = [_name(file, depth) for file in files]
    found = []
    for name, file in zip(names, files, strict=True):
        source = file.source.name if file.source.is_dir() else file.source.stem
        folders = (source, *file.name.split("/")[:-1])
        found.append(_Found(name, folders[-1], frozenset(f.lower() for f in folders), file))
    first, second = found[: len(chosen)], found[len(chosen) :]
    if CIFAR10 in sources:
        for part, kind, stem, content in find_cifar10(root, download):
            name = f"{CIFAR10}:{part}/{kind}/{stem}"
            first.append(_Found(name, kind, frozenset((part, kind)), content))
    return first, second


def _cifar10_notes(found: list[_Found], root: Path) -> list[str]:
    """A note if packs do not hold all of CIFAR-10; torchvision's files always do."""
    packed = sum(
        f.name.startswith(f"{CIFAR10}:") and isinstance(f.content, ArchiveMember) for f in found
    )
    if packed in (0, _CIFAR10_PICTURES):
        return []
    return [
        f"{root}: the packs cifar10-*.zip hold {packed:,} of CIFAR-10's {_CIFAR10_PICTURES:,} "
        "pictures; results cannot be compared with those of all"
    ]


def _files(sources: Sequence[Path]) -> dict[Path, ArchiveMember]:
    """The picture files of `sources` (resolved) by their full path."""
    files: dict[Path, ArchiveMember] = {}
    for source in sorted(set(sources)):  # a folder comes before those in it
        listed = list_pictures(source)
        if not listed:
            raise InputError(
                f"{source}: no picture in it; give a folder or zip of PNG, JPEG, WebP, TIFF or "
                "BMP files"
            )
        for file in listed:
            files.setdefault(source / file.name, file)
    return files


def _name(file: ArchiveMember, depth: int) -> str:
    """The name of `file`, with up to `depth` folders of its source's path before it."""
    if file.source.is_dir():
        return "/".join((*file.source.parts[-depth:], file.name)) if depth else file.name
    return f"{'/'.join(file.source.parts[-1 - depth :])}:{file.name}"


def _of_classes(found: list[_Found], classes: Sequence[str]) -> list[_Found]:
    known = sorted({picture.kind for picture in found})
    unknown = sorted(set(classes) - set(known))
    if unknown:
        shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        raise TrainingError(f"classes: no class is called '{unknown[0]}'; there are {shown}")
    return [picture for picture in found if not classes or picture.kind in classes]


# ------------------------------------------------------------------ splitting and decoding


def _shares(
    split: tuple[float, float, float], test_part: str, apart: bool
) -> tuple[float, float, float]:
    """The shares of the pictures that are split: no test part if it is a folder, no validation if
    it is given apart (its share is trained on)."""
    train, held, test = split
    if test_part == "folder":
        train, held, test = train / (train + held), held / (train + held), 0.0
    return (train + held, 0.0, test) if apart else (train, held, test)


def _decode(
    group: list[_Found],
    limit: int,
    min_chroma: float,
    shrink: Callable[[np.ndarray], np.ndarray] | None,
    store: Store,
) -> Decoded:
    """Decode the first `limit` usable pictures of `group` into `store`."""

    def kept(picture: np.ndarray) -> list[int]:
        """The number of the kept picture; an empty list for a near-gray one."""
        # filter first, so that the split does not depend on the size of the pictures
        if min_chroma > 0 and mean_chroma(picture) < min_chroma:
            return []
        return [store.add(shrink(picture) if shrink else picture)]

    made = Decoded()
    position, wanted = 0, limit or len(group)
    while len(made.names) < wanted and position < len(group):
        chunk = group[position : position + wanted - len(made.names)]
        position += len(chunk)
        files = sorted(f.content for f in chunk if isinstance(f.content, ArchiveMember))
        read = dict(map_pictures(files, kept))
        for found in chunk:
            content = found.content
            usable = read.pop(content) if isinstance(content, ArchiveMember) else kept(content)
            if usable is None:
                made.unreadable.append(found.name)
            elif not usable:
                made.near_gray += 1
            else:
                made.names.append(found.name)
                made.numbers += usable
    made.pictures = store.pictures(made.numbers)
    return made


def _check_options(split: tuple[float, float, float], test_part: str, seed: int) -> None:
    shown = "/".join(f"{share:g}" for share in split)
    if len(split) != 3 or not all(0 <= share <= 1 for share in split) or split[0] == 0:
        raise TrainingError(
            f"split: {shown} are not three shares between 0 and 1 with some training; set such as "
            "0.8, 0.1, 0.1"
        )
    if abs(sum(split) - 1) > 1e-6:
        raise TrainingError(
            f"split: {shown} sums to {sum(split):g}; the three shares must sum to 1"
        )
    if test_part not in ("split", "folder"):
        raise TrainingError(f"test_part: '{test_part}' is neither 'split' nor 'folder'")
    if not -(2**63) <= seed < 2**63:
        raise TrainingError(f"seed: {seed} does not fit into 64 bits; choose a smaller one")


def _check_parts(data: DataSet, wanted: list[str], where: str, min_chroma: float) -> None:
    counts = {part: len(getattr(data, part)) for part in PARTS}
    empty = next((part for part in PARTS if part in wanted and not counts[part]), None)
    if empty is None:
        return
    left_out = ""
    if data.unreadable or data.near_gray:
        first = f", first {data.unreadable[0]}" if data.unreadable else ""
        left_out = f"{len(data.unreadable)} unreadable{first}, {data.near_gray} near-gray"
    if not any(counts.values()):
        raise InputError(
            f"{where}: no usable color picture ({left_out or 'none found'}); give color PNG, "
            f"JPEG, WebP, TIFF or BMP files, or lower min_chroma ({min_chroma:g})"
        )
    shares = "/".join(f"{share:g}" for share in data.split)
    raise TrainingError(
        f"{where}: too few pictures for the split {shares}: the {empty} part is empty "
        f"({sum(counts.values())} usable{', ' if left_out else ''}{left_out}); give more pictures "
        "or another split"
    )
