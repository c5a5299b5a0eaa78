"""The cache of decoded pictures: the same pictures as without it, written once, never stale."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.training_sets import load, names, zip_folder
from tests.training.conftest import write_picture
from vidcolor.errors import TrainingError
from vidcolor.evaluation import picture_sets
from vidcolor.training.data.dataset import PARTS, DataSet
from vidcolor.training.data.picture_cache import PictureCache


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Ten pictures of two sizes, two near-gray ones and a broken one."""
    folder = tmp_path / "mixed"
    for number in range(12):
        path = folder / ("cat" if number % 2 else "dog") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, number, gray=number > 9, side=20 + 6 * (number % 3))
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    return folder


def taken(source: Path, cache: PictureCache | None) -> DataSet:
    return load(source, min_chroma=2.0, cache=cache)


def equal(first: DataSet, second: DataSet) -> bool:
    if names(first) != names(second):
        return False
    pairs = (
        zip(getattr(first, part).pictures, getattr(second, part).pictures, strict=True)
        for part in PARTS
    )
    return all(np.array_equal(a, b) for part in pairs for a, b in part)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("packed", [False, True])
def test_mapped_pictures_are_the_decoded_ones(mixed: Path, tmp_path: Path, packed: bool) -> None:
    source = zip_folder(mixed, tmp_path / "mixed.zip") if packed else mixed
    direct = taken(source, None)
    cache = PictureCache(tmp_path / "cache", "whole")
    for mapped in (taken(source, cache), taken(source, cache)):  # written, then read
        assert equal(mapped, direct)
        assert (mapped.near_gray, mapped.unreadable) == (direct.near_gray, direct.unreadable)
        assert (mapped.near_gray, len(mapped.unreadable)) == (2, 1)
    pixels = {path.stat().st_size for path in cache.folder.glob("*.pictures")}
    parts = (getattr(direct, part).pictures for part in PARTS)
    assert pixels == {sum(picture.nbytes for picture in part) for part in parts}


def test_the_second_time_nothing_is_decoded(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PictureCache(tmp_path / "cache", "whole")
    first = taken(mixed, cache)
    monkeypatch.setattr(picture_sets, "decode_picture", lambda data: pytest.fail("decoded again"))
    assert equal(taken(mixed, cache), first)


def test_pictures_are_views_of_one_file_and_may_be_written_to(mixed: Path, tmp_path: Path) -> None:
    cache = PictureCache(tmp_path / "cache", "whole")
    first = taken(mixed, cache).train.pictures
    assert not any(picture.flags.owndata for picture in first)
    kept = first[0].copy()
    first[0][:] = 0
    assert np.array_equal(taken(mixed, cache).train.pictures[0], kept)  # the file has not changed


def test_other_pictures_other_settings_other_files(mixed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    taken(mixed, PictureCache(folder, "whole"))
    before = files(folder)
    changed = mixed / "dog" / "00.png"
    write_picture(changed, 99, side=20)
    os.utime(changed, ns=(1, 1))
    fresh = taken(mixed, PictureCache(folder, "whole"))
    assert equal(fresh, taken(mixed, None))
    assert files(folder) > before
    for cache, chroma in ((PictureCache(folder, "small"), 2.0), (PictureCache(folder, "whole"), 1)):
        before = files(folder)
        load(mixed, min_chroma=chroma, cache=cache)
        assert files(folder) > before


def test_a_damaged_file_is_made_anew(mixed: Path, tmp_path: Path) -> None:
    cache = PictureCache(tmp_path / "cache", "whole")
    taken(mixed, cache)
    names_before = files(cache.folder)
    for path in sorted(cache.folder.glob("*.pictures"))[:1]:
        path.write_bytes(path.read_bytes()[:-1])
    for path in sorted(cache.folder.glob("*.json"))[1:2]:
        path.write_text(json.dumps({"names": []}), encoding="utf-8")
    assert equal(taken(mixed, cache), taken(mixed, None))
    assert files(cache.folder) == names_before


def test_a_cache_that_cannot_be_written_is_one_line(mixed: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"^the cache of decoded pictures: [^\n]+$"):
        taken(mixed, PictureCache(blocked, "whole"))
