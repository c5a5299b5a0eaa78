"""The bars of `probe`: what they show, and that the same figures give the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vidcolor.probe.batches import Row
from vidcolor.probe.forecast import Forecast, ForecastReport
from vidcolor.probe.machine import MachineReport, ModelReport
from vidcolor.probe.plot import (
    Panel,
    forecast_panels,
    machine_panels,
    plot_forecast,
    plot_machine,
    plot_panels,
)
from vidcolor.probe.stages import Stages

STAGES = Stages(
    {"decode": 900.0, "model": 30.0, "encode": 80.0},
    end_to_end=27.0,
    threads=(("decode",), ("model",), ("encode",)),
)
ROWS = (Row(1, 30.0, 3.0, 30.3, 1, 1), Row(2, 20.0, 3.0, 43.5, 1, 1), Row(4))


def model(stages: Stages = STAGES) -> ModelReport:
    return ModelReport("fast", 256, (224, 288), "float32", 5, 7, ROWS, 64, 2, stages)


def film(name: str, seconds: float) -> Forecast:
    return Forecast(Path(name), Path("o"), "film", 9, 64, 48, seconds, 1.0, 5_000_000, 0, True)


def outlook(*rows: Forecast) -> ForecastReport:
    total = sum(row.seconds for row in rows)
    return ForecastReport("cpu", "fast", "float32", 256, {}, rows, 1.0, total, 1, 0, 1, 2, 1.0)


def test_the_bars_are_the_figures() -> None:
    report = MachineReport("cpu", {}, (640, 480), "libx264", (model(), model(Stages())))
    first, second, third = machine_panels(report)
    assert first.bars == (("decode", 900.0), ("model", 30.0), ("encode", 80.0))
    assert first.marked == ("model",) and first.line == (27.0, "end to end")
    assert second.bars == third.bars == (("1", 30.3), ("2", 43.5), ("4", None))
    assert second.marked == ("2",)
    time, size = forecast_panels(outlook(film("a.mkv", 50), film("b.mkv", 190)))
    assert time.unit == "minutes" and time.bars[1] == ("b.mkv", 190 / 60)
    assert size.bars[0] == ("a.mkv", 5.0)
    assert forecast_panels(outlook(film("a.mkv", 50)))[0].unit == "seconds"


def test_the_file_is_a_png_and_the_same_every_time(tmp_path: Path) -> None:
    report = MachineReport("cpu", {}, (640, 480), "libx264", (model(),))
    for name in ("a.png", "b.png"):
        plot_machine(report, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (360, 1040, 3)
    blue = (np.abs(pixels - (31, 119, 180)).sum(axis=2) < 30).sum()
    orange = (np.abs(pixels - (255, 127, 14)).sum(axis=2) < 30).sum()
    assert blue > 5000 and orange > 1000
    plot_forecast(outlook(film("$x$.mkv", 5)), tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 5000


def test_higher_bars_are_higher(tmp_path: Path) -> None:
    def blue(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        return (np.abs(pixels - (31, 119, 180)).sum(axis=2) < 30).sum(axis=0)

    plot_panels([Panel("t", "u", (("a", 1.0), ("b", 2.0), ("c", None)))], tmp_path / "p.png", "t")
    columns = blue(tmp_path / "p.png")
    heights = sorted({int(h) for h in columns if h > 10})
    assert len(heights) >= 2 and heights[-1] == max(columns)
    assert abs(heights[-1] / heights[0] - 2) < 0.1
