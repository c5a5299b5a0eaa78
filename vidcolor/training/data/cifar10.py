"""Read CIFAR-10 from packs of WebP files, or from torchvision's files, which are downloaded.

Both give the same pictures under the same names, so that a split does not depend on the origin.
"""

from __future__ import annotations

import pickle
import posixpath
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import numpy as np

from ...errors import TrainingError
from ...evaluation.picture_sets import ArchiveMember, list_pictures

# part (train or test), class, name without suffix, and the picture or its file
CifarPicture = tuple[str, str, str, "ArchiveMember | np.ndarray"]


def find_cifar10(
    root: Path, download: Callable[[Path], None] | None = None
) -> Iterator[CifarPicture]:
    """The pictures of CIFAR-10 under the folder `root`; those in packs are not decoded.

    Args:
        root: holds packs `cifar10-*.zip` with entries `train/<class>/<name>` and
            `test/<class>/<name>`, or torchvision's `cifar-10-batches-py` or its archive.
        download: downloads torchvision's files into `root` if there is neither; by default by
            torchvision.

    Raises:
        TrainingError: a pack holds other files, or the files cannot be downloaded.
        InputError: a pack is damaged.
    """
    packs = sorted(root.glob("cifar10-*.zip"))
    for pack in packs:
        for file in list_pictures(pack):
            parts = file.name.split("/")
            if len(parts) != 3 or parts[0] not in ("train", "test"):
                raise TrainingError(
                    f"{file}: not called train/<class>/<name> or test/<class>/<name>; remove this "
                    "pack, or replace it by CIFAR-10's"
                )
            yield parts[0], parts[1], posixpath.splitext(parts[2])[0], file
    if not packs:
        yield from _torchvision_pictures(root, download)


def _torchvision_pictures(
    root: Path, download: Callable[[Path], None] | None
) -> Iterator[CifarPicture]:
    from torchvision.datasets import CIFAR10  # slow to import, not needed for packs

    try:
        with _old_pickles():
            try:
                CIFAR10(root)  # compares the checksums of all files
            except RuntimeError:  # one is missing or altered
                if download is not None:
                    download(root)
                else:
                    CIFAR10(root, download=True)
            halves = {"train": CIFAR10(root, train=True), "test": CIFAR10(root, train=False)}
            names = {
                part: [
                    posixpath.splitext(name)[0]
                    for file, _ in (half.train_list if part == "train" else half.test_list)
                    for name in _file_names(root / half.base_folder / file)
                ]
                for part, half in halves.items()
            }
    except (OSError, RuntimeError, HTTPException, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TrainingError(
            f"{root}: CIFAR-10 is missing and could not be downloaded ({reason}); put "
            f"{CIFAR10.filename} or cifar10-*.zip there, or name their folder with --data-root"
        ) from error
    for part, half in halves.items():
        for name, label, picture in zip(names[part], half.targets, half.data, strict=True):
            yield part, half.classes[label], name, picture


@contextmanager
def _old_pickles() -> Iterator[None]:
    """Ignore the warnings of NumPy 2.4.0 about the dtypes that NumPy pickled in 2009."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _file_names(batch: Path) -> list[str]:
    """The file names in one of the batches, whose checksum torchvision has verified."""
    with batch.open("rb") as file:
        names: list[str] = pickle.load(file, encoding="latin1")["filenames"]
        return names
