"""CIFAR-10: the same pictures under the same names, wherever they come from."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from tests.helpers.training_sets import counts, load, names, refused, zip_folder
from tests.training.conftest import write_picture
from vidcolor.errors import TrainingError
from vidcolor.training.data.dataset import PARTS

CLASSES = ("cat", "ship")


def cifar_pictures() -> dict[str, list[tuple[str, str, np.ndarray]]]:
    """Class, name and picture of a very small CIFAR-10, by its batches."""
    random = np.random.default_rng(0)
    batches = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    return {
        batch: [
            (kind, f"{kind}_s_{number:03d}{i}", random.integers(0, 256, (32, 32, 3), np.uint8))
            for i, kind in enumerate(CLASSES * 2)
        ]
        for number, batch in enumerate(batches)
    }


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    root = tmp_path / "packs"
    root.mkdir()
    for batch, pictures in cifar_pictures().items():
        with zipfile.ZipFile(root / f"cifar10-{batch}.zip", "w") as pack:
            for kind, name, picture in pictures:
                data = io.BytesIO()
                Image.fromarray(picture).save(data, "webp", lossless=True)
                part = "test" if batch == "test_batch" else "train"
                pack.writestr(f"{part}/{kind}/{name}.webp", data.getvalue())
    return root


class _OldDtype:
    """Pickles nearly as the dtypes of 2009 did, ("u1", 0, 1), which NumPy 2.4.0 warns of; later
    ones only warn of this."""

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:
        return np.dtype, ("u1", 0, True)


def write_torchvision(root: Path) -> list[tuple[str, str]]:
    """Write the pictures as torchvision's files; returns their names and checksums."""
    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)
    contents: dict[str, dict[str, Any]] = {
        batch: {
            "dtype": _OldDtype(),
            "labels": [CLASSES.index(kind) for kind, _, _ in pictures],
            "filenames": [f"{name}.png" for _, name, _ in pictures],
            "data": np.stack([p.transpose(2, 0, 1).reshape(-1) for *_, p in pictures]),
        }
        for batch, pictures in cifar_pictures().items()
    }
    contents["batches.meta"] = {"label_names": list(CLASSES)}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return [(n, hashlib.md5((folder / n).read_bytes()).hexdigest()) for n in contents]


@pytest.fixture
def torchvision_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "torchvision"
    sums = write_torchvision(root)
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:6])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums[6][1]})
    return root


def test_cifar10_is_the_same_from_packs_and_from_torchvisions_files(
    packs: Path, torchvision_files: Path
) -> None:
    data, other = load("cifar10", root=packs), load("cifar10", root=torchvision_files)
    assert counts(data) == [19, 3, 2]  # 24 pictures
    assert names(data) == names(other)
    assert data.sources == ["cifar10"]
    truth = {name: p for pictures in cifar_pictures().values() for _, name, p in pictures}
    for part in PARTS:
        for one in (data, other):
            for name, picture in zip(
                getattr(one, part).names, getattr(one, part).pictures, strict=True
            ):
                assert np.array_equal(picture, truth[name.rpartition("/")[2]])


def test_packs_that_do_not_hold_all_are_said(
    packs: Path, torchvision_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (note,) = load("cifar10", root=packs, classes=["ship"]).notes
    assert note.startswith(f"{packs}: the packs cifar10-*.zip hold 24 of CIFAR-10's 60,000 pict")
    assert "\n" not in note
    assert load("cifar10", root=torchvision_files).notes == []
    monkeypatch.setattr("vidcolor.training.data.dataset._CIFAR10_PICTURES", 24)
    assert load("cifar10", root=packs).notes == []


def test_cifar10_out_of_torchvisions_files_is_shrunk_too(torchvision_files: Path) -> None:
    data = load("cifar10", root=torchvision_files, shrink=lambda picture: picture[:4, :5])
    assert {picture.shape for picture in data.train.pictures} == {(4, 5, 3)}


def test_cifar10s_own_test_part_and_classes(packs: Path) -> None:
    data = load("cifar10", root=packs, test_part="folder", classes=["ship"])
    assert counts(data) == [9, 1, 2]
    assert {name.rpartition("/")[0] for name in data.test.names} == {"cifar10:test/ship"}
    assert {name.rpartition("/")[0] for name in data.train.names} == {"cifar10:train/ship"}


def test_cifar10_is_downloaded_where_it_is_missing_or_altered(
    torchvision_files: Path, tmp_path: Path
) -> None:
    whole = names(load("cifar10", root=torchvision_files))

    def download(root: Path) -> None:
        asked.append(root)
        shutil.copytree(torchvision_files, root, dirs_exist_ok=True)

    asked: list[Path] = []
    new = tmp_path / "new"
    assert names(load("cifar10", root=new, download=download)) == whole
    assert names(load("cifar10", root=new, download=download)) == whole
    (new / CIFAR10.base_folder / "data_batch_3").write_bytes(b"cut short")
    assert names(load("cifar10", root=new, download=download)) == whole
    assert asked == [new, new]


def test_a_failing_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(root: Path) -> None:
        raise OSError("no route\nto host")

    line = refused(TrainingError, "cifar10", root=tmp_path, download=download)
    assert line.startswith(f"{tmp_path}: CIFAR-10 is missing and could not be downloaded")
    assert "(no route to host)" in line
    assert "cifar-10-python.tar.gz" in line
    assert "--data-root" in line
    # torchvision's own download, of an archive that is there but damaged and cannot be replaced
    monkeypatch.setattr(CIFAR10, "url", "file:///nowhere/cifar.tar.gz")
    (tmp_path / CIFAR10.filename).write_bytes(b"half")
    assert "could not be downloaded" in refused(TrainingError, "cifar10", root=tmp_path)
    download_that_does_nothing = refused(
        TrainingError, "cifar10", root=tmp_path, download=lambda root: None
    )
    assert "not found or corrupted" in download_that_does_nothing


def test_a_pack_of_something_else_is_refused(packs: Path, tmp_path: Path) -> None:
    animals = tmp_path / "cat"
    animals.mkdir()
    write_picture(animals / "0.png", 0)
    zip_folder(animals, packs / "cifar10-x.zip")
    line = refused(TrainingError, "cifar10", root=packs)
    assert "cifar10-x.zip:0.png: not called train/<class>/<name>" in line
