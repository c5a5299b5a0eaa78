"""Pictures' forecast: the sample stands for the set, and seconds and bytes follow the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidcolor import Colorizer, Settings
from vidcolor.probe.pictures import (
    Written,
    choose_sample,
    estimate_pictures,
    forecast_pictures,
    measure_pictures,
    window_size,
)
from vidcolor.run.pictures import picture_batch_size
from vidcolor.run.plan import PicturesJob
from vidcolor.run.provenance.settings import UNMARKED
from vidcolor.sources import PictureSource

Items = list[tuple[Path, Path]]


def items_of(count: int, suffix: str = ".png") -> Items:
    return [(Path(f"{i}{suffix}"), Path(f"out/{i}{suffix}")) for i in range(count)]


@pytest.mark.parametrize(("count", "wanted"), [(1, 1), (5, 5), (32, 32), (2000, 32)])
def test_a_sample_has_no_file_twice(count: int, wanted: int) -> None:
    numbers = choose_sample(items_of(count), list(range(count)), 32)
    assert len(numbers) == len(set(numbers)) == wanted and max(numbers) < count


def test_a_sample_stands_for_all_and_so_does_its_half() -> None:
    sizes = [100 * (i % 50) ** 2 for i in range(2000)]
    numbers = choose_sample(items_of(2000), sizes, 32)
    mean = sum(sizes) / len(sizes)
    assert np.mean([sizes[i] for i in numbers]) == pytest.approx(mean, rel=0.05)
    for part in (numbers[:16], numbers[16:], numbers[8:24]):
        assert np.mean([sizes[i] for i in part]) == pytest.approx(mean, rel=0.3)


def test_every_kind_of_file_is_in_the_sample() -> None:
    items = [*items_of(300, ".png"), *items_of(300, ".jpg")]
    numbers = choose_sample(items, [1] * 600, 32)
    assert 15 <= sum(items[i][1].suffix == ".jpg" for i in numbers) <= 17


def test_what_is_foreseen_of_a_given_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 s of start, 4 ns a pixel; PNG files of 2 bytes a pixel and JPEG files of a half."""
    items = [*items_of(400, ".png"), *items_of(600, ".jpg")]
    sizes = {path: 1000 * (1 + i % 90) for i, (path, _) in enumerate(items)}
    monkeypatch.setattr(
        PictureSource, "count_pixels", lambda self, index: sizes[self.items[index][0]]
    )

    def measure(sample: Sequence[tuple[Path, Path]]) -> list[Written]:
        now, found = 2.0, []
        for path, output in sample:
            now += 4e-9 * sizes[path]
            size = sizes[path] * 2 if output.suffix == ".png" else sizes[path] // 2
            found.append(Written(sizes[path], output.suffix, size, now))
        return found

    found = estimate_pictures(items, measure)
    pixels = sum(sizes.values())
    assert (found.files, found.sampled) == (1000, 64)
    assert found.seconds == pytest.approx(2 + 4e-9 * pixels)
    png = sum(sizes[path] for path, _ in items[:400])
    assert found.bytes == pytest.approx(2 * png + (pixels - png) / 2, rel=1e-3)


def test_few_pictures_are_all_measured(tmp_path: Path) -> None:
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    items = []
    for number in range(6):
        gray = np.random.default_rng(number).integers(0, 256, (40 + 8 * number, 48), np.uint8)
        Image.fromarray(gray).save(path := tmp_path / f"{number}.png")
        items.append((path, tmp_path / "out" / path.name))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    items.append((tmp_path / "bad.png", tmp_path / "out" / "bad.png"))
    folder = tmp_path / "probe"
    folder.mkdir()
    plain = Settings(marks=UNMARKED)  # marks take as much in a small file as in a large one
    found = forecast_pictures(PicturesJob(tuple(items)), colorizer, plain, folder)
    assert (found.files, found.sampled) == (7, 7) and found.seconds > 0
    pixels = sum(48 * (40 + 8 * n) for n in range(6))
    assert list(folder.iterdir()) == [] and not (tmp_path / "out").exists()
    from vidcolor import colorize

    colorize(tmp_path / "0.png", tmp_path / "one.png", colorizer=colorizer, settings=plain)
    one = (tmp_path / "one.png").stat().st_size
    assert found.bytes == pytest.approx(one * pixels / (48 * 40), rel=0.2)


def test_a_large_set_is_foreseen_by_a_sample(tmp_path: Path) -> None:
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    items, random = [], np.random.default_rng(0)
    for number in range(18):
        side = 32 + 4 * number
        Image.fromarray(random.integers(0, 256, (side, side), np.uint8)).save(
            path := tmp_path / f"{number}.png"
        )
        items.append((path, tmp_path / "out" / path.name))
    folder = tmp_path / "probe"
    folder.mkdir()
    measure = partial(
        measure_pictures,
        colorizer=colorizer,
        settings=Settings(),
        folder=folder,
        window=2,
    )
    found = estimate_pictures(items, measure, 2)
    assert found.sampled == 8
    whole = measure(items)
    assert found.bytes == pytest.approx(sum(each.bytes for each in whole), rel=0.15)


def test_windows_are_counted_from_end_to_end() -> None:
    """Most of a window is done when its last file has come: moments within one say nothing."""
    items = items_of(400)
    counted = []

    def measure(sample: Sequence[tuple[Path, Path]]) -> list[Written]:
        counted.append(len(sample))
        # reading is 1/4 of the work; the rest is done at each window's end, 20 files at a time
        return [
            Written(1000, ".png", 9, 3 + 4 * (i // 20) * 5 + (i % 20) / 4 + 15 * (i % 20 == 19))
            for i in range(len(sample))
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PictureSource, "count_pixels", lambda self, index: 1000)
        found = estimate_pictures(items, measure, 20)
    assert counted == [80] and found.seconds == pytest.approx(400, rel=0.02)


@pytest.mark.parametrize(
    ("count", "workers", "wished", "batch", "window"),
    [(160, 2, None, 4, 16), (160, 20, None, 2, 16), (9, 2, None, 1, 16), (900, 2, 24, 24, 48)],
)
def test_a_sample_goes_in_batches_of_the_run(
    count: int, workers: int, wished: int | None, batch: int, window: int
) -> None:
    settings = Settings(picture_threads=workers, batch_size=wished)
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    assert picture_batch_size(colorizer, settings, count) == batch
    assert window_size(batch) == window
