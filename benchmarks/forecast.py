"""How true `vidcolor probe` is: forecasts of a film and of pictures beside the run that follows.

    python -m benchmarks.forecast --json forecast.json

A steady film and a folder of JPEG pictures are made, or your own are taken. Each is measured as
`vidcolor probe` does, in a few short stretches or a sample, and then run from end to end in the
same process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vidcolor.probe.forecast import forecast
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.pipeline import run
from vidcolor.run.plan import plan
from vidcolor.run.settings import Settings
from vidcolor.system.devices import device_name

from .films import FilmSize, make_film, pictures

_SIDES = ((320, 240), (240, 320), (480, 360), (640, 426), (426, 640), (800, 600), (512, 512))


def write_pictures(folder: Path, count: int) -> Path:
    """Gray JPEG pictures of mixed sizes and shapes, in a folder of their own."""
    folder = folder / f"{count} pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    stills = [next(pictures(FilmSize("", *sides), 1)) for sides in _SIDES]
    for number in range(count):
        gray = stills[random.integers(len(stills))]
        scale = random.uniform(0.7, 1.6)
        size = (round(gray.shape[1] * scale), round(gray.shape[0] * scale))
        Image.fromarray(gray).resize(size).save(folder / f"{number:04d}.jpg", quality=90)
    return folder


def measure(
    film: Path, colorizer: Colorizer, settings: Settings, folder: Path, budget: float
) -> dict[str, Any]:
    """One row: what was foreseen and what came, seconds and bytes."""
    output = folder / ("colored" if film.is_dir() else f"out{film.suffix}")
    jobs, problems = plan([film], output, settings)
    foreseen = forecast(jobs, problems, colorizer, settings, budget=budget)
    (row,) = foreseen.rows
    began = time.perf_counter()
    reports = list(run(jobs, colorizer, settings))
    seconds = time.perf_counter() - began
    size = sum(report.output.stat().st_size for report in reports)
    for report in reports:
        report.output.unlink()
    return {
        "film": film.name,
        "frames": sum(report.frames for report in reports),
        "foreseen_seconds": row.seconds,
        "seconds": seconds,
        "foreseen_bytes": row.bytes,
        "bytes": size,
        "measuring_seconds": foreseen.measuring_seconds,
        "time_ratio": row.seconds / seconds,
        "size_ratio": row.bytes / size,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write the JSON."""
    parser = argparse.ArgumentParser(description="Forecasts of probe beside the runs themselves.")
    parser.add_argument(
        "films", type=Path, nargs="*", help="or folders of pictures, instead of made ones"
    )
    parser.add_argument("--frame", type=int, nargs=2, default=(640, 480), metavar=("W", "H"))
    parser.add_argument("--frames", type=int, default=600, help="of the made film; 0 for none")
    parser.add_argument("--pictures", type=int, default=160, help="that are made; 0 for none")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--size", type=int, help="model resolution")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--seconds", type=float, default=20.0, help="budget of each forecast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    given = parser.parse_args(arguments)
    colorizer = Colorizer(given.model, device=given.device, size=given.size)
    settings = Settings(overwrite=True)
    found: dict[str, Any] = {
        "benchmark": "forecast",
        "device": device_name(colorizer.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "model": colorizer.name,
        "size": colorizer.size,
        "rows": [],
    }
    print(f"{'film':>16} {'frames':>7} {'foreseen s':>11} {'s':>8} {'ratio':>6} {'bytes':>6}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = given.films
        if not films:
            width, height = given.frame
            films = []
            if given.frames:
                size = FilmSize(f"{width}x{height}", width, height)
                films.append(make_film(folder / "film.mp4", size, given.frames))
            films += [write_pictures(folder, given.pictures)] if given.pictures else []
        for film in films:
            row = measure(film, colorizer, settings, folder, given.seconds)
            found["rows"].append(row)
            print(
                f"{row['film']:>16} {row['frames']:>7} {row['foreseen_seconds']:>11.1f} "
                f"{row['seconds']:>8.1f} {row['time_ratio']:>6.2f} {row['size_ratio']:>6.2f}",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
