"""Pictures' forecast: the sample stands for the set, and seconds and bytes follow the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidcolor import Colorizer, Settings
from vidcolor.probe import pictures
from vidcolor.probe.pictures import PictureMeter, Written, chosen, pictures_costs

Items = list[tuple[Path, Path]]


def items_of(count: int, suffix: str = ".png") -> Items:
    return [(Path(f"{i}{suffix}"), Path(f"out/{i}{suffix}")) for i in range(count)]


@pytest.mark.parametrize(("count", "wanted"), [(1, 1), (5, 5), (32, 32), (2000, 32)])
def test_a_sample_has_no_file_twice(count: int, wanted: int) -> None:
    numbers = chosen(items_of(count), list(range(count)), 32)
    assert len(numbers) == len(set(numbers)) == wanted and max(numbers) < count


def test_a_sample_stands_for_all_and_so_does_its_half() -> None:
    sizes = [100 * (i % 50) ** 2 for i in range(2000)]
    numbers = chosen(items_of(2000), sizes, 32)
    mean = sum(sizes) / len(sizes)
    assert np.mean([sizes[i] for i in numbers]) == pytest.approx(mean, rel=0.05)
    for part in (numbers[:16], numbers[16:], numbers[8:24]):
        assert np.mean([sizes[i] for i in part]) == pytest.approx(mean, rel=0.3)


def test_every_kind_of_file_is_in_the_sample() -> None:
    items = [*items_of(300, ".png"), *items_of(300, ".jpg")]
    numbers = chosen(items, [1] * 600, 32)
    assert 15 <= sum(items[i][1].suffix == ".jpg" for i in numbers) <= 17


def test_what_is_foreseen_of_a_given_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 s of start, 4 ns a pixel; PNG files of 2 bytes a pixel and JPEG files of a half."""
    items = [*items_of(400, ".png"), *items_of(600, ".jpg")]
    sizes = {path: 1000 * (1 + i % 90) for i, (path, _) in enumerate(items)}
    monkeypatch.setattr(pictures, "picture_pixels", sizes.__getitem__)

    def measure(sample: Sequence[tuple[Path, Path]]) -> list[Written]:
        now, found = 2.0, []
        for path, output in sample:
            now += 4e-9 * sizes[path]
            size = sizes[path] * 2 if output.suffix == ".png" else sizes[path] // 2
            found.append(Written(sizes[path], output.suffix, size, now))
        return found

    found = pictures_costs(items, measure)
    pixels = sum(sizes.values())
    assert (found.files, found.pixels, found.sampled) == (1000, pixels, 32)
    assert found.seconds == pytest.approx(2 + 4e-9 * pixels)
    png = sum(sizes[path] for path, _ in items[:400])
    assert found.bytes == pytest.approx(2 * png + (pixels - png) / 2, rel=1e-3)


def test_few_pictures_are_all_measured(tmp_path: Path) -> None:
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    items = []
    for number in range(6):
        grey = np.random.default_rng(number).integers(0, 256, (40 + 8 * number, 48), np.uint8)
        Image.fromarray(grey).save(path := tmp_path / f"{number}.png")
        items.append((path, tmp_path / "out" / path.name))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    items.append((tmp_path / "bad.png", tmp_path / "out" / "bad.png"))
    folder = tmp_path / "probe"
    folder.mkdir()
    settings = Settings()
    meter = PictureMeter(colorizer, settings, folder)
    found = pictures_costs(items, meter.measure)
    assert (found.files, found.sampled) == (7, 7) and found.seconds > 0
    assert found.pixels == sum(48 * (40 + 8 * n) for n in range(6))
    assert list(folder.iterdir()) == [] and not (tmp_path / "out").exists()
    from vidcolor import colorize

    colorize(tmp_path / "0.png", tmp_path / "one.png", colorizer=colorizer)
    one = (tmp_path / "one.png").stat().st_size
    assert found.bytes == pytest.approx(one * found.pixels / (48 * 40), rel=0.2)


def test_a_large_set_is_foreseen_by_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_SAMPLE", 9)
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
    found = pictures_costs(items, PictureMeter(colorizer, Settings(), folder).measure)
    whole = PictureMeter(colorizer, Settings(), folder).measure(items)
    assert found.bytes == pytest.approx(sum(each.bytes for each in whole), rel=0.15)
