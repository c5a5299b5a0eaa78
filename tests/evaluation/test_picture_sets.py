"""Color pictures in bulk: folders and zips, damaged files, bit depths, square crops."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.evaluation.test_stills import photograph, save
from vidcolor.errors import InputError
from vidcolor.evaluation.picture_sets import square, stream_pictures


def test_folders_and_zips_are_streamed_by_name(tmp_path: Path) -> None:
    pictures = [photograph(seed) for seed in range(3)]
    folder = tmp_path / "dossier é"
    files = [save(folder / "sub" / f"{n}.png", picture) for n, picture in enumerate(pictures)]
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_bytes(b"not a picture")
    archive_path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive_path, "w") as archive:
        for file in files:
            archive.write(file, f"photos/{file.name}")
    assert [name for name, _ in stream_pictures([folder])] == [str(file) for file in files]
    found = list(stream_pictures([archive_path]))
    assert [name for name, _ in found] == [f"{archive_path}:photos/{n}.png" for n in range(3)]
    for (_, read), written in zip(found, pictures, strict=True):
        assert torch.equal(read, written)


def test_truncated_pictures_are_unreadable_not_half_gray(tmp_path: Path) -> None:
    file = save(tmp_path / "photo.jpg", photograph(1, 200, 200))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    unreadable: list[str] = []
    assert list(stream_pictures([tmp_path], unreadable)) == []
    assert unreadable == [str(file)]


def test_a_bomb_in_a_zip_is_unreadable(tmp_path: Path) -> None:
    """A small zip whose picture would fill the memory, beside a good one."""
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(save(tmp_path / "good.png", photograph(1)), "good.png")
        with archive.open("bomb.png", "w") as bomb:
            for _ in range(300):
                bomb.write(bytes(1 << 20))
    assert path.stat().st_size < 4 << 20
    unreadable: list[str] = []
    tracemalloc.start()
    (found,) = stream_pictures([path], unreadable)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found[0].endswith("good.png") and unreadable == [f"{path}:bomb.png"]
    assert peak < 100 << 20


def test_16_bit_gray_is_scaled_not_clipped(tmp_path: Path) -> None:
    levels = np.array([[0, 0x4000, 0x8000, 0xFFFF]], dtype=np.uint16)
    (tmp_path / "deep.png").write_bytes(cv2.imencode(".png", levels)[1].tobytes())
    ((_, picture),) = stream_pictures([tmp_path])
    assert picture[:, 0].tolist() == [[0, 0x40, 0x80, 0xFF]] * 3


def test_neither_folder_nor_zip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing: .*; give a folder"):
        list(stream_pictures([tmp_path / "missing"]))
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(InputError, match=r"text\.zip: .*; give a folder"):
        list(stream_pictures([tmp_path / "text.zip"]))


@pytest.mark.parametrize(("height", "width"), [(40, 100), (100, 40), (64, 64), (65, 300)])
def test_square_covers_and_centers(height: int, width: int) -> None:
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    picture[:, height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2] = 255
    result = square(picture, 64)
    assert result.shape == (3, 64, 64)
    assert result.dtype == torch.uint8
    rows, columns = result[0].float().sum(1), result[0].float().sum(0)
    axis = torch.arange(64.0)
    assert float((rows * axis).sum() / rows.sum()) == pytest.approx(31.5, abs=1)
    assert float((columns * axis).sum() / columns.sum()) == pytest.approx(31.5, abs=1)
