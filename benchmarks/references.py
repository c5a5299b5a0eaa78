"""What a colored still brings, and what is lost where it is imperfect.

    python -m benchmarks.references CLIP... --json figures.json

The color clips are turned gray, and cut into parts: at shot cuts, and every so many frames. Of each
part the first frame is given in color, whole or degraded as people and image-editing models do it,
and its frames are colored one by one. Each figure is the mean PSNR over the frames after the first,
in dB; a second table has that of the last frame, far from the still.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vidcolor.color.compose import compose, film_gray
from vidcolor.color.convert import rgb_to_lab
from vidcolor.evaluation.color_film import ColorFilmSource, RgbBatch
from vidcolor.evaluation.metrics import psnr
from vidcolor.frames import picture_format
from vidcolor.motion.shots import mark_cuts
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.references.shot_list import FILM, GRAYS, LIST, FilmFrames, Shot
from vidcolor.run.references.stills import still_name
from vidcolor.shots.timelines import to_toml

_RGB = picture_format(8)
_BLOCK = 32  # pixels, side of the blocks that are left gray
_ZOOM, _SHIFT, _DARKER = 1.02, 3.0, 0.8

Picture = NDArray[np.uint8]  # (H, W, 3) R'G'B'


def gray_blocks(rgb: Picture) -> Picture:
    """A third of the blocks without color, at random."""
    height, width = rgb.shape[:2]
    random = np.random.default_rng(0)
    left = random.random((-(-height // _BLOCK), -(-width // _BLOCK))) < 1 / 3
    mask = left.repeat(_BLOCK, 0).repeat(_BLOCK, 1)[:height, :width, None]
    gray = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.where(mask, gray, rgb).astype(np.uint8)


def moved(rgb: Picture) -> Picture:
    """Scaled by 2 % and shifted by 3 pixels to the right."""
    matrix = np.array([[_ZOOM, 0, _SHIFT], [0, _ZOOM, 0]])
    size = (rgb.shape[1], rgb.shape[0])
    return cv2.warpAffine(rgb, matrix, size, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


def darker(rgb: Picture) -> Picture:
    """R'G'B' times 0.8."""
    return (rgb * _DARKER).round().astype(np.uint8)


@dataclass(frozen=True)
class Case:
    """A way to give a still, and what it is measured as."""

    name: str
    degrade: Callable[[Picture], Picture] | None
    gray: str = "auto"
    placed: bool = True  # by its frame, as `--shots` does, and not only as `--reference`


def _whole(rgb: Picture) -> Picture:
    return rgb


CASES = (
    Case("no still", None),
    Case("whole", _whole),
    Case("whole, gray kept", _whole, gray="keep"),
    Case("whole, all gray left out", _whole, gray="ignore"),
    Case("gray blocks", gray_blocks),
    Case("gray blocks, gray kept", gray_blocks, gray="keep"),
    Case("gray blocks, all gray left out", gray_blocks, gray="ignore"),
    Case("moved", moved),
    Case("moved, not registered", moved, placed=False),
    Case("darker", darker),
    Case("gray blocks, moved, darker", lambda rgb: darker(moved(gray_blocks(rgb)))),
)


def parts_of(clip: Path, side: int, most: int, every: int) -> Iterator[tuple[str, list[RgbBatch]]]:
    """The first `most` frames of each part of at least 12 frames, one by one."""
    source = ColorFilmSource(clip, long_side=side)
    kept: list[RgbBatch] = []
    now = (0, 0)
    begun = count = 0
    with closing(source.batches(4)) as batches:
        for batch in mark_cuts(batches, source.facts.time_base):
            assert isinstance(batch, RgbBatch)
            for i, shot in enumerate(batch.shots):
                if shot != now[0]:
                    begun = count
                part = shot, (count - begun) // every
                if part != now:
                    if len(kept) >= 12:
                        yield _name(clip, now), kept
                    kept, now = [], part
                if len(kept) < most:
                    kept.append(batch[i : i + 1])
                count += 1
    if len(kept) >= 12:
        yield _name(clip, now), kept


def _name(clip: Path, part: tuple[int, int]) -> str:
    return f"{clip.stem} {part[0] + 1}.{part[1] + 1}"


