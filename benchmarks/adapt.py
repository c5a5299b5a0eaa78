"""What weights that are adapted to a film bring beside its stills alone.

    python -m benchmarks.adapt --photos ARCHIVE.zip... --films 25 --json adapt.json
    python -m benchmarks.adapt --clips CLIP...

A film is four pans over photographs, each a shot, or the parts of a color clip, in gray. The first
frame of each shot is its still. Colored with the stills alone, and with the stills and weights
adapted to them, the frames after it are measured: PSNR in dB.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from vidcolor.color.codes import luma_of_rgb
from vidcolor.color.compose import compose, film_gray
from vidcolor.color.convert import rgb_to_lab
from vidcolor.evaluation.color_film import RgbBatch
from vidcolor.evaluation.metrics import psnr
from vidcolor.frames import picture_format
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.references.shot_list import FILM, GRAYS, LIST, FilmFrames, Shot
from vidcolor.run.references.stills import still_name
from vidcolor.shots.timelines import to_toml
from vidcolor.training.adapt import adapt
from vidcolor.training.options import AdaptOptions

from .references import parts_of

_SHOTS = 4  # of a film of photographs
_WIDTH, _HEIGHT = 256, 192  # pixels of its frames
_STEPS = (0.0, 0.3, 0.65, 1.0)  # of a pan, that are measured; 0 is the still
_LEAST_CHROMA = 6.0  # mean, of a photograph

Film = list[tuple[str, list[RgbBatch]]]  # name and frames of each shot


def pans(archives: Sequence[Path], films: int, seed: int) -> Iterator[Film]:
    """Films of pans over photographs drawn at random: to one side, and nearer by a fifth."""
    random = np.random.default_rng(seed)
    files = [
        (archive, name)
        for archive in archives
        for name in sorted(zipfile.ZipFile(archive).namelist())
        if not name.endswith("/")
    ]
    order = iter(random.permutation(len(files)))
    for number in range(films):
        film: Film = []
        while len(film) < _SHOTS:
            place = next(order, None)
            if place is None:
                raise SystemExit(f"there are too few colorful photographs for {films} films")
            archive, name = files[place]
            picture = Image.open(io.BytesIO(zipfile.ZipFile(archive).read(name))).convert("RGB")
            rgb = np.asarray(picture)
            if _chroma(_view(rgb, 0.0, left=bool(random.integers(2)))) < _LEAST_CHROMA:
                continue
            to_left = bool(random.integers(2))
            film.append((f"{number}/{name}", [_view(rgb, step, left=to_left) for step in _STEPS]))
        yield film


def _view(rgb: np.ndarray, step: float, *, left: bool) -> RgbBatch:
    """The part of a photograph that a pan shows."""
    height, width = rgb.shape[:2]
    scale = min(width / _WIDTH, height / _HEIGHT) * (0.75 - 0.15 * step)
    columns, rows = int(_WIDTH * scale), int(_HEIGHT * scale)
    along = 1 - step if left else step
    x, y = int(along * (width - columns)), int(0.5 * (height - rows))
    size = (_WIDTH, _HEIGHT)
    small = cv2.resize(rgb[y : y + rows, x : x + columns], size, interpolation=cv2.INTER_AREA)
    luma = torch.from_numpy(luma_of_rgb(small))[None, None]
    shown = torch.from_numpy(small).permute(2, 0, 1)[None].contiguous()
    return RgbBatch(luma, 8, True, (0,), (1,), rgb=shown)


def _chroma(frame: RgbBatch) -> float:
    return float(rgb_to_lab(frame.rgb.float() / 255)[:, 1:].norm(dim=1).mean())


def write_folder(folder: Path, film: Film) -> None:
    """A folder of shots whose first frames are colored."""
    (folder / GRAYS).mkdir(parents=True)
    shots, names, first = [], {}, 0
    for number, (_, frames) in enumerate(film, 1):
        still = still_name(number, first)
        rgb = frames[0].rgb[0].permute(1, 2, 0).contiguous().numpy()
        gray = (film_gray(frames[0])[0, 0] * 255).round().to(torch.uint8).numpy()
        cv2.imwrite(str(folder / still), rgb[..., ::-1])
        cv2.imwrite(str(folder / GRAYS / still), gray)
        shots.append(Shot(number=number, first=first, last=first + len(frames) - 1))
        names[number] = [still]
        first += len(frames)
    height, width = film[0][1][0].rgb.shape[-2:]
    made = FilmFrames(
        Path("film"), width, height, Fraction(1, 25), Fraction(25), "auto", range(first)
    )
    (folder / FILM).write_text(made.to_json(), encoding="utf-8")
    (folder / LIST).write_text(to_toml(made, shots, names), encoding="utf-8")


def follow(folder: Path, shots: Sequence[int]) -> None:
    """Give shots the starting weights, as `vidcolor adapt` advises."""
    text = (folder / LIST).read_text(encoding="utf-8")
    for number in shots:
        line = f"number = {number}\n"
        text = text.replace(line, f'{line}model = "fast"\n')
    (folder / LIST).write_text(text, encoding="utf-8")


def measure(colorizer: Colorizer, film: Film, step: int = 1) -> list[float]:
    """Mean PSNR of each shot's frames but the still, dB."""
    format, found, first = picture_format(8), [], 0
    for shot, (_, frames) in enumerate(film):
        scores = []
        for i in range(step, len(frames), step):
            shown = replace(frames[i], shots=(shot,), numbers=(first + i,))
            rgb = torch.stack(compose(shown, colorizer(shown), format).planes, dim=1)
            scores.append(float(psnr(rgb.float(), frames[i].rgb.float())))
        found.append(float(np.mean(scores)))
        first += len(frames)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the gain of each shot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapt", description=__doc__)
    parser.add_argument("--photos", nargs="*", default=[], type=Path, metavar="ARCHIVE")
    parser.add_argument("--clips", nargs="*", default=[], type=Path, metavar="CLIP")
    parser.add_argument("--films", type=int, default=25, help="of four pans each [25]")
    parser.add_argument("--every", type=int, default=60, help="frames, length of a part [60]")
    parser.add_argument("--step", type=int, default=12, help="measure every Nth frame [12]")
    parser.add_argument("--steps", type=int, default=AdaptOptions().steps)
    parser.add_argument("--rate", type=float, default=AdaptOptions().rate)
    parser.add_argument("--weight-penalty", type=float, default=AdaptOptions().weight_penalty)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    given = parser.parse_args(arguments)
    options = AdaptOptions(given.steps, given.rate, given.weight_penalty)
    count = given.films if given.photos else 0
    films = [(film, 1) for film in pans(given.photos, count, given.seed)]
    for clip in given.clips:
        film = list(parts_of(clip, 384, given.every, given.every))
        films.append((film[:: -(-len(film) // 16)], given.step))
    rows: dict[str, tuple[float, float]] = {}
    kept = 0
    for film, step in films:
        with tempfile.TemporaryDirectory() as name:
            folder, weights = Path(name) / "shots", Path(name) / "film.safetensors"
            write_folder(folder, film)
            plain = Colorizer(device="cpu", shots=folder, precision="fp32")
            made = adapt(plain, weights, options)
            follow(folder, made.harmed)
            fitted = Colorizer(device="cpu", shots=folder, precision="fp32", weights=weights)
            both = zip(measure(plain, film, step), measure(fitted, film, step), strict=True)
            kept += len(made.harmed)
            rows |= {shot: pair for (shot, _), pair in zip(film, both, strict=True)}
        gains = np.array([after - before for before, after in rows.values()])
        print(
            f"{len(rows)} shots: {np.mean([a for a, _ in rows.values()]):.2f} dB with stills, "
            f"gain {gains.mean():+.3f} dB, worst {gains.min():+.2f}, best {gains.max():+.2f}; "
            f"{kept} shots with the starting weights",
            flush=True,
        )
        if given.json:
            report = {shot: {"stills": a, "adapted": b} for shot, (a, b) in rows.items()}
            given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
