"""What is found, how it is split, and the one line each bad input ends in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.training_sets import SHARES, counts, load, names, refused, zip_folder
from tests.training.conftest import write_picture
from vidcolor.errors import InputError, OutputError, TrainingError
from vidcolor.evaluation.picture_sets import (
    ArchiveMember,
    list_pictures,
    map_pictures,
    read_pictures,
    square,
)
from vidcolor.training.data.dataset import PARTS, check_split, split_names, write_split


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Ten pictures of two classes."""
    for seed in range(10):
        folder = tmp_path / "animals" / ("cat" if seed % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        write_picture(folder / f"{seed}.png", seed, side=8)
    return tmp_path / "animals"


def test_hidden_files_are_passed_over(animals: Path) -> None:
    (animals / "__MACOSX").mkdir()
    (animals / "__MACOSX" / "._0.png").write_bytes(b"no picture")
    (animals / ".thumbnails").mkdir()
    shutil.copy(animals / "dog" / "0.png", animals / ".thumbnails" / "0.png")
    assert len(list_pictures(animals)) == 10


# ------------------------------------------------------------------ the split


def test_cifar10_is_split_exactly() -> None:
    ordered = [f"{i:05d}" for i in range(60_000)]
    parts = split_names(ordered, SHARES, seed=0)
    assert [len(part) for part in parts] == [48_000, 6_000, 6_000]
    assert sorted(parts[0] + parts[1] + parts[2]) == ordered
    assert parts[0] != sorted(parts[0])
    assert split_names(ordered[::-1], SHARES, seed=0) == parts
    assert split_names(ordered, SHARES, seed=1)[2] != parts[2]


@pytest.mark.parametrize(
    ("count", "shares", "wanted"),
    [
        (7, SHARES, [5, 1, 1]),
        (10, SHARES, [8, 1, 1]),
        (11, (1 / 3, 1 / 3, 1 / 3), [4, 4, 3]),
        (5, (0.9, 0.1, 0.0), [5, 0, 0]),
        (6, (0.9, 0.1, 0.0), [5, 1, 0]),
        (0, SHARES, [0, 0, 0]),
    ],
)
def test_counts_are_rounded_so_that_they_sum(
    count: int, shares: tuple[float, float, float], wanted: list[int]
) -> None:
    parts = split_names([str(i) for i in range(count)], shares, seed=0)
    assert [len(part) for part in parts] == wanted


def test_the_order_and_place_of_files_and_sources_do_not_matter(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = zip_folder(animals, tmp_path / "pack.zip")
    data = load(animals, pack)
    assert counts(data) == [16, 2, 2]
    assert {name for part in names(data) for name in part} == {
        f"{before}{'cat' if i % 2 else 'dog'}/{i}.png"
        for before in ("", "pack.zip:")
        for i in range(10)
    }
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path, elsewhere, ignore=lambda *_: ["elsewhere"])
    monkeypatch.chdir(elsewhere)
    again = load("pack.zip", "animals", "pack.zip", "animals/cat")  # each picture counts once
    assert names(again) == names(data)
    assert data.sources == ["animals", "pack.zip"]
    for part in PARTS:
        for one, other in zip(
            getattr(data, part).pictures, getattr(again, part).pictures, strict=True
        ):
            assert np.array_equal(one, other)


def test_names_stay_with_their_pictures(animals: Path) -> None:
    data = load(animals)
    for name, picture in zip(data.train.names, data.train.pictures, strict=True):
        assert np.array_equal(picture, np.array(Image.open(animals / name)))


def test_pictures_of_the_same_name_are_told_apart_by_their_sources(
    animals: Path, tmp_path: Path
) -> None:
    shutil.copytree(animals / "cat", tmp_path / "more" / "cat")
    assert sorted(load(animals / "cat", tmp_path / "more" / "cat").train.names)[0].startswith(
        "animals/cat/"
    )


def test_a_test_folder_is_the_test_part(animals: Path) -> None:
    for kind in ("test", "val"):
        (animals / kind / "cat").mkdir(parents=True)
        write_picture(animals / kind / "cat" / "0.png", 20, side=8)
    write_picture(animals / "cat" / "test.png", 21, side=8)  # a file, not a folder
    data = load(animals, test_part="folder", split=(0.5, 0.5, 0.0))
    assert sorted(data.test.names) == ["test/cat/0.png", "val/cat/0.png"]
    assert sorted(counts(data)) == [2, 5, 6]
    assert counts(load(animals, test_part="folder"))[:2] == [10, 1]  # 11 pictures, 8 to 1


def test_validation_can_be_given(animals: Path, photographs: Path) -> None:
    data = load(animals, validation=[photographs])
    assert counts(data) == [9, 7, 1]
    assert set(data.validation.names) == {f"{i}.png" for i in range(7)}
    # nothing that is validated on is trained on
    data = load(animals, validation=[animals / "cat"], split=(1.0, 0.0, 0.0))
    assert counts(data) == [5, 5, 0]
    assert {Path(name).parent.name for name in data.train.names} == {"dog"}


def test_classes_are_parent_folders(animals: Path, photographs: Path) -> None:
    data = load(animals, photographs, classes=["cat"], split=(0.6, 0.2, 0.2))
    assert {name.split("/")[0] for part in names(data) for name in part} == {"cat"}
    assert counts(data) == [3, 1, 1]
    line = refused(TrainingError, animals, classes=["cat", "cow"])
    assert line == "classes: no class is called 'cow'; there are cat, dog"


def test_a_limit_takes_the_first_and_decodes_no_others(
    animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(animals, split=(0.5, 0.3, 0.2))
    read: list[str] = []

    def spy(files: list[ArchiveMember], change: Callable[..., Any]) -> Iterator[Any]:
        read.extend(file.name for file in files)
        return map_pictures(files, change)

    monkeypatch.setattr("vidcolor.training.data.dataset.map_pictures", spy)
    part = load(animals, split=(0.5, 0.3, 0.2), limit=2)
    assert names(part) == [chunk[:2] for chunk in names(whole)]
    assert len(read) == 6


def test_what_cannot_be_used_is_named_and_replaced_within_the_limit(animals: Path) -> None:
    order = load(animals).train.names
    (animals / order[0]).write_bytes(b"no picture")
    write_picture(animals / order[2], 0, gray=True, side=8)
    data = load(animals, min_chroma=2.0, limit=3)
    assert data.train.names == [order[1], order[3], order[4]]
    assert data.unreadable == [order[0]]
    assert data.near_gray == 1
    assert counts(load(animals)) == [7, 1, 1]  # gray ones stay where they are not filtered


def test_pictures_are_shrunk_as_they_are_read(animals: Path) -> None:
    order = load(animals).train.names
    (animals / order[0]).write_bytes(b"no picture")
    write_picture(animals / order[1], 0, gray=True, side=8)
    # chroma in the first row alone, and so in what the filter looks at but not in what is kept
    edge = np.full((8, 8, 3), 100, np.uint8)
    edge[::4] = (250, 20, 20)
    Image.fromarray(edge).save(animals / order[2])
    seen: list[tuple[int, ...]] = []

    def shrink(picture: np.ndarray) -> np.ndarray:
        seen.append(picture.shape)
        return picture[1:3, :2].copy()

    whole = load(animals, min_chroma=2.0)
    data = load(animals, min_chroma=2.0, shrink=shrink)
    assert names(data) == names(whole) and order[2] in data.train.names
    assert (data.near_gray, data.unreadable) == (1, [order[0]])
    assert len(seen) == 8 and (2, 2, 3) not in seen  # each once, and none that is left out
    for part in PARTS:
        pairs = zip(getattr(data, part).pictures, getattr(whole, part).pictures, strict=True)
        for small, large in pairs:
            assert np.array_equal(small, large[1:3, :2])


# ------------------------------------------------------------------ bad inputs


def test_sources_that_hold_nothing(tmp_path: Path, animals: Path) -> None:
    line = refused(InputError, tmp_path / "missing")
    assert line.startswith(f"{tmp_path / 'missing'}: no such folder or zip")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture")
    assert ": no picture in it; give" in refused(InputError, animals, tmp_path / "empty")
    whole = zip_folder(animals, tmp_path / "good.zip").read_bytes()
    (tmp_path / "bad.zip").write_bytes(whole.replace(b"PK\x01\x02", b"PK\x00\x00"))
    # a damaged zip, or to newer Pythons no zip at all
    assert refused(InputError, tmp_path / "bad.zip").startswith(f"{tmp_path / 'bad.zip'}: ")


def test_a_set_of_gray_pictures(tmp_path: Path) -> None:
    for seed in range(10):
        write_picture(tmp_path / f"{seed}.png", seed, gray=True, side=8)
    line = refused(InputError, tmp_path, min_chroma=2.0)
    assert "no usable color picture (0 unreadable, 10 near-gray)" in line
    assert "min_chroma (2)" in line


def test_a_set_of_damaged_pictures(tmp_path: Path) -> None:
    for i in range(10):
        (tmp_path / f"{i}.jpg").write_bytes(b"no")
    assert "10 unreadable, first 0.jpg, 0 near-gray" in refused(InputError, tmp_path)


def test_too_few_pictures_for_the_split(photographs: Path) -> None:
    line = refused(TrainingError, photographs, split=(0.94, 0.03, 0.03))
    assert "too few pictures for the split 0.94/0.03/0.03: the validation part is empty" in line
    assert "(7 usable)" in line
    assert counts(load(photographs, split=(1.0, 0.0, 0.0))) == [7, 0, 0]  # none was asked for
    line = refused(TrainingError, photographs, test_part="folder")
    assert "no picture lies in a folder called test or val" in line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"split": (0.8, 0.1, 0.2)}, "split: 0.8/0.1/0.2 sums to 1.1; the three shares must"),
        ({"split": (0.0, 0.5, 0.5)}, "split: 0/0.5/0.5 are not three shares"),
        ({"split": (1.2, -0.1, -0.1)}, "split: 1.2/-0.1/-0.1 are not three shares"),
        ({"split": (0.5, 0.5)}, "split: 0.5/0.5 are not three shares"),
        ({"test_part": "half"}, "test_part: 'half' is neither"),
        ({"seed": 2**64}, "seed: 18446744073709551616 does not fit"),
    ],
)
def test_options_that_cannot_be_used(photographs: Path, options: dict[str, Any], line: str) -> None:
    assert refused(TrainingError, photographs, **options).startswith(line)