def gray_scene(frames: Sequence[RgbBatch]) -> list[RgbBatch]:
    """The frames as of a gray scene: only what has the most chroma, a tenth, keeps its color."""
    least: Tensor | None = None
    found = []
    for frame in frames:
        rgb = frame.rgb.float() / 255
        chroma = rgb_to_lab(rgb)[:, 1:].norm(dim=1, keepdim=True)
        least = chroma.quantile(0.9) if least is None else least
        gray = film_gray(frame).expand_as(rgb)
        rgb = torch.where(chroma < least, gray, rgb)
        found.append(replace(frame, rgb=(rgb * 255).round().to(torch.uint8)))
    return found


def measure(case: Case, frames: Sequence[RgbBatch], model: str | None, step: int) -> list[float]:
    """PSNR of every `step`th frame after the first, dB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        colorizer = Colorizer(model, device="cpu", **_still(case, frames, folder))
        found = []
        for i in range(step, len(frames), step):
            frame = frames[i]
            shown = replace(frame, shots=(0,), numbers=(i,))
            color = compose(shown, colorizer(shown), _RGB)
            rgb = torch.stack(color.planes, dim=1)
            found.append(float(psnr(rgb.float(), frame.rgb.float())))
        return found


def _still(case: Case, frames: Sequence[RgbBatch], folder: Path) -> dict[str, object]:
    """Write the still of the first frame; returns the colorizer's options."""
    if case.degrade is None:
        return {}
    rgb = frames[0].rgb[0].permute(1, 2, 0).contiguous().numpy()
    still = folder / still_name(1, 0)
    cv2.imwrite(str(still), case.degrade(rgb)[..., ::-1])
    if not case.placed:
        return {"references": still, "reference_gray": case.gray}
    gray = (film_gray(frames[0])[0, 0] * 255).round().to(torch.uint8).numpy()
    (folder / GRAYS).mkdir()
    cv2.imwrite(str(folder / GRAYS / still.name), gray)
    height, width = gray.shape
    pts = range(len(frames))
    film = FilmFrames(Path("clip"), width, height, Fraction(1, 25), Fraction(25), "auto", pts)
    (folder / FILM).write_text(film.to_json(), encoding="utf-8")
    shots = [Shot(number=1, first=0, last=len(frames) - 1)]
    (folder / LIST).write_text(to_toml(film, shots, {1: [still.name]}), encoding="utf-8")
    return {"shots": folder, "reference_gray": case.gray}


def _chroma(frames: Sequence[RgbBatch]) -> float:
    lab: Tensor = rgb_to_lab(frames[0].rgb.float() / 255)
    return float(lab[:, 1:].norm(dim=1).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.references", description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    parser.add_argument("--frames", type=int, default=49, help="of each part at most [49]")
    parser.add_argument("--every", type=int, default=240, help="frames, length of a part [240]")
    parser.add_argument("--side", type=int, default=512, help="longer side of a frame [512]")
    parser.add_argument("--step", type=int, default=1, help="measure every Nth frame [1]")
    parser.add_argument("--gray-scene", action="store_true", help="only a tenth keeps its color")
    parser.add_argument("--model", help="a model by its name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    given = parser.parse_args(arguments)
    rows: dict[str, dict[str, float]] = {}
    ends: dict[str, dict[str, float]] = {}
    chroma: dict[str, float] = {}
    for clip in given.clips:
        for name, frames in parts_of(clip, given.side, given.frames, given.every):
            frames = gray_scene(frames) if given.gray_scene else frames
            chroma[name] = _chroma(frames)
            for case in CASES:
                figures = measure(case, frames, given.model, given.step)
                rows.setdefault(case.name, {})[name] = float(np.mean(figures))
                ends.setdefault(case.name, {})[name] = figures[-1]
            if given.json:  # after each part, because the next may take long
                report = {"chroma": chroma, "psnr": rows, "far_end": ends}
                given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for title, found in (("all frames", rows), ("last frame", ends)):
        names = (f"{name}\nchroma {c:.1f}" for name, c in chroma.items())
        table = Table("still", *names, "mean", title=title)
        for case_name, row in found.items():
            values = [*row.values(), float(np.mean(list(row.values())))]
            table.add_row(case_name, *(f"{value:.2f}" for value in values))
        Console(width=max(100, Console().width)).print(table)


if __name__ == "__main__":
    main()
