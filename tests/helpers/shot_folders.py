"""Films of known colors in gray, folders of shots made of them, and colored stills."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.tiny_encoder import scene
from vidcolor.color.convert import lab_to_rgb, rgb_to_lab
from vidcolor.run.references.shot_list import FILM, GRAYS, LIST, FilmFrames, Shot
from vidcolor.run.references.stills import still_name
from vidcolor.shots.timelines import to_toml

RATE = 10
HEIGHT, WIDTH = 96, 96


def moving(count: int, seed: int, hue: float, step: int = 2) -> list[Tensor]:
    """`count` frames R'G'B' `(1, 3, H, W)` of a scene that moves left by `step` a frame."""
    large = scene(seed, hue, HEIGHT, (WIDTH + step * count + 3) // 4 * 4)
    return [large[..., step * i : step * i + WIDTH] for i in range(count)]


def lightness_of(rgb: Tensor) -> Tensor:
    return rgb_to_lab(rgb)[:, :1]


def chroma_of(rgb: Tensor) -> Tensor:
    return rgb_to_lab(rgb)[:, 1:]


def gray_of(rgb: Tensor) -> np.ndarray:
    """Codes `(H, W)` uint8, full range, of a gray picture with the same L*."""
    lab = rgb_to_lab(rgb)
    gray = lab_to_rgb(lab * torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1))[0, 0]
    return np.asarray((gray * 255).round().to(torch.uint8).numpy())


def write_gray_film(path: Path, frames: Sequence[Tensor]) -> Path:
    """A lossless film of R'G'B' frames in gray."""
    return write_gray_codes(path, [gray_of(rgb) for rgb in frames])


def write_gray_codes(path: Path, pictures: Sequence[np.ndarray]) -> Path:
    """A lossless film of gray pictures `(H, W)` uint8, full range."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width = pictures[0].shape
        stream.pix_fmt = "gray"
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="gray")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_folder(
    folder: Path,
    frames: Sequence[Tensor] | Sequence[np.ndarray],
    shots: Sequence[Shot],
    stills: Sequence[int],
) -> Path:
    """A folder of shots of a film with these frames, whose stills are gray.

    It is what `vidcolor shots` would write, without finding anything. Times are those of
    `write_gray_film`.
    """
    (folder / GRAYS).mkdir(parents=True)
    height, width = frames[0].shape[-2:]
    film = FilmFrames(
        Path("film.mkv"),
        width,
        height,
        Fraction(1, 1000),
        Fraction(RATE),
        "auto",
        [i * 1000 // RATE for i in range(len(frames))],
    )
    for number in stills:
        frame = frames[number]
        codes = gray_of(frame) if isinstance(frame, Tensor) else frame
        for place in (folder / GRAYS, folder):
            cv2.imwrite(str(place / still_name(1, number)), codes)
    (folder / FILM).write_text(film.to_json(), encoding="utf-8")
    names: dict[int, list[str]] = {shot.number: [] for shot in shots}
    (folder / LIST).write_text(to_toml(film, shots, names), encoding="utf-8")
    return folder


def read_picture(path: Path) -> np.ndarray:
    """The samples of a picture file as they are, `(H, W)` or `(H, W, 3)` B'G'R'."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels)


def paint(folder: Path, frame: int, rgb: Tensor, suffix: str = ".png") -> Path:
    """Replace the still of a frame by a colored one."""
    (path,) = folder.glob(f"shot_*_{frame:06d}.png")
    path.unlink()
    pixels = (rgb[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    cv2.imwrite(str(path.with_suffix(suffix)), pixels[..., ::-1])
    return path.with_suffix(suffix)


def distance(ab: Tensor, truth: Tensor) -> float:
    """Mean distance of a*b* from the truth, which may be larger."""
    truth = F.interpolate(truth, ab.shape[-2:], mode="area")
    return float((ab - truth).square().sum(dim=1).sqrt().mean())