# ------------------------------------------------------------------ the split's record


def test_the_split_is_recorded_and_compared(animals: Path, tmp_path: Path) -> None:
    data, path = load(animals, seed=3), tmp_path / "split.json"
    write_split(data, path)
    content = json.loads(path.read_text())
    assert (content["seed"], content["shares"]) == (3, [0.8, 0.1, 0.1])
    assert content["counts"] == {"train": 8, "validation": 1, "test": 1}
    assert content["sources"] == ["animals"]
    assert [content[part] for part in PARTS] == names(data)
    assert str(tmp_path) not in path.read_text()
    check_split(data, path)

    (animals / data.test.names[0]).unlink()
    with pytest.raises(TrainingError, match="the data changed since this training began") as caught:
        check_split(load(animals, seed=3), path)
    assert "of 1 pictures; give the same data and seed" in str(caught.value)
    assert "\n" not in str(caught.value)
    data.train.names[:2] = reversed(data.train.names[:2])
    with pytest.raises(TrainingError, match="train part's 8 pictures are in another order"):
        check_split(data, path)


def test_a_record_that_cannot_be_written_or_read(animals: Path, tmp_path: Path) -> None:
    data = load(animals)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"split\.json: cannot be written"):
        write_split(data, tmp_path / "file" / "split.json")
    for content in (None, "{", "[]", '{"train": 3}'):
        path = tmp_path / "split.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(TrainingError, match=r"split\.json: not a usable split [^\n]+$"):
            check_split(data, path)


# ------------------------------------------------------------------ packs


def test_files_are_listed_without_being_decoded(animals: Path, tmp_path: Path) -> None:
    (animals / "notes.txt").write_text("no picture")
    (animals / "cat" / "1.png").write_bytes(b"no picture")
    pack = zip_folder(animals, tmp_path / "pack.zip")
    listed = list_pictures(pack)
    assert [file.name for file in listed] == [file.name for file in list_pictures(animals)]
    assert listed[0] == ArchiveMember(pack, "cat/1.png")
    assert str(listed[0]) == f"{pack}:cat/1.png"
    read = list(read_pictures([*listed[:2], *list_pictures(animals)[:2]]))
    assert [file.source for file, _ in read] == [pack, pack, animals, animals]
    assert [picture is None for _, picture in read] == [True, False, True, False]


def test_squares_of_a_batch_are_those_of_its_pictures() -> None:
    batch = torch.randint(0, 256, (3, 3, 12, 9), dtype=torch.uint8)
    made = square(batch, 6)
    assert made.shape == (3, 3, 6, 6)
    assert all(torch.equal(made[i], square(batch[i], 6)) for i in range(3))
