"""Write a folder of shots: stills to color, `shots.toml`, lists for editors, a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..color.compose import film_gray
from ..errors import InputError, OutputError
from ..frames import LumaBatch
from ..models import FeatureModel
from ..run.colorizer import Colorizer
from ..run.references.shot_list import FILM, GRAYS, LIST, FilmFrames, Shot
from ..run.references.stills import find_stills, is_colored, still_name
from ..run.settings import Progress, ProgressCallback
from ..sources import FilmSource, read_color
from ..system.files import replacing
from ..system.opencv import opencv
from .find import FoundShot, find_shots
from .setups import describe_view, group
from .sheet import SHEET, write_sheet
from .timelines import timecode, to_csv, to_edl, to_otio, to_toml

_BATCH = 4
_COPY_SIDE = 1024  # longer side of the copies that stills are compared with, pixels


@dataclass(frozen=True)
class Written:
    """What was written into a folder.

    Attributes:
        folder: it.
        shots, stills: their numbers.
        setups: of set-ups; None if the model cannot tell them.
        kept: stills that were there in color and stay.
        alone: the stills to color at least, one of each set-up.
        warnings: one line for each part of the film that could not be read.
    """

    folder: Path
    shots: int
    stills: int
    setups: int | None
    kept: int
    alone: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def write_shots(
    film: FilmSource,
    folder: Path,
    colorizer: Colorizer,
    *,
    per_shot: int | None = None,
    every: float | None = None,
    overwrite: bool = False,
    on_progress: ProgressCallback = lambda progress: None,
) -> Written:
    """Find a film's shots and write a folder to color and edit.

    Args:
        film: the whole film; it is read twice.
        folder: made if it is not there.
        colorizer: its model's features group the shots into set-ups.
        per_shot, every: see `find_shots`.
        overwrite: replace the lists and gray stills in the folder. Colored stills stay.
        on_progress: called with the frames read, in each of the two readings.

    Raises:
        InputError: the film cannot be read.
        OutputError: the folder cannot be written, or holds shots already.
    """
    if (folder / LIST).exists() and not overwrite:
        raise OutputError(
            f"{folder}: holds a {LIST} already; choose another folder with -o, or give --overwrite "
            "to make it anew (colored stills stay)"
        )
    total = film.facts.num_frames_from_header
    found, pts, warnings = find_shots(
        film,
        per_shot=per_shot,
        every=every,
        on_progress=lambda count: on_progress(Progress(film.path, count, total)),
    )
    frames = FilmFrames(
        film.path.absolute(),
        film.facts.width,
        film.facts.height,
        film.facts.time_base,
        film.facts.average_rate or Fraction(25),
        film.deinterlace,
        pts,
    )
    home = {frame: i for i, shot in enumerate(found, 1) for frame in shot.stills}
    kept = _clear(folder, len(pts)) if folder.is_dir() else set()
    views: dict[int, Tensor] = {}
    small: dict[int, NDArray[np.uint8]] = {}
    for frame, batch in _frames(film, home, len(pts)):
        on_progress(Progress(film.path, frame + 1, len(pts)))
        gray = _upright_gray(batch)
        name = still_name(home[frame], frame)
        _write_png(folder / GRAYS / name, _shrunk(gray, _COPY_SIDE))
        if frame not in kept:
            _write_png(folder / name, gray)
        if frame == found[home[frame] - 1].stills[0]:
            small[home[frame]] = _shrunk(gray, SHEET)
            if isinstance(colorizer.model, FeatureModel):
                views[home[frame]] = _view(colorizer, batch)
    setups = dict(zip(views, group(list(views.values())), strict=True))
    shots = [
        Shot(number=i, first=shot.first, last=shot.last, setup=setups.get(i))
        for i, shot in enumerate(found, 1)
    ]
    _write_lists(folder, frames, shots, found)
    labels = [_label(frames, shot) for shot in shots]
    write_sheet(folder, list(small.values()), labels)
    firsts = {setups.get(i, -i): still_name(i, found[i - 1].stills[0]) for i in reversed(small)}
    alone = tuple(sorted(firsts.values()))
    count = len(set(setups.values())) if setups else None
    return Written(folder, len(shots), len(home), count, len(kept), alone, tuple(warnings))


def _frames(
    film: FilmSource, wanted: dict[int, int], total: int
) -> Iterator[tuple[int, LumaBatch]]:
    """The wanted frames, in order, each with its number.

    Raises:
        InputError: the film now has other frames than when its shots were found.
    """
    number, left = 0, set(wanted)
    with closing(film.batches(_BATCH)) as batches:
        for batch in batches:
            for i in range(len(batch)):
                if number in left:
                    left.remove(number)
                    yield number, batch[i : i + 1]
                number += 1
            if not left:
                return
    raise InputError(
        f"{film.path}: {total} frames were read at first, and {number} now; is it being written?"
    )


def _upright_gray(batch: LumaBatch) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Gray of a single frame, `(H, W)`, at full range: 8 bits, or 16 if the film has more."""
    gray = film_gray(batch)[0, 0]
    upright = torch.rot90(gray, -(batch.rotation // 90), (-2, -1)).clamp(0, 1)
    if batch.bit_depth > 8:
        return (upright * 65535).round().to(torch.int32).numpy().astype(np.uint16)
    eight: NDArray[np.uint8] = (upright * 255).round().to(torch.uint8).contiguous().numpy()
    return eight


def _shrunk(gray: NDArray[np.uint8] | NDArray[np.uint16], side: int) -> NDArray[np.uint8]:
    """At most `side` pixels on the longer side, 8 bits."""
    cv2 = opencv()

    scale = side / max(gray.shape)
    if scale < 1:
        size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return (gray // 257 if gray.dtype == np.uint16 else gray).astype(np.uint8)


def _write_png(path: Path, pixels: NDArray[np.generic]) -> None:
    cv2 = opencv()

    _, data = cv2.imencode(".png", pixels)
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _view(colorizer: Colorizer, batch: LumaBatch) -> Tensor:
    lightness = colorizer.lightness(batch.to(colorizer.device))
    return describe_view(colorizer.describe(lightness)[1])


def _clear(folder: Path, frames: int) -> set[int]:
    """Remove the gray stills of an earlier call; the frames whose stills are colored stay."""
    kept = set()
    for frame, files in find_stills(folder, frames).items():
        for path in files:
            if is_colored(read_color(path)):
                kept.add(frame)
            else:
                path.unlink()
    return kept


def _label(film: FilmFrames, shot: Shot) -> str:
    setup = "" if shot.setup is None else f"  set-up {shot.setup}"
    return f"{shot.number}  {timecode(film, shot.first)}{setup}"


def _write_lists(
    folder: Path, film: FilmFrames, shots: Sequence[Shot], found: Sequence[FoundShot]
) -> None:
    stills = {
        shot.number: [still_name(shot.number, frame) for frame in each.stills]
        for shot, each in zip(shots, found, strict=True)
    }
    texts = {
        FILM: film.to_json(),
        "shots.csv": to_csv(film, shots, stills),
        "shots.edl": to_edl(film, shots),
        "shots.otio": to_otio(film, shots),
        LIST: to_toml(film, shots, stills),  # last: a folder with it is whole
    }
    for name, text in texts.items():
        with replacing(folder / name) as path:
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
